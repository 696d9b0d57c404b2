//! Deleting what is older than `[retention]` keeps: batch after batch, beside the passes.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Retention,
    measured,
    model::{ClientId, rfc3339},
    store::{BegunPruning, Deleted, Error, Place, Store},
    sync::with_retries,
};

/// How often it is done.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// How often the daemon looks whether it is due.
const LOOK_EVERY: Duration = Duration::from_secs(10 * 60);

/// Whoever deletes writes something with each batch. One that is silent for longer than its calls may take is dead.
const SILENCE: Duration = Duration::from_secs(5 * 60);

/// Between two batches, at the least.
const PAUSE: Duration = Duration::from_millis(10);

/// At the end of the process, for a batch under way: it is committed, or it never was.
const LAST_BATCH: Duration = Duration::from_secs(2);

/// What is deleted where.
#[derive(Clone, Debug)]
pub struct Upkeep {
    pub store: Store,
    pub retention: Retention,
    /// The clients that are configured. Nobody watches the users of another.
    pub clients: Vec<ClientId>,
}

/// What was deleted, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub deleted: Deleted,
    /// Rows into which others of the ledger were folded. A user with very many versions counts more than once.
    pub folded_users: u64,
    /// Users whose ledger has a fault, and was left as it is.
    pub users_in_doubt: u64,
    /// Nothing is left to delete; otherwise it was told to stop.
    pub is_complete: bool,
}

/// When it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once; whoever is at it goes no further.
    Now,
    /// If nobody has done it for a day, and nobody is at it.
    IfDue,
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    Pruned(Pruned),
    NotDue { again_at: DateTime<Utc> },
}

impl Upkeep {
    /// Deletes what is not kept, and counts it for metrics, until nothing is left or `cancel` is cancelled.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] when somebody else has begun. What was deleted by then stays deleted; the next time goes on.
    pub async fn prune(&self, when: When, cancel: &CancellationToken) -> Result<Attempt, Error> {
        let every = match when {
            When::Now => None,
            When::IfDue => Some(EVERY),
        };
        let (store, clients) = (&self.store, self.clients.as_slice());
        let begun = with_retries(|| store.begin_pruning(&self.retention, every, SILENCE)).await?;
        let pruning = match begun {
            BegunPruning::Begun(pruning) => pruning,
            BegunPruning::NotDue { again_at } => return Ok(Attempt::NotDue { again_at }),
        };
        let mut pruned = Pruned::default();
        let mut from = None;
        loop {
            let started = Instant::now();
            let batch = with_retries(|| store.prune_runs(&pruning, from)).await?;
            pruned.deleted.sync_runs += counted("sync_runs", batch.deleted);
            let Some(next) = batch.next else { break };
            from = Some(next);
            if is_over(started, cancel).await {
                return Ok(Attempt::Pruned(pruned));
            }
        }
        loop {
            let started = Instant::now();
            let rows = with_retries(|| store.prune_rejects(&pruning, clients)).await?;
            pruned.deleted.rejects += counted("rejects", rows);
            if rows == 0 {
                break;
            }
            if is_over(started, cancel).await {
                return Ok(Attempt::Pruned(pruned));
            }
        }
        let mut from = Place::default();
        loop {
            let started = Instant::now();
            let batch = with_retries(|| store.fold(&pruning, from)).await?;
            pruned.deleted.managed_user_changes += counted("managed_user_changes", batch.versions);
            pruned.folded_users += batch.users;
            pruned.users_in_doubt += batch.in_doubt;
            let Some(next) = batch.next else { break };
            from = next;
            if is_over(started, cancel).await {
                return Ok(Attempt::Pruned(pruned));
            }
        }
        with_retries(|| store.finish_pruning(&pruning)).await?;
        pruned.is_complete = true;
        Ok(Attempt::Pruned(pruned))
    }

    /// What would be deleted now. Writes nothing.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn look(&self, cancel: &CancellationToken) -> Result<Pruned, Error> {
        let store = &self.store;
        let cutoffs = with_retries(|| store.cutoffs(&self.retention)).await?;
        let mut pruned = Pruned::default();
        let mut from = None;
        loop {
            let batch = with_retries(|| store.prunable_runs(&cutoffs, from)).await?;
            pruned.deleted.sync_runs += batch.deleted;
            let Some(next) = batch.next else { break };
            from = Some(next);
            if cancel.is_cancelled() {
                return Ok(pruned);
            }
        }
        pruned.deleted.rejects = with_retries(|| store.prunable_rejects(&cutoffs, &self.clients)).await?;
        let mut from = Place::default();
        loop {
            let batch = with_retries(|| store.foldable(&cutoffs, from)).await?;
            pruned.deleted.managed_user_changes += batch.versions;
            pruned.folded_users += batch.users;
            pruned.users_in_doubt += batch.in_doubt;
            let Some(next) = batch.next else { break };
            from = next;
            if cancel.is_cancelled() {
                return Ok(pruned);
            }
        }
        pruned.is_complete = true;
        Ok(pruned)
    }

    /// Does it once a day, until `cancel` is cancelled. Failures are logged; the next time goes on where one ended.
    pub async fn keep(self, cancel: CancellationToken) {
        if self.retention.keeps_everything() {
            return;
        }
        let upkeep = Arc::new(self);
        loop {
            let wait = upkeep.keep_once(&cancel).await;
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Gives how long to wait before the next look.
    async fn keep_once(self: &Arc<Self>, cancel: &CancellationToken) -> Duration {
        let (upkeep, token) = (Arc::clone(self), cancel.clone());
        // In a task of its own: whatever is wrong with it, passes go on.
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move {
            if upkeep.store.pending_migrations().await? > 0 {
                return Err(Error::NotMigrated {
                    schema: upkeep.store.schema().to_owned(),
                });
            }
            upkeep.prune(When::IfDue, &token).await
        });
        let ended = tokio::select! {
            ended = task.join_next() => ended,
            () = async {
                cancel.cancelled().await;
                tokio::time::sleep(LAST_BATCH).await;
            } => None,
        };
        match ended {
            None => LOOK_EVERY,
            Some(Ok(Ok(Attempt::NotDue { again_at }))) => {
                let again_at = rfc3339(again_at);
                tracing::debug!(again_at, "deleting what [retention] does not keep is not due yet");
                LOOK_EVERY
            }
            Some(Ok(Ok(Attempt::Pruned(pruned)))) => {
                pruned.log();
                LOOK_EVERY
            }
            // The first pass makes the tables.
            Some(Ok(Err(Error::NotMigrated { .. }))) => LOOK_EVERY,
            Some(Ok(Err(Error::Overtaken))) => {
                tracing::info!("another process deletes what [retention] does not keep");
                LOOK_EVERY
            }
            // The passes say so.
            Some(Ok(Err(Error::Unavailable(error)))) => {
                tracing::debug!(error, "what [retention] does not keep is deleted another time");
                LOOK_EVERY
            }
            Some(Ok(Err(error))) => {
                let remedy = error.remedy().unwrap_or("tried again later");
                tracing::warn!(error = %error, remedy, "what [retention] does not keep could not be deleted");
                if error.is_transient() { LOOK_EVERY } else { EVERY }
            }
            Some(Err(error)) => {
                tracing::error!(error = %error, "a fault in calmirror ended the deleting of what [retention] does not keep");
                EVERY
            }
        }
    }
}

impl Pruned {
    /// One line.
    pub fn log(&self) {
        let Deleted {
            sync_runs,
            rejects,
            managed_user_changes,
        } = self.deleted;
        tracing::info!(
            deleted.sync_runs = sync_runs,
            deleted.rejects = rejects,
            deleted.managed_user_changes = managed_user_changes,
            folded_users = self.folded_users,
            is_complete = self.is_complete,
            "deleted what [retention] does not keep"
        );
        if self.users_in_doubt > 0 {
            tracing::warn!(
                users = self.users_in_doubt,
                "the ledger of some users has a fault and was not folded: `calmirror verify` names them"
            );
        }
    }
}

fn counted(table: &'static str, rows: u64) -> u64 {
    metrics::counter!(measured::RETENTION, "table" => table).increment(rows);
    rows
}

/// Leaves the database to others for as long as the batch took. Whether it is to end.
async fn is_over(started: Instant, cancel: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = cancel.cancelled() => true,
        () = tokio::time::sleep(started.elapsed().max(PAUSE)) => false,
    }
}
