//! What `calmirror check` warns of although passes work.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::Value;

use super::Setup;
use crate::grants::cast::{Cast, execute};

/// What there is to warn of, each with its remedy.
async fn warnings(setup: &Setup, code: i32) -> Vec<(String, String)> {
    let ended = setup.run(&["--output", "json", "check"]).await.expect(code);
    let findings = ended.json();
    let warnings = findings.iter().filter(|finding| finding["sign"] == "warn");
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    warnings
        .map(|finding| {
            assert_eq!(finding["ok"], true, "{finding}");
            let message = format!("{}: {}", text(finding, "subject"), text(finding, "message"));
            (message, text(finding, "remedy"))
        })
        .collect()
}

#[tokio::test]
async fn rights_that_no_pass_needs_are_warned_of_one_by_one() {
    let mut setup = Setup::new(1, 1).await;
    let cast = Cast::of(&setup.db, "public", false).await;
    let role = &cast.roles.daemon;
    let mut admin = cast.admin().await;
    setup.database_url = cast.url(role);
    setup.configure("");
    assert_eq!(warnings(&setup, 0).await, []);
    let migrator = &cast.roles.migrator;
    for (give, take, said) in [
        (
            "alter role DAEMON superuser",
            "alter role DAEMON nosuperuser",
            "it is a superuser",
        ),
        (
            "alter role DAEMON createrole",
            "alter role DAEMON nocreaterole",
            "it may create roles (CREATEROLE)",
        ),
        (
            "alter role DAEMON createdb",
            "alter role DAEMON nocreatedb",
            "it may create databases (CREATEDB)",
        ),
        (
            "alter role DAEMON bypassrls",
            "alter role DAEMON nobypassrls",
            "it passes over row-level security (BYPASSRLS)",
        ),
        (
            "alter role DAEMON replication",
            "alter role DAEMON noreplication",
            "it may replicate the whole server (REPLICATION)",
        ),
        (
            "grant OWNER to DAEMON",
            "revoke OWNER from DAEMON",
            "it owns the mirror's tables",
        ),
        (
            "grant create on schema public to DAEMON",
            "revoke create on schema public from DAEMON",
            "it may create tables in the mirror's schema",
        ),
        (
            "grant truncate on rejects to DAEMON",
            "revoke truncate on rejects from DAEMON",
            "it may truncate the mirror's tables",
        ),
        (
            "grant update (after) on managed_user_changes to DAEMON",
            "revoke update (after) on managed_user_changes from DAEMON",
            "it may update or delete what is in the ledger",
        ),
        (
            "grant delete on managed_user_changes to DAEMON",
            "revoke delete on managed_user_changes from DAEMON",
            "it may update or delete what is in the ledger",
        ),
    ] {
        let filled = |sql: &str| sql.replace("DAEMON", role).replace("OWNER", migrator);
        execute(&mut admin, &filled(give)).await;
        let found = warnings(&setup, 0).await;
        assert_eq!(
            found
                .iter()
                .map(|(message, _)| message.as_str())
                .collect::<Vec<_>>(),
            [format!(
                "database: user {role} has rights that no pass needs: {said}"
            )],
            "{give}"
        );
        assert!(found[0].1.contains("`calmirror grants`"), "{found:?}");
        execute(&mut admin, &filled(take)).await;
    }
    assert_eq!(warnings(&setup, 0).await, []);
}

#[tokio::test]
async fn rights_on_the_ledger_are_needless_only_where_it_is_not_folded() {
    let mut setup = Setup::new(1, 1).await;
    let cast = Cast::of(&setup.db, "public", true).await;
    setup.database_url = cast.url(&cast.roles.daemon);
    setup.configure("");
    let found = warnings(&setup, 0).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0]
            .0
            .ends_with(": it may update or delete what is in the ledger"),
        "{found:?}"
    );
    setup.configure("[retention]\nledger_days = 30");
    assert_eq!(warnings(&setup, 0).await, []);
}

#[tokio::test]
async fn a_connection_that_others_could_read_is_warned_of() {
    let mut setup = Setup::new(1, 1).await;
    // A name that nobody has. What there is to say of each mode, the store's own test says.
    for (sslmode, said) in [
        ("prefer", Some("may go in the clear")),
        ("require", Some("its certificate is not verified")),
        ("verify-full", None),
    ] {
        setup.database_url = format!("postgres://calmirror@db.invalid/calmirror?sslmode={sslmode}");
        setup.configure("");
        let ended = setup.run(&["--output", "json", "check"]).await.expect(75);
        let findings = ended.json();
        let warnings: Vec<_> = findings
            .iter()
            .filter(|finding| finding["sign"] == "warn")
            .collect();
        let Some(said) = said else {
            assert!(warnings.is_empty(), "{ended}");
            continue;
        };
        let [warning] = warnings[..] else {
            panic!("one warning: {ended}");
        };
        let message = warning["message"].as_str().expect("a text");
        assert!(
            message.contains("db.invalid") && message.contains(said),
            "{message}"
        );
        let remedy = warning["remedy"].as_str().expect("a text");
        assert!(remedy.contains("sslmode=verify-full"), "{remedy}");
    }
}

#[tokio::test]
async fn files_with_secrets_that_others_can_read_are_warned_of() {
    let mut setup = Setup::new(1, 1).await;
    let cast = Cast::of(&setup.db, "public", false).await;
    setup.database_url = cast.url(&cast.roles.daemon);
    setup.configure("");
    let config = setup.workplace.path().join("config.toml");
    let text = fs::read_to_string(&config).expect("the configuration can be read");
    let secret = setup.workplace.write("secret", &setup.clients[0].secret);
    let from_file = text.replace("{ env = \"SECRET_ACME\" }", "{ file = \"secret\" }");
    assert_ne!(from_file, text);
    setup.workplace.write("config.toml", &from_file);
    let mode = |path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");

    // The address is one with a password: see the cast.
    mode(&config, 0o644);
    mode(&secret, 0o640);
    let found = warnings(&setup, 0).await;
    let [(of_config, chmod_config), (of_secret, chmod_secret)] = &found[..] else {
        panic!("two warnings: {found:?}");
    };
    assert!(
        of_config.starts_with("config: config.toml:")
            && of_config.contains("database.url: config.toml, which holds a password, can be read by others"),
        "{of_config}"
    );
    assert!(
        of_secret.contains("clients.acme.secret: ") && of_secret.ends_with("secret can be read by others"),
        "{of_secret}"
    );
    assert!(chmod_config.starts_with("chmod 600 ") && chmod_secret.starts_with("chmod 600 "));
    let shown = setup.run(&["check"]).await.expect(0);
    let lines: Vec<_> = shown.stdout.lines().collect();
    for (message, remedy) in &found {
        let at = lines.iter().position(|line| *line == format!("warn   {message}"));
        let at = at.unwrap_or_else(|| panic!("no line: {message}: {shown}"));
        assert_eq!(lines[at + 1], format!("       {remedy}"), "{shown}");
    }
    assert_eq!(shown.stderr, "", "what is a finding is not logged as well");
    // Passes say it in the log.
    let ended = setup.run(&["sync"]).await.expect(0);
    assert_eq!(ended.log_lines("can be read by others").len(), 2, "{ended}");

    mode(&config, 0o600);
    mode(&secret, 0o600);
    assert_eq!(warnings(&setup, 0).await, []);
    // An address from elsewhere is not in the file.
    mode(&config, 0o644);
    let without = from_file.replace(&setup.database_url, "embedded");
    fs::write(&config, &without).expect("it is ours");
    setup.workplace.set("DATABASE_URL", &setup.database_url);
    assert_eq!(warnings(&setup, 0).await, []);
}

#[tokio::test]
async fn an_embedded_database_is_nothing_to_warn_of() {
    let mut setup = Setup::new(1, 1).await;
    setup.database_url = "embedded".to_owned();
    let dir = setup.workplace.path().join("data");
    setup.configure(&format!("data_dir = {dir:?}"));
    setup.run(&["migrate"]).await.expect(0);
    assert_eq!(warnings(&setup, 0).await, []);
}
