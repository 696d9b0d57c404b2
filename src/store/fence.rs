//! The right of a pass to write.

use super::{Error, Resumed, Store, tx::Tx};
use crate::model::ClientId;

/// A pass under way: the right to write, until a later pass of the same client begins.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: i64,
    pub client_id: ClientId,
    pub epoch: i64,
    /// What the pass goes on from, if it does.
    pub resumed: Option<Resumed>,
    /// After a failover that lost the newest commits, another pass may have the same number and epoch.
    pub(super) token: i64,
}

impl Run {
    /// Locks the client's fence for the rest of the transaction, or finds that it has moved on.
    pub(super) async fn check_fence(&self, tx: &mut Tx) -> Result<(), Error> {
        let theirs = sqlx::query!(
            "select s.epoch, (select r.token from sync_runs as r where r.run_id = s.last_run_id) as token
             from sync_state as s where s.client_id = $1 for update",
            self.client_id.as_str(),
        )
        .fetch_optional(tx)
        .await?;
        self.compare_fence(theirs.map(|theirs| (theirs.epoch, theirs.token)))
    }

    /// Whether the fence is still ours, without a lock: it may move on at any moment.
    pub(super) async fn look_at_fence(&self, tx: &mut Tx) -> Result<(), Error> {
        let theirs = sqlx::query!(
            "select s.epoch, (select r.token from sync_runs as r where r.run_id = s.last_run_id) as token
             from sync_state as s where s.client_id = $1",
            self.client_id.as_str(),
        )
        .fetch_optional(tx)
        .await?;
        self.compare_fence(theirs.map(|theirs| (theirs.epoch, theirs.token)))
    }

    fn compare_fence(&self, theirs: Option<(i64, Option<i64>)>) -> Result<(), Error> {
        let (theirs, token) = theirs.unwrap_or_default();
        let ours = self.epoch;
        if theirs == ours && token == Some(self.token) {
            Ok(())
        } else {
            Err(Error::Fenced { ours, theirs })
        }
    }
}

/// How far a pass says that it has come, with a sign of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    pub observed: u64,
    pub requests: u64,
    /// Every user to be asked for with an id up to this one is dealt with; none while it is not known.
    pub done_to: Option<i64>,
}

impl Store {
    /// Shows that a pass is alive, and how far it has come.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a later pass has begun.
    pub async fn heartbeat(&self, run: &Run, beat: Beat) -> Result<(), Error> {
        let stored = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let mut tx = self.begin_lightly().await?;
        run.look_at_fence(&mut tx).await?;
        sqlx::query!(
            r#"
            update sync_runs set
                heartbeat_at = now(), observed = $2, requests = $3, done_to = coalesce($4, done_to)
            where run_id = $1 and outcome is null
            "#,
            run.id,
            stored(beat.observed),
            stored(beat.requests),
            beat.done_to,
        )
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }
}
