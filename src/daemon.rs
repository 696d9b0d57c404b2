//! The long-running side: each client's ticks become its passes, one after the other, whatever a pass does.

mod client;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::SharedClock,
    schedule::{Cron, OnBeat, ScheduleError, Scheduler, Tick, TickReceiver, TickSender, ticks},
};

/// What is done on a tick. Clients go by the numbers under which the daemon was told of them.
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

/// A client that is to have passes.
#[derive(Clone, Debug)]
pub struct Scheduled {
    /// Stays the client's own for as long as the daemon runs.
    pub number: usize,
    /// What logs call it.
    pub name: String,
    pub cron: Cron,
    /// Its first tick is due as soon as the daemon hears of it.
    pub at_once: bool,
}

/// One client as its loop sees it.
#[derive(Debug)]
pub struct Client {
    pub number: usize,
    /// What logs call it.
    pub name: String,
    pub ticks: TickReceiver,
    /// Held while passes are made: a client that comes back waits for the pass that was under way when it went.
    pub turn: Arc<Mutex<()>>,
}

/// Runs passes on schedule until `cancel` is cancelled.
///
/// `clients` may change at any time. A client that is there before and after keeps its waiting tick and has no two passes at once,
/// whatever its schedule; one that is not there any more has its pass under way ended in peace. `on_beat` is called whenever the
/// scheduler's loop has come round.
///
/// # Errors
/// When the scheduler cannot be started, or ended by a panic. Nothing that a pass does is an error here.
pub async fn serve(
    pass: Arc<impl Pass>,
    mut clients: watch::Receiver<Vec<Scheduled>>,
    clock: SharedClock,
    on_beat: OnBeat,
    cancel: CancellationToken,
    grace: Duration,
) -> Result<(), ScheduleError> {
    let (mut roster, arrivals) = Roster::new();
    let schedules = roster.schedules(&clients.borrow_and_update(), &clock);
    let scheduler = Scheduler::start(schedules, Arc::clone(&clock), on_beat).await?;
    let changes = async {
        while let Some(Ok(())) = cancel.run_until_cancelled(clients.changed()).await {
            scheduler.reschedule(roster.schedules(&clients.borrow_and_update(), &clock));
        }
        cancel.cancelled().await;
        // Nobody comes any more.
        drop(roster);
    };
    tokio::join!(run(pass, arrivals, cancel.clone(), grace), changes);
    scheduler.shutdown().await
}

/// Who is there, and where their ticks go.
struct Roster {
    present: BTreeMap<usize, TickSender>,
    turns: BTreeMap<usize, Arc<Mutex<()>>>,
    arrivals: mpsc::UnboundedSender<Client>,
}

impl Roster {
    fn new() -> (Self, mpsc::UnboundedReceiver<Client>) {
        let (arrivals, arriving) = mpsc::unbounded_channel();
        let roster = Self {
            present: BTreeMap::new(),
            turns: BTreeMap::new(),
            arrivals,
        };
        (roster, arriving)
    }

    /// Has a loop begin for each client that is new. The loops of those that are gone end with their ticks.
    fn schedules(&mut self, clients: &[Scheduled], clock: &SharedClock) -> Vec<(Cron, TickSender)> {
        let mut present = BTreeMap::new();
        let mut schedules = Vec::with_capacity(clients.len());
        for client in clients {
            let sender = self
                .present
                .remove(&client.number)
                .unwrap_or_else(|| self.begin(client, clock));
            schedules.push((client.cron.clone(), sender.clone()));
            present.insert(client.number, sender);
        }
        self.present = present;
        schedules
    }

    fn begin(&mut self, client: &Scheduled, clock: &SharedClock) -> TickSender {
        let (sender, ticks) = ticks();
        if client.at_once {
            sender.send(Tick { due: clock.now() });
        }
        let arrived = self.arrivals.send(Client {
            number: client.number,
            name: client.name.clone(),
            ticks,
            turn: Arc::clone(self.turns.entry(client.number).or_default()),
        });
        if arrived.is_err() {
            tracing::debug!(
                client.name = client.name,
                "the daemon ends, the client has no passes"
            );
        }
        sender
    }
}

/// Turns ticks into passes, and returns when all clients' loops have ended, none can come any more, and no task of theirs is left.
///
/// A client's loop ends when `cancel` is cancelled or its ticks do. After the former no pass starts; those under way see
/// their own token cancelled, and what has not ended `grace` later is aborted.
pub async fn run(
    pass: Arc<impl Pass>,
    mut clients: mpsc::UnboundedReceiver<Client>,
    cancel: CancellationToken,
    grace: Duration,
) {
    let cut = CancellationToken::new();
    let mut loops = FuturesUnordered::new();
    let looping = async {
        loop {
            tokio::select! {
                Some(client) = clients.recv() => loops.push(
                    client::Loop {
                        pass: Arc::clone(&pass),
                        index: client.number,
                        name: client.name,
                        turn: client.turn,
                        cancel: cancel.clone(),
                        cut: cut.clone(),
                    }
                    .run(client.ticks),
                ),
                Some(()) = loops.next() => {}
                else => break,
            }
        }
    };
    let cutting = async {
        cancel.cancelled().await;
        tokio::time::sleep(grace).await;
        cut.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = looping => {}
        () = cutting => {}
    }
}
