//! What the tables say of each client: freshness, the newest pass, what waits.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Error, Store};
use crate::model::{ClientId, UserSet};

/// One client as the database has it. Serialized as `status --output json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct ClientStatus {
    pub client: String,
    pub client_id: String,
    /// `fresh`, `stale` or `never`.
    pub verdict: String,
    /// Time since the start of the newest complete pass.
    pub lag_s: Option<f64>,
    pub last_complete_at: Option<DateTime<Utc>>,
    pub live_users: i64,
    pub removed_users: i64,
    pub rejects: i64,
    pub last_run_id: i64,
    /// None while the pass is under way.
    pub last_outcome: Option<String>,
    pub last_started_at: Option<DateTime<Utc>>,
    pub last_finished_at: Option<DateTime<Utc>>,
    /// When that pass last showed that it is alive.
    pub last_heartbeat_at: Option<DateTime<Utc>>,
    /// Time since the start of that pass, by the database's clock.
    pub last_started_s: Option<f64>,
    pub last_error: Option<String>,
    /// Users that this pass has observed so far, as of its last sign of life, or in all.
    pub last_observed: Option<i64>,
    /// Of how many; null where it was not said.
    pub last_planned_users: Option<i64>,
    /// Requests that it has made, as of its last sign of life, or in all.
    pub last_requests: Option<i64>,
    /// Of how many; null where it was not said.
    pub last_planned_requests: Option<i64>,
    /// How users were asked for: `get`, `bulk` or `list`.
    pub last_fetch_plan: Option<String>,
    /// Versions that it has written so far, or in all.
    pub last_changes: Option<i64>,
    /// The pass that was cut and that this one goes on from.
    pub last_resumes: Option<i64>,
}

/// What the tables say of the users that a client's configuration lists, and of those that it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WatchStatus {
    /// Live users of the client that are not listed.
    pub unwatched_users: i64,
    /// The first of them.
    pub unwatched: Vec<i64>,
    /// Listed users that were forgotten.
    pub forgotten_users: i64,
    /// The first of them.
    pub forgotten: Vec<i64>,
    /// Listed users that are live in the mirror and that Cal.com says are gone: candidates for removal.
    pub missing_users: i64,
    /// Those of the candidates that are in no held set: they wait for another pass to say so.
    pub waiting_users: i64,
    /// The first of them.
    pub waiting: Vec<Waiting>,
    /// Listed users that Cal.com says are not the client's, and that were never mirrored.
    pub never_mirrored_users: i64,
    /// The first of them.
    pub never_mirrored: Vec<i64>,
}

/// A candidate for removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Waiting {
    pub user_id: i64,
    /// In how many passes Cal.com said that the user is gone, while another one answered.
    pub confirmations: i32,
}

/// Removals that wait for an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldStatus {
    #[serde(skip)]
    pub client_id: String,
    pub set_hash: String,
    /// How many users the set would remove.
    pub users: i64,
    /// Of how many live ones.
    pub live: i64,
    /// `limit`, `everyone` or `no_control`.
    pub reason: String,
    /// The newest pass that held exactly this set: what `calmirror approve` takes.
    pub run_id: i64,
    pub first_run_id: i64,
    pub held_since: DateTime<Utc>,
    /// The first of the users.
    pub first_users: Vec<i64>,
}

/// A user whose record could not be mirrored.
#[derive(Clone, Debug, Serialize)]
pub struct RejectStatus {
    pub client: String,
    pub user_id: i64,
    pub first_seen_at: DateTime<Utc>,
    pub reason: String,
    pub fields: Vec<String>,
}

impl Store {
    /// Every client that ever had a pass, by name.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn status(&self) -> Result<Vec<ClientStatus>, Error> {
        let mut tx = self.begin().await?;
        let clients = sqlx::query_as!(
            ClientStatus,
            r#"
            select
                f.client_name as "client!",
                f.client_id as "client_id!",
                f.verdict as "verdict!",
                extract(epoch from f.lag)::double precision as lag_s,
                f.last_complete_at,
                coalesce(u.live, 0) as "live_users!",
                coalesce(u.removed, 0) as "removed_users!",
                (select count(*) from rejects as r where r.client_id = f.client_id) as "rejects!",
                coalesce(l.run_id, s.last_run_id) as "last_run_id!",
                l.outcome as "last_outcome?",
                l.started_at as "last_started_at?",
                l.finished_at as "last_finished_at?",
                l.heartbeat_at as "last_heartbeat_at?",
                extract(epoch from now() - l.started_at)::double precision as last_started_s,
                l.error as "last_error?",
                l.observed as "last_observed?",
                l.planned_users as "last_planned_users?",
                l.requests as "last_requests?",
                l.planned_requests as "last_planned_requests?",
                l.fetch_plan as "last_fetch_plan?",
                l.inserted + l.updated + l.removed + l.restored + l.repaired as "last_changes?",
                l.resumes as "last_resumes?"
            from managed_users_freshness as f
            join sync_state as s on s.client_id = f.client_id
            -- A tick that was skipped says nothing of the mirror.
            left join lateral (
                select * from sync_runs as r
                where r.client_id = f.client_id and r.outcome is distinct from 'skipped'
                order by r.run_id desc
                limit 1
            ) as l on true
            left join (
                select
                    m.client_id,
                    count(*) filter (where m.removed_at is null) as live,
                    count(*) filter (where m.removed_at is not null) as removed
                from managed_users as m
                group by m.client_id
            ) as u on u.client_id = f.client_id
            order by f.client_name
            "#
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(clients)
    }

    /// The users of a client beside those that are watched, which may be everyone, at most `limit` of each kind by name.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn watch_status(
        &self,
        client: &ClientId,
        watched: Option<&UserSet>,
        limit: u32,
    ) -> Result<WatchStatus, Error> {
        let watched: Option<Vec<i64>> = watched.map(|users| users.iter().map(|id| id.0).collect());
        let mut tx = self.begin().await?;
        let row = sqlx::query!(
            r#"
            -- Either side may have 100,000 users. Of sets, as opposed to joins, no plan compares each with each.
            with watched as (
                select unnest($2::bigint[]) as id
                union all
                select id from managed_users where $2 is null and client_id = $1
                union all
                select user_id from missing_users where $2 is null and client_id = $1
            ),
            unwatched as (
                select id from managed_users where client_id = $1 and removed_at is null
                except
                select id from watched
            ),
            forgotten as (
                select user_id as id from forgotten_users
                intersect
                select id from watched
            ),
            missing as (
                select user_id as id from missing_users where client_id = $1
                intersect
                select id from watched
            ),
            candidates as (
                select id from missing
                intersect
                select id from managed_users where client_id = $1 and removed_at is null
            ),
            waiting as (
                select id from candidates
                except
                select user_id from held_removals where client_id = $1
            ),
            first_waiting as (select id from waiting order by id limit $3),
            never_mirrored as (
                select id from missing
                except
                select id from managed_users where client_id = $1
            )
            select
                (select count(*) from unwatched) as "unwatched_users!",
                array(select id from unwatched order by id limit $3) as "unwatched!",
                (select count(*) from forgotten) as "forgotten_users!",
                array(select id from forgotten order by id limit $3) as "forgotten!",
                (select count(*) from candidates) as "missing_users!",
                (select count(*) from waiting) as "waiting_users!",
                array(select id from first_waiting order by id) as "waiting!",
                array(
                    select (
                        select m.confirmations from missing_users as m
                        where m.client_id = $1 and m.user_id = w.id
                    )
                    from first_waiting as w order by w.id
                ) as "confirmations!",
                (select count(*) from never_mirrored) as "never_mirrored_users!",
                array(select id from never_mirrored order by id limit $3) as "never_mirrored!"
            "#,
            client.as_str(),
            watched.as_deref(),
            i64::from(limit),
        )
        .fetch_one(&mut tx)
        .await?;
        tx.rollback().await?;
        let waiting = row.waiting.into_iter().zip(row.confirmations);
        Ok(WatchStatus {
            unwatched_users: row.unwatched_users,
            unwatched: row.unwatched,
            forgotten_users: row.forgotten_users,
            forgotten: row.forgotten,
            missing_users: row.missing_users,
            waiting_users: row.waiting_users,
            waiting: waiting
                .map(|(user_id, confirmations)| Waiting {
                    user_id,
                    confirmations,
                })
                .collect(),
            never_mirrored_users: row.never_mirrored_users,
            never_mirrored: row.never_mirrored,
        })
    }

    /// The held set of each client that has one, with at most `limit` of its users.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn held_status(&self, limit: u32) -> Result<Vec<HeldStatus>, Error> {
        let mut tx = self.begin().await?;
        let held = sqlx::query_as!(
            HeldStatus,
            r#"
            select
                h.client_id, h.set_hash, h.users, h.live, h.reason, h.last_run_id as run_id, h.first_run_id,
                h.held_since,
                array(
                    select r.user_id from held_removals as r
                    where r.client_id = h.client_id order by r.user_id limit $1
                ) as "first_users!"
            from held_sets as h
            order by h.client_id
            "#,
            i64::from(limit),
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(held)
    }

    /// The base address that a client was mirrored from; none for a client without a pass, or a database without tables.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn source_of(&self, client: &ClientId) -> Result<Option<String>, Error> {
        match self.pending_migrations().await {
            Ok(_) => {}
            Err(Error::NotMigrated { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut tx = self.begin().await?;
        let source = sqlx::query_scalar!(
            "select base_url from sync_state where client_id = $1
                and exists (select from managed_user_changes where client_id = $1)",
            client.as_str()
        )
        .fetch_optional(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(source)
    }

    /// How many changes the ledger holds.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn ledger_rows(&self) -> Result<i64, Error> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query_scalar!(r#"select count(*) as "rows!" from managed_user_changes"#)
            .fetch_one(&mut tx)
            .await?;
        tx.rollback().await?;
        Ok(rows)
    }

    /// The newest rejects, at most `limit`.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn rejects(&self, limit: u32) -> Result<Vec<RejectStatus>, Error> {
        let mut tx = self.begin().await?;
        let rejects = sqlx::query_as!(
            RejectStatus,
            r#"
            select
                coalesce(s.client_name, r.client_id) as "client!", r.user_id, r.first_seen_at, r.reason, r.fields
            from rejects as r
            left join sync_state as s on s.client_id = r.client_id
            order by r.changed_at desc, r.user_id
            limit $1
            "#,
            i64::from(limit),
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(rejects)
    }
}
