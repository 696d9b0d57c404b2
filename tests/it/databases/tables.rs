//! The tables go, or the whole database, while the daemon runs.

use nix::sys::signal::Signal;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::stage::{COMPLETE, FAILED, Stage, failed_for, the_line, times};

#[tokio::test]
async fn an_empty_database_under_a_running_daemon_is_filled_anew() {
    let stage = Stage::new(5).await;
    let mut program = stage.start_daemon();
    program.logged(COMPLETE).await;
    stage
        .execute("drop schema public cascade; create schema public")
        .await;
    // A pass that was under way may have failed for it.
    stage
        .until("select count(*) = 5 from managed_users_freshness, managed_users where verdict = 'fresh'")
        .await;
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
    stage.assert_true(5).await;
}

#[tokio::test]
async fn a_database_that_was_dropped_is_missed_until_it_is_there_again() {
    let stage = Stage::new(5).await;
    let options = stage
        .db
        .as_ref()
        .expect("it is of the common server")
        .connect_options();
    let name = options.get_database().expect("it has a name").to_owned();
    let mut administrator = PgConnection::connect_with(&options.clone().database("postgres"))
        .await
        .expect("the server has this one too");
    let mut say = async |statement: String| {
        sqlx::raw_sql(AssertSqlSafe(statement.clone()))
            .execute(&mut administrator)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    };
    let mut program = stage.start_daemon();
    program.logged(COMPLETE).await;
    say(format!("drop database {name} with (force)")).await;
    let (line, log) = failed_for(&mut program, "(3D000)").await;
    assert!(
        line.contains("the database refused")
            && line.contains("create that database, or correct database.url"),
        "{line}"
    );
    let ended = stage.sync().await.expect(1);
    assert!(the_line(&ended).contains("create that database"), "{ended}");
    say(format!("create database {name}")).await;
    program.logged_times(COMPLETE, times(&log, COMPLETE) + 1).await;
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
    stage.assert_true(5).await;
    administrator.close().await.expect("the connection closes");
}

#[tokio::test]
async fn a_table_that_is_missing_is_named_and_never_made_empty() {
    let stage = Stage::new(5).await;
    let mut program = stage.start_daemon();
    program.logged(COMPLETE).await;
    stage
        .execute("alter table managed_users rename to put_away")
        .await;
    let (line, _) = failed_for(&mut program, "(42P01)").await;
    for text in [
        "relation \"managed_users\" does not exist (42P01)",
        "run `calmirror migrate`",
        "rename it back",
    ] {
        assert!(line.contains(text), "no {text:?} in {line}");
    }
    stage.sync().await.expect(1);
    stage.workplace.run(&["migrate"]).await.expect(0);
    stage
        .execute("alter table put_away rename to managed_users")
        .await;
    stage.change(0, "Antarctica/Troll");
    let log = program.logged(FAILED).await;
    program.logged_times(COMPLETE, times(&log, COMPLETE) + 2).await;
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
    stage.assert_true(6).await;
}
