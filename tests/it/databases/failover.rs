//! Another server takes over behind the same address.

use nix::sys::signal::Signal;

use super::{
    server::Server,
    stage::{COMPLETE, Point, Stage, failed_for, times, until},
    truth::assert_true,
};

#[tokio::test]
async fn a_pass_goes_on_over_the_server_that_took_over() {
    let primary = Server::start().await;
    let stage = Stage::on(&primary, 20).await;
    let mut program = stage.start_daemon();
    program.logged(COMPLETE).await;
    let standby = primary.standby().await;
    let taken_over = standby.pool().await;

    let hold = stage.hold_at(Point::InABatch).await;
    stage.change(0, "Antarctica/Troll");
    stage.reached(Point::InABatch).await;
    let written: String = stage.value("select pg_current_wal_lsn()::text").await;
    let replayed = format!("select pg_last_wal_replay_lsn() >= '{written}'");
    until(&taken_over, &replayed).await;
    primary.crash().await;
    stage.release(hold).await;
    stage.gate.lead_to_socket(standby.socket());

    // Who follows does not write.
    let (line, log) = failed_for(&mut program, "the database is read-only").await;
    assert!(line.contains("must lead to the primary"), "{line}");
    sqlx::query("select pg_promote()")
        .execute(&taken_over)
        .await
        .expect("the standby can be promoted");
    program.logged_times(COMPLETE, times(&log, COMPLETE) + 1).await;
    assert_true(&taken_over, &stage.simulator, &stage.client.users, 21).await;

    stage.change(1, "Antarctica/Troll");
    until(&taken_over, "select count(*) = 22 from managed_user_changes").await;
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
    assert_true(&taken_over, &stage.simulator, &stage.client.users, 22).await;
    taken_over.close().await;
    stage.pool.close().await;
    standby.stop().await;
    primary.stop().await;
}

#[tokio::test]
async fn a_standby_that_lagged_behind_is_brought_up_to_date() {
    let primary = Server::start().await;
    let stage = Stage::on(&primary, 20).await;
    stage.sync().await.expect(0);
    let standby = primary.standby().await;
    let taken_over = standby.pool().await;
    // What comes from here on never reaches the standby.
    sqlx::query("alter system set primary_conninfo = ''")
        .execute(&taken_over)
        .await
        .expect("the standby can be set");
    sqlx::query("select pg_reload_conf()")
        .execute(&taken_over)
        .await
        .expect("the standby reads its settings");
    until(
        &taken_over,
        "select not exists (select from pg_stat_wal_receiver)",
    )
    .await;
    stage.change(0, "Antarctica/Troll");
    stage.change(1, "Antarctica/Troll");
    stage.sync().await.expect(0);
    stage.assert_true(22).await;
    primary.crash().await;
    stage.gate.lead_to_socket(standby.socket());
    stage.change(1, "Europe/Rome");
    sqlx::query("select pg_promote()")
        .execute(&taken_over)
        .await
        .expect("the standby can be promoted");
    stage.sync().await.expect(0);
    assert_true(&taken_over, &stage.simulator, &stage.client.users, 22).await;
    taken_over.close().await;
    stage.pool.close().await;
    standby.stop().await;
    primary.stop().await;
}
