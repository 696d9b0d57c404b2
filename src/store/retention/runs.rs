//! Passes that changed nothing, and ticks that were skipped.

use super::{BATCH, Cutoffs, Pruning, check, count, stored};
use crate::store::{Error, Store};

impl Store {
    /// Deletes some passes that changed nothing and that nothing refers to, and says how many; 0 when none are left.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] when somebody else has begun to delete.
    pub async fn prune_runs(&self, pruning: &Pruning) -> Result<u64, Error> {
        let Some(cutoff) = pruning.cutoffs.runs else {
            return Ok(0);
        };
        let mut tx = self.begin_batch().await?;
        check(&mut tx, pruning.token).await?;
        let deleted = sqlx::query!(
            r#"
            delete from sync_runs where run_id in (
                select run_id from deletable_runs where finished_at < $1 limit $2
            )
            "#,
            cutoff,
            BATCH,
        )
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
        Ok(deleted)
    }

    /// How many passes would be deleted.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn prunable_runs(&self, cutoffs: &Cutoffs) -> Result<u64, Error> {
        let Some(cutoff) = cutoffs.runs else {
            return Ok(0);
        };
        let mut tx = self.begin().await?;
        let runs = sqlx::query_scalar!(
            r#"select count(*) as "count!" from deletable_runs where finished_at < $1"#,
            cutoff,
        )
        .fetch_one(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(count(runs))
    }
}
