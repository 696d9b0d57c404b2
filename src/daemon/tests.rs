use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::*;
use crate::{
    clock::{ManualClock, SystemClock},
    schedule::{Delivery, TickSender},
};

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

fn scheduled(number: usize, cron: &Cron, at_once: bool) -> Scheduled {
    Scheduled {
        number,
        name: format!("client {number}"),
        cron: cron.clone(),
        at_once,
    }
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
async fn a_panic_is_reported_and_the_next_tick_has_its_pass() {
    let mut bench = Bench::new(1, HOUR);
    bench.clients[0].send(tick(1));
    let (.., first_end) = bench.running().await;
    end(first_end, End::Panic);
    let Call::Panicked {
        client: 0,
        tick: failed,
        message,
    } = bench.call().await
    else {
        panic!("expected the panic to be reported");
    };
    assert_eq!((failed, message.as_str()), (tick(1), "no such table"));
    bench.clients[0].send(tick(2));
    let (_, second, _, second_end) = bench.running().await;
    assert_eq!(second, tick(2));
    end(second_end, End::Done);
    bench.cancel.cancel();
    bench.ended().await;
}

/// Panics wherever it can.
struct Panicking(mpsc::UnboundedSender<&'static str>);

impl Pass for Panicking {
    async fn run(&self, _: usize, _: Tick, _: CancellationToken) {
        self.0.send("run").expect("the test listens");
        std::panic::panic_any(7);
    }

    async fn skipped(&self, _: usize, _: Tick) {
        self.0.send("skipped").expect("the test listens");
        panic!("in skipped");
    }

    async fn panicked(&self, _: usize, _: Tick, message: String) {
        assert_eq!(message, "no message");
        self.0.send("panicked").expect("the test listens");
        panic!("in panicked");
    }
}

#[tokio::test]
async fn nothing_that_a_pass_does_ends_the_daemon() {
    let (calls_tx, mut calls) = mpsc::unbounded_channel();
    let (sender, receiver) = ticks();
    let clients = arriving(vec![receiver]);
    assert_eq!(sender.send(tick(1)), Delivery::Queued);
    assert_eq!(sender.send(tick(2)), Delivery::Skipped);
    let cancel = CancellationToken::new();
    let daemon = tokio::spawn(run(Arc::new(Panicking(calls_tx)), clients, cancel.clone(), HOUR));
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(calls.recv().await.expect("the daemon runs"));
    }
    seen.sort_unstable();
    assert_eq!(seen, ["panicked", "run", "skipped"]);
    assert_eq!(sender.send(tick(3)), Delivery::Queued);
    assert_eq!(calls.recv().await, Some("run"));
    cancel.cancel();
    daemon.await.expect("no panic");
}

#[tokio::test]
async fn cancelling_reaches_the_pass_under_way_and_waits_for_it() {
    let mut bench = Bench::new(1, HOUR);
    bench.clients[0].send(tick(1));
    let (_, _, token, pass_end) = bench.running().await;
    bench.clients[0].send(tick(2));
    assert!(!token.is_cancelled());
    bench.cancel.cancel();
    token.cancelled().await;
    tokio::task::yield_now().await;
    assert!(!bench.daemon.is_finished(), "the pass has not ended");
    end(pass_end, End::Done);
    // The tick that waited has no pass.
    bench.ended().await;
}

#[tokio::test]
async fn a_pass_that_outlasts_the_grace_period_is_aborted() {
    let mut bench = Bench::new(2, Duration::ZERO);
    bench.clients[0].send(tick(1));
    let (.., mut pass_end) = bench.running().await;
    bench.cancel.cancel();
    pass_end.closed().await;
    bench.ended().await;
}

#[tokio::test]
async fn dropping_the_daemon_aborts_its_passes() {
    let mut bench = Bench::new(1, HOUR);
    bench.clients[0].send(tick(1));
    let (.., mut pass_end) = bench.running().await;
    bench.daemon.abort();
    pass_end.closed().await;
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

/// Notes each run.
struct Noting(mpsc::UnboundedSender<(usize, DateTime<Utc>)>);

impl Pass for Noting {
    async fn run(&self, client: usize, tick: Tick, _: CancellationToken) {
        self.0.send((client, tick.due)).expect("the test listens");
    }

    async fn skipped(&self, _: usize, _: Tick) {}

    async fn panicked(&self, _: usize, _: Tick, _: String) {}
}

#[tokio::test]
async fn the_first_pass_is_at_start_when_asked_for() {
    let start: DateTime<Utc> = "2026-05-05T05:05:05Z".parse().expect("a time stamp");
    let clock = Arc::new(ManualClock::at(start));
    let (notes_tx, mut notes) = mpsc::unbounded_channel();
    let cron = Cron::parse("0 0 1 1 *", Tz::UTC).expect("a cron");
    let (_clients, clients) = watch::channel(vec![scheduled(0, &cron, true), scheduled(1, &cron, true)]);
    let cancel = CancellationToken::new();
    let pass = Arc::new(Noting(notes_tx));
    let daemon = tokio::spawn(serve(pass, clients, clock, Arc::new(|| {}), cancel.clone(), HOUR));
    let mut first = [notes.recv().await, notes.recv().await];
    first.sort_unstable();
    assert_eq!(first, [Some((0, start)), Some((1, start))]);
    cancel.cancel();
    daemon.await.expect("no panic").expect("stops");
    assert!(notes.recv().await.is_none());
}

#[tokio::test]
async fn the_schedule_drives_passes() {
    let (notes_tx, mut notes) = mpsc::unbounded_channel();
    let cron = Cron::parse("* * * * * *", Tz::America__New_York).expect("a cron");
    let cancel = CancellationToken::new();
    let pass = Arc::new(Noting(notes_tx));
    let (_clients, clients) = watch::channel(vec![scheduled(0, &cron, false)]);
    let daemon = tokio::spawn(serve(
        pass,
        clients,
        Arc::new(SystemClock),
        Arc::new(|| {}),
        cancel.clone(),
        HOUR,
    ));
    let (_, first) = notes.recv().await.expect("a first pass");
    let (_, second) = notes.recv().await.expect("a second pass");
    assert!(second > first);
    cancel.cancel();
    daemon.await.expect("no panic").expect("stops");
}

#[tokio::test]
async fn clients_that_change_keep_their_turn_and_others_go_on() {
    let (calls_tx, calls) = mpsc::unbounded_channel();
    let start: DateTime<Utc> = "2026-05-05T05:05:05Z".parse().expect("a time stamp");
    let clock = Arc::new(ManualClock::at(start));
    let never = Cron::parse("0 0 1 1 *", Tz::UTC).expect("a cron");
    let client = |number| scheduled(number, &never, true);
    let (clients, list) = watch::channel(vec![client(0), client(1)]);
    let cancel = CancellationToken::new();
    let pass = Arc::new(Scripted(calls_tx));
    let on_beat: OnBeat = Arc::new(|| {});
    let daemon = tokio::spawn(async move {
        let served = serve(pass, list, clock, on_beat, cancel.clone(), HOUR).await;
        served.expect("stops");
    });
    let mut bench = Bench {
        clients: Vec::new(),
        calls,
        cancel: CancellationToken::new(),
        daemon,
    };
    let mut under_way = BTreeMap::new();
    for _ in 0..2 {
        let (number, _, token, end) = bench.running().await;
        under_way.insert(number, (token, end));
    }
    // The first goes in the middle of its pass, and comes back before that has ended.
    clients.send_replace(vec![client(1)]);
    clients.send_modify(|list| list.push(client(2)));
    let (number, .., third) = bench.running().await;
    assert_eq!(number, 2, "somebody new is held up by nobody");
    end(third, End::Done);
    clients.send_modify(|list| list.push(client(0)));
    clients.send_modify(|list| list.push(client(3)));
    let (number, .., fourth) = bench.running().await;
    assert_eq!(number, 3, "and the first has its turn only after its pass");
    end(fourth, End::Done);
    let (token, first) = under_way.remove(&0).expect("it began");
    assert!(!token.is_cancelled(), "a pass under way ends in peace");
    end(first, End::Done);
    let (number, _, _, again) = bench.running().await;
    assert_eq!(number, 0);
    end(again, End::Done);
    bench.daemon.abort();
}
