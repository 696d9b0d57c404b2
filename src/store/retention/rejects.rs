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
    /// for another time. Of clients that are not configured, those that had no pass since the cutoff are over, also where one was
    /// left open by a process that died.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] when somebody else has begun to delete.
    pub async fn prune_rejects(&self, pruning: &Pruning, configured: &[ClientId]) -> Result<u64, Error> {
        let Some(cutoff) = pruning.cutoffs.rejects else {
            return Ok(0);
        };
        let mut tx = self.begin_batch().await?;
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
                    where client_id = $1 and user_id = any(array(
                        select user_id from rejects
                        where client_id = $1 and changed_at < $2
                        order by changed_at
                        limit $3
                    ))
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
        let mut tx = self.begin_batch().await?;
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
        with recursive client as (
            (select client_id, changed_at as oldest from rejects order by client_id, changed_at limit 1)
            union all
            select next.client_id, next.changed_at
            from client cross join lateral (
                select j.client_id, j.changed_at from rejects as j
                where j.client_id > client.client_id
                order by j.client_id, j.changed_at
                limit 1
            ) as next
        )
        select client_id as "client_id!", before as "before!"
        from (
            select
                client.client_id, client.oldest, is_configured,
                case when is_configured then least($1, s.last_complete_started_at) else $1 end as before
            from client
            cross join lateral (select client.client_id = any($2) as is_configured) as here
            left join sync_state as s on s.client_id = client.client_id
            where ($3::text is null or client.client_id = $3)
                and (not is_configured or s.last_complete_started_at is not null)
        ) as client
        where oldest < before
            -- Nobody closes what a pass left open that died, once its client is not configured.
            and (
                select true from sync_runs as r
                where r.client_id = client.client_id and r.outcome is null
                    and (is_configured or coalesce(r.heartbeat_at, r.started_at) >= $1)
                limit 1
            ) is null
            -- By a process with another list of users, perhaps: there it may still stand.
            and (
                select true from sync_runs as r
                where r.client_id = client.client_id and r.started_at >= $1 and r.rejected > 0
                limit 1
            ) is null
            and (is_configured or (
                select true from sync_runs as r
                where r.client_id = client.client_id and r.started_at >= $1 and r.epoch is not null
                limit 1
            ) is null)
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
