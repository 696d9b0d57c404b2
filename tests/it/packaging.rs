//! What is shipped beside the program, as far as no container engine is needed to see it.

mod compose;
mod image;
mod kubernetes;
mod observability;

use std::path::{Path, PathBuf};

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(shipped(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> yaml_serde::Value {
    yaml_serde::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
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
    assert!(unit.contains(&format!("#   {credential}\n")), "{credential}");
}
