//! `calmirror sync`: its report and its log.

use std::collections::BTreeMap;

use calmirror::simulator::{Answer, ClientInfo, Target};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Setup, cells};

const REPORT_KEYS: [&str; 14] = [
    "client",
    "duration_s",
    "error",
    "inserted",
    "missing",
    "observed",
    "outcome",
    "rejected",
    "removed",
    "requests",
    "restored",
    "run_id",
    "unchanged",
    "updated",
];

/// The lines of `sync --output json` by client.
fn by_client(lines: Vec<Value>) -> BTreeMap<String, Value> {
    lines
        .into_iter()
        .map(|line| (line["client"].as_str().expect("a name").to_owned(), line))
        .collect()
}

#[tokio::test]
async fn people_get_a_table_and_programs_a_line_a_pass() {
    let setup = Setup::new(2, 12).await;
    let first = setup.run(&["sync"]).await.expect(0);
    let table = cells(&first.stdout);
    assert_eq!(table.len(), 3, "{first}");
    assert_eq!(
        table[0].join(" "),
        "client outcome observed inserted updated removed restored unchanged rejected missing requests seconds"
    );
    for (row, client) in table[1..].iter().zip(&setup.clients) {
        let expected = [
            &client.name,
            "applied",
            "12",
            "12",
            "0",
            "0",
            "0",
            "0",
            "0",
            "0",
            "12",
        ];
        assert_eq!(row[..11], expected);
    }

    let second = setup.run(&["--output", "json", "sync"]).await.expect(0);
    let reports = by_client(second.json());
    assert_eq!(reports.len(), 2);
    for report in reports.values() {
        let mut keys: Vec<_> = report.as_object().expect("an object").keys().collect();
        keys.sort();
        assert_eq!(keys, REPORT_KEYS);
        assert_eq!(report["outcome"], "no_change");
        assert_eq!(report["unchanged"], 12);
        assert_eq!(report["error"], Value::Null);
        assert!(report["duration_s"].is_number());
    }
    assert_eq!(second.log_lines("user changed"), [""; 0]);
    assert_eq!(second.log_lines("pass ended").len(), 2);
}

#[tokio::test]
async fn a_change_at_the_source_is_one_ledger_row_and_one_log_line() {
    let setup = Setup::new(2, 10).await;
    setup.run(&["sync"]).await.expect(0);
    let client = &setup.clients[1];
    let user = client.users[3];
    let change = |zone: &str, bio: &str| {
        setup
            .simulator
            .patch_user(user, json!({ "timeZone": zone, "bio": bio }))
            .expect("the user can be changed");
    };

    change("Asia/Tokyo", "Hunts snarks.");
    let text = setup.run(&["sync"]).await.expect(0);
    let lines = text.log_lines("user changed");
    let [line] = lines[..] else {
        panic!("not one line: {text}")
    };
    for part in [
        format!("client.name={} ", client.name),
        format!("user.id={user} "),
        "change.kind=update ".to_owned(),
        "change.version=2 ".to_owned(),
        r#"-> "Asia/Tokyo""#.to_owned(),
        "bio: ".to_owned(),
    ] {
        assert!(line.contains(&part), "{part:?} is not in {line}");
    }
    assert!(!text.stderr.contains("snarks"), "{text}");
    assert_eq!(
        setup
            .value::<i64>("select count(*) from managed_user_changes where kind = 'update'")
            .await,
        1
    );

    change("Asia/Seoul", "Hunts boojums.");
    let variables = [("CALMIRROR__LOG__FORMAT", "json")];
    let masked = setup.workplace.run_with(&variables, &["sync"]).await.expect(0);
    let log = masked.log();
    let lines: Vec<_> = log
        .iter()
        .filter(|line| line["message"] == "user changed")
        .collect();
    let [line] = lines[..] else {
        panic!("not one line: {masked}")
    };
    assert_eq!(line["client.name"], client.name.as_str());
    assert_eq!(line["user.id"], user);
    assert_eq!(line["change.kind"], "update");
    assert_eq!(line["change.version"], 3);
    assert_eq!(
        line["change.fields"],
        r#"bio: *** -> ***, time_zone: "Asia/Tokyo" -> "Asia/Seoul""#
    );
    assert!(!masked.stderr.contains("boojums"), "{masked}");

    change("Asia/Seoul", "Hunts jabberwocks.");
    let variables = [("CALMIRROR__LOG__VALUES", "full")];
    let full = setup.workplace.run_with(&variables, &["sync"]).await.expect(0);
    let lines = full.log_lines("user changed");
    assert_eq!(lines.len(), 1, "{full}");
    assert!(
        lines[0].contains(r#"bio: "Hunts boojums." -> "Hunts jabberwocks.""#),
        "{full}"
    );

    setup.run(&["sync"]).await.expect(0);
    let ledger: Vec<i32> =
        sqlx::query_scalar("select version from managed_user_changes where kind = 'update' order by version")
            .fetch_all(&setup.pool().await)
            .await
            .expect("the ledger can be read");
    assert_eq!(ledger, [2, 3, 4]);
}

#[tokio::test]
async fn one_client_can_be_named() {
    let setup = Setup::new(3, 4).await;
    let (one, other) = (&setup.clients[0].name, &setup.clients[2].name);
    let named = [
        "--output", "json", "sync", "--client", other, "--client", one, "--client", other,
    ];
    let ended = setup.run(&named).await.expect(0);
    let reports = by_client(ended.json());
    assert_eq!(ended.json().len(), 2, "{ended}");
    assert!(reports.contains_key(one) && reports.contains_key(other));

    let ended = setup.run(&["sync", "--client", "nobody"]).await.expect(2);
    assert_eq!(ended.stdout, "");
    for client in &setup.clients {
        assert!(ended.stderr.contains(&client.name), "{ended}");
    }
}

#[tokio::test]
async fn what_is_no_terminal_gets_no_escape_codes() {
    let setup = Setup::new(1, 3).await;
    // A warning, an information, and an error in colour would each show.
    for arguments in [
        &["sync"][..],
        &["check"],
        &["status"],
        &["history", "1"],
        &["--help"],
        &["sink"],
    ] {
        // What a shell in a terminal has, so that only the pipe speaks against colour.
        let variables = [("TERM", "xterm-256color"), ("COLORTERM", "truecolor")];
        let ended = setup.workplace.run_with(&variables, arguments).await;
        assert!(!ended.stdout.contains('\u{1b}'), "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.contains('\u{1b}'), "{arguments:?}: {ended:?}");
    }
}

#[tokio::test]
async fn the_secret_is_in_no_output() {
    let setup = Setup::new(2, 5).await;
    setup
        .simulator
        .set_secret(&setup.clients[1].id, "another")
        .expect("the client is there");
    let level = "trace,hyper=trace,hyper_util=trace,reqwest=trace,sqlx=trace";
    let variables = [
        ("CALMIRROR__LOG__LEVEL", level),
        ("CALMIRROR__LOG__VALUES", "full"),
    ];
    for arguments in [
        &["sync"][..],
        &["--output", "json", "sync"],
        &["check"],
        &["config"],
        &["--output", "json", "config"],
        &["status"],
    ] {
        let ended = setup.workplace.run_with(&variables, arguments).await;
        for client in &setup.clients {
            assert!(
                !ended.to_string().contains(&client.secret),
                "{arguments:?} shows the secret of {}: {ended}",
                client.name
            );
        }
    }
    let rows: String = setup
        .value("select string_agg(to_jsonb(r)::text, ' ') from sync_runs as r")
        .await;
    assert!(!rows.contains(&setup.clients[0].secret) && !rows.contains(&setup.clients[1].secret));
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs --features failpoints")]
async fn a_pass_that_panics_is_on_record_and_cuts_no_other() {
    let setup = Setup::new(2, 6).await;
    for client in &setup.clients {
        let last = *client.users.last().expect("the client has users");
        setup.simulator.script(Target::User(last), 1, Answer::Hang);
    }
    let panics = [("FAILPOINTS", "batch::before=1*off->1*panic")];
    let mut program = setup.workplace.start_with(&panics, &["sync", "--output", "json"]);
    setup.simulator.wait_until(|counts| counts.hanging == 2).await;
    let keep = async |client: &ClientInfo| {
        let mut kept = setup.pool().await.begin().await.expect("a transaction");
        sqlx::query("select from sync_runs where client_id = $1 for update")
            .bind(&client.id)
            .execute(&mut *kept)
            .await
            .expect("nobody else has it for long");
        kept
    };
    // The batch of the pass that comes first waits for this, and the record of the other one's panic.
    let (first, second) = (keep(&setup.clients[0]).await, keep(&setup.clients[1]).await);
    setup.simulator.release();
    let log = program.logged("pass panicked").await;
    let panicked = log.lines().find(|line| line.contains("pass panicked"));
    let (other, others, panickeds) = if panicked.is_some_and(|line| line.contains(&setup.clients[0].name)) {
        (&setup.clients[1].name, second, first)
    } else {
        (&setup.clients[0].name, first, second)
    };
    drop(others);
    program.printed(&format!("\"client\":\"{other}\"")).await;
    drop(panickeds);
    let ended = program.end().await.expect(1);
    let told = by_client(ended.json());
    assert_eq!(told.keys().collect::<Vec<_>>(), [other], "{ended}");
    assert_eq!(told[other]["inserted"], 6);
    let passes: Vec<(Option<String>, Option<String>)> =
        sqlx::query_as("select outcome, error from sync_runs order by outcome")
            .fetch_all(&setup.pool().await)
            .await
            .expect("there are passes");
    let [(Some(applied), None), (Some(failed), Some(error))] = &passes[..] else {
        panic!("{passes:?}")
    };
    assert_eq!((applied.as_str(), failed.as_str()), ("applied", "failed"));
    assert!(
        error.contains("a fault in calmirror ended the pass: failpoint"),
        "{error}"
    );
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs --features failpoints")]
async fn a_panic_that_cannot_be_recorded_keeps_nobody_beyond_the_promised_end() {
    let mut setup = Setup::new(1, 6).await;
    setup.run(&["migrate"]).await.expect(0);
    let mut gate = setup.gate();
    setup.configure("");
    gate.open();
    gate.freeze_at(&["update sync_runs set outcome = 'failed'"]);
    let panics = [("FAILPOINTS", "batch::before=1*panic")];
    let program = setup.workplace.start_with(&panics, &["sync"]);
    gate.frozen().await;
    let ended = program.end_in_time(Signal::SIGTERM).await.expect(1);
    assert!(
        ended
            .stderr
            .contains("did not end in time after the signal, and was cut"),
        "{ended}"
    );
}

#[tokio::test]
async fn a_pass_that_does_not_end_in_time_is_cut_and_closed_and_others_are_told_of() {
    let setup = Setup::new(2, 6).await;
    let last = *setup.clients[0].users.last().expect("the client has users");
    setup.simulator.script(Target::User(last), 1, Answer::Hang);
    let mut program = setup.workplace.start(&["sync", "--output", "json"]);
    setup.simulator.wait_until(|counts| counts.hanging == 1).await;
    program
        .printed(&format!("\"client\":\"{}\"", setup.clients[1].name))
        .await;
    // Batches and the end of the pass wait for this, and longer than calmirror does.
    let mut lock = setup.pool().await.begin().await.expect("a transaction");
    sqlx::query("select from sync_state for update")
        .execute(&mut *lock)
        .await
        .expect("nobody else has it for long");
    program.signal(Signal::SIGTERM);
    let ended = program.end().await.expect(1);
    assert!(
        ended
            .stderr
            .contains("did not end in time after the signal, and was cut"),
        "{ended}"
    );
    let told = by_client(ended.json());
    assert_eq!(told.len(), 1, "{ended}");
    assert_eq!(told[&setup.clients[1].name]["inserted"], 6);
    drop(lock);
    let passes: Vec<(String, Option<String>, Option<String>)> =
        sqlx::query_as("select client_name, outcome, error from sync_runs order by outcome")
            .fetch_all(&setup.pool().await)
            .await
            .expect("there are passes");
    let [(_, applied, None), (cut, failed, Some(error))] = &passes[..] else {
        panic!("{passes:?}")
    };
    assert_eq!(
        (applied.as_deref(), failed.as_deref()),
        (Some("applied"), Some("failed"))
    );
    assert_eq!(*cut, setup.clients[0].name);
    assert!(error.contains("was cut"), "{error}");
}
