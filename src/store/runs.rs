//! Passes on record: their counts, their end.

use std::time::Duration;

use super::{Error, Run, Store, Trigger, held};
use crate::{
    crash_point::crash_point,
    model::{ClientId, Failure, RunOutcome, UserId},
};

/// What a pass did. The four kinds of change are counted by the database, batch by batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCounts {
    pub observed: u64,
    pub inserted: u64,
    pub updated: u64,
    pub removed: u64,
    pub restored: u64,
    pub unchanged: u64,
    pub rejected: u64,
    pub missing: u64,
    pub unanswered: u64,
    pub requests: u64,
}

impl RunCounts {
    /// Ledger rows written.
    pub fn changes(&self) -> u64 {
        self.inserted + self.updated + self.removed + self.restored
    }
}

/// How a pass ended, as far as the pass itself knows.
#[derive(Clone, Debug)]
pub struct Finish<'a> {
    pub observed: u64,
    pub rejected: u64,
    pub missing: u64,
    pub unanswered: u64,
    pub requests: u64,
    /// Unchanged users whose records came in other bytes than before.
    pub respelled: u64,
    /// Fingerprints were written for users that had not changed.
    pub renewed: bool,
    /// How far the pass came, if it was cut and can be gone on from.
    pub done_to: Option<UserId>,
    /// Why the pass was not complete; none if it was, and then its changes tell `Applied` from `NoChange`.
    pub shortfall: Option<RunOutcome>,
    pub error: Option<&'a str>,
    /// Of a pass that failed.
    pub failure: Option<Failure>,
    /// From now, if the pass was complete. None for a pass that does not look at every watched user.
    pub fresh_for: Option<Duration>,
}

/// A pass that ended.
#[derive(Clone, Copy, Debug)]
pub struct RunRecord {
    pub outcome: RunOutcome,
    pub counts: RunCounts,
}

impl Store {
    /// How many users a run has marked removed.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn removed_in(&self, run: &Run) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let removed = sqlx::query_scalar!("select removed from sync_runs where run_id = $1", run.id)
            .fetch_one(&mut tx)
            .await?;
        tx.rollback().await?;
        Ok(u64::try_from(removed).unwrap_or_default())
    }

    /// Puts on record what a pass is about to do: by which plan, over how many users, and in how many requests, where that is known.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn note_plan(
        &self,
        run: &Run,
        plan: &str,
        users: u64,
        requests: Option<u64>,
    ) -> Result<(), Error> {
        let stored = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let mut tx = self.begin_lightly().await?;
        sqlx::query!(
            "update sync_runs set fetch_plan = $2, planned_users = $3, planned_requests = $4
             where run_id = $1 and outcome is null",
            run.id,
            plan,
            stored(users),
            requests.map(stored),
        )
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// Ends a pass. Freshness moves if the pass was complete.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a later pass has begun: it has already said how this one ended.
    pub async fn finish_run(&self, run: &Run, finish: &Finish<'_>) -> Result<RunRecord, Error> {
        crash_point!("finish::before");
        let mut tx = self.begin().await?;
        run.check_fence(&mut tx).await?;
        let stored = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let ended = sqlx::query!(
            r#"
            update sync_runs set
                outcome = coalesce($2, case
                    when inserted + updated + removed + restored + repaired > 0 then $11 else $12
                end),
                finished_at = now(), observed = $3,
                unchanged = greatest($3 - inserted - updated - restored - $4::bigint - $5::bigint, 0),
                rejected = $4, missing = $5, unanswered = $6, requests = $7, error = $8, respelled = $9, done_to = $10,
                failure = $13
            where run_id = $1
            returning outcome as "outcome!", inserted, updated, removed, restored, unchanged
            "#,
            run.id,
            finish.shortfall.map(RunOutcome::as_str),
            stored(finish.observed),
            stored(finish.rejected),
            stored(finish.missing),
            stored(finish.unanswered),
            stored(finish.requests),
            finish.error,
            stored(finish.respelled),
            finish.done_to.map(|user| user.0),
            RunOutcome::Applied.as_str(),
            RunOutcome::NoChange.as_str(),
            finish
                .failure
                .filter(|_| finish.shortfall == Some(RunOutcome::Failed))
                .map(Failure::as_str),
        )
        .fetch_one(&mut tx)
        .await?;
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        let counts = RunCounts {
            observed: finish.observed,
            inserted: count(ended.inserted),
            updated: count(ended.updated),
            removed: count(ended.removed),
            restored: count(ended.restored),
            unchanged: count(ended.unchanged),
            rejected: finish.rejected,
            missing: finish.missing,
            unanswered: finish.unanswered,
            requests: finish.requests,
        };
        let outcome = finish
            .shortfall
            .unwrap_or(if ended.outcome == RunOutcome::Applied.as_str() {
                RunOutcome::Applied
            } else {
                RunOutcome::NoChange
            });
        if finish.renewed {
            sqlx::query!(
                "update sync_state set fingerprints_renewed_at = now() where client_id = $1",
                run.client_id.as_str(),
            )
            .execute(&mut tx)
            .await?;
        }
        crash_point!("finish::inside");
        if let Some(fresh_for) = finish.fresh_for.filter(|_| outcome.is_complete()) {
            // It found no removals, or made them.
            held::expire(&mut tx, &run.client_id).await?;
            sqlx::query!(
                r#"
                update sync_state as s set
                    last_complete_run_id = r.run_id,
                    last_complete_started_at = coalesce(r.began_at, r.started_at),
                    last_complete_at = r.finished_at,
                    -- What was fresh until now stays so; what was not any more, or never, is so from here on. An earlier
                    -- version may have ended the pass before without saying since when.
                    fresh_since = case
                        when r.finished_at <= s.fresh_until then coalesce(s.fresh_since, s.last_complete_at)
                        else r.finished_at
                    end,
                    fresh_until = r.finished_at + (r.finished_at - coalesce(r.began_at, r.started_at))
                        + make_interval(secs => $2)
                from sync_runs as r
                where r.run_id = $1 and s.client_id = r.client_id
                "#,
                run.id,
                fresh_for.as_secs_f64(),
            )
            .execute(&mut tx)
            .await?;
        }
        crash_point!("finish::before_commit");
        tx.commit().await?;
        crash_point!("finish::after_commit");
        Ok(RunRecord { outcome, counts })
    }

    /// Records a pass that never began, or that ended without being able to say so itself. One that failed did so by a fault: see
    /// [`Store::record_failure`] for others.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn record_run(
        &self,
        client_id: &ClientId,
        client_name: &str,
        trigger: Trigger,
        outcome: RunOutcome,
        error: &str,
    ) -> Result<i64, Error> {
        let failure = (outcome == RunOutcome::Failed).then_some(Failure::Fault);
        self.record(client_id, client_name, trigger, outcome, failure, error)
            .await
    }

    /// As [`Store::record_run`], of a pass that failed so.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn record_failure(
        &self,
        client_id: &ClientId,
        client_name: &str,
        trigger: Trigger,
        failure: Failure,
        error: &str,
    ) -> Result<i64, Error> {
        let outcome = RunOutcome::Failed;
        self.record(client_id, client_name, trigger, outcome, Some(failure), error)
            .await
    }

    async fn record(
        &self,
        client_id: &ClientId,
        client_name: &str,
        trigger: Trigger,
        outcome: RunOutcome,
        failure: Option<Failure>,
        error: &str,
    ) -> Result<i64, Error> {
        let mut tx = self.begin().await?;
        let id = sqlx::query_scalar!(
            r#"
            insert into sync_runs (
                client_id, client_name, tick, trigger, outcome, started_at, finished_at, error, failure
            )
            values ($1, $2, $3, $4, $5, now(), now(), $6, $7)
            returning run_id
            "#,
            client_id.as_str(),
            client_name,
            trigger.tick(),
            trigger.as_str(),
            outcome.as_str(),
            error,
            failure.map(Failure::as_str),
        )
        .fetch_one(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Closes the runs that passes of this process left open, because they panicked or were cut; of one client, or of all.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn close_open_runs(
        &self,
        process: i64,
        client_id: Option<&ClientId>,
        error: &str,
    ) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let closed = sqlx::query!(
            r#"
            update sync_runs set outcome = 'failed', finished_at = now(), error = $3
            where outcome is null and process = $1 and ($2::text is null or client_id = $2)
            "#,
            process,
            client_id.map(ClientId::as_str),
            error,
        )
        .execute(&mut tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok(closed)
    }
}
