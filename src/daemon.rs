//! The long-running side: each client's ticks become its passes, one after the other, whatever a pass does.

mod client;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::SharedClock,
    schedule::{Cron, OnBeat, ScheduleError, Scheduler, Tick, TickReceiver, ticks},
};

/// What is done on a tick. Clients go by their place in the list that the daemon was given.
///
/// Each call has its own task: it may panic, which is caught, and it is aborted if it outlasts the grace period.
pub trait Pass: Send + Sync + 'static {
    /// One pass over one client. Once `cancel` is cancelled it should end soon and cleanly.
    fn run(&self, client: usize, tick: Tick, cancel: CancellationToken) -> impl Future<Output = ()> + Send;

    /// Records that a tick found another one waiting and will have no pass. May run beside a pass.
    fn skipped(&self, client: usize, tick: Tick) -> impl Future<Output = ()> + Send;

    /// Records that the pass of a tick panicked.
    fn panicked(&self, client: usize, tick: Tick, message: String) -> impl Future<Output = ()> + Send;
}

/// One client as the daemon sees it.
#[derive(Debug)]
pub struct Client {
    /// What logs call it.
    pub name: String,
    pub ticks: TickReceiver,
}

/// Runs passes on schedule until `cancel` is cancelled.
///
/// `clients` are names and schedules. `on_beat` is called whenever the scheduler's loop has come round. With `at_start` each client's first tick is due at once.
///
/// # Errors
/// When the scheduler cannot be started, or ended by a panic. Nothing that a pass does is an error here.
pub async fn serve(
    pass: Arc<impl Pass>,
    clients: Vec<(String, Cron)>,
    at_start: bool,
    clock: SharedClock,
    on_beat: OnBeat,
    cancel: CancellationToken,
    grace: Duration,
) -> Result<(), ScheduleError> {
    let now = clock.now();
    let mut schedules = Vec::with_capacity(clients.len());
    let mut loops = Vec::with_capacity(clients.len());
    for (name, cron) in clients {
        let (sender, ticks) = ticks();
        if at_start {
            sender.send(Tick { due: now });
        }
        schedules.push((cron, sender));
        loops.push(Client { name, ticks });
    }
    let scheduler = Scheduler::start(schedules, clock, on_beat).await?;
    run(pass, loops, cancel, grace).await;
    scheduler.shutdown().await
}

/// Turns ticks into passes, and returns when all clients' loops have ended and no task of theirs is left.
///
/// A client's loop ends when `cancel` is cancelled or its ticks do. After the former no pass starts; those under way see
/// their own token cancelled, and what has not ended `grace` later is aborted.
pub async fn run(pass: Arc<impl Pass>, clients: Vec<Client>, cancel: CancellationToken, grace: Duration) {
    let cut = CancellationToken::new();
    let loops = clients.into_iter().enumerate().map(|(index, client)| {
        client::Loop {
            pass: Arc::clone(&pass),
            index,
            name: client.name,
            cancel: cancel.clone(),
            cut: cut.clone(),
        }
        .run(client.ticks)
    });
    let cutting = async {
        cancel.cancelled().await;
        tokio::time::sleep(grace).await;
        cut.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = join_all(loops) => {}
        () = cutting => {}
    }
}
