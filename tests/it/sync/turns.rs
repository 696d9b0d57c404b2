//! Several processes on one database: whose turn it is.

use std::{pin::pin, time::Duration};

use calmirror::{
    calcom::ApiClient,
    model::RunOutcome,
    simulator::{Answer, Target},
    store::{Beat, Trigger},
    sync::{Pass, Report},
};
use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;

use crate::support::{
    gate::Gate,
    world::{LIMIT, World, source, store, store_at},
};

/// Short enough for a test, and long enough for a machine with much else to do.
const BEAT: Duration = Duration::from_millis(200);

/// Nobody waits for this one.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

fn tick(minutes: i64) -> Trigger {
    Trigger::Schedule(DateTime::<Utc>::UNIX_EPOCH + TimeDelta::minutes(minutes))
}

/// A process of its own: its connections, its HTTP client, its number.
struct Process<'a> {
    world: &'a World,
    store: calmirror::store::Store,
    source: ApiClient,
    base_url: String,
    number: i64,
}

impl<'a> Process<'a> {
    fn new(world: &'a World, number: i64) -> Self {
        let base_url = world.simulator.base_url();
        Self {
            store: store(&world.db, 2),
            source: source(&base_url, &world.client),
            base_url,
            world,
            number,
        }
    }

    async fn pass(&self, trigger: Trigger, beat: Duration) -> Report {
        let pass = Pass {
            source: &self.source,
            trigger,
            process: self.number,
            beat,
            ..self.world.prepare(&self.store, &self.base_url)
        };
        tokio::time::timeout(LIMIT, pass.run(&CancellationToken::new()))
            .await
            .expect("a pass ends")
    }
}

fn why(report: &Report) -> &str {
    report.error.as_deref().unwrap_or_default()
}

/// The last user does not answer until it is released.
fn hang(world: &World) {
    let user = world.users()[19];
    world.simulator.script(Target::User(user), 1, Answer::Hang);
}

#[tokio::test]
async fn a_scheduled_pass_gives_way_to_one_that_is_alive() {
    let world = World::new(20).await;
    let (one, other) = (Process::new(&world, 1), Process::new(&world, 2));
    hang(&world);
    let mut first = pin!(one.pass(tick(0), BEAT));
    let second = async {
        world.simulator.wait_for_requests(20).await;
        other.pass(tick(5), BEAT).await
    };
    let second = tokio::select! {
        _ = &mut first => panic!("the first pass waits for an answer"),
        second = second => second,
    };
    assert_eq!(second.outcome, RunOutcome::Skipped);
    assert!(why(&second).contains("is making a pass"), "{second:?}");
    assert_eq!(world.simulator.requests().total, 20, "the second asks for nobody");
    world.simulator.release();
    let first = first.await;
    assert_eq!(
        (first.outcome, first.inserted),
        (RunOutcome::Applied, 20),
        "{first:?}"
    );
    assert_eq!(other.pass(tick(10), BEAT).await.outcome, RunOutcome::NoChange);
}

#[tokio::test]
async fn a_tick_has_one_pass_whichever_process_makes_it() {
    let world = World::new(20).await;
    let processes = [1, 2, 3].map(|number| Process::new(&world, number));
    for (minute, made) in [(0, RunOutcome::Applied), (5, RunOutcome::NoChange)] {
        let passes = processes.iter().map(|process| process.pass(tick(minute), BEAT));
        let mut outcomes: Vec<_> = futures_util::future::join_all(passes)
            .await
            .iter()
            .map(|report| report.outcome)
            .collect();
        outcomes.sort();
        assert_eq!(outcomes, [made, RunOutcome::Skipped, RunOutcome::Skipped]);
    }
    world.assert_replay().await;
}

#[tokio::test]
async fn a_tick_whose_pass_failed_elsewhere_is_made_up_for() {
    let world = World::new(20).await;
    let (one, other) = (Process::new(&world, 1), Process::new(&world, 2));
    world
        .simulator
        .set_forbidden(world.client_id(), true)
        .expect("the client is there");
    assert_eq!(one.pass(tick(0), BEAT).await.outcome, RunOutcome::Failed);
    world
        .simulator
        .set_forbidden(world.client_id(), false)
        .expect("the client is there");
    assert_eq!(other.pass(tick(0), BEAT).await.outcome, RunOutcome::Applied);
}

#[tokio::test]
async fn a_pass_that_died_is_taken_over_once_it_is_silent() {
    let world = World::new(20).await;
    let (one, other) = (Process::new(&world, 1), Process::new(&world, 2));
    hang(&world);
    tokio::select! {
        _ = one.pass(tick(0), BEAT) => panic!("the pass waits for an answer"),
        _ = world.simulator.wait_for_requests(20) => {}
    }
    world.simulator.release();
    let second = other.pass(tick(5), BEAT).await;
    assert_eq!(second.outcome, RunOutcome::Applied, "{second:?}");
    assert_eq!(
        world
            .value::<String>("select outcome from sync_runs order by run_id limit 1")
            .await,
        "failed"
    );
    world.assert_replay().await;
}

#[tokio::test]
async fn a_process_does_not_wait_for_what_it_left_open_itself() {
    let world = World::new(20).await;
    let one = Process::new(&world, 1);
    hang(&world);
    tokio::select! {
        _ = one.pass(tick(0), NEVER) => panic!("the pass waits for an answer"),
        _ = world.simulator.wait_for_requests(20) => {}
    }
    world.simulator.release();
    assert_eq!(one.pass(tick(5), NEVER).await.outcome, RunOutcome::Applied);
}

#[tokio::test]
async fn an_operator_overtakes_and_the_overtaken_pass_ends_by_itself() {
    let world = World::new(20).await;
    let (one, other) = (Process::new(&world, 1), Process::new(&world, 2));
    hang(&world);
    let operator = async {
        world.simulator.wait_for_requests(20).await;
        other.pass(Trigger::Operator, BEAT).await
    };
    // Nobody releases the answer that the first pass waits for.
    let (first, second) = tokio::join!(one.pass(tick(0), BEAT), operator);
    assert_eq!(
        (second.outcome, second.inserted),
        (RunOutcome::Applied, 20),
        "{second:?}"
    );
    assert_eq!(first.outcome, RunOutcome::Failed);
    assert!(
        why(&first).contains("another pass over this client began"),
        "{first:?}"
    );
    world.assert_replay().await;
    world.assert_quiet().await;
}

#[tokio::test]
async fn a_beginning_whose_answer_is_lost_is_one_run() {
    let world = World::new(20).await;
    let (mut gate, url) = Gate::before_database(&world.db);
    gate.open();
    let process = Process {
        store: store_at(&url, 2),
        ..Process::new(&world, 1)
    };
    gate.lose_answer(&["insert into sync_runs", "commit\0"]);
    let report = process.pass(tick(0), NEVER).await;
    assert!(gate.has_lost());
    assert_eq!(report.outcome, RunOutcome::Applied, "{report:?}");
    assert_eq!(world.value::<i64>("select count(*) from sync_runs").await, 1);
}

#[tokio::test]
async fn a_pass_that_is_overtaken_while_nobody_answered_says_so() {
    let world = World::new(1).await;
    let (one, other) = (Process::new(&world, 1), Process::new(&world, 2));
    world
        .simulator
        .script(Target::User(world.users()[0]), 1, Answer::Hang);
    let operator = async {
        world.simulator.wait_for_requests(1).await;
        other.pass(Trigger::Operator, BEAT).await
    };
    let (first, second) = tokio::join!(one.pass(tick(0), BEAT), operator);
    assert_eq!(second.outcome, RunOutcome::Applied);
    assert!(
        why(&first).contains("another pass over this client began"),
        "{first:?}"
    );
}

#[tokio::test]
async fn a_clock_that_was_set_back_stops_no_passes() {
    let world = World::new(5).await;
    let one = Process::new(&world, 1);
    for minute in [0, 5, 0, 5] {
        let report = one.pass(tick(minute), BEAT).await;
        assert!(
            matches!(report.outcome, RunOutcome::Applied | RunOutcome::NoChange),
            "{report:?}"
        );
    }
}

#[tokio::test]
async fn a_daemon_with_another_list_of_users_is_no_substitute() {
    let world = World::new(20).await;
    let mut other_world = World::with(
        calmirror::simulator::Simulator::start(calmirror::simulator::SimulatorConfig::default())
            .await
            .expect("the simulator starts"),
        crate::support::TestDb::new().await,
    )
    .await;
    other_world.client = calmirror::config::Client {
        watch: calmirror::config::Watch {
            listed: calmirror::config::Listed::of(world.client.watch.listed.iter().take(10).collect()),
            ..calmirror::config::Watch::default()
        },
        ..world.client.clone()
    };
    let one = Process::new(&world, 1);
    let older = Process {
        store: store(&world.db, 2),
        source: source(&world.simulator.base_url(), &world.client),
        base_url: world.simulator.base_url(),
        world: &other_world,
        number: 2,
    };
    assert_eq!(older.pass(tick(0), BEAT).await.inserted, 10);
    assert_eq!(one.pass(tick(0), BEAT).await.inserted, 10, "the others");
}

#[tokio::test]
async fn a_heartbeat_of_the_future_is_no_sign_of_life() {
    let world = World::new(5).await;
    let one = Process::new(&world, 1);
    hang_first(&world);
    tokio::select! {
        _ = one.pass(tick(0), NEVER) => panic!("the pass waits for an answer"),
        _ = world.simulator.wait_until(|counts| counts.hanging == 1) => {}
    }
    world.simulator.release();
    sqlx::query("update sync_runs set heartbeat_at = now() + interval '1 day'")
        .execute(&world.pool)
        .await
        .expect("time can be moved");
    let report = Process::new(&world, 2).pass(tick(5), BEAT).await;
    assert_eq!(report.outcome, RunOutcome::Applied, "{report:?}");
}

/// The fence is more than a number: another server may have given the same one.
#[tokio::test]
async fn a_run_of_the_same_number_and_epoch_is_not_ours() {
    let world = World::new(3).await;
    let run = world.begin().await;
    sqlx::query("update sync_runs set token = token + 1")
        .execute(&world.pool)
        .await
        .expect("the run is there");
    let error = world
        .store
        .heartbeat(&run, Beat::default())
        .await
        .expect_err("it is another's");
    assert!(matches!(error, calmirror::store::Error::Fenced { .. }), "{error}");
}

fn hang_first(world: &World) {
    world
        .simulator
        .script(Target::User(world.users()[0]), 1, Answer::Hang);
}
