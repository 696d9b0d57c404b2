//! Errors say where, what, and what to do.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::Setup;
use crate::support::gate::Gate;

/// A command's error holds all of these, and nothing went to standard output.
async fn assert_says(setup: &Setup, arguments: &[&str], code: i32, words: &[&str]) {
    let ended = setup.run(arguments).await.expect(code);
    for word in words {
        assert!(ended.stderr.contains(word), "{word}: {ended}");
    }
    assert_eq!(ended.stdout, "", "{arguments:?}");
}

#[tokio::test]
async fn a_wrong_command_line_names_what_may_have_been_meant() {
    let setup = Setup::new(2, 2).await;
    for (arguments, words) in [
        (&["stauts"][..], &["'stauts'", "'status'"][..]),
        (&["status", "--wach"], &["'--wach'", "'--watch'"]),
        (&["--output", "yaml", "status"], &["'yaml'", "text, json"]),
        (&["history"], &["<USER>", "--help"]),
        (
            &["history", "ada"],
            &["'ada'", "an id must be a whole number", "--help"],
        ),
        (
            &["forget", "ada"],
            &["'ada'", "an id must be a whole number", "--help"],
        ),
        (
            &["forget", "-17"],
            &["'-17'", "an id must be a whole number from 1"],
        ),
        (
            &["approve", "last"],
            &["'last'", "as `calmirror status` shows it", "--help"],
        ),
        (
            &["sync", "--client", "acne"],
            &["no client is called \"acne\"; the configuration has acme, globex; did you mean acme?"],
        ),
        (
            &["plan", "--client", "ACME"],
            &["no client is called \"ACME\"", "did you mean acme?"],
        ),
        (
            &["plan", "--requests", "--client", "initech"],
            &["no client is called \"initech\"; the configuration has acme, globex"],
        ),
    ] {
        assert_says(&setup, arguments, 2, words).await;
    }
    let far = setup.run(&["sync", "--client", "initech"]).await.expect(2);
    assert!(!far.stderr.contains("did you mean"), "{far}");
    assert_eq!(setup.simulator.requests().total, 0);
}

#[tokio::test]
async fn what_is_asked_of_a_run_or_a_user_that_is_not_there_says_where_to_look() {
    let setup = Setup::new(1, 2).await;
    setup.configure("schema = \"elsewhere\"");
    for arguments in [
        &["status"][..],
        &["history", "1"],
        &["forget", "1"],
        &["approve", "1"],
        &["verify"],
    ] {
        assert_says(&setup, arguments, 1, &["elsewhere", "calmirror migrate"]).await;
    }
    setup.configure("");
    let configured = setup.clients[0].users[0].to_string();
    assert_says(
        &setup,
        &["history", &configured],
        1,
        &["configured for acme", "calmirror status"],
    )
    .await;
    assert_says(
        &setup,
        &["history", "424242"],
        1,
        &["no client of the configuration lists it"],
    )
    .await;
    assert_says(
        &setup,
        &["forget", "424242"],
        1,
        &[
            "nothing is known of user 424242",
            "nothing was done",
            "is it another id?",
        ],
    )
    .await;
    setup.run(&["sync"]).await.expect(0);
    assert_says(
        &setup,
        &["approve", "99"],
        2,
        &["there is no run 99", "calmirror status"],
    )
    .await;
    assert_says(
        &setup,
        &["approve", "1"],
        2,
        &["run 1 holds no removals", "calmirror status"],
    )
    .await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_named_with_what_to_do() {
    let setup = Setup::new(1, 1).await;
    let dir = setup.workplace.path().to_owned();
    fs::create_dir(dir.join("folder")).expect("there is room");
    setup.workplace.write("latin.toml", "");
    fs::write(dir.join("latin.toml"), b"# \xe9t\xe9\n").expect("there is room");
    for (file, words) in [
        ("none.toml", &["none.toml: cannot be read", "calmirror init"][..]),
        ("folder", &["folder: cannot be read", "--config names a file"]),
        ("latin.toml", &["latin.toml: is not UTF-8", "plain text"]),
    ] {
        assert_says(&setup, &["--config", file, "status"], 2, words).await;
    }
    fs::remove_file(dir.join("config.toml")).expect("it is there");
    assert_says(
        &setup,
        &["status"],
        2,
        &["no configuration found", "calmirror init", "--config FILE"],
    )
    .await;
    // Root reads everything.
    if !nix::unistd::geteuid().is_root() {
        setup.workplace.write("shut.toml", "");
        fs::set_permissions(dir.join("shut.toml"), fs::Permissions::from_mode(0o000)).expect("it is ours");
        assert_says(
            &setup,
            &["--config", "shut.toml", "status"],
            2,
            &["shut.toml: cannot be read", "another user"],
        )
        .await;
    }
}

#[tokio::test]
async fn a_database_that_is_away_or_refuses_says_which_key_leads_to_it() {
    let mut setup = Setup::new(1, 1).await;
    let (_gate, url) = Gate::before_database(&setup.db);
    let right = std::mem::replace(&mut setup.database_url, url);
    setup.configure("");
    for arguments in [
        &["status"][..],
        &["history", "1"],
        &["forget", "1"],
        &["approve", "1"],
        &["verify"],
        &["migrate"],
        &["plan", "--requests"],
    ] {
        assert_says(
            &setup,
            arguments,
            75,
            &["the database is unavailable", "database.url"],
        )
        .await;
    }
    let name = right
        .rsplit_once('/')
        .and_then(|(_, name)| name.split('?').next())
        .expect("an address");
    setup.database_url = right.replace(name, "nowhere");
    setup.configure("");
    assert_says(&setup, &["status"], 1, &["nowhere", "database.url"]).await;
}
