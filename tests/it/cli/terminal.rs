//! What people see on a terminal: colours, width, and nothing that their data tells it.

use calmirror::simulator::{Answer, Target};
use serde_json::json;

use super::Setup;
use crate::support::{program::Workplace, terminal::Stands};

/// Names as somebody would choose who wants to be seen.
const WIDE: &str = "王小明 👩\u{200d}👩\u{200d}👧 e\u{301}e\u{301}e\u{301} عمر and a name that goes on for longer than any terminal of this world is wide";

/// Clears the screen, sets the title, colours, turns the direction, breaks the line: in seven bits and in eight.
const NASTY: &str =
    "Eve\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}gnp.exe\u{2066}\nfake line\r\u{8}\u{7f}\u{1b}[31m";

/// A client with users of such names, whose names have changed twice.
async fn named() -> Setup {
    let setup = Setup::new(1, 4).await;
    setup.run(&["sync"]).await.expect(0);
    for (user, name) in setup.clients[0].users.iter().zip([WIDE, NASTY]) {
        for name in [name, "Ada", name] {
            let patch = json!({ "name": name, "bio": name, "metadata": { "k\u{1b}[31m\u{202e}\n": name } });
            setup
                .simulator
                .patch_user(*user, patch)
                .expect("the user can be changed");
            setup.run(&["sync"]).await.expect(0);
        }
    }
    setup
}

#[tokio::test]
async fn nothing_is_wider_than_the_terminal() {
    let mut setup = named().await;
    let [wide, nasty] = [0, 1].map(|user| setup.clients[0].users[user].to_string());
    // Something to be said of everything that status can say.
    setup.clients[0].users.truncate(2);
    setup.clients[0].users.extend(700_001..=700_024);
    setup.configure("");
    setup.run(&["sync"]).await.expect(0);
    setup
        .simulator
        .patch_user(setup.clients[0].users[0], json!({ "name": "Ada" }))
        .expect("the user can be changed");
    for columns in [200, 120, 80, 40, 24] {
        for arguments in [
            &["status"][..],
            &["history", &wide],
            &["history", &nasty],
            &["plan"],
            &["plan", "--requests"],
            &["verify"],
            &["check"],
        ] {
            let shown = setup
                .workplace
                .on_terminal_with(&[], Stands::Output, (columns, 24), arguments)
                .end()
                .await;
            let lines = shown.lines_that_fit();
            assert!(
                lines.len() > 1 || arguments == ["verify"],
                "{arguments:?}: {lines:?}"
            );
        }
    }
    let status = |columns| {
        let program = setup
            .workplace
            .on_terminal_with(&[], Stands::Output, (columns, 24), &["status"]);
        async { program.end().await.expect(0).lines_that_fit() }
    };
    // A table where there is room for it, and a paragraph where there is none; both say the same.
    let (table, narrow) = (status(80).await, status(40).await);
    assert!(table[0].starts_with("client  mirror"), "{table:?}");
    assert_eq!(narrow[0], "acme", "{narrow:?}");
    assert!(narrow[1].starts_with("    mirror fresh, lag "), "{narrow:?}");
    // On a pipe a value stays on its line, whatever its width.
    let piped = setup.run(&["history", &wide]).await.expect(0).stdout;
    assert!(piped.lines().any(|line| line.contains(WIDE)), "{piped}");
}

#[tokio::test]
async fn what_users_call_themselves_does_not_reach_the_terminal_raw() {
    let setup = named().await;
    let user = setup.clients[0].users[1].to_string();
    setup
        .simulator
        .patch_user(setup.clients[0].users[1], json!({ "name": format!("{NASTY}!") }))
        .expect("the user can be changed");
    let is_raw = |text: &str| {
        // Line breaks are ours; a terminal's own are with a carriage return.
        let text = text.replace("\r\n", "\n");
        let hidden = text
            .chars()
            .find(|c| calmirror::model::is_hidden(*c) && *c != '\n');
        hidden.map(|c| format!("{c:?} in {text:?}"))
    };
    let commands = [
        &["history", &user][..],
        &["plan"],
        &["status"],
        &["--output", "json", "history", &user],
        &["--output", "json", "plan"],
        &["--output", "json", "status"],
    ];
    for arguments in commands {
        let piped = setup.run(arguments).await;
        assert_eq!(is_raw(&piped.stdout), None, "{arguments:?}");
        assert_eq!(is_raw(&piped.stderr), None, "{arguments:?}");
        let variables = [("NO_COLOR", "1")];
        let shown = setup
            .workplace
            .on_terminal_with(&variables, Stands::Output, (80, 24), arguments)
            .end()
            .await;
        assert_eq!(is_raw(&shown.raw()), None, "{arguments:?}");
        // With colours, what a terminal is told is colours alone.
        let shown = setup
            .workplace
            .on_terminal_with(&[], Stands::Output, (80, 24), arguments)
            .end()
            .await;
        let text = shown.raw();
        for sequence in text.split('\u{1b}').skip(1) {
            let (parameters, _) = sequence.split_once('m').unwrap_or_else(|| panic!("{sequence:?}"));
            assert!(
                parameters.strip_prefix('[').is_some_and(|parameters| {
                    matches!(parameters, "0" | "1" | "31" | "32" | "33" | "34" | "35" | "36")
                }),
                "{parameters:?} in {text:?}"
            );
        }
        assert_eq!(is_raw(&text.replace('\u{1b}', "")), None, "{arguments:?}");
    }
    // The names are there all the same, and JSON reads as what they are.
    let json = setup
        .run(&["--output", "json", "history", &user])
        .await
        .expect(0)
        .json();
    assert_eq!(json[1]["after"]["name"], NASTY);
    let text = setup.run(&["history", &user]).await.expect(0).stdout;
    assert!(
        text.contains(r"Eve\u001b[2J\u001b]0;owned\u0007\u009b31m\u202egnp.exe\u2066\nfake"),
        "{text}"
    );
    // Logs of changes as well.
    setup
        .workplace
        .run_with(&[("CALMIRROR__LOG__VALUES", "full")], &["plan"])
        .await;
    for format in ["text", "json"] {
        setup
            .simulator
            .patch_user(
                setup.clients[0].users[1],
                json!({ "name": format!("{NASTY}{format}") }),
            )
            .expect("the user can be changed");
        let variables = [
            ("CALMIRROR__LOG__VALUES", "full"),
            ("CALMIRROR__LOG__FORMAT", format),
        ];
        let logged = setup.workplace.run_with(&variables, &["sync"]).await.expect(0);
        assert!(logged.stderr.contains("u202egnp.exe"), "{logged}");
        assert_eq!(is_raw(&logged.stderr), None);
    }
}

type Variables = &'static [(&'static str, &'static str)];

#[tokio::test]
async fn colours_follow_the_conventions() {
    let setup = Setup::new(1, 2).await;
    // A bar moves the cursor in any case.
    let is_coloured = |text: &str| {
        text.split("\u{1b}[").skip(1).any(|sequence| {
            let end = sequence.find(|c: char| !(c.is_ascii_digit() || c == ';'));
            end.is_some_and(|end| sequence[end..].starts_with('m'))
        })
    };
    let cases: [(Variables, bool, bool); 8] = [
        // Variables, on a terminal, on a pipe.
        (&[], true, false),
        (&[("NO_COLOR", "1")], false, false),
        (&[("NO_COLOR", "")], true, false),
        (&[("CLICOLOR", "0")], false, false),
        (&[("CLICOLOR_FORCE", "1")], true, true),
        (&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false, false),
        (&[("TERM", "dumb")], false, false),
        (&[("TERM", "dumb"), ("CLICOLOR_FORCE", "1")], true, true),
    ];
    // What check prints is on standard output, and what sync logs on standard error.
    for (variables, on_terminal, on_pipe) in cases {
        for (arguments, stands) in [(&["check"][..], Stands::Output), (&["sync"], Stands::Errors)] {
            let shown = setup
                .workplace
                .on_terminal_with(variables, stands, (200, 24), arguments)
                .end()
                .await
                .expect(0);
            assert_eq!(
                is_coloured(&shown.raw()),
                on_terminal,
                "{variables:?} {arguments:?}: {:?}",
                shown.raw()
            );
            let piped = setup.workplace.run_with(variables, arguments).await.expect(0);
            assert_eq!(
                is_coloured(&piped.stdout) || is_coloured(&piped.stderr),
                on_pipe,
                "{variables:?}: {piped:?}"
            );
        }
    }
    // One stream's terminal is not the other's.
    let shown = setup
        .workplace
        .on_terminal_with(&[], Stands::Errors, (200, 24), &["--output", "json", "check"])
        .end()
        .await
        .expect(0);
    assert_eq!(shown.raw(), "");
    let help = Workplace::new()
        .on_terminal((80, 24), &["--help"])
        .end()
        .await
        .expect(0);
    assert!(is_coloured(&help.raw()));
    help.lines_that_fit();
}

#[tokio::test]
async fn a_bar_stands_below_the_log_and_is_gone_at_the_end() {
    let setup = Setup::new(1, 40).await;
    let last = setup.clients[0].users[39];
    setup.simulator.script(Target::User(last), 1, Answer::Hang);
    let mut program =
        setup
            .workplace
            .on_terminal_with(&[("NO_COLOR", "1")], Stands::Errors, (220, 80), &["sync"]);
    let screen = program.shows("39/40 users").await;
    let bars = |screen: &str| screen.lines().filter(|line| line.contains("/40 users")).count();
    assert_eq!(bars(&screen), 1, "{screen}");
    setup.simulator.release();
    let shown = program.end().await.expect(0);
    let screen = shown.screen();
    assert_eq!(bars(&screen), 0, "{screen}");
    // Each line of the log is whole.
    let lines: Vec<&str> = screen.lines().filter(|line| !line.trim().is_empty()).collect();
    let changed = lines
        .iter()
        .filter(|line| line.contains("INFO user changed client.name=acme user.id="));
    assert_eq!(changed.count(), 40, "{screen}");
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.contains("INFO pass ended"))
            .count(),
        1,
        "{screen}"
    );
    assert_eq!(lines.len(), 41, "{screen}");
    // A terminal that cannot move its cursor is shown none.
    let shown = setup
        .workplace
        .on_terminal_with(&[("TERM", "dumb")], Stands::Errors, (220, 80), &["sync"])
        .end()
        .await
        .expect(0);
    assert!(
        !shown.raw().contains('\u{1b}') && !shown.raw().contains(" users, "),
        "{}",
        shown.raw()
    );
}
