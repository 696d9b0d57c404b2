//! docker-compose.yml, as Docker Compose itself reads it. That needs no engine.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use calmirror::{
    config::{Config, DatabaseUrl, Environment, Secrets},
    simulator::{Simulator, SimulatorConfig},
};
use secrecy::ExposeSecret;
use yaml_serde::Value;

use super::{read, shipped};

/// Docker Compose with nothing of the caller's in its environment.
pub(super) fn compose(arguments: &[&str]) -> Value {
    let path = crate::support::environment("PATH").expect("there is a PATH");
    let run = |program: &str, first: &[&str]| {
        Command::new(program)
            .args(first)
            .args(arguments)
            .arg("config")
            .current_dir(shipped(""))
            .env_clear()
            .env("PATH", &path)
            // Where the plugin may be.
            .env("HOME", crate::support::environment("HOME").unwrap_or_default())
            .output()
    };
    let has_plugin = Command::new("docker")
        .args(["compose", "version"])
        .output()
        .is_ok_and(|output| output.status.success());
    let output = if has_plugin {
        run("docker", &["compose"])
    } else {
        run("docker-compose", &[])
    };
    let output = output.expect("Docker Compose can be run: `tests/setup` installs it");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    yaml_serde::from_slice(&output.stdout).expect("its configuration is YAML")
}

fn services(config: &Value) -> BTreeSet<&str> {
    let services = config["services"].as_mapping().expect("there are services");
    services.keys().filter_map(Value::as_str).collect()
}

/// A profile's services, as they would start. The file itself says which have none: older versions print all of them.
fn started(profiles: &[&str]) -> BTreeSet<String> {
    let file = super::yaml("docker-compose.yml");
    let services = file["services"].as_mapping().expect("there are services");
    let is_started = |service: &Value| match service.get("profiles").and_then(Value::as_sequence) {
        None => true,
        Some(of) => of
            .iter()
            .any(|profile| profiles.contains(&profile.as_str().unwrap_or_default())),
    };
    services
        .iter()
        .filter(|(_, service)| is_started(service))
        .filter_map(|(name, _)| name.as_str().map(str::to_owned))
        .collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A directory as packaging/live/compose.env says that it be made.
pub(super) fn live() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("the temporary directory takes another one");
    let text = read("packaging/live/compose.env").replace(
        "CALMIRROR_DIR=./live",
        &format!("CALMIRROR_DIR={}", dir.path().display()),
    );
    let file = dir.path().join("compose.env");
    fs::write(&file, text).expect("the directory takes a file");
    fs::copy(
        shipped("packaging/live/environment"),
        dir.path().join("environment"),
    )
    .expect("it can be copied");
    let file = file.to_str().expect("the path is text").to_owned();
    (dir, file)
}

/// Where a service's directory is mounted from.
pub(super) fn mounted(config: &Value, service: &str, at: &str) -> PathBuf {
    let volumes = config["services"][service]["volumes"].as_sequence();
    let source = volumes
        .into_iter()
        .flatten()
        .find_map(|volume| match volume.as_str() {
            Some(short) => {
                let (source, rest) = short.split_once(':')?;
                rest.starts_with(at).then(|| source.to_owned())
            }
            None => (volume["target"].as_str() == Some(at))
                .then(|| volume["source"].as_str().unwrap_or_default().to_owned()),
        });
    PathBuf::from(source.unwrap_or_else(|| panic!("{service} has nothing at {at}")))
}

#[test]
fn the_database_and_the_daemon_start_by_default_and_profiles_add_to_them() {
    assert_eq!(started(&[]), names(&["postgres", "calmirror"]));
    assert_eq!(started(&["demo"]), names(&["postgres", "calmirror", "simulator"]));
    assert_eq!(
        started(&["observability"]),
        names(&[
            "postgres",
            "calmirror",
            "prometheus",
            "migrate",
            "reader",
            "grafana"
        ])
    );
    for profiles in [
        &[][..],
        &["--profile", "demo"],
        &["--profile", "observability"],
        &["--profile", "demo", "--profile", "observability"],
    ] {
        let config = compose(profiles);
        let words: Vec<_> = profiles
            .iter()
            .copied()
            .filter(|word| *word != "--profile")
            .collect();
        let read = services(&config);
        for service in started(&words) {
            assert!(read.contains(service.as_str()), "{words:?} lacks {service}");
        }
    }
}

/// Services without a profile start with every profile, so this holds for the demo as well.
#[test]
fn nothing_real_is_mirrored_unless_a_file_of_variables_says_so() {
    // It would be read by every command, the demo's included.
    assert!(!shipped(".env").exists(), "an .env would be for every profile");
    for profiles in [&[][..], &["--profile", "demo"]] {
        let config = compose(profiles);
        let dir = mounted(&config, "calmirror", "/etc/calmirror");
        assert_eq!(dir, shipped("packaging/demo/config"));
        let text = fs::read_to_string(dir.join("config.toml")).expect("the demo has a configuration");
        assert!(text.contains("base_url = \"http://simulator:5555\""), "{text}");
        assert!(!text.contains("cal.com\""), "{text}");
    }
    let (dir, file) = live();
    let config = compose(&["--env-file", &file]);
    assert_eq!(
        mounted(&config, "calmirror", "/etc/calmirror"),
        dir.path().join("config")
    );
    // Volumes are prefixed with it: the demo's mirror and the real one are two.
    assert!(read("packaging/live/compose.env").contains("\nCOMPOSE_PROJECT_NAME=calmirror-live\n"));
}

#[test]
fn grafana_finds_its_dashboards_where_they_are_mounted() {
    let config = compose(&["--profile", "observability"]);
    let provider = super::yaml("packaging/grafana/provisioning/dashboards/calmirror.yml");
    let path = provider["providers"][0]["options"]["path"].as_str();
    let path = path.expect("the provider has a path");
    assert_eq!(
        mounted(&config, "grafana", path),
        shipped("packaging/grafana/dashboards")
    );
    let home = &config["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"];
    let home = home.as_str().and_then(|home| home.strip_prefix(path));
    let home = home
        .expect("the first page is one of them")
        .trim_start_matches('/');
    assert!(shipped("packaging/grafana/dashboards").join(home).exists());
}

#[test]
fn every_service_is_confined_and_no_port_leaves_the_machine() {
    let config = compose(&["--profile", "demo", "--profile", "observability"]);
    let services = config["services"].as_mapping().expect("there are services");
    assert_eq!(services.len(), 7);
    for (name, service) in services {
        let name = name.as_str().unwrap_or_default();
        // Of a version, unless it is built here.
        let image = service["image"].as_str().expect("a service has an image");
        let tag = image.split_once(':').map(|(_, tag)| tag);
        let is_ours = service.get("build").is_some();
        assert!(
            is_ours || tag.is_some_and(|tag| tag.starts_with(|c: char| c == 'v' || c.is_ascii_digit())),
            "{name}: {image}"
        );
        assert_eq!(service["read_only"].as_bool(), Some(true), "{name}");
        assert_eq!(service["cap_drop"][0].as_str(), Some("ALL"), "{name}");
        assert_eq!(
            service["security_opt"][0].as_str(),
            Some("no-new-privileges:true"),
            "{name}"
        );
        for port in service
            .get("ports")
            .and_then(Value::as_sequence)
            .into_iter()
            .flatten()
        {
            let is_local = match port.as_str() {
                Some(short) => short.starts_with("127.0.0.1:"),
                None => port["host_ip"].as_str() == Some("127.0.0.1"),
            };
            assert!(is_local, "{name} is open to others: {port:?}");
        }
        // The image's own check is for the daemon; the others run to their end.
        let is_checked = name == "calmirror"
            || service
                .get("healthcheck")
                .is_some_and(|check| check.get("test").is_some());
        let ends = service["restart"].as_str() == Some("no");
        assert!(is_checked || ends || name == "simulator", "{name} has no check");
    }
}

/// The container's variables; `more` are those that an operator fills in.
fn environment(config: &Value, more: &[(&str, &str)]) -> Environment {
    let variables = config["services"]["calmirror"]["environment"].as_mapping();
    let variables = variables.expect("the daemon has variables").iter();
    let variables = variables.filter_map(|(name, value)| Some((name.as_str()?, value.as_str()?)));
    Environment::from_pairs(variables.chain(more.iter().copied()))
}

/// A configuration as in the container, with the token from here.
fn configured(dir: &str, environment: &Environment) -> Config {
    let path = shipped(dir).join("config/config.toml");
    let text = fs::read_to_string(&path).expect("there is a configuration");
    let token = "/run/secrets/server-token";
    assert!(text.contains(token), "the secret that Compose mounts");
    let here = shipped("packaging/demo/server-token");
    let text = text.replace(token, here.to_str().expect("the path is text"));
    Config::parse(&text, &path, environment, Secrets::Read)
        .unwrap_or_else(|faults| panic!("{dir}: {faults}"))
        .config
}

/// The simulator has ids and secrets that follow from its seed: the demo's configuration must have the same.
#[tokio::test]
async fn the_compose_demo_is_configured_for_its_simulator() {
    let file = read("docker-compose.yml");
    assert!(
        file.contains(r#""300", --clients, "2", --seed, "1""#),
        "the flags that this test repeats"
    );
    let variables = environment(&compose(&["--profile", "demo"]), &[]);
    let config = configured("packaging/demo", &variables);
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
fn the_configuration_to_start_from_is_whole_once_its_secret_is_there() {
    let (_dir, file) = live();
    let real = environment(
        &compose(&["--env-file", &file]),
        &[("CALCOM_CLIENT_SECRET", "s3cret")],
    );
    let demo = environment(&compose(&[]), &[]);
    for (dir, environment) in [("packaging/live", real), ("packaging/demo", demo)] {
        let config = configured(dir, &environment);
        let listen = config.server.listen.expect("it listens");
        assert!(
            !listen.ip().is_loopback(),
            "a published port does not reach loopback"
        );
        assert_eq!(listen.port(), 9470);
        assert!(config.server.token.is_some());
        assert!(matches!(config.database.url, DatabaseUrl::Postgres(_)));
    }
    assert!(read("packaging/prometheus/prometheus.yml").contains("targets: [\"calmirror:9470\"]"));
    assert!(read("packaging/live/environment").contains("\nCALCOM_CLIENT_SECRET=\n"));
    // What an operator fills in is not committed.
    assert!(read(".gitignore").lines().any(|line| line == "/live/"));
}
