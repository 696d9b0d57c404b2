//! What the tables say of each client: freshness, the newest pass, what waits.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Error, Store};
use crate::model::ClientId;

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
    /// Candidates for removal, and users that were never there.
    pub missing_users: i64,
    pub rejects: i64,
    pub last_run_id: i64,
    /// None while the pass is under way.
    pub last_outcome: Option<String>,
    pub last_started_at: Option<DateTime<Utc>>,
    pub last_finished_at: Option<DateTime<Utc>>,
    pub last_error: Option<String>,
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
                (select count(*) from missing_users as m where m.client_id = f.client_id) as "missing_users!",
                (select count(*) from rejects as r where r.client_id = f.client_id) as "rejects!",
                coalesce(l.run_id, s.last_run_id) as "last_run_id!",
                l.outcome as "last_outcome?",
                l.started_at as "last_started_at?",
                l.finished_at as "last_finished_at?",
                l.error as "last_error?"
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
