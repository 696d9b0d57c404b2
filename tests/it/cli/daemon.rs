//! `calmirror run`: ticks, signals, and peers that come and go.

mod database;

use calmirror::simulator::{Answer, Target};
use chrono::{DateTime, Utc};
use nix::sys::signal::Signal;

use super::Setup;
use crate::support::{gate::Gate, program::Program};

const EVERY_SECOND: &str = "[schedule]\ncron = \"* * * * * *\"";
/// The first of January: no tick but the one at the start.
const HARDLY_EVER: &str = "[schedule]\ncron = \"0 0 1 1 *\"";

async fn live(setup: &Setup) -> i64 {
    setup.value("select count(*) from managed_users_live").await
}

/// A daemon in the middle of a pass: one user's answer does not come.
async fn in_a_pass(setup: &Setup) -> Program {
    let last = setup.clients[0].users.last().expect("the client has users");
    setup.simulator.script(Target::User(*last), 1, Answer::Hang);
    let program = setup.workplace.start(&["run"]);
    setup.simulator.wait_until(|counts| counts.hanging == 1).await;
    program
}

#[tokio::test]
async fn ticks_become_passes_that_do_not_overlap() {
    let setup = Setup::new(2, 5).await;
    setup.configure(EVERY_SECOND);
    let mut program = setup.workplace.start(&["run"]);
    program.logged_times("pass ended", 6).await;
    // Whatever the schedule says, a pass that is under way is let be.
    let user = setup.clients[0].users[0];
    setup.simulator.script(Target::User(user), 1, Answer::Hang);
    program.logged("tick skipped").await;
    setup.simulator.release();
    let so_far = program.logged("pass ended").await;
    let ended = so_far.lines().filter(|line| line.contains("pass ended")).count();
    program.logged_times("pass ended", ended + 3).await;
    program.signal(Signal::SIGTERM);
    let ended = program.end().await.expect(0);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.contains("calmirror runs"), "{ended}");
    let skipped = ended.log_lines("tick skipped")[0];
    let due = skipped
        .split_whitespace()
        .find_map(|word| word.strip_prefix("tick.due="));
    let due = due.map(|due| due.trim_matches('"').parse::<DateTime<Utc>>());
    assert!(matches!(due, Some(Ok(_))), "{skipped}");
    let pool = setup.pool().await;
    let overlaps: i64 = sqlx::query_scalar(
        "select count(*) from (
             select started_at < lag(finished_at) over (partition by client_id order by run_id) as early
             from sync_runs where outcome <> 'skipped'
         ) as passes where early",
    )
    .fetch_one(&pool)
    .await
    .expect("passes can be read");
    assert_eq!(overlaps, 0);
    let (without_tick, twice, skipped, open): (i64, i64, i64, i64) = sqlx::query_as(
        "select count(*) filter (where tick is null), count(*) - count(distinct (client_id, tick)),
             count(*) filter (where outcome = 'skipped'), count(*) filter (where finished_at is null)
         from sync_runs",
    )
    .fetch_one(&pool)
    .await
    .expect("passes can be read");
    assert_eq!((without_tick, twice, open), (0, 0, 0));
    assert!(skipped > 0);
    assert_eq!(live(&setup).await, 10);
}

#[tokio::test]
async fn either_signal_ends_a_pass_cleanly_and_the_next_start_converges() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let setup = Setup::new(1, 30).await;
        setup.configure(HARDLY_EVER);
        let program = in_a_pass(&setup).await;
        let ended = program.end_in_time(signal).await.expect(0);
        assert!(ended.stderr.contains("told to end"), "{ended}");
        let (outcome, closed): (String, bool) =
            sqlx::query_as("select outcome, finished_at is not null from sync_runs")
                .fetch_one(&setup.pool().await)
                .await
                .expect("there is one pass");
        assert_eq!((outcome.as_str(), closed), ("partial", true), "{signal}");

        setup.simulator.release();
        let mut program = setup.workplace.start(&["run"]);
        program.logged("pass ended").await;
        program.signal(signal);
        program.end().await.expect(0);
        assert_eq!(live(&setup).await, 30);
        let doubled: i64 = setup
            .value("select count(*) - count(distinct user_id) from managed_user_changes")
            .await;
        assert_eq!(doubled, 0);
        let ended = setup.run(&["--output", "json", "sync"]).await.expect(0);
        assert_eq!(ended.json()[0]["outcome"], "no_change");
    }
}

#[tokio::test]
async fn a_second_signal_leaves_at_once() {
    for (second, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let mut setup = Setup::new(1, 10).await;
        let mut gate = setup.gate();
        gate.open();
        setup.configure(HARDLY_EVER);
        let mut program = in_a_pass(&setup).await;
        // The end of the pass waits for a database that does not answer.
        gate.freeze();
        program.signal(Signal::SIGTERM);
        program.logged("told to end").await;
        program.signal(second);
        program.end().await.expect(code);
    }
}

#[tokio::test]
async fn calcom_may_be_away_at_the_start_and_later() {
    let mut setup = Setup::new(1, 6).await;
    let mut gate = Gate::before(setup.simulator.address());
    setup.base_url = format!("http://{}", gate.address());
    setup.configure(EVERY_SECOND);
    let mut program = setup.workplace.start(&["run"]);
    let log = program.logged("pass ended").await;
    assert!(log.contains("cannot be reached"), "{log}");
    gate.open();
    program.logged("run.outcome=applied").await;
    assert_eq!(live(&setup).await, 6);

    gate.shut();
    program.logged_times("run.outcome=failed", 2).await;
    gate.open();
    program.logged("run.outcome=no_change").await;
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
    assert_eq!(live(&setup).await, 6, "an absence removes nobody");
}

#[tokio::test]
async fn the_first_pass_can_wait_for_its_tick() {
    let setup = Setup::new(1, 3).await;
    setup.configure(&format!("{HARDLY_EVER}\nat_start = false"));
    let mut program = setup.workplace.start(&["run"]);
    program.logged("calmirror runs").await;
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
    assert_eq!(setup.simulator.requests().total, 0);

    setup.configure(&format!("{EVERY_SECOND}\nat_start = false"));
    let mut program = setup.workplace.start(&["run"]);
    program.logged("run.outcome=applied").await;
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
    let on_the_second: bool = setup
        .value("select bool_and(tick = date_trunc('second', tick)) from sync_runs")
        .await;
    assert!(on_the_second);
}

#[tokio::test]
async fn one_clients_fault_is_not_the_others() {
    let setup = Setup::new(2, 4).await;
    setup.configure(HARDLY_EVER);
    let mut program = setup.workplace.start_with(&[("SECRET_ACME", "not-it")], &["run"]);
    let log = program.logged_times("pass ended", 2).await;
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
    let of = |client: &str| {
        log.lines()
            .find(|line| line.contains("pass ended") && line.contains(&format!("client.name={client}")))
            .unwrap_or_else(|| panic!("no pass of {client}: {log}"))
    };
    let refused = of("acme");
    assert!(
        refused.contains("run.outcome=failed") && refused.contains("the secret is wrong"),
        "{refused}"
    );
    assert!(of(&setup.clients[1].name).contains("run.outcome=applied"));
}

#[tokio::test]
async fn a_daemon_that_was_killed_leaves_nothing_that_the_next_one_minds() {
    let setup = Setup::new(1, 30).await;
    setup.configure(HARDLY_EVER);
    let program = in_a_pass(&setup).await;
    program.signal(Signal::SIGKILL);
    assert_eq!(program.end().await.status.code(), None);
    setup.simulator.release();
    let mut program = setup.workplace.start(&["run"]);
    program.logged("pass ended").await;
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
    assert_eq!(live(&setup).await, 30);
    let outcomes: Vec<Option<String>> = sqlx::query_scalar("select outcome from sync_runs order by run_id")
        .fetch_all(&setup.pool().await)
        .await
        .expect("passes can be read");
    assert_eq!(outcomes, [Some("failed".to_owned()), Some("applied".to_owned())]);
}

#[tokio::test]
async fn a_log_that_nobody_reads_any_more_does_not_end_the_daemon() {
    let setup = Setup::new(1, 3).await;
    setup.configure(EVERY_SECOND);
    let mut program = setup.workplace.start(&["run"]);
    program.logged("pass ended").await;
    program.leave_log().await;
    let so_far = setup.simulator.requests().total;
    setup.simulator.wait_for_requests(so_far + 9).await;
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
}

#[tokio::test]
async fn two_daemons_on_one_database_make_one_pass_a_tick() {
    let setup = Setup::new(2, 10).await;
    setup.configure(EVERY_SECOND);
    let mut one = setup.workplace.start(&["run"]);
    let mut other = setup.workplace.start(&["run"]);
    // Either may be the one that comes too late.
    let both = async {
        tokio::select! {
            _ = one.logged_times("another calmirror", 4) => {}
            _ = other.logged_times("another calmirror", 4) => {}
        }
    };
    both.await;
    one.signal(Signal::SIGTERM);
    one.end().await.expect(0);
    let already: i64 = setup.value("select max(run_id) from sync_runs").await;
    let so_far = other.logged("pass ended").await;
    let ended = so_far.lines().filter(|line| line.contains("pass ended")).count();
    other.logged_times("pass ended", ended + 8).await;
    other.signal(Signal::SIGTERM);
    other.end().await.expect(0);
    let pool = setup.pool().await;
    let (twice, overtaken, later): (i64, i64, i64) = sqlx::query_as(
        "select
             (select count(*) from (
                 select from sync_runs where outcome is distinct from 'skipped' group by client_id, tick having count(*) > 1
             ) as twice),
             count(*) filter (where error like 'another pass over this client%'),
             count(*) filter (where run_id > $1 and outcome = 'no_change')
         from sync_runs",
    )
    .bind(already)
    .fetch_one(&pool)
    .await
    .expect("passes can be read");
    assert_eq!((twice, overtaken), (0, 0));
    assert!(later > 0, "the one that is left goes on alone");
    let inserted: i64 = setup.value("select count(*) from managed_user_changes").await;
    assert_eq!(inserted, 20);
}
