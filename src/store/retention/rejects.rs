//! Rejects that do not stand any more, of users that nobody asks for.
//!
//! A reject is not written again while it stands, so its age says nothing. What says that it is over is a complete pass that
//! began after it: a pass that rejects anybody is none, and one that can read the user deletes the reject.

use chrono::{DateTime, Utc};

use super::{BATCH, Cutoffs, Pruning, check, count, stored};
use crate::{
    model::ClientId,
    store::{Error, Store, tx::Tx},
};

/// Rejects of a client that are over: those that were written before a time.
#[derive(Debug)]
struct Over {
    client_id: String,
    before: DateTime<Utc>,
}

impl Store {
    /// Deletes some rejects that are over, and says how many; 0 when none are left. A client whose pass is under way is left
    /// for another time. Of clients that are not configured, those that had no pass since the cutoff are over.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] when somebody else has begun to delete.
    pub async fn prune_rejects(&self, pruning: &Pruning, configured: &[ClientId]) -> Result<u64, Error> {
        let Some(cutoff) = pruning.cutoffs.rejects else {
            return Ok(0);
        };
        let mut tx = self.begin().await?;
        check(&mut tx, pruning.token).await?;
        let mut deleted = 0;
        for Over { client_id, .. } in over(&mut tx, cutoff, configured, None).await? {
            // No pass of the client begins until this is over.
            let is_ours = sqlx::query_scalar!(
                r#"
                select pg_try_advisory_xact_lock(
                    hashtextextended('calmirror ' || current_schema() || ' ' || $1, 0)
                ) as "ours!"
                "#,
                client_id,
            )
            .fetch_one(&mut tx)
            .await?;
            if !is_ours {
                continue;
            }
            // One may have begun meanwhile.
            for Over { client_id, before } in over(&mut tx, cutoff, configured, Some(&client_id)).await? {
                deleted += sqlx::query!(
                    r#"
                    delete from rejects
                    where client_id = $1 and user_id in (
                        select user_id from rejects where client_id = $1 and changed_at < $2 limit $3
                    )
                    "#,
                    client_id,
                    before,
                    BATCH - stored(deleted),
                )
                .execute(&mut tx)
                .await?
                .rows_affected();
            }
            if stored(deleted) >= BATCH {
                break;
            }
        }
        sqlx::query!(
            "update retention set heartbeat_at = now(), deleted_rejects = deleted_rejects + $1",
            stored(deleted)
        )
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(deleted)
    }

    /// How many rejects would be deleted.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn prunable_rejects(&self, cutoffs: &Cutoffs, configured: &[ClientId]) -> Result<u64, Error> {
        let Some(cutoff) = cutoffs.rejects else {
            return Ok(0);
        };
        let mut tx = self.begin().await?;
        let mut rejects = 0;
        for Over { client_id, before } in over(&mut tx, cutoff, configured, None).await? {
            rejects += sqlx::query_scalar!(
                r#"select count(*) as "count!" from rejects where client_id = $1 and changed_at < $2"#,
                client_id,
                before,
            )
            .fetch_one(&mut tx)
            .await?;
        }
        tx.rollback().await?;
        Ok(count(rejects))
    }
}

/// The clients of which rejects are over, or the one that is given, if of it.
async fn over(
    tx: &mut Tx,
    cutoff: DateTime<Utc>,
    configured: &[ClientId],
    only: Option<&str>,
) -> Result<Vec<Over>, Error> {
    let configured: Vec<String> = configured.iter().map(|client| client.0.clone()).collect();
    let over = sqlx::query_as!(
        Over,
        r#"
        select client_id as "client_id!", before as "before!"
        from (
            select
                j.client_id,
                case
                    when j.client_id = any($2) then least($1, s.last_complete_started_at)
                    else $1
                end as before,
                min(j.changed_at) as oldest
            from rejects as j
            left join sync_state as s on s.client_id = j.client_id
            where ($3::text is null or j.client_id = $3)
                and (j.client_id <> all($2) or s.last_complete_started_at is not null)
            group by j.client_id, s.last_complete_started_at
        ) as client
        where oldest < before and not exists (
            select from sync_runs as r
            where r.client_id = client.client_id and (
                r.outcome is null
                -- By a process with another list of users, perhaps: there it may still stand.
                or r.started_at >= $1 and (r.rejected > 0 or r.client_id <> all($2) and r.epoch is not null)
            )
        )
        order by client_id
        "#,
        cutoff,
        &configured,
        only,
    )
    .fetch_all(&mut *tx)
    .await?;
    Ok(over)
}
