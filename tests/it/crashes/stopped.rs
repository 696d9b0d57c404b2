//! A pass that is stopped, as by SIGSTOP or a virtual machine that sleeps, and wakes up after another one has written.

use calmirror::simulator::{Answer, Target};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{
    later::Later,
    rig::{Rig, Tables, armed, check, somebody_waits},
};
use crate::support::{
    TestDb,
    oracle::{Begun, Oracle},
    program::Program,
};

/// What Postgres does by itself after a minute, also to a statement that waits for more from its client.
async fn end_transactions(pool: &PgPool) {
    sqlx::query(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity
         where datname = current_database() and application_name = 'calmirror' and state <> 'idle'",
    )
    .execute(pool)
    .await
    .expect("transactions can be ended");
}

/// What was read before is no longer so.
fn patch(rig: &Rig) {
    for user in [1, 600, 615].map(|place| rig.client.users[place]) {
        patch_name(rig, user);
    }
}

fn patch_name(rig: &Rig, user: i64) {
    rig.simulator
        .patch_user(user, json!({ "name": "Somebody Else" }))
        .expect("the user can be changed");
}

/// While a pass is stopped, users change, another pass makes all of its way, and this gives its report. Then the first wakes up, and ends without
/// having written anything more.
async fn overtake(
    rig: &Rig,
    oracle: &mut Oracle,
    db: &TestDb,
    pool: &PgPool,
    (stopped, begun): (Program, Begun),
    change: impl FnOnce(),
) -> Value {
    stopped.stopped().await;
    end_transactions(pool).await;
    oracle.take_answers(&rig.simulator, &begun);
    change();
    let next = rig.begin(oracle).await;
    let overtaking = rig.start_armed(db, "").end().await.expect(0);
    rig.end(oracle, next, &overtaking).await;

    let before = Tables::look(pool).await;
    rig.simulator.release();
    stopped.signal(Signal::SIGCONT);
    let ended = stopped.end().await.expect(1);
    assert_eq!(Tables::look(pool).await, before, "{ended}");
    assert_eq!(ended.json()[0]["outcome"], "failed");
    // One line of the log, and it says why.
    let errors = ended.log_lines("ERROR");
    let [line] = errors[..] else {
        panic!("not one line: {ended}")
    };
    for part in ["pass ended", "pass over this client", "epoch"] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    rig.end(oracle, begun, &ended).await;
    check(oracle, &ended).await;
    assert_eq!(rig.sync(oracle, db, 0).await["outcome"], "no_change");
    overtaking.json().swap_remove(0)
}

#[tokio::test]
async fn a_pass_that_is_stopped_among_its_requests_and_wakes_up_overtaken_writes_nothing() {
    let rig = Rig::new(700).await;
    let db = TestDb::new().await;
    let pool = db.pool().await;
    let mut oracle = rig.oracle(&pool);
    // Enough answers for a batch and half of another, and the first batch is written.
    let hanging = rig.client.users[650];
    rig.simulator.script(Target::User(hanging), 1, Answer::Hang);
    let begun = rig.begin(&mut oracle).await;
    let mut first = rig.start_armed(&db, "");
    first.logged_times("user changed", 500).await;
    rig.simulator.wait_until(|counts| counts.hanging == 1).await;
    first.signal(Signal::SIGSTOP);
    let report = overtake(&rig, &mut oracle, &db, &pool, (first, begun), || patch(&rig)).await;
    assert_eq!(
        (&report["inserted"], &report["updated"]),
        (&json!(200), &json!(1))
    );
    pool.close().await;
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs --features failpoints")]
async fn a_pass_that_is_stopped_at_a_point_and_wakes_up_overtaken_writes_nothing() {
    for (point, hit) in [
        ("begin::after_commit", 1),
        ("request::after", 610),
        ("batch::before", 2),
        ("batch::before_commit", 1),
        ("batch::after_commit", 1),
        ("finish::before", 1),
        ("finish::before_commit", 1),
    ] {
        let rig = Rig::new(620).await;
        let db = TestDb::new().await;
        let pool = db.pool().await;
        let mut oracle = rig.oracle(&pool);
        let begun = rig.begin(&mut oracle).await;
        let first = rig.start_armed(&db, &armed(point, hit, "1*return(stop)"));
        overtake(&rig, &mut oracle, &db, &pool, (first, begun), || patch(&rig)).await;
        pool.close().await;
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs --features failpoints")]
async fn removals_that_were_decided_on_before_a_stop_are_not_made_after_it() {
    for point in ["removals::before", "removals::before_commit"] {
        let later = Later::prepare().await;
        let (rig, db) = (&later.rig, &later.db);
        let pool = db.pool().await;
        let mut oracle = later.oracle_for(&pool);
        let begun = rig.begin(&mut oracle).await;
        let first = rig.start_armed(db, &armed(point, 1, "1*return(stop)"));
        let report = overtake(rig, &mut oracle, db, &pool, (first, begun), || patch(rig)).await;
        assert_eq!(
            report["removed"], 4,
            "those who were due, and those whom the first one found gone"
        );
        pool.close().await;
    }
}

/// The pass in between writes nothing that would be in the way of the first: only the fence is.
#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs --features failpoints")]
async fn what_was_taken_back_at_the_source_while_a_pass_slept_is_not_written_by_it() {
    let rig = Rig::new(20).await;
    let db = TestDb::new().await;
    let pool = db.pool().await;
    let mut oracle = rig.oracle(&pool);
    let user = rig.client.users[3];
    rig.sync(&mut oracle, &db, 0).await;
    let as_it_was = rig.records(&[user]);

    patch_name(&rig, user);
    let begun = rig.begin(&mut oracle).await;
    let first = rig.start_armed(&db, &armed("batch::before", 1, "1*return(stop)"));
    let report = overtake(&rig, &mut oracle, &db, &pool, (first, begun), || {
        rig.place(&as_it_was)
    })
    .await;
    assert_eq!(report["outcome"], "no_change");

    rig.delete(&[user]);
    rig.sync(&mut oracle, &db, 0).await;
    let begun = rig.begin(&mut oracle).await;
    let first = rig.start_armed(&db, &armed("removals::before", 1, "1*return(stop)"));
    let report = overtake(&rig, &mut oracle, &db, &pool, (first, begun), || {
        rig.place(&as_it_was)
    })
    .await;
    assert_eq!(report["outcome"], "no_change");
    let tables = Tables::look(&pool).await.expect("there are tables");
    assert_eq!(tables.changes, super::inserts(&rig));
    pool.close().await;
}

/// A pass that is stopped within a transaction holds the fence: another one waits for it, and goes on when it is through.
#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs --features failpoints")]
async fn a_pass_that_is_stopped_in_a_transaction_ends_it_first_when_it_wakes_up() {
    let rig = Rig::new(620).await;
    let db = TestDb::new().await;
    let pool = db.pool().await;
    let mut oracle = rig.oracle(&pool);
    let begun = rig.begin(&mut oracle).await;
    let first = rig.start_armed(&db, &armed("batch::before_commit", 1, "1*return(stop)"));
    first.stopped().await;
    oracle.take_answers(&rig.simulator, &begun);

    let next = rig.begin(&mut oracle).await;
    let second = rig.start_armed(&db, "");
    somebody_waits(&pool).await;
    first.signal(Signal::SIGCONT);
    let ended = second.end().await.expect(0);
    assert_eq!(ended.json()[0]["inserted"], 120);
    let first = first.end().await.expect(1);
    assert_eq!(first.json()[0]["outcome"], "failed");
    rig.end(&mut oracle, next, &ended).await;
    rig.end(&mut oracle, begun, &first).await;
    check(&oracle, &ended).await;
    let after = Tables::look(&pool).await.expect("there are tables");
    assert_eq!(after.changes, super::inserts(&rig));
    pool.close().await;
}
