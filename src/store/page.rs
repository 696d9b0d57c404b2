//! What the status page reads: never more than it shows, and never for long.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use sqlx::types::Json as Jsonb;

use super::{Error, HistoryEntry, Store, history, tx::Tx};
use crate::model::{JsonObject, UserId};

/// A page that takes longer is of no use to whoever waits for it.
const BRIEFLY: &str =
    "SET LOCAL statement_timeout TO '5s'; SET LOCAL lock_timeout TO '2s'; SET TRANSACTION READ ONLY";

/// Of changes that one page is made of: values may be as large as an answer of Cal.com's. The newest is there, whatever it has.
const PAGE_BYTES: i64 = 2 * 1024 * 1024;

/// What the tables say of the passes and the changes of late, in one snapshot.
#[derive(Clone, Debug)]
pub struct Recent {
    /// By the database's clock.
    pub now: DateTime<Utc>,
    /// The newest passes of each client, the newest first. Ticks that were skipped are none.
    pub passes: Vec<PassRecord>,
    /// Days on which a pass began that changed something, the first one first.
    pub days: Vec<DayOfChanges>,
    /// The newest of the ledger, the newest first. Fewer, where their values are large.
    pub changes: Vec<RecentChange>,
}

/// A pass as `sync_runs` has it.
#[derive(Clone, Debug, Serialize)]
pub struct PassRecord {
    pub run_id: i64,
    #[serde(skip)]
    pub client_id: String,
    pub trigger: String,
    /// None while it is under way.
    pub outcome: Option<String>,
    pub began_at: DateTime<Utc>,
    pub started_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    /// When it last showed that it is alive.
    pub heartbeat_at: Option<DateTime<Utc>>,
    pub observed: i64,
    pub inserted: i64,
    pub updated: i64,
    pub removed: i64,
    pub restored: i64,
    pub repaired: i64,
    pub unchanged: i64,
    pub rejected: i64,
    pub missing: i64,
    pub requests: i64,
    pub error: Option<String>,
}

/// What the passes changed that began on one day, by UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DayOfChanges {
    pub day: NaiveDate,
    pub inserted: i64,
    pub updated: i64,
    pub removed: i64,
    pub restored: i64,
    pub repaired: i64,
}

/// A row of the ledger with what a list of them says beside it.
#[derive(Clone, Debug)]
pub struct RecentChange {
    pub change_id: i64,
    pub run_id: i64,
    pub user_id: i64,
    /// As the client is called today.
    pub client: String,
    pub version: i32,
    /// `insert`, `update`, `removal`, `restore` or `repair`.
    pub kind: String,
    /// Those before it were folded into it.
    pub folded: bool,
    pub observed_at: DateTime<Utc>,
    /// Column name to `{"old": …, "new": …}`.
    pub changed: JsonObject,
    /// How many users the same pass wrote for the first time.
    pub run_inserted: i64,
}

/// A version of a user, without its state.
#[derive(Clone, Debug)]
pub struct VersionRecord {
    pub version: i32,
    /// `insert`, `update`, `removal`, `restore` or `repair`.
    pub kind: String,
    /// Those before it were folded into it.
    pub folded: bool,
    pub observed_at: DateTime<Utc>,
    pub run_id: i64,
    pub client_id: String,
    /// Column name to `{"old": …, "new": …}`.
    pub changed: JsonObject,
}

/// How much is wanted of a user's past.
#[derive(Clone, Copy, Debug)]
pub struct PastWanted {
    /// As of when; the newest version if not said.
    pub at: Option<DateTime<Utc>>,
    /// Versions before this one only.
    pub before: Option<i32>,
    /// At most so many, the newest of them. Fewer, where their values are large.
    pub limit: u32,
}

/// A user's past, as far as it was asked for.
#[derive(Clone, Debug)]
pub struct Past {
    pub now: DateTime<Utc>,
    /// The newest first.
    pub versions: Vec<VersionRecord>,
    /// The version that was in force at the instant; none where there was none yet, or where it is not known any more.
    pub state: Option<HistoryEntry>,
    /// Where it is not known any more: since when it is.
    pub known_from: Option<DateTime<Utc>>,
    /// The newest version of all.
    pub newest: Option<i32>,
    /// The oldest version of all.
    pub oldest: Option<i32>,
}

impl Store {
    /// Passes and changes of late: of each of these clients at most `passes`, of `days` days, at most `changes` of the ledger.
    ///
    /// # Errors
    ///
    /// What Postgres says, also when it takes more than 5 seconds for one of them.
    pub async fn recent(
        &self,
        clients: &[String],
        passes: u32,
        days: u32,
        changes: u32,
    ) -> Result<Recent, Error> {
        let mut tx = self.begin_briefly().await?;
        let now = now(&mut tx).await?;
        let passes = sqlx::query_as!(
            PassRecord,
            r#"
            select
                r.run_id as "run_id!", r.client_id as "client_id!", r.trigger as "trigger!", r.outcome as "outcome?",
                coalesce(r.began_at, r.started_at) as "began_at!", r.started_at as "started_at!",
                r.finished_at as "finished_at?", r.heartbeat_at as "heartbeat_at?", r.observed as "observed!", r.inserted as "inserted!",
                r.updated as "updated!", r.removed as "removed!", r.restored as "restored!",
                r.repaired as "repaired!", r.unchanged as "unchanged!", r.rejected as "rejected!",
                r.missing as "missing!", r.requests as "requests!", r.error as "error?"
            from unnest($1::text[]) as wanted (client_id)
            cross join lateral (
                select * from sync_runs as r
                where r.client_id = wanted.client_id and r.outcome is distinct from 'skipped'
                order by r.run_id desc
                limit $2
            ) as r
            order by r.run_id desc
            "#,
            clients,
            i64::from(passes),
        )
        .fetch_all(&mut tx)
        .await?;
        let days = days_of_changes(&mut tx, clients, days).await?;
        let changes = sqlx::query!(
            r#"
            select
                c.change_id, c.run_id, c.user_id, coalesce(s.client_name, c.client_id) as "client!", c.version,
                c.kind, c.folded_at is not null as "folded!", c.observed_at,
                c.changed as "changed: Jsonb<JsonObject>",
                coalesce(r.inserted, 0) as "run_inserted!"
            from (
                select *, sum(octet_length(changed::text)) over (order by change_id desc) - octet_length(changed::text) as newer_bytes
                from (select * from managed_user_changes order by change_id desc limit $1) as newest
            ) as c
            left join sync_state as s on s.client_id = c.client_id
            left join sync_runs as r on r.run_id = c.run_id
            where c.newer_bytes < $2
            order by c.change_id desc
            "#,
            i64::from(changes),
            PAGE_BYTES,
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        let changes = changes.into_iter().map(|row| RecentChange {
            change_id: row.change_id,
            run_id: row.run_id,
            user_id: row.user_id,
            client: row.client,
            version: row.version,
            kind: row.kind,
            folded: row.folded,
            observed_at: row.observed_at,
            changed: row.changed.0,
            run_inserted: row.run_inserted,
        });
        Ok(Recent {
            now,
            passes,
            days,
            changes: changes.collect(),
        })
    }

    /// A user's past, as far as it is wanted. No version at all for a user that was never mirrored, or is forgotten.
    ///
    /// # Errors
    ///
    /// What Postgres says, also when it takes more than 5 seconds for one of them.
    pub async fn past(&self, user: UserId, wanted: PastWanted) -> Result<Past, Error> {
        let mut tx = self.begin_briefly().await?;
        let now = now(&mut tx).await?;
        let ends = sqlx::query!(
            "select min(version) as oldest, max(version) as newest from managed_user_changes where user_id = $1",
            user.0
        )
        .fetch_one(&mut tx)
        .await?;
        let versions = sqlx::query!(
            r#"
            select
                version, kind, folded_at is not null as "folded!", observed_at, run_id, client_id,
                changed as "changed: Jsonb<JsonObject>"
            from (
                select *, sum(octet_length(changed::text)) over (order by version desc) - octet_length(changed::text) as newer_bytes
                from (
                    select * from managed_user_changes
                    where user_id = $1 and ($2::integer is null or version < $2)
                    order by version desc
                    limit $3
                ) as newest
            ) as c
            where newer_bytes < $4
            order by version desc
            "#,
            user.0,
            wanted.before,
            i64::from(wanted.limit),
            PAGE_BYTES,
        )
        .fetch_all(&mut tx)
        .await?;
        let state = sqlx::query_as!(
            history::Row,
            r#"
            select
                version, kind, observed_at, run_id, client_id,
                changed as "changed: Jsonb<JsonObject>",
                managed_user_promoted(after) as "after!: Jsonb<JsonObject>",
                folded_at, first_seen_at, removed_at
            from managed_user_changes
            where user_id = $1 and ($2::timestamptz is null or observed_at <= $2)
            order by version desc
            limit 1
            "#,
            user.0,
            wanted.at,
        )
        .fetch_optional(&mut tx)
        .await?;
        let known_from = sqlx::query_scalar!(
            "select observed_at from managed_user_changes
             where user_id = $1 and folded_at is not null and first_seen_at <= $2 and observed_at > $2",
            user.0,
            wanted.at,
        )
        .fetch_optional(&mut tx)
        .await?;
        tx.rollback().await?;
        let versions = versions.into_iter().map(|row| VersionRecord {
            version: row.version,
            kind: row.kind,
            folded: row.folded,
            observed_at: row.observed_at,
            run_id: row.run_id,
            client_id: row.client_id,
            changed: row.changed.0,
        });
        Ok(Past {
            now,
            versions: versions.collect(),
            state: state.map(HistoryEntry::from),
            known_from,
            newest: ends.newest,
            oldest: ends.oldest,
        })
    }

    async fn begin_briefly(&self) -> Result<Tx, Error> {
        self.begin_by(format!("{}; {BRIEFLY}", self.begin)).await
    }
}

async fn now(tx: &mut Tx) -> Result<DateTime<Utc>, Error> {
    let now = sqlx::query_scalar!(r#"select now() as "now!""#)
        .fetch_one(tx)
        .await?;
    Ok(now)
}

/// From the counts of the passes, which are written with the ledger: it may have a million rows a day, and has no need to be read.
async fn days_of_changes(tx: &mut Tx, clients: &[String], days: u32) -> Result<Vec<DayOfChanges>, Error> {
    let days = sqlx::query_as!(
        DayOfChanges,
        r#"
        select
            (r.started_at at time zone 'UTC')::date as "day!",
            sum(r.inserted)::bigint as "inserted!", sum(r.updated)::bigint as "updated!",
            sum(r.removed)::bigint as "removed!", sum(r.restored)::bigint as "restored!",
            sum(r.repaired)::bigint as "repaired!"
        from sync_runs as r
        where r.client_id = any($1)
            and r.started_at >= date_trunc('day', now(), 'UTC') - make_interval(days => $2 - 1)
            and r.inserted + r.updated + r.removed + r.restored + r.repaired > 0
        group by 1
        order by 1
        "#,
        clients,
        i32::try_from(days).unwrap_or(i32::MAX),
    )
    .fetch_all(tx)
    .await?;
    Ok(days)
}
