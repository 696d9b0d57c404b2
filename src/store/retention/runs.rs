//! Passes that changed nothing, and ticks that were skipped.

use chrono::{DateTime, Utc};

use super::{BATCH, Cutoffs, Mode, Pruning, check, stored};
use crate::store::{Error, Store};

/// How far the passes have been looked at, from the one that ended first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunPlace {
    finished_at: DateTime<Utc>,
    run_id: i64,
}

/// What one transaction deleted of passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunBatch {
    /// Where to go on; none when nothing is left.
    pub next: Option<RunPlace>,
    pub deleted: u64,
}

impl Store {
    /// Looks at some passes that changed nothing, from a place on or from the beginning, and deletes those that nothing refers to.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] when somebody else has begun to delete.
    pub async fn prune_runs(&self, pruning: &Pruning, from: Option<RunPlace>) -> Result<RunBatch, Error> {
        self.prune_runs_by(Mode::Delete(pruning.token), &pruning.cutoffs, from)
            .await
    }

    /// What [`Store::prune_runs`] would delete.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn prunable_runs(&self, cutoffs: &Cutoffs, from: Option<RunPlace>) -> Result<RunBatch, Error> {
        self.prune_runs_by(Mode::Look, cutoffs, from).await
    }

    async fn prune_runs_by(
        &self,
        mode: Mode,
        cutoffs: &Cutoffs,
        from: Option<RunPlace>,
    ) -> Result<RunBatch, Error> {
        let Some(cutoff) = cutoffs.runs else {
            return Ok(RunBatch {
                next: None,
                deleted: 0,
            });
        };
        let mut tx = self.begin_batch().await?;
        if let Mode::Delete(token) = mode {
            check(&mut tx, token).await?;
        }
        // Each is looked up by itself: as a join, plans could read the whole of either side.
        let looked_at = sqlx::query!(
            r#"
            select
                p.run_id as "run_id!", p.finished_at as "finished_at!",
                coalesce((select true from deletable_runs as d where d.run_id = p.run_id limit 1), false) as "deletable!"
            from (
                select run_id, finished_at from sync_runs
                where outcome in ('no_change', 'skipped') and finished_at < $1
                    and (finished_at, run_id) > (coalesce($2, timestamptz '-infinity'), $3)
                order by finished_at, run_id
                limit $4
            ) as p
            order by p.finished_at, p.run_id
            "#,
            cutoff,
            from.map(|from| from.finished_at),
            from.map_or(0, |from| from.run_id),
            BATCH,
        )
        .fetch_all(&mut tx)
        .await?;
        let deletable: Vec<i64> = looked_at
            .iter()
            .filter_map(|run| run.deletable.then_some(run.run_id))
            .collect();
        let next = looked_at
            .last()
            .filter(|_| looked_at.len() as i64 >= BATCH)
            .map(|run| RunPlace {
                finished_at: run.finished_at,
                run_id: run.run_id,
            });
        if let Mode::Look = mode {
            tx.rollback().await?;
            let deleted = deletable.len() as u64;
            return Ok(RunBatch { next, deleted });
        }
        // Of a pass that has ended nothing is written any more, so nothing begins to refer to one.
        let deleted = sqlx::query!("delete from sync_runs where run_id = any($1)", &deletable)
            .execute(&mut tx)
            .await?
            .rows_affected();
        sqlx::query!(
            "update retention set heartbeat_at = now(), deleted_runs = deleted_runs + $1",
            stored(deleted)
        )
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(RunBatch { next, deleted })
    }
}
