//! What a message says.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::json;

use crate::health::{ClientHealth, Reason};

/// What is sent to try a receiver.
const TEST: &str = "test";

#[derive(Serialize)]
struct Data<'a> {
    #[serde(flatten)]
    health: &'a ClientHealth,
    /// What lets held removals through, once somebody has looked into them.
    #[serde(skip_serializing_if = "Option::is_none")]
    approve: Option<String>,
}

/// An identity that no other message has: 32 letters and digits.
pub(super) fn new_id() -> String {
    let random = std::iter::repeat_with(fastrand::alphanumeric).take(32);
    format!("msg_{}", random.collect::<String>())
}

/// The message of a client, as it is signed and sent. Holds no values of users.
pub(super) fn body(kind: &str, at: DateTime<Utc>, health: &ClientHealth) -> String {
    let held = health.reasons.iter().find_map(|reason| match reason {
        Reason::Held { run_id, .. } => Some(*run_id),
        _ => None,
    });
    let data = Data {
        health,
        approve: held.map(|run| format!("calmirror approve {run}")),
    };
    message(kind, at, &json!(data))
}

/// The message that tries a receiver.
pub(super) fn test_body(at: DateTime<Utc>) -> String {
    message(TEST, at, &json!({ "version": env!("CARGO_PKG_VERSION") }))
}

fn message(kind: &str, at: DateTime<Utc>, data: &serde_json::Value) -> String {
    let timestamp = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    json!({ "type": kind, "timestamp": timestamp, "data": data }).to_string()
}
