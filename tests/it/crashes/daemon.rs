//! `run`, killed and started again, as a service manager does it.

use nix::sys::signal::Signal;

use super::{
    assert_converged,
    rig::{Rig, Tables, armed, assert_killed, check},
};
use crate::support::TestDb;

/// The pass at the start is the only one: a tick in between would make another.
const NO_TICK: (&str, &str) = ("CALMIRROR__SCHEDULE__CRON", "0 0 29 2 *");

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs --features failpoints")]
async fn a_daemon_that_is_killed_completes_its_mirror_when_it_is_started_again() {
    let rig = Rig::new(1200).await;
    let db = TestDb::new().await;
    let pool = db.pool().await;
    let mut oracle = rig.oracle(&pool);

    let begun = rig.begin(&mut oracle).await;
    let points = armed("batch::before_commit", 2, "return");
    let ended = rig
        .start(&db, &[("FAILPOINTS", &points), NO_TICK], &["run"])
        .end()
        .await;
    assert_killed(&ended);
    rig.end(&mut oracle, begun, &ended).await;
    check(&oracle, &ended).await;
    let killed = Tables::look(&pool).await.expect("there are tables");
    killed.assert_counted();
    assert_eq!(killed.open_runs().len(), 1);
    assert_ne!(killed.runs[0].written, 0, "the first batch is committed");

    let begun = rig.begin(&mut oracle).await;
    let mut daemon = rig.start(&db, &[NO_TICK], &["run"]);
    daemon.logged("pass ended").await;
    daemon.signal(Signal::SIGTERM);
    let ended = daemon.end().await.expect(0);
    rig.end(&mut oracle, begun, &ended).await;
    check(&oracle, &ended).await;
    let after = Tables::look(&pool).await.expect("there are tables");
    assert_converged(&after, Some(&killed));
    assert_eq!(after.changes, super::inserts(&rig));
    pool.close().await;
}
