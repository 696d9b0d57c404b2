//! The documented configuration is the one in the code.

use std::path::Path;

use super::{CLIENT, parse, parse_with};
use crate::config::{Config, Environment, Secrets, names};

const SAMPLE: &str = include_str!("../../../config.toml");

#[test]
fn documented_defaults_are_the_defaults_of_the_code() {
    let sample = parse_with(SAMPLE, &[("CALCOM_CLIENT_SECRET", "s3cret")]).expect("the sample is in order");
    let bare = parse(CLIENT).expect("one client is enough");
    assert_eq!(sample.warnings, []);
    let mut sample = sample.config.effective_json();
    let mut bare = bare.config.effective_json();
    let client = |config: &mut serde_json::Value| {
        let mut client = config["clients"][0].take();
        for key in ["id", "secret", "users"] {
            client[key].take();
        }
        client
    };
    assert_eq!(client(&mut sample), client(&mut bare));
    assert_eq!(sample, bare);
}

#[test]
fn every_key_is_documented_in_its_section() {
    let mut section = String::new();
    let mut documented = Vec::new();
    for line in SAMPLE.lines() {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ")
            && key.bytes().all(|c| c.is_ascii_lowercase() || c == b'_')
        {
            documented.push((section.clone(), key.to_owned()));
        }
    }
    documented.sort();
    let mut known: Vec<_> = names::SECTIONS
        .iter()
        .flat_map(|(section, keys)| keys.iter().map(|key| ((*section).to_owned(), (*key).to_owned())))
        .collect();
    known.sort();
    assert_eq!(documented, known);
}

#[test]
fn what_is_shown_as_in_force_reads_back_as_the_same() {
    let text = format!(
        "[calcom]\nbase_url = 'http://localhost:5555/api/'\nfetch = 'get'\n[database]\nschema = 'cal'\n\
         data_dir = '/srv/a \"b\"'\n[removal]\nmax_percent = 2.5\n[log]\nformat = 'json'\nlevel = 'info,sqlx=warn'\n\
         {CLIENT}requests_per_minute = 0\ncron = '*/10  * * * * *'\n"
    );
    let config = parse(&text).expect("in order").config;
    let shown = config.effective_toml();
    let again = parse(&shown).expect("what is shown is in order").config;
    assert_eq!(again.effective_toml(), shown);
    insta::assert_snapshot!(shown, @r#"
    [calcom]
    base_url = "http://localhost:5555/api"
    fetch = "get"
    requests_per_minute = 450
    concurrency = 8
    timeout_s = 30
    max_answer_bytes = 8388608

    [database]
    url = "embedded"
    schema = "cal"
    data_dir = "/srv/a \"b\""
    max_connections = 5
    pgbouncer = false

    [schedule]
    cron = "*/5 * * * *"
    timezone = "UTC"
    at_start = true

    [removal]
    confirmations = 2
    min_age_s = 60
    max_count = 5
    max_percent = 2.5

    [retention]
    no_change_runs_days = 90
    rejects_days = 90
    ledger_days = 0

    [log]
    format = "json"
    values = "masked"
    level = "info,sqlx=warn"

    [server]
    listen = "127.0.0.1:9470"
    show_values = false
    hosts = []

    [notify]
    postgres = true

    [[clients]]
    name = "main"
    id = "abc"
    secret = { env = "SECRET" }
    fetch = "get"
    requests_per_minute = 0
    cron = "*/10 * * * * *"
    users = [1]
    "#);
}

#[test]
fn nothing_that_is_shown_holds_a_secret() {
    let text = CLIENT.replace("[1]", &format!("{:?}", (1..=100).collect::<Vec<_>>()));
    let loaded = parse_with(&text, &[("DATABASE_URL", "postgres://ada:hunter2@db/cal")]).expect("in order");
    let toml = loaded.config.effective_toml();
    assert!(toml.contains("url = \"postgres://ada:***@db/cal\"\n"), "{toml}");
    assert!(toml.ends_with("# users: 100, from 1 to 100\n"), "{toml}");
    let json = loaded.config.effective_json();
    assert_eq!(json["clients"][0]["users"].as_array().map(Vec::len), Some(100));
    for shown in [
        toml,
        json.to_string(),
        format!("{loaded:?}"),
        format!("{:?}", super::environment(&[])),
    ] {
        assert!(!shown.contains("hunter2") && !shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn the_file_is_the_one_given_or_one_of_the_usual() {
    let given = Path::new("elsewhere.toml");
    assert_eq!(Config::find(Some(given)).expect("given"), given);
    let message = crate::config::NotFound.to_string();
    for part in ["config.toml", "/etc/calmirror/config.toml", "calmirror init"] {
        assert!(message.contains(part), "{message}");
    }
    let faults = Config::load(
        Path::new("/nonexistent/c.toml"),
        &Environment::default(),
        Secrets::Read,
    )
    .map(drop);
    insta::assert_snapshot!(faults.expect_err("there is no such file"), @"/nonexistent/c.toml: cannot be read: No such file or directory (os error 2); `calmirror init` writes one");
}
