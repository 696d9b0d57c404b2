//! The database goes away at each point of a pass.

use nix::sys::signal::Signal;

use super::{
    server::Server,
    stage::{COMPLETE, FAILED, Hold, POINTS, Point, Stage, the_line, times},
};
use crate::support::program::Program;

async fn a_pass_that_loses_its_database(point: Point) {
    let mut stage = Stage::new(point.users()).await;
    let hold = stage.hold_at(point).await;
    let program = stage.start_sync();
    stage.reached(point).await;
    stage.gate.shut();
    stage.release(hold).await;
    let ended = program.end().await.expect(75);
    let line = the_line(&ended);
    assert!(
        line.contains("the database is unavailable") && line.contains("check that Postgres runs"),
        "{line}"
    );
    assert_eq!(stage.fresh_as_of().await, None, "{point:?}: freshness moved");
    stage.gate.open();
    stage.sync().await.expect(0);
    stage.assert_true(point.changes()).await;
    let ended = stage.sync().await.expect(0);
    assert_eq!(ended.json()[0]["outcome"], "no_change", "{ended}");
}

#[tokio::test]
async fn a_database_that_is_lost_at_the_beginning_of_a_pass_is_made_up_for() {
    a_pass_that_loses_its_database(Point::AtTheBeginning).await;
}

#[tokio::test]
async fn a_database_that_is_lost_before_a_batch_is_made_up_for() {
    a_pass_that_loses_its_database(Point::BeforeABatch).await;
}

#[tokio::test]
async fn a_database_that_is_lost_in_a_batch_is_made_up_for() {
    a_pass_that_loses_its_database(Point::InABatch).await;
}

#[tokio::test]
async fn a_database_that_is_lost_between_batches_is_made_up_for() {
    a_pass_that_loses_its_database(Point::BetweenBatches).await;
}

#[tokio::test]
async fn a_database_that_is_lost_at_the_end_of_a_pass_is_made_up_for() {
    a_pass_that_loses_its_database(Point::AtTheEnd).await;
}

#[tokio::test]
async fn a_database_that_is_lost_in_the_removals_is_made_up_for() {
    let mut stage = Stage::new(20).await;
    stage.sync().await.expect(0);
    let gone = stage.client.users[3];
    stage
        .simulator
        .delete_user(gone)
        .expect("the user can be deleted");
    stage.sync().await.expect(0);
    let fresh = stage.fresh_as_of().await;
    let hold = stage.hold_at(Point::InTheRemovals).await;
    let program = stage.start_sync();
    stage.reached(Point::InTheRemovals).await;
    stage.gate.shut();
    stage.release(hold).await;
    program.end().await.expect(75);
    assert_eq!(stage.fresh_as_of().await, fresh, "freshness moved");
    let changes: i64 = stage.value("select count(*) from managed_user_changes").await;
    assert_eq!(changes, 20, "nothing was removed yet");
    stage.gate.open();

    let hold = stage.hold_at(Point::InTheRemovals).await;
    let program = stage.start_sync();
    stage.reached(Point::InTheRemovals).await;
    stage.terminate_sessions().await;
    stage.release(hold).await;
    let ended = program.end().await.expect(0);
    assert_eq!(ended.json()[0]["removed"], 1, "{ended}");
    stage.assert_true(21).await;
}

#[tokio::test]
async fn sessions_that_are_terminated_at_any_point_are_made_again() {
    for point in POINTS {
        let stage = Stage::new(point.users()).await;
        let hold = stage.hold_at(point).await;
        let program = stage.start_sync();
        stage.reached(point).await;
        stage.terminate_sessions().await;
        stage.release(hold).await;
        let ended = program.end().await.expect(0);
        assert_eq!(ended.json()[0]["outcome"], "applied", "{point:?}: {ended}");
        stage.assert_true(point.changes()).await;
        assert_eq!(
            stage.value::<i64>("select count(*) from sync_runs").await,
            1,
            "{point:?}: one pass"
        );
    }
}

#[tokio::test]
async fn a_server_that_crashes_at_any_point_is_gone_on_with_when_it_is_back() {
    let mut server = Server::start().await;
    let mut stage = Stage::on(&server, Point::BetweenBatches.users()).await;
    let mut changes = 501;
    // The first pass has two batches. Those after it write what has changed.
    let hold = stage.hold_at(Point::BetweenBatches).await;
    let mut program = stage.start_daemon();
    stage.reached(Point::BetweenBatches).await;
    crash(&mut server, &mut stage, &mut program, hold).await;
    stage.assert_true(changes).await;
    for (user, point) in [Point::InABatch, Point::AtTheEnd, Point::BeforeABatch]
        .into_iter()
        .enumerate()
    {
        let hold = stage.hold_at(point).await;
        stage.change(user, "Antarctica/Troll");
        changes += 1;
        stage.reached(point).await;
        crash(&mut server, &mut stage, &mut program, hold).await;
        stage.assert_true(changes).await;
    }
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
    stage.assert_true(changes).await;
    stage.pool.close().await;
    server.stop().await;
}

/// Until a pass has failed without the server and another one was complete with it.
async fn crash(server: &mut Server, stage: &mut Stage, program: &mut Program, hold: Hold) {
    let failed = times(&program.logged("calmirror runs").await, FAILED);
    server.crash().await;
    stage.release(hold).await;
    let log = program.logged_times(FAILED, failed + 1).await;
    let line = log
        .lines()
        .rfind(|line| line.contains(FAILED))
        .expect("it is there");
    assert!(line.contains("check that Postgres runs"), "{line}");
    server.restart().await;
    program.logged_times(COMPLETE, times(&log, COMPLETE) + 1).await;
}
