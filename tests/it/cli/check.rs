//! `calmirror check`: what is wrong, and what to do about it, before a pass finds out.

use super::Setup;
use crate::support::gate::Gate;

#[tokio::test]
async fn a_setup_that_works_is_said_to() {
    let setup = Setup::new(2, 3).await;
    let ended = setup.run(&["check"]).await.expect(0);
    // The tests' own user is a superuser, which is warned of.
    let is_finding = |line: &&str| !line.starts_with("warn ") && !line.starts_with("      ");
    let lines: Vec<_> = ended.stdout.lines().filter(is_finding).collect();
    assert_eq!(lines.len(), 4, "{ended}");
    assert!(lines.iter().all(|line| line.starts_with("ok ")), "{ended}");
    assert_eq!(lines[0], "ok     config: clients: 2, users: 6");
    assert_eq!(
        setup.simulator.requests().total,
        2,
        "one request a client is enough"
    );

    let findings = setup.run(&["--output", "json", "check"]).await.expect(0).json();
    let subjects: Vec<_> = findings
        .iter()
        .filter(|finding| finding["sign"] == "ok")
        .map(|finding| finding["subject"].clone())
        .collect();
    assert_eq!(subjects, ["config", "database", "acme", "globex"]);
    assert!(findings.iter().all(|finding| finding["ok"] == true));
    let tables: bool = setup
        .value("select exists (select from managed_users) or exists (select from sync_runs)")
        .await;
    assert!(!tables, "a check writes nothing");
}

#[tokio::test]
async fn each_fault_of_the_source_has_its_remedy() {
    let mut setup = Setup::new(2, 3).await;
    let ended = setup
        .workplace
        .run_with(&[("SECRET_ACME", "not-it")], &["check"])
        .await
        .expect(1);
    assert!(ended.stdout.contains("fault  acme: "), "{ended}");
    assert!(ended.stdout.contains("the secret is wrong"), "{ended}");
    assert!(ended.stdout.contains("OAuth clients"), "{ended}");
    assert!(ended.stdout.contains("ok     globex: "), "{ended}");

    let id = setup.clients[0].id.clone();
    setup.clients[0].id = "clunknown".to_owned();
    setup.configure("");
    let ended = setup.run(&["check"]).await.expect(1);
    assert!(ended.stdout.contains("there is no client of this id"), "{ended}");
    assert!(ended.stdout.contains("`id`"), "{ended}");

    setup.clients[0].id = id;
    setup.base_url.push_str("/api");
    setup.configure("");
    let ended = setup.run(&["--output", "json", "check"]).await.expect(1);
    for finding in ended.json().iter().filter(|finding| finding["ok"] == false) {
        let message = finding["message"].as_str().expect("a text");
        assert!(message.contains("Cannot GET /api/v2/oauth-clients/"), "{message}");
        let remedy = finding["remedy"].as_str().expect("a remedy");
        assert!(remedy.contains("`calcom.base_url`"), "{remedy}");
    }
}

#[tokio::test]
async fn a_user_of_somebody_else_is_no_fault_of_the_setup() {
    let mut setup = Setup::new(1, 1).await;
    setup.clients[0].users = vec![999_999];
    setup.configure("");
    let ended = setup.run(&["check"]).await.expect(0);
    assert!(
        ended.stdout.contains(
            "warn   acme: credentials are right, but user 999999 is not one of this client's\n       see whether the ids"
        ),
        "{ended}"
    );
}

#[tokio::test]
async fn nobody_is_asked_for_who_is_forgotten() {
    let setup = Setup::new(1, 2).await;
    setup.run(&["sync"]).await.expect(0);
    let [first, second] = [0, 1].map(|user| setup.clients[0].users[user]);
    for (forgotten, said) in [
        (first, format!("user {second} answers")),
        (second, "the list of users answers".to_owned()),
    ] {
        setup.run(&["forget", &forgotten.to_string()]).await.expect(0);
        let ended = setup.run(&["check"]).await.expect(0);
        assert!(ended.stdout.contains(&said), "{ended}");
    }
}

#[tokio::test]
async fn a_client_that_was_mirrored_from_elsewhere_is_told() {
    let mut setup = Setup::new(1, 3).await;
    setup.run(&["sync"]).await.expect(0);
    let mut gate = Gate::before(setup.simulator.address());
    gate.open();
    setup.base_url = format!("http://{}", gate.address());
    setup.configure("");
    for command in ["check", "sync"] {
        let ended = setup.run(&[command]).await.expect(1);
        assert!(ended.stdout.contains("--accept-source"), "{ended}");
    }
    setup.run(&["sync", "--accept-source"]).await.expect(0);
    setup.run(&["check"]).await.expect(0);
    setup.run(&["sync"]).await.expect(0);
}

#[tokio::test]
async fn offline_asks_nobody_and_wants_the_secrets_unless_told_otherwise() {
    let mut setup = Setup::new(2, 3).await;
    // Neither answers.
    setup.base_url = "http://127.0.0.1:1".to_owned();
    setup.database_url = "postgres://nobody@127.0.0.1:1/none".to_owned();
    setup.configure("");
    let ended = setup.run(&["check", "--offline"]).await.expect(0);
    assert_eq!(ended.stdout, "ok     config: clients: 2, users: 6\n", "{ended}");

    let without = [("SECRET_ACME", "")];
    let ended = setup
        .workplace
        .run_with(&without, &["check", "--offline"])
        .await
        .expect(2);
    assert!(ended.stderr.contains("SECRET_ACME is unset or empty"), "{ended}");
    let arguments = ["--output", "json", "check", "--offline", "--without-secrets"];
    let ended = setup.workplace.run_with(&without, &arguments).await.expect(0);
    assert_eq!(ended.json().len(), 1, "{ended}");
    assert_eq!(ended.json()[0]["subject"], "config");

    setup.configure("[schedule]\ncron = \"often\"");
    let ended = setup
        .run(&["check", "--offline", "--without-secrets"])
        .await
        .expect(2);
    assert!(ended.stderr.contains("config.toml:8:8: schedule.cron"), "{ended}");
    setup.run(&["check", "--without-secrets"]).await.expect(2);
}
