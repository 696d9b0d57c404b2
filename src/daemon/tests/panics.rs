//! Passes that panic.

use super::*;

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
