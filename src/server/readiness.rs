//! `/readyz`: whether the mirror can be asked, and what is wrong with it.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Serialize;

use super::{Context, NotReady, guard::Trust};
use crate::health::{ClientHealth, Condition, Reason};

/// What `/readyz` answers. To whom the guard does not trust with more, the kinds of reasons only.
#[derive(Debug, Serialize)]
pub(super) struct Readiness {
    /// `ok`, `degraded`, `database_unavailable` or `not_migrated`.
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
