//! Where messages go, and what signs them.

use secrecy::ExposeSecret;

use super::{CLIENT, faults_with, parse, parse_with};
use crate::config::SecretSource;

const WEBHOOK: &str = "[notify]\nwebhook_url = { env = 'URL' }\nwebhook_secret = { env = 'KEY' }\n";
/// 32 bytes.
const KEY: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn found(url: &str, key: &str) -> String {
    faults_with(&format!("{WEBHOOK}{CLIENT}"), &[("URL", url), ("KEY", key)])
}

#[test]
fn a_webhook_has_an_address_and_a_key_and_shows_neither() {
    let text = format!("{WEBHOOK}postgres = false\n{CLIENT}");
    let url = "https://hooks.example.com/services/T0KEN?a=b#c";
    let loaded = parse_with(&text, &[("URL", url), ("KEY", KEY)]).expect("in order");
    let notify = &loaded.config.notify;
    let webhook = notify.webhook.as_ref().expect("it is configured");
    assert_eq!(
        webhook.url.expose_secret(),
        "https://hooks.example.com/services/T0KEN?a=b"
    );
    assert_eq!(webhook.origin, "https://hooks.example.com");
    assert_eq!(webhook.key.expose_secret(), &*(0..32).collect::<Vec<u8>>());
    assert_eq!(webhook.url_source, SecretSource::Env("URL".to_owned()));
    assert!(!notify.postgres);
    let shown = format!("{loaded:?}{}", loaded.config.effective_toml());
    assert!(shown.contains("webhook_url = { env = \"URL\" }"), "{shown}");
    assert!(!shown.contains("T0KEN") && !shown.contains("whsec_"), "{shown}");
    let again = parse_with(&loaded.config.effective_toml(), &[("URL", url), ("KEY", KEY)]);
    assert_eq!(
        again.expect("what is shown is in order").config.effective_toml(),
        loaded.config.effective_toml()
    );
}

#[test]
fn without_a_webhook_changes_are_told_to_postgres_all_the_same() {
    let notify = parse(CLIENT).expect("in order").config.notify;
    assert!(notify.webhook.is_none());
    assert!(notify.postgres);
}

#[test]
fn each_fault_of_a_webhook_has_its_remedy_and_tells_nothing_of_it() {
    let near = "http://127.0.0.1:8080/T0KEN";
    for (url, key, expected) in [
        (
            "hooks.example.com/T0KEN",
            KEY,
            "webhook_url: what is there is no URL: relative URL without a base; write the receiver's address there",
        ),
        (
            "ftp://example.com/T0KEN",
            KEY,
            "webhook_url: what is there must begin with https://; write the receiver's address there",
        ),
        (
            "http://example.com/T0KEN",
            KEY,
            "webhook_url: would send messages unencrypted over a public network; use https://",
        ),
        (
            near,
            "T0KEN",
            "webhook_secret: what is there must begin with whsec_; make one with",
        ),
        (
            near,
            "whsec_T0KEN*",
            "webhook_secret: what is there is not base64 after whsec_",
        ),
        (
            near,
            "whsec_T0KEN",
            "webhook_secret: what is there is not base64 after whsec_",
        ),
        (
            near,
            "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRY",
            "the key must have from 24 to 64 bytes, not 23",
        ),
    ] {
        let found = found(url, key);
        assert!(found.contains(expected), "{found}");
        assert!(!found.contains("T0KEN") && !found.contains("AAEC"), "{found}");
        assert_eq!(found.lines().count(), 1, "{found}");
    }
}

#[test]
fn half_a_webhook_is_none() {
    let text = format!("[notify]\nwebhook_url = {{ env = 'URL' }}\n{CLIENT}");
    let found = faults_with(&text, &[("URL", "https://example.com")]);
    assert!(
        found.contains("config.toml:2:15: notify.webhook_url: messages could not be signed"),
        "{found}"
    );
    let text = format!("[notify]\nwebhook_secret = {{ env = 'KEY' }}\n{CLIENT}");
    let found = faults_with(&text, &[("KEY", KEY)]);
    assert!(
        found.contains("notify.webhook_secret: signs nothing: there is no notify.webhook_url"),
        "{found}"
    );
    let text = format!(
        "[notify]\nwebhook_url = 'https://example.com/T0KEN'\nwebhook_secret = {{ env = 'KEY' }}\n{CLIENT}"
    );
    let found = faults_with(&text, &[("KEY", KEY)]);
    assert!(
        found.contains("notify.webhook_url: must not stand in this file"),
        "{found}"
    );
    assert!(!found.contains("T0KEN"), "{found}");
}
