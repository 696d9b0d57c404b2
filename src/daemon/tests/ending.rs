//! What becomes of passes when the daemon ends.

use super::*;

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
