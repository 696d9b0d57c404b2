//! How far each client's mirror can be trusted: the one judgement behind readiness, metrics, the page and notifications.

#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use crate::{
    config,
    store::{Error, HealthRow, Store},
};

/// The worst that is to be said of a client. Orders by badness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Fresh, and nobody has to do anything.
    Well,
    /// No pass was complete yet: there is nothing to trust.
    Never,
    /// No pass was complete for too long. It may come right by itself.
    Stale,
    /// Removals wait for an operator. Until then no pass is complete.
    Held,
    /// Cal.com refuses the credentials, or the source is not the recorded one: until an operator sees to it, nothing is mirrored.
    Refused,
}

impl Condition {
    pub const ALL: [Self; 5] = [Self::Well, Self::Never, Self::Stale, Self::Held, Self::Refused];

    /// As it is serialized.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Never => "never",
            Self::Stale => "stale",
            Self::Held => "held",
            Self::Refused => "refused",
        }
    }
}

/// One thing that is wrong with a client. Holds no values of users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    Refused {
        /// What Cal.com or the database said, with the remedy.
        error: String,
        /// The newest pass that was refused.
        run_id: i64,
        /// When it ended.
        #[serde(serialize_with = "millis_if_any")]
        at: Option<DateTime<Utc>>,
    },
    Held {
        /// How many users the set would remove.
        users: i64,
        /// What `calmirror approve` takes.
        run_id: i64,
        /// The first pass that held this set. Another set of the client has another one.
        #[serde(skip)]
        first_run_id: i64,
        #[serde(serialize_with = "millis")]
        since: DateTime<Utc>,
    },
    Stale {
        #[serde(serialize_with = "millis")]
        since: DateTime<Utc>,
    },
    Never,
}

impl Reason {
    /// The condition that this alone would put a client in.
    pub const fn condition(&self) -> Condition {
        match self {
            Self::Refused { .. } => Condition::Refused,
            Self::Held { .. } => Condition::Held,
            Self::Stale { .. } => Condition::Stale,
            Self::Never => Condition::Never,
        }
    }
}

/// How one configured client is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClientHealth {
    /// Its name in the configuration.
    pub client: String,
    pub client_id: String,
    /// That of the worst reason; [`Condition::Well`] without any.
    pub condition: Condition,
    /// The worst first.
    pub reasons: Vec<Reason>,
    /// Whether the newest complete pass still counts as fresh. A client may be fresh and held.
    pub fresh: bool,
    /// Seconds since the start of the newest complete pass, at the time of reading.
    pub lag_s: Option<f64>,
    /// End of that pass.
    #[serde(serialize_with = "millis_if_any")]
    pub last_complete_at: Option<DateTime<Utc>>,
    /// Until when it counts as fresh.
    #[serde(serialize_with = "millis_if_any")]
    pub fresh_until: Option<DateTime<Utc>>,
    /// Since when the client is fresh without a break; none while it is not.
    #[serde(skip)]
    pub fresh_since: Option<DateTime<Utc>>,
    /// Whether a pass has begun and not ended.
    #[serde(skip)]
    pub under_way: bool,
}

/// Judges one client by what the tables say of it; none: nothing.
pub fn judge(client: &config::Client, row: Option<&HealthRow>) -> ClientHealth {
    let mut reasons = Vec::new();
    if let Some(row) = row {
        if let Some(run_id) = row.refused_run_id {
            reasons.push(Reason::Refused {
                error: row.refused_error.clone().unwrap_or_default(),
                run_id,
                at: row.refused_at,
            });
        }
        if let (Some(users), Some(run_id), Some(first_run_id), Some(since)) = (
            row.held_users,
            row.held_run_id,
            row.held_first_run_id,
            row.held_since,
        ) {
            reasons.push(Reason::Held {
                users,
                run_id,
                first_run_id,
                since,
            });
        }
    }
    let fresh = row.is_some_and(|row| row.verdict == "fresh");
    match row.and_then(|row| row.last_complete_at.zip(row.fresh_until)) {
        None => reasons.push(Reason::Never),
        Some((_, since)) if !fresh => reasons.push(Reason::Stale { since }),
        Some(_) => {}
    }
    ClientHealth {
        client: client.name.clone(),
        client_id: client.id.as_str().to_owned(),
        condition: reasons
            .iter()
            .map(Reason::condition)
            .max()
            .unwrap_or(Condition::Well),
        reasons,
        fresh,
        lag_s: row.and_then(|row| row.lag_s),
        last_complete_at: row.and_then(|row| row.last_complete_at),
        fresh_until: row.and_then(|row| row.fresh_until),
        fresh_since: row.and_then(|row| row.fresh_since),
        under_way: row.is_some_and(|row| row.under_way),
    }
}

/// Judges each configured client, in the order of the configuration.
///
/// # Errors
///
/// What Postgres says.
pub async fn read(store: &Store, clients: &[config::Client]) -> Result<Vec<ClientHealth>, Error> {
    let rows = store.health().await?;
    let row = |client: &config::Client| rows.iter().find(|row| row.client_id == client.id.as_str());
    Ok(clients.iter().map(|client| judge(client, row(client))).collect())
}

fn millis<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

#[expect(clippy::ref_option, reason = "serde asks for it so")]
fn millis_if_any<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => millis(time, serializer),
        None => serializer.serialize_none(),
    }
}
