//! `/api/v1/status`: all that the daemon knows of its clients, as JSON. Holds no values of users.

use std::sync::Arc;

use axum::{Json, extract::State};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{ClientView, Context, Look, NotReady};
use crate::{
    clock::{Clock, SystemClock},
    health::ClientHealth,
    store::UserCounts,
    sync::{Report, Snapshot},
};

#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    now: DateTime<Utc>,
    database: Database,
    clients: Vec<Client>,
}

#[derive(Debug, Serialize)]
struct Database {
    /// `ok`, `database_unavailable` or `not_migrated`.
    status: &'static str,
    error: Option<String>,
}

/// A client of the configuration in force.
#[derive(Debug, Serialize)]
struct Client {
    client: String,
    /// Null while the database does not say it.
    health: Option<ClientHealth>,
    users: Option<Users>,
    next_pass_at: Option<DateTime<Utc>>,
    /// The pass that this process is making.
    under_way: Option<UnderWay>,
    /// How the last pass ended that this process has made, as `sync --output json` prints it.
    last_report: Option<Report>,
}

#[derive(Debug, Serialize)]
struct Users {
    live: i64,
    removed: i64,
    rejects: i64,
    missing: i64,
}

#[derive(Debug, Serialize)]
struct UnderWay {
    observed: u64,
    expected: Option<u64>,
    requests: u64,
    changes: u64,
    elapsed_s: f64,
    left_s: Option<f64>,
}

pub(super) async fn status(State(context): State<Context>) -> Json<Status> {
    let view = context.view();
    let (look, counts) = context.look_and_count(&view).await;
    let now = SystemClock.now();
    let (under_way, mut reports) = (context.live.under_way(), context.live.reports());
    let clients = view.clients.iter();
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        now,
        database: Database {
            status: look.health.as_ref().err().map_or("ok", NotReady::status),
            error: look.health.as_ref().err().map(ToString::to_string),
        },
        clients: clients
            .map(|client| Client {
                under_way: under_way.get(&client.client.name).map(UnderWay::of),
                last_report: reports.remove(&client.client.name),
                ..of_client(client, &look, counts.as_ref(), now)
            })
            .collect(),
    })
}

fn of_client(
    view: &ClientView,
    look: &Look,
    counts: Option<&Arc<Vec<UserCounts>>>,
    now: DateTime<Utc>,
) -> Client {
    let client = &view.client;
    let id = client.id.as_str();
    let health = look.health.as_ref().ok().and_then(|clients| {
        let health = clients.iter().find(|health| health.client_id == id)?;
        Some(ClientHealth {
            lag_s: look.lag_s(health),
            ..health.clone()
        })
    });
    let users = counts.map(|counts| {
        let counted = counts.iter().find(|counts| counts.client_id == id);
        let pick = |pick: fn(&UserCounts) -> i64| counted.map_or(0, pick);
        Users {
            live: pick(|counts| counts.live),
            removed: pick(|counts| counts.removed),
            rejects: pick(|counts| counts.rejects),
            missing: pick(|counts| counts.missing),
        }
    });
    Client {
        client: client.name.clone(),
        health,
        users,
        next_pass_at: view.cron.next_after(now),
        under_way: None,
        last_report: None,
    }
}

impl UnderWay {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            observed: snapshot.observed,
            expected: snapshot.expected,
            requests: snapshot.requests,
            changes: snapshot.changes,
            elapsed_s: snapshot.elapsed.as_secs_f64(),
            left_s: snapshot.left().map(|left| left.as_secs_f64()),
        }
    }
}
