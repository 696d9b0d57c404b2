//! Databases that do not answer, or not in time.

use super::*;

#[tokio::test]
async fn a_database_that_stopped_answering_does_not_hold_up_the_end() {
    let mut setup = Setup::new(1, 10).await;
    let mut gate = setup.gate();
    gate.open();
    setup.configure(HARDLY_EVER);
    let program = in_a_pass(&setup).await;
    gate.freeze();
    program.end_in_time(Signal::SIGTERM).await.expect(0);
    let open = "select count(*) from sync_runs where outcome is null";
    assert_eq!(setup.value::<i64>(open).await, 1, "the pass could not be closed");

    gate.open();
    setup.simulator.release();
    setup.run(&["sync"]).await.expect(0);
    assert_eq!(live(&setup).await, 10);
    assert_eq!(setup.value::<i64>(open).await, 0);
}

#[tokio::test]
async fn a_pass_that_is_cut_at_the_end_is_closed_all_the_same() {
    let setup = Setup::new(1, 10).await;
    setup.configure(HARDLY_EVER);
    let program = in_a_pass(&setup).await;
    // Batches and the end of the pass wait for this, and longer than calmirror does.
    let mut lock = setup.pool().await.begin().await.expect("a transaction");
    sqlx::query("lock table sync_state in access exclusive mode")
        .execute(&mut *lock)
        .await
        .expect("nobody else has it for long");
    program.signal(Signal::SIGTERM);
    let ended = program.end().await.expect(0);
    assert!(ended.stderr.contains("outlasted the grace period"), "{ended}");
    drop(lock);
    let (outcome, error): (String, String) = sqlx::query_as("select outcome, error from sync_runs")
        .fetch_one(&setup.pool().await)
        .await
        .expect("there is one pass");
    assert_eq!(outcome, "failed");
    assert!(error.contains("was cut"), "{error}");
}

#[tokio::test]
async fn a_database_that_is_away_holds_up_neither_the_daemon_nor_its_end() {
    let mut setup = Setup::new(1, 6).await;
    let mut gate = setup.gate();
    setup.configure(EVERY_SECOND);
    let mut program = setup.workplace.start(&["run"]);
    let log = program.logged("pass ended").await;
    assert!(log.contains("the database is unavailable"), "{log}");
    gate.open();
    program.logged("run.outcome=applied").await;
    assert_eq!(live(&setup).await, 6);

    gate.shut();
    let failed = program.logged_times("run.outcome=failed", 2).await;
    gate.open();
    let quiet = |log: &str| log.matches("run.outcome=no_change").count();
    program
        .logged_times("run.outcome=no_change", quiet(&failed) + 1)
        .await;

    gate.shut();
    program.end_in_time(Signal::SIGTERM).await.expect(0);
}

#[tokio::test]
async fn a_database_that_stops_answering_between_passes_does_not_hold_up_the_end() {
    let mut setup = Setup::new(1, 6).await;
    let mut gate = setup.gate();
    gate.open();
    setup.configure(EVERY_SECOND);
    let mut program = setup.workplace.start(&["run"]);
    program.logged_times("pass ended", 2).await;
    gate.freeze();
    program.logged("tick skipped").await;
    program.end_in_time(Signal::SIGTERM).await.expect(0);
}

#[tokio::test]
async fn a_start_that_waits_does_not_hold_up_the_end() {
    let setup = Setup::new(1, 3).await;
    let config = setup.workplace.path().join("config.toml");
    let text = std::fs::read_to_string(&config).expect("it is there");
    let url = format!("url = \"{}\"", setup.database_url);
    let embedded = text.replace(&url, "url = \"embedded\"\ndata_dir = \"postgres\"");
    assert_ne!(text, embedded);
    setup.workplace.write("config.toml", &embedded);
    setup.run(&["sync"]).await.expect(0);
    // As a process does that is starting the same server.
    let lock = setup.workplace.path().join("postgres").join("lock");
    let file = std::fs::File::open(&lock).expect("the server was locked while it started");
    file.lock().expect("nobody has it any more");
    let program = setup.workplace.start(&["run"]);
    let open_files = format!("/proc/{}/fd", program.id());
    let has_come = || {
        let open = std::fs::read_dir(&open_files).expect("it runs");
        open.flatten()
            .any(|open| std::fs::read_link(open.path()).is_ok_and(|path| path == lock))
    };
    while !has_come() {
        tokio::task::yield_now().await;
    }
    program.signal(Signal::SIGTERM);
    let ended = program.end().await.expect(0);
    assert!(
        ended.stderr.contains("told to end before the database was there"),
        "{ended}"
    );
}
