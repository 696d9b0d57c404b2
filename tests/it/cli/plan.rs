//! `calmirror plan`: what it prints, and what it ends with.

use calmirror::simulator::{Answer, Target};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::Setup;
use crate::support::gate::Gate;

/// Removals are proven at once.
const AT_ONCE: &str = "[removal]\nconfirmations = 2\nmin_age_s = 0";

fn change(setup: &Setup, user: i64, change: Value) {
    setup
        .simulator
        .patch_user(user, change)
        .expect("the user can be changed");
}

/// The lines of a text, but for those about what an insert fills.
fn lines(text: &str) -> Vec<&str> {
    text.lines()
        .filter(|line| !line.starts_with("    ") || line.contains("->"))
        .collect()
}

#[tokio::test]
async fn people_get_a_diff_and_programs_a_line_a_change() {
    let mut setup = Setup::new(1, 20).await;
    let users = setup.clients[0].users.clone();
    let (new, changed, gone, doubted, back) = (users[0], users[1], users[2], users[3], users[4]);
    setup.clients[0].users.remove(0);
    setup.configure(AT_ONCE);
    let delete = |user| {
        setup
            .simulator
            .delete_user(user)
            .expect("the user can be deleted");
    };
    change(&setup, changed, json!({ "timeZone": "Europe/Rome" }));
    setup.run(&["sync"]).await.expect(0);
    let record = setup.simulator.user_json(back).expect("the user is there");
    delete(back);
    setup.run(&["sync"]).await.expect(0);
    delete(gone);
    setup.run(&["sync"]).await.expect(0);
    delete(doubted);
    setup
        .simulator
        .place_raw(&setup.clients[0].id, back, record)
        .expect("the user can come back");
    change(&setup, changed, json!({ "timeZone": "Asia/Tokyo" }));
    change(
        &setup,
        new,
        json!({ "bio": format!("Hunts {}", "snarks ".repeat(60)) }),
    );
    setup.clients[0].users.insert(0, new);
    setup.configure(AT_ONCE);

    let text = setup.run(&["plan"]).await.expect(10);
    let mut found = lines(&text.stdout);
    let summary = found.pop();
    found.sort_unstable();
    let mut expected = [
        format!("+ user {new}"),
        format!("~ user {changed}  v2"),
        r#"    time_zone: "Europe/Rome" -> "Asia/Tokyo""#.to_owned(),
        format!("- user {gone}  v2  gone in 2 of 2 passes"),
        format!("? user {doubted}  gone in 1 of 2 passes: not removed yet"),
        format!("^ user {back}  v3  (restored)"),
    ];
    expected.sort_unstable();
    assert_eq!(found, expected, "{text}");
    assert_eq!(
        summary,
        Some(
            "acme: 1 to insert, 1 to update, 1 to remove, 1 to restore, 15 unchanged, 2 missing, 0 rejected; 20 requests"
        ),
        "{text}"
    );
    let bio = text
        .stdout
        .lines()
        .find(|line| line.starts_with("    bio: \"Hunts snarks"))
        .expect("what a new user is like is shown");
    assert!(bio.ends_with('…'), "long values are cut: {bio}");
    assert!(
        text.stdout.contains("    email: \"") && !text.stdout.contains("null"),
        "{text}"
    );
    assert_eq!(text.stderr, "", "no pass, no log");

    let again = setup.run(&["plan"]).await.expect(10);
    assert_eq!(again.stdout, text.stdout, "the same plan reads the same");

    let ended = setup.run(&["--output", "json", "plan"]).await.expect(10);
    let mut found = ended.json();
    let summary = found.pop().expect("a summary");
    for (key, value) in [
        ("outcome", json!("applied")),
        ("run_id", Value::Null),
        ("makes_tables", json!(false)),
    ] {
        assert_eq!(summary[key], value, "{summary}");
    }
    for (key, count) in [
        ("inserted", 1),
        ("updated", 1),
        ("removed", 1),
        ("restored", 1),
        ("missing", 2),
    ] {
        assert_eq!(summary[key], count, "{key} of {summary}");
    }
    found.sort_by_key(|line| line["user_id"].as_i64());
    let after = found[0]["after"].take();
    assert_eq!(after.as_object().map(serde_json::Map::len), Some(13), "{after}");
    assert!(
        after["bio"].as_str().is_some_and(|bio| bio.len() > 400),
        "nothing is cut: {after}"
    );
    assert_eq!(
        found,
        [
            json!({ "client": "acme", "kind": "insert", "user_id": new, "version": 1, "changed": {}, "after": null }),
            json!({
                "client": "acme", "kind": "update", "user_id": changed, "version": 2,
                "changed": { "time_zone": { "old": "Europe/Rome", "new": "Asia/Tokyo" } },
            }),
            json!({
                "client": "acme", "kind": "removal", "user_id": gone, "version": 2, "changed": {},
                "confirmations": 2, "confirmations_needed": 2,
            }),
            json!({
                "client": "acme", "kind": "missing", "user_id": doubted, "why": "waits",
                "confirmations": 1, "confirmations_needed": 2,
            }),
            json!({ "client": "acme", "kind": "restore", "user_id": back, "version": 3, "changed": {} }),
        ]
    );

    let report = &setup.run(&["--output", "json", "sync"]).await.expect(0).json()[0];
    for key in [
        "observed",
        "inserted",
        "updated",
        "removed",
        "restored",
        "unchanged",
        "rejected",
        "missing",
        "outcome",
    ] {
        assert_eq!(report[key], summary[key], "{key}");
    }
}

#[tokio::test]
async fn nothing_to_do_is_one_line_a_client() {
    let setup = Setup::new(2, 6).await;
    setup.run(&["sync"]).await.expect(0);
    let before = setup.value::<i64>("select count(*) from sync_runs").await;
    let ended = setup.run(&["plan"]).await.expect(0);
    let mut found = lines(&ended.stdout);
    found.sort_unstable();
    let expected: Vec<_> = setup
        .clients
        .iter()
        .map(|client| {
            let name = &client.name;
            format!("{name}: nothing to do; 6 unchanged, 0 missing, 0 rejected; 6 requests")
        })
        .collect();
    assert_eq!(found, expected);
    let json = setup.run(&["--output", "json", "plan"]).await.expect(0).json();
    assert_eq!(json.len(), 2);
    assert!(
        json.iter().all(|summary| summary["outcome"] == "no_change"),
        "{json:?}"
    );
    assert_eq!(setup.value::<i64>("select count(*) from sync_runs").await, before);
}

#[tokio::test]
async fn each_line_of_several_clients_names_its_client() {
    let setup = Setup::new(3, 3).await;
    let ended = setup.run(&["plan"]).await.expect(10);
    for client in &setup.clients {
        let heads = ended
            .stdout
            .lines()
            .filter(|line| line.starts_with(&client.name) && line.contains("  + user "))
            .count();
        assert_eq!(heads, 3, "{ended}");
    }
    let is_named = |line: &str| setup.clients.iter().any(|client| line.starts_with(&client.name));
    assert!(ended.stdout.lines().all(is_named), "{ended}");

    let name = &setup.clients[1].name;
    let one = setup.run(&["plan", "--client", name]).await.expect(10);
    assert!(one.stdout.starts_with("+ user "), "{one}");
    assert!(one.stdout.contains(&format!("\n{name}: 3 to insert, ")), "{one}");
    setup.run(&["plan", "--client", "nobody"]).await.expect(2);
}

#[tokio::test]
async fn tables_are_asked_for_and_not_made() {
    let setup = Setup::new(1, 3).await;
    setup.configure("schema = \"elsewhere\"");
    let ended = setup.run(&["plan"]).await.expect(10);
    assert!(
        ended.stdout.contains("acme: the database has no tables yet"),
        "{ended}"
    );
    assert!(ended.stdout.contains("acme: 3 to insert, "), "{ended}");
    let json = setup.run(&["--output", "json", "plan"]).await.expect(10).json();
    assert_eq!(
        json.last().map(|summary| &summary["makes_tables"]),
        Some(&json!(true))
    );
    setup.run(&["status"]).await.expect(1);

    setup.run(&["migrate"]).await.expect(0);
    sqlx::query("delete from elsewhere.calmirror_migrations where version > 1")
        .execute(&setup.pool().await)
        .await
        .expect("history can be forged");
    let ended = setup.run(&["plan"]).await.expect(1);
    assert!(
        ended.stdout.starts_with("acme: failed: ") && ended.stdout.contains("run `calmirror migrate`"),
        "{ended}"
    );
}

#[tokio::test]
async fn the_worst_of_what_a_plan_finds_is_its_exit_code() {
    let mut setup = Setup::new(2, 20).await;
    setup.configure("[removal]\nconfirmations = 1\nmin_age_s = 0");
    setup.run(&["sync"]).await.expect(0);
    let (first, second) = (setup.clients[0].clone(), setup.clients[1].clone());
    change(&setup, second.users[0], json!({ "bio": "Hunts snarks." }));
    setup.run(&["plan"]).await.expect(10);

    setup
        .simulator
        .place_raw(&second.id, second.users[1], "{}")
        .expect("the record can be placed");
    let partial = setup.run(&["plan"]).await.expect(4);
    let reject = format!("! user {}  cannot be mirrored: ", second.users[1]);
    assert!(partial.stdout.contains(&reject), "{partial}");
    assert!(
        partial
            .stdout
            .contains(&format!("{}: partial: 1 user has", second.name)),
        "{partial}"
    );

    for user in &first.users[..6] {
        setup
            .simulator
            .delete_user(*user)
            .expect("the user can be deleted");
    }
    let held = setup.run(&["plan"]).await.expect(3);
    let line = format!("? user {}  gone in 1 of 1 passes: held", first.users[0]);
    assert!(held.stdout.contains(&line), "{held}");
    let line = format!(
        "{}: held: Cal.com says of 6 of 20 live users that they are gone, more than one pass may remove (5",
        first.name
    );
    assert!(held.stdout.contains(&line), "{held}");

    setup.workplace.set("SECRET_ACME", "not-it");
    let failed = setup.run(&["plan"]).await.expect(1);
    assert!(
        failed.stdout.contains("acme: failed: ") && failed.stdout.contains("the secret is wrong"),
        "{failed}"
    );

    let _gate = setup.gate();
    setup.configure("");
    let away = setup.run(&["plan"]).await.expect(75);
    assert!(away.stdout.contains("the database is unavailable"), "{away}");
    assert_eq!(setup.value::<i64>("select count(*) from sync_runs").await, 2);
}

#[tokio::test]
async fn a_plan_that_is_cut_says_that_it_is_incomplete() {
    let setup = Setup::new(1, 20).await;
    let last = setup.clients[0].users[19];
    for format in ["text", "json"] {
        setup.simulator.script(Target::User(last), 1, Answer::Hang);
        let program = setup.workplace.start(&["--output", format, "plan"]);
        setup.simulator.wait_until(|counts| counts.hanging == 1).await;
        program.signal(Signal::SIGINT);
        let ended = program.end().await.expect(4);
        setup.simulator.release();
        setup.simulator.wait_until(|counts| counts.hanging == 0).await;
        if format == "json" {
            let summary = ended.json().pop().expect("a summary");
            assert_eq!(summary["outcome"], "partial");
            assert!(
                summary["error"]
                    .as_str()
                    .is_some_and(|error| error.contains("stop")),
                "{summary}"
            );
        } else {
            assert!(
                ended.stdout.contains("acme: incomplete: asked to stop after "),
                "{ended}"
            );
        }
    }
    assert_eq!(setup.value::<i64>("select count(*) from sync_runs").await, 0);
}

#[tokio::test]
async fn what_a_plan_shows_is_in_no_log() {
    let setup = Setup::new(1, 3).await;
    setup.run(&["sync"]).await.expect(0);
    change(
        &setup,
        setup.clients[0].users[0],
        json!({ "bio": "Hunts snarks." }),
    );
    let variables = [("CALMIRROR__LOG__LEVEL", "debug"), ("TERM", "xterm-256color")];
    let ended = setup.workplace.run_with(&variables, &["plan"]).await.expect(10);
    assert!(ended.stdout.contains(r#"-> "Hunts snarks.""#), "{ended}");
    assert!(!ended.stderr.contains("snarks"), "{ended}");
    assert!(!ended.to_string().contains('\u{1b}'), "{ended:?}");
}

#[tokio::test]
async fn a_reader_who_leaves_changes_no_exit_code_of_a_plan() {
    let setup = Setup::new(1, 3).await;
    for format in ["text", "json"] {
        setup.simulator.script(Target::Any, 3, Answer::Hang);
        let program = setup.workplace.start(&["--output", format, "plan"]);
        setup.simulator.wait_until(|counts| counts.hanging > 0).await;
        program.leave_output().await;
        setup.simulator.clear_scripts();
        setup.simulator.release();
        program.end().await.expect(10);
    }
}

#[tokio::test]
async fn the_program_plans_on_connections_that_cannot_write() {
    let mut setup = Setup::new(1, 3).await;
    setup.run(&["sync"]).await.expect(0);
    let (mut gate, url) = Gate::before_database(&setup.db);
    gate.open();
    // The first connection is lost when it says so, and the next one is made in its place.
    gate.lose_answer(&["default_transaction_read_only=on"]);
    setup.database_url = url;
    setup.configure("");
    setup.run(&["plan"]).await.expect(0);
    assert!(gate.has_lost());
}
