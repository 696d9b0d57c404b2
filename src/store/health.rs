//! What readiness, metrics and notifications ask of the tables: little, and often.

use chrono::{DateTime, Utc};

use super::{Error, Store};

/// How far one client's mirror can be trusted, as the tables have it. Cheap to read, however many users there are.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthRow {
    pub client_id: String,
    /// `fresh`, `stale` or `never`.
    pub verdict: String,
    /// Seconds since the start of the newest complete pass.
    pub lag_s: Option<f64>,
    /// End of that pass.
    pub last_complete_at: Option<DateTime<Utc>>,
    /// Until when it counts as fresh.
    pub fresh_until: Option<DateTime<Utc>>,
    /// Since when the client is fresh without a break; none while it is not.
    pub fresh_since: Option<DateTime<Utc>>,
    /// The newest pass that had word from Cal.com, if it was refused.
    pub refused_run_id: Option<i64>,
    pub refused_at: Option<DateTime<Utc>>,
    pub refused_error: Option<String>,
    /// The newest pass that held the set that waits: what `calmirror approve` takes.
    pub held_run_id: Option<i64>,
    /// The first pass that held it, which tells it from other sets of the client.
    pub held_first_run_id: Option<i64>,
    pub held_users: Option<i64>,
    pub held_since: Option<DateTime<Utc>>,
    /// A pass has begun and not ended. What it has held it says at its end, and what was held before may be gone until then.
    pub under_way: bool,
}

/// How many users a client has, of each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCounts {
    pub client_id: String,
    pub live: i64,
    pub removed: i64,
    pub rejects: i64,
    /// Live in the mirror, and said to be gone: candidates for removal.
    pub missing: i64,
}

impl Store {
    /// One row for each client of which anything is known.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn health(&self) -> Result<Vec<HealthRow>, Error> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query_as!(
            HealthRow,
            r#"
            select
                f.client_id as "client_id!",
                f.verdict as "verdict!",
                extract(epoch from f.lag)::double precision as lag_s,
                f.last_complete_at as "last_complete_at?",
                f.fresh_until as "fresh_until?",
                f.fresh_since as "fresh_since?",
                w.run_id as "refused_run_id?",
                w.finished_at as "refused_at?",
                w.error as "refused_error?",
                h.last_run_id as "held_run_id?",
                h.first_run_id as "held_first_run_id?",
                h.users as "held_users?",
                h.held_since as "held_since?",
                exists (select from sync_runs as r where r.client_id = f.client_id and r.outcome is null) as "under_way!"
            from managed_users_freshness as f
            left join held_sets as h on h.client_id = f.client_id
            left join lateral (
                select n.* from (
                    select r.run_id, r.finished_at, r.error, r.outcome
                    from sync_runs as r
                    where r.client_id = f.client_id
                        -- Only what Cal.com has said takes a refusal back: neither that it was away, nor that the pass was told to
                        -- stop before it had asked.
                        and (
                            r.failure = 'refused'
                            or r.outcome in ('applied', 'no_change', 'held') and r.trigger <> 'repair'
                            or r.outcome = 'partial' and r.observed > 0
                        )
                    order by r.run_id desc
                    limit 1
                ) as n
                where n.outcome = 'failed'
            ) as w on true
            order by f.client_id
            "#
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(rows)
    }

    /// Counts users: takes as long as reading an index over all of them.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn user_counts(&self) -> Result<Vec<UserCounts>, Error> {
        let mut tx = self.begin().await?;
        let counts = sqlx::query_as!(
            UserCounts,
            r#"
            select
                s.client_id,
                coalesce(u.live, 0) as "live!",
                coalesce(u.removed, 0) as "removed!",
                (select count(*) from rejects as r where r.client_id = s.client_id) as "rejects!",
                (
                    select count(*) from missing_users as m
                    join managed_users as u on u.id = m.user_id and u.client_id = m.client_id
                    where m.client_id = s.client_id and u.removed_at is null
                ) as "missing!"
            from sync_state as s
            left join (
                select
                    client_id,
                    count(*) filter (where removed_at is null) as live,
                    count(*) filter (where removed_at is not null) as removed
                from managed_users
                group by client_id
            ) as u on u.client_id = s.client_id
            order by s.client_id
            "#
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(counts)
    }
}
