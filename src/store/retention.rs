//! Deleting what is older than the configuration keeps, a small batch at a time.
//!
//! One process at a time does it. Whoever begins takes a token, as a pass takes its client's epoch, and each batch checks in
//! its own transaction that the token is still its own. Nothing here waits for a pass, nor does a pass for it.

mod due;
mod ledger;
mod rejects;
mod runs;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::{Error, Store, tx::Tx};
use crate::config::Retention;

pub use ledger::{FoldedBatch, Place};
pub use runs::{RunBatch, RunPlace};

/// Rows that one transaction deletes at most.
const BATCH: i64 = 500;

/// Rows of the ledger that one transaction looks at: most stay, as a rule.
const LOOKED_AT: i64 = 4 * BATCH;

/// The right to delete, until somebody else begins.
#[derive(Clone, Copy, Debug)]
pub struct Pruning {
    token: i64,
    cutoffs: Cutoffs,
}

/// What is older is not kept; none: all of it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cutoffs {
    runs: Option<DateTime<Utc>>,
    rejects: Option<DateTime<Utc>>,
    ledger: Option<DateTime<Utc>>,
}

/// How an attempt to begin went.
#[derive(Clone, Copy, Debug)]
pub enum BegunPruning {
    Begun(Pruning),
    /// It was done less than a day ago, or another process is at it. It is due at this time, unless that one is cut.
    NotDue {
        again_at: DateTime<Utc>,
    },
}

/// Rows that were deleted, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deleted {
    pub sync_runs: u64,
    pub rejects: u64,
    pub managed_user_changes: u64,
}

/// The newest time that it was done. Serialized as `status --output json` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RetentionStatus {
    pub started_at: DateTime<Utc>,
    /// None while it is under way, and where it was cut.
    pub finished_at: Option<DateTime<Utc>>,
    pub heartbeat_at: DateTime<Utc>,
    pub deleted_runs: i64,
    pub deleted_rejects: i64,
    pub deleted_versions: i64,
    pub folded_users: i64,
    /// Users whose ledger has a fault, and was left as it is.
    pub users_in_doubt: i64,
    /// From when on the ledger is whole; none while nothing was ever folded.
    pub history_from: Option<DateTime<Utc>>,
}

/// What a transaction of [`Pruning`] is for.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Delete(i64),
    /// Nothing is written.
    Look,
}

impl Cutoffs {
    /// Of a configuration, at a time of the database's clock.
    fn of(retention: &Retention, now: DateTime<Utc>) -> Self {
        let before = |days: u32| {
            let age = TimeDelta::try_days(i64::from(days)).filter(|_| days > 0);
            age.and_then(|age| now.checked_sub_signed(age))
        };
        Self {
            runs: before(retention.no_change_runs_days),
            rejects: before(retention.rejects_days),
            ledger: before(retention.ledger_days),
        }
    }
}

impl Pruning {
    /// What is older is deleted.
    pub fn cutoffs(&self) -> Cutoffs {
        self.cutoffs
    }
}

impl Store {
    /// Begins to delete, and ends the right of whoever began before. With `every`, only if that long has passed since it was
    /// last done, and nobody has been at it within `silence`; without, at once.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn begin_pruning(
        &self,
        retention: &Retention,
        every: Option<Duration>,
        silence: Duration,
    ) -> Result<BegunPruning, Error> {
        let mut tx = self.begin().await?;
        if let Some(every) = every {
            // Whoever is at it gives way to whoever has the lock, which is not to be a look in vain.
            if let Some(again_at) = due_later(&mut tx, every, silence).await? {
                tx.rollback().await?;
                return Ok(BegunPruning::NotDue { again_at });
            }
        }
        lock(&mut tx, true).await?;
        if let Some(every) = every
            && let Some(again_at) = due_later(&mut tx, every, silence).await?
        {
            tx.rollback().await?;
            return Ok(BegunPruning::NotDue { again_at });
        }
        let token = fastrand::i64(..);
        let begun = sqlx::query!(
            r#"
            insert into retention as r (token, started_at, heartbeat_at) values ($1, now(), now())
            on conflict (only_row) do update set
                token = excluded.token, started_at = now(), heartbeat_at = now(), finished_at = null,
                deleted_runs = 0, deleted_rejects = 0, deleted_versions = 0, folded_users = 0, users_in_doubt = 0
            returning started_at
            "#,
            token,
        )
        .fetch_one(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(BegunPruning::Begun(Pruning {
            token,
            cutoffs: Cutoffs::of(retention, begun.started_at),
        }))
    }

    /// The cutoffs of a configuration by the database's clock, for whoever only looks.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn cutoffs(&self, retention: &Retention) -> Result<Cutoffs, Error> {
        let mut tx = self.begin().await?;
        let now = sqlx::query_scalar!(r#"select now() as "now!""#)
            .fetch_one(&mut tx)
            .await?;
        tx.rollback().await?;
        Ok(Cutoffs::of(retention, now))
    }

    /// Puts on record that nothing is left to delete.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] when somebody else has begun.
    pub async fn finish_pruning(&self, pruning: &Pruning) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        check(&mut tx, pruning.token).await?;
        sqlx::query!("update retention set finished_at = now(), heartbeat_at = now()")
            .execute(&mut tx)
            .await?;
        tx.commit().await
    }

    /// When it was last done; none if never.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn retention_status(&self) -> Result<Option<RetentionStatus>, Error> {
        let mut tx = self.begin().await?;
        let status = sqlx::query_as!(
            RetentionStatus,
            "select started_at, finished_at, heartbeat_at, deleted_runs, deleted_rejects, deleted_versions,
                folded_users, users_in_doubt, history_from
             from retention",
        )
        .fetch_optional(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(status)
    }
}

/// When it is due, if that is later.
async fn due_later(tx: &mut Tx, every: Duration, silence: Duration) -> Result<Option<DateTime<Utc>>, Error> {
    let due = sqlx::query!(
        r#"
                select
                    again_at as "again_at!", again_at > now() as "is_later!"
                from (
                    select case
                        when finished_at is null then heartbeat_at + make_interval(secs => $2)
                        -- One of the future was written before a failover to a clock that is behind.
                        when finished_at > now() then now()
                        else finished_at + make_interval(secs => $1)
                    end as again_at
                    from retention
                ) as newest
                "#,
        every.as_secs_f64(),
        silence.as_secs_f64(),
    )
    .fetch_optional(tx)
    .await?;
    Ok(due.filter(|due| due.is_later).map(|due| due.again_at))
}

/// One transaction deletes at a time. It is over with the transaction, so that PgBouncer may stand in between.
async fn lock(tx: &mut Tx, waits: bool) -> Result<(), Error> {
    if waits {
        sqlx::query!(
            "select pg_advisory_xact_lock(hashtextextended('calmirror retention ' || current_schema(), 0))"
        )
        .execute(&mut *tx)
        .await?;
        return Ok(());
    }
    let is_ours = sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock(hashtextextended('calmirror retention ' || current_schema(), 0)) as "ours!""#
    )
    .fetch_one(&mut *tx)
    .await?;
    if is_ours { Ok(()) } else { Err(Error::Overtaken) }
}

/// That nobody else has begun, nor does while the transaction lasts.
async fn check(tx: &mut Tx, token: i64) -> Result<(), Error> {
    lock(tx, false).await?;
    let newest = sqlx::query_scalar!("select token from retention for update")
        .fetch_optional(&mut *tx)
        .await?;
    if newest == Some(token) {
        Ok(())
    } else {
        Err(Error::Overtaken)
    }
}

fn count(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or_default()
}

fn stored(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
