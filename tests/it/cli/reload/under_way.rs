//! Reloads while a pass is under way.

use super::*;

#[tokio::test]
async fn a_pass_under_way_ends_by_the_old_configuration_and_holds_up_nobody_else() {
    let mut setup = Setup::new(2, 10).await;
    setup.configure(EVERY_SECOND);
    let last = *setup.clients[0].users.last().expect("the client has users");
    setup.simulator.script(Target::User(last), 1, Answer::Hang);
    let mut program = setup.workplace.start(&["run"]);
    setup.simulator.wait_until(|counts| counts.hanging == 1).await;

    setup.clients[0].users.truncate(4);
    let other = setup.clients[1].name.clone();
    setup.configure(EVERY_SECOND);
    program.signal(Signal::SIGHUP);
    let log = program.logged(RELOADED).await;
    assert!(line(&log, RELOADED).contains("clients.changed=\"acme\""), "{log}");
    let so_far = passes(&log, &other).len();
    let log = program
        .logged_with(&["pass ended", &format!("client.name={other} ")], so_far + 2)
        .await;
    assert_eq!(passes(&log, "acme"), [""; 0], "it is under way");

    // Taken out and put back before it has ended.
    let acme = setup.clients.remove(0);
    setup.configure(EVERY_SECOND);
    program.signal(Signal::SIGHUP);
    program.logged_times(RELOADED, 2).await;
    setup.clients.insert(0, acme);
    setup.configure(EVERY_SECOND);
    program.signal(Signal::SIGHUP);
    let log = program.logged_times(RELOADED, 3).await;
    let so_far = passes(&log, &other).len();
    let log = program
        .logged_with(&["pass ended", &format!("client.name={other} ")], so_far + 2)
        .await;
    assert_eq!(passes(&log, "acme"), [""; 0], "it is still under way");

    setup.simulator.release();
    let log = program.logged_with(&["pass ended", "client.name=acme "], 2).await;
    let passes = passes(&log, "acme");
    assert!(passes[0].contains("run.observed=10"), "{}", passes[0]);
    assert!(passes[1].contains("run.observed=4"), "{}", passes[1]);
    stop(program).await;
    let overlaps: i64 = setup
        .value(
            "select count(*) from (
                 select started_at < lag(finished_at) over (partition by client_id order by run_id) as early
                 from sync_runs where outcome <> 'skipped'
             ) as passes where early",
        )
        .await;
    assert_eq!(overlaps, 0);
}

#[tokio::test]
async fn reloads_beside_the_end_do_not_hold_it_up() {
    let setup = Setup::new(1, 10).await;
    setup.configure(HARDLY_EVER);
    let last = *setup.clients[0].users.last().expect("the client has users");
    setup.simulator.script(Target::User(last), 2, Answer::Hang);
    let program = setup.workplace.start(&["run"]);
    setup.simulator.wait_until(|counts| counts.hanging == 1).await;
    for signal in [Signal::SIGHUP, Signal::SIGHUP, Signal::SIGTERM] {
        program.signal(signal);
    }
    let ended = program.end().await.expect(0);
    assert!(ended.stderr.contains("told to end"), "{ended}");

    setup.simulator.release();
    setup.simulator.script(Target::User(last), 1, Answer::Hang);
    let mut program = setup.workplace.start(&["run"]);
    setup.simulator.wait_until(|counts| counts.hanging == 1).await;
    program.signal(Signal::SIGTERM);
    program.logged("told to end").await;
    program.signal(Signal::SIGHUP);
    program.end().await.expect(0);
    let outcomes: i64 = setup
        .value("select count(*) from sync_runs where outcome = 'partial'")
        .await;
    assert_eq!(outcomes, 2);
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs --features failpoints")]
async fn a_pass_that_panicked_does_not_end_those_of_the_next_configuration() {
    let setup = Setup::new(2, 4).await;
    setup.configure(EVERY_SECOND);
    let panics = [("FAILPOINTS", "batch::before=1*panic")];
    let mut program = setup.workplace.start_with(&panics, &["run"]);
    program.logged("failpoint batch::before panic").await;
    for client in &setup.clients {
        program
            .logged_with(
                &["run.outcome=no_change", &format!("client.name={} ", client.name)],
                1,
            )
            .await;
    }
    // The first configuration is kept by a pass of the second client.
    let mut lock = setup.pool().await.begin().await.expect("the database answers");
    sqlx::query("select from sync_state where client_id = $1 for update")
        .bind(&setup.clients[1].id)
        .execute(&mut *lock)
        .await
        .expect("the row is there");
    let waiting = "select count(*) from pg_locks as l join pg_stat_activity as a using (pid)
                   where not l.granted and a.datname = current_database()";
    while setup.value::<i64>(waiting).await == 0 {
        tokio::task::yield_now().await;
    }
    setup.configure(&format!("{EVERY_SECOND}\n[log]\nlevel = \"info,calmirror=info\""));
    program.signal(Signal::SIGHUP);
    program.logged(RELOADED).await;
    // Under the second one a pass of the first client is under way when the first configuration goes.
    let log = program.logged(RELOADED).await;
    let so_far = log
        .lines()
        .filter(|line| line.contains("client.name=acme "))
        .count();
    program.logged_with(&["client.name=acme "], so_far + 2).await;
    let last = *setup.clients[0].users.last().expect("the client has users");
    setup.simulator.script(Target::User(last), 1, Answer::Hang);
    setup.simulator.wait_until(|counts| counts.hanging == 1).await;
    let other = format!("client.name={} ", setup.clients[1].name);
    let log = program.logged(RELOADED).await;
    let ended = passes(&log, &setup.clients[1].name).len();
    lock.rollback().await.expect("the database answers");
    program.logged_with(&["pass ended", &other], ended + 2).await;
    let open: i64 = setup
        .value("select count(*) from sync_runs where client_name = 'acme' and outcome is null")
        .await;
    assert_eq!(open, 1, "it is under way");
    setup.simulator.release();
    let log = program.logged(RELOADED).await;
    program
        .logged_with(
            &["pass ended", "client.name=acme "],
            passes(&log, "acme").len() + 1,
        )
        .await;
    stop(program).await;
    let cut: i64 = setup
        .value("select count(*) from sync_runs where error like '%had to end%'")
        .await;
    assert_eq!(cut, 0);
}
