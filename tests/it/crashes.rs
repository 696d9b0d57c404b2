//! The program killed, and stopped, wherever that could hurt: after the next pass the promises hold.

mod daemon;
mod killer;
mod later;
mod points;
mod rig;
mod stopped;

use std::collections::BTreeMap;

use calmirror::crash_point::NAMES;

use self::{
    later::Later,
    points::{POINTS, is_from},
    rig::{Rig, Tables, armed, assert_killed},
};
use crate::support::TestDb;

/// What a pass that was killed at a point has left, of itself alone.
fn assert_left(killed: &Tables, before: Option<&Tables>, point: &str, hit: u32) {
    killed.assert_counted();
    let known = before.map_or(0, |before| before.runs.len());
    let new = &killed.runs[known..];
    assert_eq!(
        new.len(),
        usize::from(is_from(point, "begin::after_commit")),
        "passes on record: {new:?}"
    );
    let Some(run) = new.first() else {
        return;
    };
    let ended = is_from(point, "finish::after_commit");
    assert_eq!(run.outcome.is_some(), ended, "{run:?}");
    let complete = before.and_then(|before| before.last_complete);
    assert_eq!(
        killed.last_complete,
        if ended { Some(run.run_id) } else { complete },
        "freshness moves with the end alone"
    );
    // How many requests make a batch is not told here.
    if !point.starts_with("request") {
        let batches = hit - u32::from(!is_from(point, "batch::after_commit"));
        let written = batches > 0 && is_from(point, "batch::before");
        assert_eq!(run.written > 0, written, "what was committed: {run:?}");
    }
}

/// What the pass after it has left.
fn assert_converged(after: &Tables, killed: Option<&Tables>) {
    after.assert_counted();
    assert_eq!(after.open_runs(), [0; 0]);
    assert_eq!(after.last_complete, after.runs.last().map(|run| run.run_id));
    for open in killed.map(Tables::open_runs).unwrap_or_default() {
        let closed = after.run(open);
        assert_eq!(closed.outcome.as_deref(), Some("failed"));
        let why = closed.error.as_deref().unwrap_or_default();
        assert!(why.contains("cut off"), "{closed:?}");
    }
}

/// Each user once.
fn inserts(rig: &Rig) -> BTreeMap<(String, i64), i64> {
    let users = rig.client.users.iter();
    users.map(|user| (("insert".to_owned(), *user), 1)).collect()
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs --features failpoints")]
async fn a_migration_that_is_killed_is_made_whole_by_the_next_pass() {
    let rig = Rig::new(10).await;
    for point in POINTS.iter().filter(|point| point.is_of_a_migration()) {
        let db = TestDb::empty().await;
        let points = armed(point.name, point.first_fill[0], "return");
        assert_killed(&rig.start_armed(&db, &points).end().await);
        let pool = db.pool().await;
        let killed = Tables::look(&pool).await;
        // All of the migrations, or none.
        assert_eq!(killed.is_some(), point.name == "migration::after_commit");
        rig.start_armed(&db, "").end().await.expect(0);
        let after = Tables::look(&pool).await.expect("there are tables");
        assert_converged(&after, killed.as_ref());
        assert_eq!(after.changes, inserts(&rig));
        pool.close().await;
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs --features failpoints")]
async fn a_first_fill_that_is_killed_is_completed_by_the_next_pass() {
    let rig = Rig::new(1200).await;
    for point in POINTS.iter().filter(|point| !point.is_of_a_migration()) {
        for &hit in point.first_fill {
            let db = TestDb::new().await;
            let pool = db.pool().await;
            let mut oracle = rig.oracle(&pool);
            rig.kill_at(&mut oracle, &db, point.name, hit).await;
            let killed = Tables::look(&pool).await.expect("there are tables");
            assert_left(&killed, None, point.name, hit);

            let report = rig.sync(&mut oracle, &db, 0).await;
            assert_eq!(report["observed"], 1200);
            let after = Tables::look(&pool).await.expect("there are tables");
            assert_converged(&after, Some(&killed));
            assert_eq!(after.changes, inserts(&rig));
            pool.close().await;
        }
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs --features failpoints")]
async fn a_later_pass_that_is_killed_is_completed_by_the_next() {
    let later = Later::prepare().await;
    for point in &POINTS {
        for &hit in point.later_pass {
            later.kill_and_complete(point.name, hit).await;
        }
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs --features failpoints")]
async fn a_point_that_does_not_exist_is_refused() {
    let rig = Rig::new(1).await;
    let db = TestDb::new().await;
    for points in ["batch::beforehand=return", "batch::before=retrun"] {
        let ended = rig.start_armed(&db, points).end().await.expect(2);
        assert_eq!(ended.log_lines("FAILPOINTS").len(), 1, "{ended}");
    }
}

/// What is shipped cannot be killed by a variable.
#[tokio::test]
#[cfg_attr(
    feature = "failpoints",
    ignore = "shows what is without --features failpoints"
)]
async fn without_the_feature_no_point_is_there() {
    let rig = Rig::new(3).await;
    let db = TestDb::new().await;
    let all: Vec<String> = NAMES.iter().map(|name| format!("{name}=return")).collect();
    rig.start_armed(&db, &all.join(";")).end().await.expect(0);
}
