//! What is shipped beside the program, as far as no container engine is needed to see it.

mod image;
mod kubernetes;
mod observability;

use std::path::Path;

use calmirror::{
    config::{Config, Environment, Secrets},
    simulator::{Simulator, SimulatorConfig},
};
use secrecy::ExposeSecret;

fn shipped(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(shipped(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> yaml_serde::Value {
    yaml_serde::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The compose file's simulator has ids and secrets that follow from its seed: the demo's configuration must have the same.
#[tokio::test]
async fn the_compose_demo_is_configured_for_its_simulator() {
    let compose = read("docker-compose.yml");
    assert!(
        compose.contains(r#""300", --clients, "2", --seed, "1""#),
        "the flags that this test repeats"
    );
    let variables = compose.lines().filter_map(|line| {
        let (name, value) = line.trim().split_once(": ")?;
        (name.starts_with("CAL_SECRET_") || name == "CALMIRROR__DATABASE__URL").then_some((name, value))
    });
    // Both services name a database; the demo's is the last.
    let environment = Environment::from_pairs(variables);
    let config = Config::load(
        &shipped("packaging/demo/config.toml"),
        &environment,
        Secrets::Read,
    )
    .expect("the demo's configuration is whole")
    .config;
    let simulator = Simulator::start(SimulatorConfig {
        seed: 1,
        clients: 2,
        users_per_client: 300,
        ..SimulatorConfig::default()
    })
    .await
    .expect("the simulator starts");
    for (configured, simulated) in config.clients.iter().zip(simulator.clients()) {
        assert_eq!(configured.name, simulated.name);
        assert_eq!(configured.id.as_str(), simulated.id);
        assert_eq!(configured.secret.expose_secret(), simulated.secret);
        let users: Vec<i64> = configured.watch.listed.iter().map(|user| user.0).collect();
        assert_eq!(users, simulated.users);
    }
    assert_eq!(config.clients.len(), 2);
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
