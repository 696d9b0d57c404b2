//! All that the status page says, read together: from the tables, and from what this process is doing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};

use chrono::{DateTime, Days, TimeDelta, Utc};
use serde::Serialize;
use tokio::{sync::Mutex, time::Instant};

use super::changes::{self, Item};
use crate::{
    clock::{Clock as _, SystemClock},
    compare::Values,
    health::{self, ClientHealth},
    server::{Context, View},
    store::{DayOfChanges, HeldStatus, PassRecord, Recent, Store, UserCounts},
    sync::Snapshot,
};

/// Days of which the changes are shown.
const DAYS: u32 = 30;

/// Passes that are read for the plots, of all clients together.
const PASSES: usize = 6_000;

/// And of one client: those of a day, at one a minute.
const PASSES_PER_CLIENT: usize = 1_500;

/// Entries of the ledger that are looked at.
const LEDGER: u32 = 200;

/// Users that are named where there may be any number of them.
const NAMED: u32 = 20;

/// What was read is shown for so long, unless a pass of this process begins or ends.
const KEPT: Duration = Duration::from_secs(5);

/// Between two readings, at the least: with many clients there is always a pass that begins or ends.
const REST: Duration = Duration::from_secs(1);

/// After this nobody waits for a reading.
const LIMIT: Duration = Duration::from_secs(12);

/// The whole of the page. Serialized as `/api/v1/overview` gives it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Overview {
    pub(super) version: &'static str,
    /// By the database's clock.
    pub(super) now: DateTime<Utc>,
    pub(super) values_shown: bool,
    /// In the order of the configuration.
    pub(super) clients: Vec<ClientOverview>,
    /// Each of the last days, the first one first.
    pub(super) days: Vec<DayOfChanges>,
    /// The newest first.
    pub(super) changes: Vec<Item>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ClientOverview {
    #[serde(flatten)]
    pub(super) health: ClientHealth,
    /// None before its first pass.
    pub(super) users: Option<Users>,
    pub(super) held: Option<HeldStatus>,
    /// The newest that has ended.
    pub(super) last_pass: Option<PassRecord>,
    pub(super) under_way: Option<UnderWay>,
    /// None where the schedule has none for years.
    pub(super) next_pass_at: Option<DateTime<Utc>>,
    pub(super) requests_per_minute: u32,
    /// Since when the client has been fresh without a break.
    pub(super) fresh_since: Option<DateTime<Utc>>,
    /// The newest first.
    #[serde(skip)]
    pub(super) passes: Arc<[PassRecord]>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Users {
    pub(super) live: i64,
    pub(super) removed: i64,
    pub(super) missing: i64,
    pub(super) rejects: i64,
}

/// A pass that has not ended.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct UnderWay {
    /// Whether this process makes it.
    pub(super) here: bool,
    pub(super) observed: u64,
    pub(super) expected: Option<u64>,
    pub(super) requests: u64,
    pub(super) changes: u64,
    pub(super) elapsed_s: f64,
    pub(super) left_s: Option<f64>,
    /// When it last showed that it is alive, of another process's.
    pub(super) alive_at: Option<DateTime<Utc>>,
}

impl From<Snapshot> for UnderWay {
    fn from(snapshot: Snapshot) -> Self {
        Self {
            here: true,
            observed: snapshot.observed,
            expected: snapshot.expected,
            requests: snapshot.requests,
            changes: snapshot.changes,
            elapsed_s: snapshot.elapsed.as_secs_f64(),
            left_s: snapshot.left().map(|left| left.as_secs_f64()),
            alive_at: None,
        }
    }
}

impl ClientOverview {
    /// Beyond which lag it is stale, in seconds.
    pub(super) fn stale_after(&self, now: DateTime<Utc>) -> Option<f64> {
        let until = self.health.fresh_until?;
        let began = now - TimeDelta::milliseconds((self.health.lag_s? * 1_000.0) as i64);
        Some((until - began).as_seconds_f64())
    }
}

/// What was read last, for all who look at about the same time.
#[derive(Debug, Default)]
pub(super) struct Latest(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    /// When it had been read.
    at: Instant,
    took: Duration,
    /// What was the news when reading began.
    news: u64,
    of: Weak<View>,
    tables: Result<Arc<Tables>, String>,
}

impl Kept {
    /// Before that nothing is read anew: so reading takes a fifth of the time at most, whoever asks and whatever happens.
    fn rests_until(&self) -> Instant {
        self.at + (self.took * 4).clamp(REST, KEPT)
    }
}

/// What the tables say.
#[derive(Debug)]
struct Tables {
    health: Vec<ClientHealth>,
    held: Vec<HeldStatus>,
    /// None where counting takes too long.
    counts: Option<Arc<Vec<UserCounts>>>,
    recent: Recent,
    /// Those of `recent`, by client.
    passes: HashMap<String, Arc<[PassRecord]>>,
}

impl Latest {
    /// What was read after the news that are known now, or waits for it.
    async fn tables(&self, context: &Context) -> Result<Arc<Tables>, String> {
        let view = context.view();
        let heard = *context.live.news().borrow();
        let mut read = self.0.lock().await;
        if let Some(kept) = read
            .as_ref()
            .filter(|kept| kept.of.as_ptr() == Arc::as_ptr(&view))
        {
            if kept.news >= heard && kept.at.elapsed() < KEPT {
                return kept.tables.clone();
            }
            // Whoever comes meanwhile waits for the same reading.
            tokio::time::sleep_until(kept.rests_until()).await;
        }
        // Before reading: what comes meanwhile is news afterwards.
        let news = *context.live.news().borrow();
        let began = Instant::now();
        let tables = match tokio::time::timeout(LIMIT, read_tables(context, &view, news)).await {
            Ok(Ok(tables)) => Ok(Arc::new(tables)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the database takes too long to answer".to_owned()),
        };
        *read = Some(Kept {
            at: Instant::now(),
            took: began.elapsed(),
            news,
            of: Arc::downgrade(&view),
            tables: tables.clone(),
        });
        tables
    }
}

async fn read_tables(context: &Context, view: &Arc<View>, news: u64) -> Result<Tables, crate::store::Error> {
    let store: &Store = &view.store;
    let clients: Vec<_> = view.clients.iter().map(|client| client.client.clone()).collect();
    let ids: Vec<String> = clients
        .iter()
        .map(|client| client.id.as_str().to_owned())
        .collect();
    let each = (PASSES / ids.len().max(1)).clamp(60, PASSES_PER_CLIENT);
    let health = health::read(store, &clients).await?;
    let held = store.held_status(NAMED).await?;
    let mut recent = store
        .recent(&ids, u32::try_from(each).unwrap_or(u32::MAX), DAYS, LEDGER)
        .await?;
    let mut passes: HashMap<String, Vec<PassRecord>> = HashMap::new();
    for pass in std::mem::take(&mut recent.passes) {
        passes.entry(pass.client_id.clone()).or_default().push(pass);
    }
    Ok(Tables {
        health,
        held,
        counts: context.looks.counts(view, news).await,
        recent,
        passes: passes
            .into_iter()
            .map(|(client, passes)| (client, passes.into()))
            .collect(),
    })
}

/// Reads all that the page says.
///
/// # Errors
///
/// Why the database cannot be read, in words.
pub(super) async fn read(context: &Context, latest: &Latest) -> Result<Overview, String> {
    let tables = latest.tables(context).await?;
    let view = Arc::clone(&context.view.borrow());
    Ok(put_together(
        &tables,
        &view,
        &context.under_way(),
        context.values(),
    ))
}

fn put_together(
    tables: &Tables,
    view: &View,
    under_way: &BTreeMap<String, Snapshot>,
    values: Values,
) -> Overview {
    let now = SystemClock.now();
    let clients = view.clients.iter().filter_map(|configured| {
        let id = configured.client.id.as_str();
        let health = tables
            .health
            .iter()
            .find(|health| health.client_id == id)?
            .clone();
        let passes = tables.passes.get(id).cloned().unwrap_or_default();
        let elsewhere = passes.first().filter(|pass| pass.outcome.is_none());
        let under_way = match under_way.get(&configured.client.name) {
            Some(snapshot) => Some(UnderWay::from(*snapshot)),
            None => elsewhere.map(|pass| of_another(pass, tables.recent.now)),
        };
        let mut counted = tables.counts.iter().flat_map(|counts| counts.iter());
        let users = counted.find(|counts| counts.client_id == id).map(|counts| Users {
            live: counts.live,
            removed: counts.removed,
            missing: counts.missing,
            rejects: counts.rejects,
        });
        Some(ClientOverview {
            users,
            held: tables.held.iter().find(|held| held.client_id == id).cloned(),
            last_pass: passes.iter().find(|pass| pass.outcome.is_some()).cloned(),
            under_way,
            next_pass_at: configured.cron.next_after(now),
            requests_per_minute: configured.client.requests_per_minute,
            fresh_since: health.fresh_since,
            passes,
            health,
        })
    });
    Overview {
        version: env!("CARGO_PKG_VERSION"),
        now: tables.recent.now,
        values_shown: values == Values::Full,
        clients: clients.collect(),
        days: every_day(&tables.recent.days, tables.recent.now),
        changes: changes::items(&tables.recent.changes, values),
    }
}

fn of_another(pass: &PassRecord, now: DateTime<Utc>) -> UnderWay {
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    UnderWay {
        here: false,
        observed: count(pass.observed),
        expected: None,
        requests: count(pass.requests),
        changes: count(pass.inserted + pass.updated + pass.removed + pass.restored + pass.repaired),
        elapsed_s: (now - pass.started_at).as_seconds_f64().max(0.0),
        left_s: None,
        alive_at: pass.heartbeat_at,
    }
}

/// With the days on which nothing changed.
fn every_day(changed: &[DayOfChanges], now: DateTime<Utc>) -> Vec<DayOfChanges> {
    let today = now.date_naive();
    let days = (0..u64::from(DAYS))
        .rev()
        .filter_map(|ago| today.checked_sub_days(Days::new(ago)));
    days.map(|day| {
        let known = changed.iter().find(|changed| changed.day == day);
        known.cloned().unwrap_or(DayOfChanges {
            day,
            inserted: 0,
            updated: 0,
            removed: 0,
            restored: 0,
            repaired: 0,
        })
    })
    .collect()
}
