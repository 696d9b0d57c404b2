//! The manifests, without a cluster.

use std::{collections::BTreeMap, path::Path};

use calmirror::config::{Config, DatabaseUrl, Environment, Secrets};
use yaml_serde::Value;

use super::{read, shipped, yaml};

fn text<'a>(value: &'a Value, what: &str) -> &'a str {
    value.as_str().unwrap_or_else(|| panic!("no {what}"))
}

#[test]
fn every_manifest_is_one_object_under_one_name() {
    let mut kinds = BTreeMap::new();
    for entry in std::fs::read_dir(shipped("packaging/kubernetes")).expect("there are manifests") {
        let path = entry.expect("the directory can be read").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let manifest = yaml(&format!("packaging/kubernetes/{name}"));
        assert_eq!(text(&manifest["metadata"]["name"], "name"), "calmirror", "{name}");
        assert!(manifest["apiVersion"].is_string(), "{name}");
        // `kubectl apply -f` of the directory takes these endings: an example must not overwrite the real secret.
        let is_applied = ["yaml", "yml", "json"]
            .iter()
            .any(|ending| path.extension().is_some_and(|found| found == *ending));
        let kind = text(&manifest["kind"], "kind").to_owned();
        assert_eq!(is_applied, kind != "Secret", "{name}");
        kinds.insert(kind, manifest);
    }
    let found: Vec<_> = kinds.keys().map(String::as_str).collect();
    assert_eq!(
        found,
        ["ConfigMap", "Deployment", "NetworkPolicy", "Secret", "Service"]
    );
    let labels = &kinds["Deployment"]["spec"]["template"]["metadata"]["labels"];
    for selector in [
        &kinds["Deployment"]["spec"]["selector"]["matchLabels"],
        &kinds["Service"]["spec"]["selector"],
        &kinds["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ] {
        assert_eq!(selector, labels);
    }
}

#[test]
fn the_config_map_is_a_configuration_that_calmirror_takes() {
    let manifest = yaml("packaging/kubernetes/configmap.yaml");
    let config = text(&manifest["data"]["config.toml"], "config.toml");
    let secret = yaml("packaging/kubernetes/secret.yaml.example");
    let url = text(&secret["stringData"]["database-url"], "database-url");
    let environment = Environment::from_pairs([("DATABASE_URL", url)]);
    let loaded = Config::parse(
        config,
        Path::new("/etc/calmirror/config.toml"),
        &environment,
        Secrets::LeftAlone,
    )
    .unwrap_or_else(|faults| panic!("{faults}"));
    let config = loaded.config;
    assert!(matches!(config.database.url, DatabaseUrl::Postgres(_)));
    let listen = config.server.listen.expect("the probes ask it");
    assert!(listen.ip().is_unspecified(), "{listen}");
    let deployment = yaml("packaging/kubernetes/deployment.yaml");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["ports"][0]["containerPort"].as_u64(),
        Some(listen.port().into())
    );
}

/// Each file that the configuration names is one that the deployment mounts, from a key that the secret has.
#[test]
fn the_secrets_that_the_config_map_names_are_mounted() {
    let manifest = yaml("packaging/kubernetes/configmap.yaml");
    let config = text(&manifest["data"]["config.toml"], "config.toml");
    let deployment = yaml("packaging/kubernetes/deployment.yaml");
    let pod = &deployment["spec"]["template"]["spec"];
    let secret = yaml("packaging/kubernetes/secret.yaml.example");
    let keys = secret["stringData"].as_mapping().expect("the secret has keys");
    let items = pod["volumes"][1]["secret"]["items"]
        .as_sequence()
        .expect("files of the secret");
    let mount = &pod["containers"][0]["volumeMounts"][1];
    assert_eq!(mount["name"], pod["volumes"][1]["name"]);
    let mut named = 0;
    for path in config
        .split("{ file = \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
    {
        named += 1;
        let item = items.iter().find(|item| {
            let (dir, file) = (
                text(&mount["mountPath"], "mountPath"),
                text(&item["path"], "path"),
            );
            format!("{dir}/{file}") == path
        });
        let item = item.unwrap_or_else(|| panic!("{path} is not mounted"));
        assert!(keys.contains_key(&item["key"]), "the secret has no {item:?}");
    }
    assert_eq!(named, 2, "the client's secret and the server's token");
    let url = &pod["containers"][0]["env"][0];
    assert_eq!(url["name"].as_str(), Some("DATABASE_URL"));
    assert!(keys.contains_key(&url["valueFrom"]["secretKeyRef"]["key"]));
}

#[test]
fn the_pod_is_confined_and_probed() {
    let deployment = yaml("packaging/kubernetes/deployment.yaml");
    assert_eq!(deployment["spec"]["replicas"].as_u64(), Some(1));
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"].as_bool(), Some(true));
    assert_eq!(pod["automountServiceAccountToken"].as_bool(), Some(false));
    let container = &pod["containers"][0];
    let version = format!("calmirror:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        container["image"].as_str(),
        Some(&*version),
        "a version, and this one"
    );
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"].as_bool(), Some(true));
    assert_eq!(security["allowPrivilegeEscalation"].as_bool(), Some(false));
    assert_eq!(security["capabilities"]["drop"][0].as_str(), Some("ALL"));
    for (probe, path) in [
        ("livenessProbe", "/healthz"),
        ("startupProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ] {
        let get = &container[probe]["httpGet"];
        assert_eq!(get["path"].as_str(), Some(path), "{probe}");
        assert_eq!(get["port"].as_str(), Some("http"), "{probe}");
    }
    // The daemon has ten seconds for the end of a pass.
    assert!(
        pod["terminationGracePeriodSeconds"]
            .as_u64()
            .is_some_and(|limit| limit > 10)
    );
    assert!(read("packaging/kubernetes/service.yaml").contains("publishNotReadyAddresses: true"));
}
