//! Standard streams that are closed, full, or left early, and arguments that are no text.

use serde_json::json;

use super::Setup;

/// What prints something and ends by itself, with its exit code.
fn commands(user: i64) -> Vec<(String, i32)> {
    let of_the_mirror = [
        (format!("history {user}"), 0),
        ("status".to_owned(), 0),
        ("plan".to_owned(), 0),
        ("plan --requests".to_owned(), 0),
        ("sync".to_owned(), 0),
        ("verify".to_owned(), 0),
        ("check".to_owned(), 0),
        ("check --offline".to_owned(), 0),
        ("check --health".to_owned(), 1),
        ("config".to_owned(), 0),
        ("migrate".to_owned(), 0),
        ("grants".to_owned(), 0),
        ("prune --dry-run".to_owned(), 0),
        ("prune".to_owned(), 0),
        ("completions zsh".to_owned(), 0),
        ("man".to_owned(), 0),
        ("--help".to_owned(), 0),
    ];
    of_the_mirror.into()
}

/// Lines that are no log of a pass.
fn said(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| !line.contains(" INFO ")).collect()
}

#[tokio::test]
async fn a_reader_of_one_line_ends_no_command_otherwise_than_a_reader_of_all() {
    let setup = Setup::new(2, 20).await;
    setup.run(&["sync"]).await.expect(0);
    setup
        .simulator
        .patch_user(setup.clients[0].users[1], json!({ "name": "Ada" }))
        .expect("the user can be changed");
    for (command, code) in commands(setup.clients[0].users[0]) {
        let code = if command == "plan" { 10 } else { code };
        for format in ["text", "json"] {
            let line =
                format!("{{ \"$CALMIRROR\" --output {format} {command}; echo code $? >&2; }} | head -n 1");
            let ended = setup.workplace.shell(&line).await.expect(0);
            assert_eq!(said(&ended.stderr), [format!("code {code}")], "{line}: {ended}");
            assert_eq!(ended.stdout.lines().count(), 1, "{line}: {ended}");
        }
    }
}

#[tokio::test]
async fn closed_streams_are_as_good_as_none() {
    let setup = Setup::new(1, 2).await;
    setup.run(&["sync"]).await.expect(0);
    for (command, code) in commands(setup.clients[0].users[0]) {
        for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
            let line = format!("\"$CALMIRROR\" {command} {closed}");
            let ended = setup.workplace.shell(&line).await.expect(code);
            assert_eq!(said(&ended.stderr), [""; 0], "{line}: {ended}");
            assert_eq!(
                ended.stdout.is_empty(),
                closed.split(' ').any(|closed| closed == ">&-"),
                "{line}: {ended}"
            );
        }
    }
}

#[tokio::test]
async fn output_that_cannot_be_written_is_a_failure_that_says_so() {
    let setup = Setup::new(1, 2).await;
    setup.run(&["sync"]).await.expect(0);
    for (command, _) in commands(setup.clients[0].users[0]) {
        // Help is clap's.
        if command == "--help" {
            continue;
        }
        let line = format!("\"$CALMIRROR\" {command} >/dev/full");
        let ended = setup.workplace.shell(&line).await.expect(1);
        let why = "error: standard output cannot be written: No space left on device (os error 28)";
        assert_eq!(said(&ended.stderr), [why], "{line}: {ended}");
    }
    // A log that cannot be written holds up nobody.
    let ended = setup
        .workplace
        .shell("\"$CALMIRROR\" sync 2>/dev/full")
        .await
        .expect(0);
    assert!(ended.stdout.contains("no_change"), "{ended}");
}

#[tokio::test]
async fn arguments_that_are_no_text_are_refused_or_meant_as_they_are() {
    let setup = Setup::new(1, 2).await;
    setup.run(&["sync"]).await.expect(0);
    let odd = "\"$(printf 'a\\377b')\"";
    for arguments in [
        format!("history {odd}"),
        format!("sync --client {odd}"),
        format!("init --path new.toml --client-id x --users 1 --no-check --secret-file {odd}"),
        format!("simulate --users-dir {odd}"),
        format!("demo --once --dir {odd}"),
    ] {
        let ended = setup
            .workplace
            .shell(&format!("\"$CALMIRROR\" {arguments}"))
            .await
            .expect(2);
        assert!(
            ended.stderr.starts_with("error: invalid UTF-8 was detected"),
            "{arguments}: {ended}"
        );
        let line = format!("\"$CALMIRROR\" --output json {arguments}");
        let ended = setup.workplace.shell(&line).await.expect(2);
        assert!(ended.stdout.is_empty(), "{line}: {ended}");
    }
    let ended = setup
        .workplace
        .shell(&format!("\"$CALMIRROR\" {odd}"))
        .await
        .expect(2);
    assert!(ended.stderr.contains("unrecognized subcommand"), "{ended}");
    // A path may be any, where nothing has to be written that is text.
    let line = format!("cp config.toml {odd}.toml && \"$CALMIRROR\" --config {odd}.toml status");
    let ended = setup.workplace.shell(&line).await.expect(0);
    assert!(ended.stdout.starts_with("client "), "{ended}");
    let line = format!("\"$CALMIRROR\" man --dir {odd} && test -s {odd}/calmirror.1");
    setup.workplace.shell(&line).await.expect(0);
    let ended = setup
        .workplace
        .shell(&format!("CALMIRROR__LOG__LEVEL={odd} \"$CALMIRROR\" status"))
        .await
        .expect(2);
    let fault = "error: CALMIRROR__LOG__LEVEL: log.level: is not UTF-8; set it anew, or unset it\n";
    assert_eq!(ended.stderr, fault, "{ended}");
}

#[tokio::test]
async fn what_is_printed_is_the_same_in_every_locale() {
    let setup = Setup::new(1, 2).await;
    setup
        .simulator
        .patch_user(setup.clients[0].users[0], json!({ "name": "Łódź 王小明" }))
        .expect("the user can be changed");
    setup.run(&["sync"]).await.expect(0);
    let user = setup.clients[0].users[0].to_string();
    for arguments in [
        &["history", &user][..],
        &["check"],
        &["--output", "json", "history", &user],
    ] {
        let usual = setup.run(arguments).await.expect(0);
        for locale in [
            "C",
            "POSIX",
            "C.UTF-8",
            "de_DE.ISO-8859-1",
            "tr_TR.UTF-8",
            "nonsense",
        ] {
            let variables = [("LANG", locale), ("LC_ALL", locale)];
            let other = setup.workplace.run_with(&variables, arguments).await.expect(0);
            assert_eq!(
                (&other.stdout, &other.stderr),
                (&usual.stdout, &usual.stderr),
                "{locale}"
            );
        }
    }
}
