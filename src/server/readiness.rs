//! `/readyz`: whether the mirror can be asked, and what is wrong with it.

use std::collections::BTreeSet;

use axum::{Extension, Json, extract::State, http::StatusCode};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::{Context, NotReady, guard::Trust};
use crate::health::{ClientHealth, Condition, Reason};

/// Among the reasons: the configuration in force is not the one that the operator wants.
const RELOAD_REFUSED: &str = "reload_refused";

/// What `/readyz` answers. To whom the guard does not trust with more, the kinds of reasons only.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    /// `ok`, `degraded`, `starting`, `database_unavailable` or `not_migrated`.
    status: &'static str,
    /// Kinds of reasons, the worst first, each once.
    reasons: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Where there is a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<Configuration>,
    /// Those with a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    clients: Option<Vec<Degraded>>,
}

#[derive(Debug, Serialize)]
struct Configuration {
    reason: &'static str,
    at: String,
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
    let (code, readiness) = readiness(&look.health, context.live.reload_refused_at(), trust);
    (code, Json(readiness))
}

/// Nothing has been read yet.
pub(super) fn starting() -> Readiness {
    Readiness {
        status: "starting",
        reasons: Vec::new(),
        error: None,
        configuration: None,
        clients: None,
    }
}

fn readiness(
    health: &Result<Vec<ClientHealth>, NotReady>,
    reload_refused_at: Option<DateTime<Utc>>,
    trust: Trust,
) -> (StatusCode, Readiness) {
    // Passes go on by the one before, so it is worse than none of the others.
    let reload_refused = reload_refused_at.map(|_| RELOAD_REFUSED);
    let configuration = reload_refused_at
        .filter(|_| trust == Trust::Full)
        .map(|at| Configuration {
            reason: RELOAD_REFUSED,
            at: at.to_rfc3339_opts(SecondsFormat::Millis, true),
        });
    let clients = match health {
        Ok(clients) => clients,
        Err(error) => {
            let readiness = Readiness {
                status: error.status(),
                reasons: reload_refused.into_iter().collect(),
                error: (trust == Trust::Full).then(|| error.to_string()),
                configuration,
                clients: None,
            };
            return (StatusCode::SERVICE_UNAVAILABLE, readiness);
        }
    };
    let degraded = clients
        .iter()
        .filter(|client| client.condition != Condition::Well);
    let conditions: BTreeSet<Condition> = degraded
        .clone()
        .flat_map(|client| client.reasons.iter().map(Reason::condition))
        .collect();
    let conditions = conditions.into_iter().rev().map(Condition::as_str);
    let reasons: Vec<_> = conditions.chain(reload_refused).collect();
    let readiness = Readiness {
        status: if reasons.is_empty() { "ok" } else { "degraded" },
        reasons,
        error: None,
        configuration,
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
            let (code, readiness) = readiness(&health, None, trust);
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
        let (_, well) = readiness(&Ok(vec![client("well", Vec::new())]), None, Trust::Full);
        let well = serde_json::to_value(well).expect("JSON");
        assert_eq!(well, json!({ "status": "ok", "reasons": [], "clients": [] }));
    }

    #[test]
    fn a_refused_reload_comes_last_and_makes_nothing_unready() {
        let at: DateTime<Utc> = "2026-01-02T12:00:00.5Z".parse().expect("a time");
        let said = |health: &_, trust| {
            let (code, readiness) = readiness(health, Some(at), trust);
            (code, serde_json::to_value(readiness).expect("JSON"))
        };
        let new = Ok(vec![client("new", vec![Reason::Never])]);
        let (code, full) = said(&new, Trust::Full);
        assert_eq!((code, &full["status"]), (StatusCode::OK, &json!("degraded")));
        assert_eq!(full["reasons"], json!(["never", "reload_refused"]));
        let told = json!({ "reason": "reload_refused", "at": "2026-01-02T12:00:00.500Z" });
        assert_eq!(full["configuration"], told);
        let well = Ok(vec![client("well", Vec::new())]);
        let probe = json!({ "status": "degraded", "reasons": ["reload_refused"] });
        assert_eq!(said(&well, Trust::Probe), (StatusCode::OK, probe));
        // While the database is away this is known all the same.
        let away = Err(NotReady::Migrations("none".to_owned()));
        let (code, full) = said(&away, Trust::Full);
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            (&full["status"], &full["configuration"]),
            (&json!("not_migrated"), &told)
        );
    }
}
