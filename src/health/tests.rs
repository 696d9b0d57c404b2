use secrecy::SecretString;

use super::*;
use crate::{
    config::{Client, FetchPlan, SecretSource, Watch},
    model::ClientId,
};

fn client() -> Client {
    Client {
        name: "acme".to_owned(),
        id: ClientId("clx0acme".to_owned()),
        secret: SecretString::default(),
        secret_source: SecretSource::Env("SECRET".to_owned()),
        watch: Watch::default(),
        fetch: FetchPlan::Auto,
        requests_per_minute: 0,
        cron: "*/5 * * * *".to_owned(),
    }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time stamp")
}

fn fresh() -> HealthRow {
    HealthRow {
        client_id: "clx0acme".to_owned(),
        verdict: "fresh".to_owned(),
        lag_s: Some(12.5),
        last_complete_at: Some(at("2026-01-01T00:00:00Z")),
        fresh_until: Some(at("2026-01-01T00:10:00Z")),
        fresh_since: Some(at("2025-12-24T00:00:00Z")),
        refused_run_id: None,
        refused_at: None,
        refused_error: None,
        held_run_id: None,
        held_first_run_id: None,
        held_users: None,
        held_since: None,
        under_way: false,
    }
}

fn conditions(row: &HealthRow) -> (Condition, Vec<Condition>) {
    let health = judge(&client(), Some(row));
    (
        health.condition,
        health.reasons.iter().map(Reason::condition).collect(),
    )
}

#[test]
fn a_fresh_client_is_well() {
    let health = judge(&client(), Some(&fresh()));
    assert_eq!((health.condition, health.fresh), (Condition::Well, true));
    assert_eq!(health.reasons, []);
    assert_eq!(health.lag_s, Some(12.5));
}

#[test]
fn a_client_without_a_complete_pass_has_never_been_mirrored() {
    let none = judge(&client(), None);
    let begun = HealthRow {
        verdict: "never".to_owned(),
        lag_s: None,
        last_complete_at: None,
        fresh_until: None,
        fresh_since: None,
        ..fresh()
    };
    let begun = judge(&client(), Some(&begun));
    for health in [none, begun] {
        assert_eq!((health.condition, health.fresh), (Condition::Never, false));
        assert_eq!(health.reasons, [Reason::Never]);
    }
}

#[test]
fn a_stale_client_is_so_since_it_was_no_longer_fresh() {
    let row = HealthRow {
        verdict: "stale".to_owned(),
        ..fresh()
    };
    let health = judge(&client(), Some(&row));
    let since = at("2026-01-01T00:10:00Z");
    assert_eq!(health.reasons, [Reason::Stale { since }]);
    assert_eq!(health.condition, Condition::Stale);
}

#[test]
fn the_worst_reason_decides_and_comes_first() {
    let held = HealthRow {
        held_run_id: Some(7),
        held_first_run_id: Some(5),
        held_users: Some(12),
        held_since: Some(at("2026-01-01T00:05:00Z")),
        ..fresh()
    };
    assert_eq!(conditions(&held), (Condition::Held, vec![Condition::Held]));
    let all = HealthRow {
        verdict: "stale".to_owned(),
        refused_run_id: Some(9),
        refused_error: Some("the secret is wrong".to_owned()),
        ..held
    };
    let expected = vec![Condition::Refused, Condition::Held, Condition::Stale];
    assert_eq!(conditions(&all), (Condition::Refused, expected));
}

#[test]
fn health_is_serialized_by_names_that_alarms_can_go_by() {
    let row = HealthRow {
        held_run_id: Some(7),
        held_first_run_id: Some(5),
        held_users: Some(12),
        held_since: Some(at("2026-01-01T00:05:00Z")),
        ..fresh()
    };
    let json = serde_json::to_value(judge(&client(), Some(&row))).expect("JSON");
    assert_eq!(
        json,
        serde_json::json!({
            "client": "acme",
            "client_id": "clx0acme",
            "condition": "held",
            "reasons": [{"reason": "held", "users": 12, "run_id": 7, "since": "2026-01-01T00:05:00.000Z"}],
            "fresh": true,
            "lag_s": 12.5,
            "last_complete_at": "2026-01-01T00:00:00.000Z",
            "fresh_until": "2026-01-01T00:10:00.000Z",
        })
    );
    for condition in Condition::ALL {
        let json = serde_json::to_value(condition).expect("JSON");
        assert_eq!(json, condition.as_str());
    }
}
