//! `/readyz`: whether the mirror can be asked, and what is wrong with it.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Serialize;

use super::{Context, NotReady, guard::Trust};
use crate::health::{ClientHealth, Condition, Reason};

/// What `/readyz` answers. To whom the guard does not trust with more, the kinds of reasons only.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    /// `ok`, `degraded`, `starting`, `database_unavailable` or `not_migrated`.
    status: &'static str,
    /// Kinds of reasons, the worst first, each once.
    reasons: Vec<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Those with a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<Vec<Degraded>>,
}

#[derive(Debug, Serialize)]
struct Degraded {
    client: String,
    condition: Condition,
    reasons: Vec<Reason>,
}

/// 503 where the database is away or not migrated: nobody can be served then. A mirror that is stale, held or refused is still to
/// be read, and its page is where one sees why: 200.
pub(super) async fn readyz(
    State(context): State<Context>,
    Extension(trust): Extension<Trust>,
) -> (StatusCode, Json<Readiness>) {
    let look = context.look().await;
    let (code, readiness) = readiness(&look.health, trust);
    (code, Json(readiness))
}

/// Nothing has been read yet.
pub(super) fn starting() -> Readiness {
    Readiness {
        status: "starting",
        reasons: Vec::new(),
        error: None,
        clients: None,
    }
}

fn readiness(health: &Result<Vec<ClientHealth>, NotReady>, trust: Trust) -> (StatusCode, Readiness) {
    let clients = match health {
        Ok(clients) => clients,
        Err(error) => {
            let readiness = Readiness {
                status: error.status(),
                reasons: Vec::new(),
                error: (trust == Trust::Full).then(|| error.to_string()),
                clients: None,
            };
            return (StatusCode::SERVICE_UNAVAILABLE, readiness);
        }
    };
    let degraded = clients
        .iter()
        .filter(|client| client.condition != Condition::Well);
    let mut reasons: Vec<Condition> = degraded
        .clone()
        .flat_map(|client| client.reasons.iter().map(Reason::condition))
        .collect();
    reasons.sort_unstable();
    reasons.dedup();
    reasons.reverse();
    let readiness = Readiness {
        status: if reasons.is_empty() { "ok" } else { "degraded" },
        reasons,
        error: None,
        clients: (trust == Trust::Full).then(|| {
            degraded
                .map(|client| Degraded {
                    client: client.client.clone(),
                    condition: client.condition,
                    reasons: client.reasons.clone(),
                })
                .collect()
        }),
    };
    (StatusCode::OK, readiness)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use serde_json::json;

    use super::*;

    fn client(name: &str, reasons: Vec<Reason>) -> ClientHealth {
        ClientHealth {
            client: name.to_owned(),
            client_id: format!("id-{name}"),
            condition: reasons.first().map_or(Condition::Well, Reason::condition),
            reasons,
            fresh: true,
            lag_s: Some(1.0),
            last_complete_at: None,
            fresh_until: None,
            fresh_since: None,
            under_way: false,
        }
    }

    #[test]
    fn the_worst_comes_first_and_once_and_who_is_well_is_not_named() {
        let since: DateTime<Utc> = "2026-01-02T12:00:00Z".parse().expect("a time");
        let held = |run_id| Reason::Held {
            users: 7,
            run_id,
            first_run_id: run_id,
            since,
        };
        let refused = Reason::Refused {
            error: "the secret is wrong".to_owned(),
            run_id: 3,
            at: None,
        };
        let stale = || Reason::Stale { since };
        let health = Ok(vec![
            client("new", vec![Reason::Never]),
            client("well", Vec::new()),
            client("held", vec![held(1), stale()]),
            client("refused", vec![refused, held(2), stale()]),
        ]);
        let said = |trust| {
            let (code, readiness) = readiness(&health, trust);
            assert_eq!(code, StatusCode::OK);
            serde_json::to_value(readiness).expect("JSON")
        };
        let kinds = json!(["refused", "held", "stale", "never"]);
        let probe = said(Trust::Probe);
        assert_eq!(probe, json!({ "status": "degraded", "reasons": kinds }));
        let full = said(Trust::Full);
        assert_eq!(full["reasons"], kinds);
        let named = full["clients"].as_array().expect("a list").iter();
        let named: Vec<_> = named.map(|client| &client["client"]).collect();
        assert_eq!(named, ["new", "held", "refused"]);
        let (_, well) = readiness(&Ok(vec![client("well", Vec::new())]), Trust::Full);
        let well = serde_json::to_value(well).expect("JSON");
        assert_eq!(well, json!({ "status": "ok", "reasons": [], "clients": [] }));
    }
}
