mod ending;
mod panics;
mod scheduled;

use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::DateTime;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::*;
use crate::schedule::{Delivery, TickSender};

/// Long enough never to be reached.
const HOUR: Duration = Duration::from_secs(3600);

/// What the daemon asked of the pass. The test holds the other end of each run and decides how it ends.
#[derive(Debug)]
enum Call {
    Run {
        client: usize,
        tick: Tick,
        cancel: CancellationToken,
        end: oneshot::Sender<End>,
    },
    Skipped {
        client: usize,
        tick: Tick,
    },
    Panicked {
        client: usize,
        tick: Tick,
        message: String,
    },
}

#[derive(Debug)]
enum End {
    Done,
    Panic,
}

struct Scripted(mpsc::UnboundedSender<Call>);

impl Scripted {
    fn call(&self, call: Call) {
        self.0.send(call).expect("the test listens");
    }
}

impl Pass for Scripted {
    async fn run(&self, client: usize, tick: Tick, cancel: CancellationToken) {
        let (end, ending) = oneshot::channel();
        self.call(Call::Run {
            client,
            tick,
            cancel,
            end,
        });
        match ending.await.expect("the test says how it ends") {
            End::Done => {}
            End::Panic => panic!("no such table"),
        }
    }

    async fn skipped(&self, client: usize, tick: Tick) {
        self.call(Call::Skipped { client, tick });
    }

    async fn panicked(&self, client: usize, tick: Tick, message: String) {
        self.call(Call::Panicked {
            client,
            tick,
            message,
        });
    }
}

/// Clients that come at once, and nobody after them.
fn arriving(ticks: Vec<TickReceiver>) -> mpsc::UnboundedReceiver<Client> {
    let (arrivals, arriving) = mpsc::unbounded_channel();
    for (number, ticks) in ticks.into_iter().enumerate() {
        let client = Client {
            number,
            name: "acme".to_owned(),
            ticks,
            turn: Arc::default(),
        };
        arrivals.send(client).expect("the test holds the other end");
    }
    arriving
}

/// A daemon whose ticks and passes are in the hands of the test.
struct Bench {
    clients: Vec<TickSender>,
    calls: mpsc::UnboundedReceiver<Call>,
    cancel: CancellationToken,
    daemon: JoinHandle<()>,
}

impl Bench {
    fn new(clients: usize, grace: Duration) -> Self {
        let (calls_tx, calls) = mpsc::unbounded_channel();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..clients).map(|_| ticks()).unzip();
        let cancel = CancellationToken::new();
        let loops = arriving(receivers);
        let daemon = tokio::spawn(run(Arc::new(Scripted(calls_tx)), loops, cancel.clone(), grace));
        Self {
            clients: senders,
            calls,
            cancel,
            daemon,
        }
    }

    async fn call(&mut self) -> Call {
        self.calls.recv().await.expect("the daemon runs")
    }

    async fn running(&mut self) -> (usize, Tick, CancellationToken, oneshot::Sender<End>) {
        match self.call().await {
            Call::Run {
                client,
                tick,
                cancel,
                end,
            } => (client, tick, cancel, end),
            other => panic!("expected a run, not {other:?}"),
        }
    }

    async fn ended(mut self) {
        (&mut self.daemon)
            .await
            .expect("nothing ends the daemon by a panic");
        assert!(self.calls.recv().await.is_none(), "no call after the end");
    }
}

fn tick(second: i64) -> Tick {
    Tick {
        due: DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(second),
    }
}

fn end(end: oneshot::Sender<End>, how: End) {
    end.send(how).expect("the pass is under way");
}

#[tokio::test]
async fn a_tick_waits_for_the_pass_under_way_and_a_third_is_skipped() {
    let mut bench = Bench::new(1, HOUR);
    assert_eq!(bench.clients[0].send(tick(1)), Delivery::Queued);
    let (_, first, _, first_end) = bench.running().await;
    assert_eq!(bench.clients[0].send(tick(2)), Delivery::Queued);
    assert_eq!(bench.clients[0].send(tick(3)), Delivery::Skipped);
    assert!(
        matches!(bench.call().await, Call::Skipped { client: 0, tick: skipped } if skipped == tick(3)),
        "recorded while the pass is under way"
    );
    end(first_end, End::Done);
    let (_, second, _, second_end) = bench.running().await;
    assert_eq!((first, second), (tick(1), tick(2)));
    end(second_end, End::Done);
    bench.cancel.cancel();
    bench.ended().await;
}

/// Counts the passes under way.
#[derive(Default)]
struct Counting {
    under_way: AtomicUsize,
    passes: AtomicUsize,
    skips: AtomicUsize,
    most: AtomicUsize,
}

impl Pass for Counting {
    async fn run(&self, _: usize, _: Tick, _: CancellationToken) {
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.passes.fetch_add(1, Ordering::SeqCst);
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }

    async fn skipped(&self, _: usize, _: Tick) {
        self.skips.fetch_add(1, Ordering::SeqCst);
    }

    async fn panicked(&self, _: usize, _: Tick, _: String) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_of_a_client_never_overlap_and_each_tick_is_accounted_for() {
    let pass = Arc::new(Counting::default());
    let (sender, receiver) = ticks();
    let clients = arriving(vec![receiver]);
    let daemon = tokio::spawn(run(Arc::clone(&pass), clients, CancellationToken::new(), HOUR));
    let mut dropped = 0;
    for second in 0..2000 {
        dropped += usize::from(sender.send(tick(second)) == Delivery::Dropped);
        if second % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
    drop(sender);
    daemon.await.expect("ends with its ticks");
    assert_eq!(pass.most.load(Ordering::SeqCst), 1);
    let counted = pass.passes.load(Ordering::SeqCst) + pass.skips.load(Ordering::SeqCst) + dropped;
    assert_eq!(counted, 2000);
}

#[tokio::test]
async fn one_client_does_not_hold_up_another() {
    let mut bench = Bench::new(2, HOUR);
    bench.clients[0].send(tick(1));
    let (slow, .., slow_end) = bench.running().await;
    assert_eq!(slow, 0);
    for second in 2..5 {
        bench.clients[1].send(tick(second));
        let (client, ran, _, pass_end) = bench.running().await;
        assert_eq!((client, ran), (1, tick(second)));
        end(pass_end, End::Done);
    }
    end(slow_end, End::Done);
    bench.cancel.cancel();
    bench.ended().await;
}
