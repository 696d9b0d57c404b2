//! `/metrics`, in Prometheus's text format.

use std::sync::Arc;

use axum::{extract::State, http::header, response::IntoResponse};
use chrono::{DateTime, Utc};
use metrics::gauge;

use super::{ClientView, Context, Look, View};
use crate::{
    calcom::Source,
    clock::{Clock, SystemClock},
    health::{ClientHealth, Reason},
    live::Live,
    measured::{self, CLIENT},
    store::UserCounts,
};

pub(super) async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    let view = context.view();
    let (look, counts) = context.look_and_count(&view).await;
    let names = view.clients.iter().map(|client| client.client.name.as_str());
    context.exposition.begin(names.clone());
    let text = context.exposition.render(&names.collect(), || {
        of_process(&context.live);
        of_clients(&view, &context.live);
        of_database(&view, &look, counts.as_ref());
    });
    ([(header::CONTENT_TYPE, measured::CONTENT_TYPE)], text)
}

fn of_process(live: &Live) {
    if let Some(beat) = live.last_beat() {
        let now = SystemClock.now();
        let at = chrono::TimeDelta::from_std(beat.elapsed()).map_or(now, |since| now - since);
        gauge!(measured::BEAT).set(timestamp(at));
    }
}

/// What is known without the database.
fn of_clients(view: &View, live: &Live) {
    let under_way = live.under_way();
    let now = SystemClock.now();
    for ClientView { client, source, cron } in &view.clients {
        let set = |name: &'static str, value: f64| gauge!(name, CLIENT => client.name.clone()).set(value);
        set(
            measured::PASS_RUNNING,
            truth(under_way.contains_key(&client.name)),
        );
        if let Some(next) = cron.next_after(now) {
            set(measured::NEXT_PASS, timestamp(next));
        }
        set(measured::RATE, f64::from(client.requests_per_minute));
        if let Some(left) = source.rate_state().remaining {
            set(measured::RATE_LEFT, count(left));
        }
        set(measured::RATE_BLOCKED, truth(source.blocked_for().is_some()));
    }
}

/// What only the database knows: nothing while it is away, rather than what was true before.
fn of_database(view: &View, look: &Look, counts: Option<&Arc<Vec<UserCounts>>>) {
    gauge!(measured::DATABASE_UP).set(truth(look.health.is_ok()));
    let Ok(health) = &look.health else { return };
    for client in health {
        of_client(client, look.lag_s(client));
    }
    let Some(counts) = counts else { return };
    for client in &view.config.clients {
        let counted = counts
            .iter()
            .find(|counts| counts.client_id == client.id.as_str());
        let set = |name: &'static str, pick: fn(&UserCounts) -> i64| {
            let users = u64::try_from(counted.map_or(0, pick)).unwrap_or_default();
            gauge!(name, CLIENT => client.name.clone()).set(count(users));
        };
        set(measured::LIVE, |counts| counts.live);
        set(measured::REMOVED, |counts| counts.removed);
        set(measured::REJECTS, |counts| counts.rejects);
        set(measured::MISSING, |counts| counts.missing);
    }
}

fn of_client(client: &ClientHealth, lag_s: Option<f64>) {
    let set = |name: &'static str, value: f64| gauge!(name, CLIENT => client.client.clone()).set(value);
    set(measured::FRESH, truth(client.fresh));
    if let Some(lag) = lag_s {
        set(measured::LAG, lag);
    }
    if let Some(last) = client.last_complete_at {
        set(measured::LAST_COMPLETE, timestamp(last));
    }
    let held = client.reasons.iter().find_map(|reason| match reason {
        Reason::Held { users, .. } => Some(u64::try_from(*users).unwrap_or_default()),
        _ => None,
    });
    set(measured::HELD, count(held.unwrap_or_default()));
    let refused = client
        .reasons
        .iter()
        .any(|reason| matches!(reason, Reason::Refused { .. }));
    set(measured::REFUSED, truth(refused));
}

fn truth(is: bool) -> f64 {
    f64::from(u8::from(is))
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
fn count(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact")]
fn timestamp(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}
