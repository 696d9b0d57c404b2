//! Ticks of the schedule, and clients that come and go.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::*;
use crate::clock::{ManualClock, SystemClock};

fn scheduled(number: usize, cron: &Cron, at_once: bool) -> Scheduled {
    Scheduled {
        number,
        name: format!("client {number}"),
        cron: cron.clone(),
        at_once,
    }
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
