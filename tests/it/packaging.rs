//! What is shipped beside the program, as far as no container engine is needed to see it.

mod compose;
mod image;
mod kubernetes;
mod observability;
mod passwords;
mod tools;

use std::path::{Path, PathBuf};

use crate::support::program::Workplace;

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(shipped(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> yaml_serde::Value {
    yaml_serde::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What the unit has systemd do, and with which words.
fn commands(unit: &str) -> Vec<(&str, Vec<&str>)> {
    let lines = unit.lines().filter(|line| line.starts_with("Exec"));
    let commands = lines.filter_map(|line| {
        let (when, command) = line.split_once('=')?;
        Some((when, command.split(' ').collect()))
    });
    commands.collect()
}

#[tokio::test]
async fn the_unit_checks_the_configuration_before_it_starts_and_reloads() {
    let unit = read("packaging/calmirror.service");
    let commands = commands(&unit);
    let order: Vec<_> = commands.iter().map(|(when, words)| (*when, words[0])).collect();
    let program = "/usr/bin/calmirror";
    assert_eq!(
        order,
        [
            ("ExecStartPre", program),
            ("ExecStart", program),
            ("ExecReload", program),
            ("ExecReload", "/bin/kill"),
        ]
    );
    assert_eq!(commands[3].1[1..], ["-HUP", "$MAINPID"]);
    let workplace = Workplace::new();
    let at_fault = "[[clients]]\nname = \"acme\"\n";
    let whole = "[database]\nurl = \"postgres://nobody@127.0.0.1:1/none\"\n\
        [[clients]]\nname = \"acme\"\nid = \"a\"\nusers = [1]\nsecret = { credential = \"calcom-secret\" }\n";
    workplace.write("calcom-secret", "s3cret");
    let directory = workplace.path().to_str().expect("it is text");
    let credentials = [("CREDENTIALS_DIRECTORY", directory)];
    for (when, words) in [&commands[0], &commands[2]] {
        let words: Vec<_> = words[1..]
            .iter()
            .map(|word| word.replace("/etc/calmirror/config.toml", "config.toml"))
            .collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        // A command of ExecReload is shown no credentials where the unit has its own view of the file system.
        let shown: &[_] = if *when == "ExecReload" { &[] } else { &credentials };
        workplace.write("config.toml", whole);
        workplace.run_with(shown, &words).await.expect(0);
        workplace.write("config.toml", at_fault);
        workplace.run_with(shown, &words).await.expect(2);
    }
}

#[test]
fn the_unit_leaves_the_daemon_the_time_that_it_promises_to_keep() {
    let unit = read("packaging/calmirror.service");
    let said = |key: &str| {
        let line = unit
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("the unit does not say {key}"))
    };
    let seconds = |key: &str| {
        said(key)
            .parse::<u64>()
            .unwrap_or_else(|error| panic!("{key}: {error}"))
    };
    assert_eq!(said("Type"), "notify");
    assert!(seconds("WatchdogSec") > 25, "below it the daemon warns");
    assert!(
        seconds("TimeoutStopSec") > 10,
        "the end of a pass and of an embedded Postgres"
    );
    assert_eq!(said("KillMode"), "mixed");
}

#[test]
fn the_command_beside_the_unit_runs_as_the_unit_does() {
    let unit = std::fs::read_to_string(shipped("packaging/calmirror.service")).expect("the unit can be read");
    let docs = std::fs::read_to_string(shipped("docs/operations.md")).expect("the text can be read");
    let command: Vec<_> = docs
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("systemd-run "))
        .take_while(|line| line.starts_with("    "))
        .flat_map(str::split_whitespace)
        .collect();
    let properties: Vec<_> = command
        .windows(2)
        .filter(|pair| pair[0] == "-p")
        .map(|pair| pair[1])
        .collect();
    for key in [
        "DynamicUser",
        "StateDirectory",
        "StateDirectoryMode",
        "EnvironmentFile",
    ] {
        let said = |text: &str| text.split_once('=').is_some_and(|(said, _)| said == key);
        let of_unit = unit.lines().find(|line| said(line)).expect("the unit says it");
        assert!(
            properties.contains(&of_unit),
            "{of_unit} is not in {properties:?}"
        );
    }
    // The name that systemd gives the unit's user, so that both share it.
    assert!(properties.contains(&"User=calmirror"), "{properties:?}");
    let credential = properties
        .iter()
        .find(|property| property.starts_with("LoadCredential="));
    let credential = credential.expect("the command passes the secret");
    assert!(unit.contains(&format!("\n{credential}\n")), "{credential}");
}
