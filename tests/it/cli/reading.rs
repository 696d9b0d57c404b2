//! Reading many users, by the program: what it takes, going on after a cut, and memory.

use std::fmt::Write as _;

use calmirror::simulator::{Answer, Target};
use nix::sys::signal::Signal;

use super::{Setup, secret_variable};

/// A configuration of one client, whose users are these lines of its block.
fn configure(setup: &Setup, fetch: &str, users: &str) {
    let client = &setup.clients[0];
    let mut text = format!(
        "[calcom]\nbase_url = \"{}\"\nfetch = \"{fetch}\"\nrequests_per_minute = 0\n[database]\nurl = \"{}\"\n",
        setup.base_url, setup.database_url
    );
    write!(
        text,
        "[[clients]]\nname = \"{}\"\nid = \"{}\"\nsecret = {{ env = \"{}\" }}\n{users}\n",
        client.name,
        client.id,
        secret_variable(client),
    )
    .expect("writing to a string does not fail");
    setup.workplace.write("config.toml", &text);
}

/// A file of ids and addresses.
fn file_of_addresses(setup: &Setup) -> &'static str {
    let addresses = setup
        .simulator
        .addresses(&setup.clients[0].id)
        .expect("the client is there");
    let lines: String = addresses
        .iter()
        .map(|(id, email)| format!("{id},{email}\n"))
        .collect();
    setup
        .workplace
        .write("users.csv", &format!("user_id,email\n{lines}"));
    "users_file = \"users.csv\""
}

#[tokio::test]
async fn a_first_fill_by_a_file_with_addresses_takes_few_requests() {
    let setup = Setup::new(1, 1_000).await;
    configure(&setup, "auto", file_of_addresses(&setup));
    let planned = setup
        .run(&["plan", "--requests", "--output", "json"])
        .await
        .expect(0);
    let planned = &planned.json()[0];
    assert_eq!(planned["chosen"], "bulk", "{planned}");
    let ended = setup.run(&["sync", "--output", "json"]).await.expect(0);
    let report = &ended.json()[0];
    assert_eq!(
        (&report["inserted"], &report["outcome"]),
        (&1_000.into(), &"applied".into())
    );
    let requests = report["requests"].as_u64().expect("a number");
    assert!(requests <= 6, "{requests} requests");
    assert_eq!(planned["plans"]["bulk"]["requests"], report["requests"]);
}

#[tokio::test]
async fn a_pass_that_a_signal_cuts_is_gone_on_from_unless_the_operator_says_no() {
    let setup = Setup::new(1, 600).await;
    let users = setup.clients[0].users.clone();
    configure(&setup, "get", &format!("users = {users:?}"));
    setup.run(&["sync"]).await.expect(0);
    for (arguments, expected) in [
        (&["sync", "--output", "json"][..], 100),
        (&["sync", "--no-resume", "--output", "json"], 600),
    ] {
        let before = setup.simulator.requests().get_user;
        setup.simulator.script(Target::User(users[520]), 1, Answer::Hang);
        let program = setup.workplace.start(&["sync"]);
        setup
            .simulator
            .wait_until(|counts| counts.get_user >= before + 600)
            .await;
        program.signal(Signal::SIGTERM);
        program.end().await.expect(4);
        setup.simulator.release();
        let ended = setup.run(arguments).await.expect(0);
        assert_eq!(ended.json()[0]["requests"], expected, "{ended}");
    }
}

#[tokio::test]
async fn a_query_is_run_by_check_plan_and_status() {
    let setup = Setup::new(1, 3).await;
    let users = setup.clients[0].users.clone();
    let values = format!("values ({}), ({}), ({})", users[0], users[1], users[2]);
    configure(
        &setup,
        "auto",
        &format!("users_sql = \"select * from ({values}) as listed (user_id)\""),
    );
    let checked = setup.run(&["check"]).await.expect(0);
    assert!(
        checked
            .stdout
            .contains("with users_sql, 3 users are known beforehand"),
        "{checked}"
    );
    setup.run(&["sync"]).await.expect(0);
    let planned = setup
        .run(&["plan", "--requests", "--output", "json"])
        .await
        .expect(0);
    assert_eq!(planned.json()[0]["users"], 3, "{planned}");
    setup.run(&["status"]).await.expect(0);
    configure(&setup, "auto", "users_sql = \"select nothing as user_id\"");
    let checked = setup.run(&["check"]).await.expect(1);
    assert!(
        checked
            .stdout
            .contains("users_sql fails: column \"nothing\" does not exist"),
        "{checked}"
    );
}

#[tokio::test]
async fn memory_does_not_grow_with_the_number_of_users() {
    const MOST_MORE: u64 = 16 * 1024 * 1024;
    // As many as are under way at once, and more.
    let few = peak(6_000).await;
    let many = peak(30_000).await;
    eprintln!("6,000 users take {few} bytes, 30,000 take {many}");
    assert!(many <= few + MOST_MORE, "{many} bytes, and {few} of 6,000 users");
    assert!(many <= 64 * 1024 * 1024, "{many} bytes");
}

/// The most memory that a daemon holds over a first fill and an unchanged pass of so many users.
async fn peak(users: usize) -> u64 {
    let setup = Setup::new(1, users).await;
    configure(&setup, "bulk", file_of_addresses(&setup));
    let text = std::fs::read_to_string(setup.workplace.path().join("config.toml")).expect("it was written");
    setup.workplace.write(
        "config.toml",
        &format!("[schedule]\ncron = \"* * * * * *\"\n[log]\nlevel = \"error\"\n{text}"),
    );
    let program = setup.workplace.start(&["run"]);
    let pool = setup.pool().await;
    loop {
        let quiet: i64 = sqlx::query_scalar("select count(*) from sync_runs where outcome = 'no_change'")
            .fetch_one(&pool)
            .await
            .unwrap_or_default();
        if quiet > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let peak = program.peak_memory();
    program.signal(Signal::SIGTERM);
    program.leave_output().await;
    program.end().await.expect(0);
    peak
}
