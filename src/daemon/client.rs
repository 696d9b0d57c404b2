//! The loop of one client.

use std::sync::Arc;

use tokio::{
    sync::{Mutex, mpsc},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::Pass;
use crate::{
    model::{panic_message, rfc3339},
    schedule::{Tick, TickReceiver},
};

pub(super) struct Loop<P> {
    pub(super) pass: Arc<P>,
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) turn: Arc<Mutex<()>>,
    /// No new pass from here on.
    pub(super) cancel: CancellationToken,
    /// What still runs is aborted.
    pub(super) cut: CancellationToken,
}

/// How a task ended that did not end well.
enum Fault {
    Panicked(String),
    Cut,
}

impl<P: Pass> Loop<P> {
    pub(super) async fn run(self, ticks: TickReceiver) {
        // Skips are recorded while a pass is under way, for that is when there are any.
        tokio::join!(self.run_passes(ticks.waiting), self.record_skips(ticks.skipped));
    }

    async fn run_passes(&self, mut ticks: mpsc::Receiver<Tick>) {
        // An earlier loop of the same client may be at its last pass.
        let Some(_turn) = self.cancel.run_until_cancelled(self.turn.lock()).await else {
            return;
        };
        while let Some(tick) = self.next(&mut ticks).await {
            let (pass, index) = (Arc::clone(&self.pass), self.index);
            let token = self.cancel.child_token();
            match self
                .contain(async move { pass.run(index, tick, token).await })
                .await
            {
                Ok(()) => {}
                Err(Fault::Panicked(message)) => {
                    let pass = Arc::clone(&self.pass);
                    let recording = self
                        .contain(async move { pass.panicked(index, tick, message).await })
                        .await;
                    self.log(recording, tick, "recording a panic");
                }
                cut => self.log(cut, tick, "a pass"),
            }
        }
    }

    async fn record_skips(&self, mut ticks: mpsc::Receiver<Tick>) {
        while let Some(tick) = self.next(&mut ticks).await {
            let (pass, index) = (Arc::clone(&self.pass), self.index);
            let recording = self.contain(async move { pass.skipped(index, tick).await }).await;
            self.log(recording, tick, "recording a skip");
        }
    }

    async fn next(&self, ticks: &mut mpsc::Receiver<Tick>) -> Option<Tick> {
        tokio::select! {
            // A tick that waits must not win over the wish to end.
            biased;
            () = self.cancel.cancelled() => None,
            tick = ticks.recv() => tick,
        }
    }

    /// Runs a future in a task of its own, so that its panic ends the task only.
    async fn contain(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<(), Fault> {
        // A set, though of one, because it aborts its task when this future is dropped.
        let mut task = JoinSet::new();
        task.spawn(work);
        let ended = tokio::select! {
            biased;
            ended = task.join_next() => ended,
            () = self.cut.cancelled() => {
                task.abort_all();
                task.join_next().await
            }
        };
        ended.expect("the set holds one task").map_err(Fault::from)
    }

    fn log(&self, ended: Result<(), Fault>, tick: Tick, what: &str) {
        let (client, due) = (self.name.as_str(), rfc3339(tick.due));
        match ended {
            Ok(()) => {}
            Err(Fault::Cut) => {
                tracing::warn!(
                    client.name = client,
                    tick.due = due,
                    "{what} outlasted the grace period and was cut"
                );
            }
            Err(Fault::Panicked(message)) => {
                tracing::error!(
                    client.name = client,
                    tick.due = due,
                    panic.message = message,
                    "{what} panicked"
                );
            }
        }
    }
}

impl From<JoinError> for Fault {
    fn from(error: JoinError) -> Self {
        let Ok(panic) = error.try_into_panic() else {
            return Self::Cut;
        };
        Self::Panicked(panic_message(&*panic).to_owned())
    }
}
