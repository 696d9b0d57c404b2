//! What the exit code of a one-shot says: the worst of its clients.

use nix::sys::signal::Signal;

use calmirror::simulator::{Answer, Target};

use super::Setup;
use crate::support::gate::Gate;

#[tokio::test]
async fn one_for_a_wrong_secret_while_the_other_client_is_mirrored() {
    let setup = Setup::new(2, 6).await;
    let (wrong, right) = (&setup.clients[0], &setup.clients[1]);
    let variables = [("SECRET_ACME", "not-it")];
    assert_eq!(wrong.name, "acme");
    let ended = setup.workplace.run_with(&variables, &["sync"]).await.expect(1);
    let line = ended
        .stdout
        .lines()
        .last()
        .expect("the error stands below the table");
    assert!(line.starts_with("acme: "), "{ended}");
    assert!(
        line.contains("the secret is wrong") && line.contains("`secret`"),
        "{ended}"
    );
    let mirrored: Vec<String> =
        sqlx::query_scalar("select distinct client_id from managed_users_live where client_id is not null")
            .fetch_all(&setup.pool().await)
            .await
            .expect("the mirror can be read");
    assert_eq!(mirrored, [right.id.as_str()]);
    setup.run(&["sync"]).await.expect(0);
}

#[tokio::test]
async fn two_for_faults_of_the_configuration_all_at_once() {
    let setup = Setup::new(1, 3).await;
    let config = "[calcom]\nbase_uri = \"https://api.cal.com\"\nconcurrency = 0\n\
                  [schedule]\ncron = \"every day\"\ntimezone = \"Mars/Olympus\"\n\
                  [[clients]]\nname = \"acme\"\nid = \"x\"\nsecret = { env = \"NOT_SET\" }\nusers = [1, -2]\n";
    setup.workplace.write("config.toml", config);
    for (command, wants_secrets) in [
        ("sync", true),
        ("run", true),
        ("check", true),
        ("status", false),
        ("migrate", false),
        ("config", false),
    ] {
        let ended = setup.run(&[command]).await.expect(2);
        assert_eq!(ended.stdout, "", "{command}");
        assert_eq!(
            ended.stderr.contains("NOT_SET"),
            wants_secrets,
            "{command}: {ended}"
        );
        for (place, said) in [
            ("config.toml:2:1", "base_url"),
            ("config.toml:3:", "concurrency"),
            ("config.toml:5:", "cron"),
            ("config.toml:6:", "timezone"),
            ("config.toml:11:13", "user id"),
        ] {
            assert!(
                ended
                    .stderr
                    .lines()
                    .any(|line| line.contains(place) && line.contains(said)),
                "{command} does not say {said} at {place}: {ended}"
            );
        }
    }
    assert_eq!(setup.simulator.requests().total, 0);
}

#[tokio::test]
async fn secrets_are_wanted_by_what_asks_cal_com_only() {
    let setup = Setup::new(1, 3).await;
    setup.run(&["sync"]).await.expect(0);
    let user = setup.clients[0].users[0].to_string();
    let config = setup.workplace.path().join("config.toml");
    let text = std::fs::read_to_string(config).expect("it was written");
    let requests = setup.simulator.requests().total;
    for place in [
        "{ credential = \"acme\" }",
        "{ env = \"NOT_SET\" }",
        "{ file = \"not-there\" }",
    ] {
        let text = text.replace("{ env = \"SECRET_ACME\" }", place);
        assert!(text.contains(place), "{text}");
        setup.workplace.write("config.toml", &text);
        for arguments in [
            &["status"][..],
            &["history", &user],
            &["verify"],
            &["migrate"],
            &["config"],
        ] {
            setup.run(arguments).await.expect(0);
        }
        for arguments in [&["check"][..], &["plan"], &["sync"], &["run"], &["approve", "1"]] {
            let ended = setup.run(arguments).await.expect(2);
            assert!(ended.stderr.contains("clients.acme.secret"), "{ended}");
        }
    }
    setup.run(&["forget", &user]).await.expect(0);
    assert_eq!(setup.simulator.requests().total, requests);
    // What is wrong with the file itself is said all the same.
    setup.workplace.write(
        "config.toml",
        &text.replace("{ env = \"SECRET_ACME\" }", "\"s3cret\""),
    );
    let ended = setup.run(&["status"]).await.expect(2);
    assert!(ended.stderr.contains("must not stand in this file"), "{ended}");
}

#[tokio::test]
async fn two_without_a_configuration() {
    let setup = Setup::new(1, 1).await;
    let ended = setup.run(&["--config", "elsewhere.toml", "sync"]).await.expect(2);
    assert!(ended.stderr.contains("elsewhere.toml"), "{ended}");
    assert!(ended.stderr.contains("calmirror init"), "{ended}");
}

#[tokio::test]
async fn three_for_removals_that_are_held() {
    let setup = Setup::new(1, 20).await;
    setup.configure("[removal]\nconfirmations = 1\nmin_age_s = 0");
    setup.run(&["sync"]).await.expect(0);
    for user in &setup.clients[0].users[..8] {
        setup
            .simulator
            .delete_user(*user)
            .expect("the user can be deleted");
    }
    for _ in 0..2 {
        let ended = setup.run(&["--output", "json", "sync"]).await.expect(3);
        let report = &ended.json()[0];
        assert_eq!(report["outcome"], "held");
        assert_eq!((&report["removed"], &report["missing"]), (&0.into(), &8.into()));
        assert!(
            report["error"]
                .as_str()
                .is_some_and(|error| error.contains("8 of 20"))
        );
    }
    assert_eq!(
        setup
            .value::<i64>("select count(*) from managed_users_live")
            .await,
        20
    );
    let variables = [("CALMIRROR__REMOVAL__MAX_COUNT", "8")];
    setup.workplace.run_with(&variables, &["sync"]).await.expect(0);
    assert_eq!(
        setup
            .value::<i64>("select count(*) from managed_users_live")
            .await,
        12
    );
    setup.run(&["sync"]).await.expect(0);
}

#[tokio::test]
async fn four_for_a_user_that_cannot_be_mirrored() {
    let setup = Setup::new(2, 6).await;
    let client = &setup.clients[1];
    setup
        .simulator
        .place_raw(&client.id, client.users[2], "{}")
        .expect("the record can be placed");
    let ended = setup.run(&["--output", "json", "sync"]).await.expect(4);
    let mut reports = ended.json();
    reports.sort_by_key(|report| report["client"].to_string());
    assert_eq!(reports[0]["outcome"], "applied");
    assert_eq!(reports[1]["outcome"], "partial");
    assert_eq!(
        (&reports[1]["inserted"], &reports[1]["rejected"]),
        (&5.into(), &1.into())
    );
    // The worst counts, and a wrong secret is worse.
    let variables = [("SECRET_ACME", "not-it")];
    setup.workplace.run_with(&variables, &["sync"]).await.expect(1);
}

#[tokio::test]
async fn seventy_five_while_calcom_is_away() {
    let mut setup = Setup::new(1, 4).await;
    let mut gate = Gate::before(setup.simulator.address());
    setup.base_url = format!("http://{}", gate.address());
    setup.configure("");
    let ended = setup.run(&["sync"]).await.expect(75);
    assert!(ended.stdout.contains("cannot be reached"), "{ended}");
    setup.run(&["check"]).await.expect(75);
    gate.open();
    setup.run(&["check"]).await.expect(0);
    setup.run(&["sync"]).await.expect(0);
}

#[tokio::test]
async fn seventy_five_while_the_database_is_away() {
    let mut setup = Setup::new(1, 4).await;
    let mut gate = setup.gate();
    setup.configure("");
    let (sync, check, status, migrate) = tokio::join!(
        setup.run(&["--output", "json", "sync"]),
        setup.run(&["check"]),
        setup.run(&["status"]),
        setup.run(&["migrate"]),
    );
    let report = &sync.expect(75).json()[0];
    assert_eq!(
        (&report["outcome"], report["run_id"].is_null()),
        (&"failed".into(), true)
    );
    assert!(check.expect(75).stdout.contains("fault  database: "));
    assert!(
        status
            .expect(75)
            .stderr
            .starts_with("error: the database is unavailable")
    );
    migrate.expect(75);
    gate.open();
    setup.run(&["check"]).await.expect(0);
    setup.run(&["sync"]).await.expect(0);
}

#[tokio::test]
async fn four_for_a_pass_that_was_told_to_stop() {
    let setup = Setup::new(1, 20).await;
    let last = setup.clients[0].users[19];
    setup.simulator.script(Target::User(last), 1, Answer::Hang);
    let program = setup.workplace.start(&["--output", "json", "sync"]);
    setup.simulator.wait_until(|counts| counts.hanging == 1).await;
    program.signal(Signal::SIGINT);
    let ended = program.end().await.expect(4);
    assert_eq!(ended.json()[0]["outcome"], "partial");
    setup.simulator.release();
    setup.run(&["sync"]).await.expect(0);
    assert_eq!(
        setup
            .value::<i64>("select count(*) from managed_users_live")
            .await,
        20
    );
}

#[tokio::test]
async fn a_reader_who_leaves_hides_no_failure() {
    let setup = Setup::new(2, 3).await;
    for (arguments, code) in [
        (&["sync"][..], 1),
        (&["--output", "json", "sync"], 1),
        (&["check"], 1),
    ] {
        setup.simulator.script(Target::Any, 2, Answer::Hang);
        let program = setup
            .workplace
            .start_with(&[("SECRET_ACME", "not-it")], arguments);
        setup.simulator.wait_until(|counts| counts.hanging > 0).await;
        program.leave_output().await;
        setup.simulator.clear_scripts();
        setup.simulator.release();
        program.end().await.expect(code);
    }
    for arguments in [
        &["status"][..],
        &["config"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let program = setup.workplace.start(arguments);
        program.leave_output().await;
        let ended = program.end().await.expect(0);
        assert_eq!(ended.stderr, "", "{arguments:?}");
    }
}
