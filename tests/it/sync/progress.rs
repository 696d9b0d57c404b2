//! What is seen of a pass while it runs.

use std::time::Duration;

use calmirror::{
    clock::{Clock as _, SystemClock},
    model::RunOutcome,
    simulator::{Answer, RateLimit, Target},
    store::Trigger,
    sync::{Pass, Progress},
};
use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::support::{
    told::Told,
    world::{LIMIT, World, store},
};

const OFTEN: Duration = Duration::from_millis(50);

/// Waits for what comes in a moment or never.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// So many users, of whom the last does not answer until it is released.
async fn world(users: usize) -> World {
    let world = World::new(users).await;
    let last = world.users()[users - 1];
    world.simulator.script(Target::User(last), 1, Answer::Hang);
    world
}

#[tokio::test]
async fn a_pass_says_now_and_then_how_far_it_has_come() {
    let (told, _guard) = Told::listen(Level::INFO);
    let world = world(8).await;
    let base_url = world.simulator.base_url();
    let progress = Progress::default();
    let pass = Pass {
        progress: Some(&progress),
        tell_every: Some(OFTEN),
        ..world.prepare(&world.store, &base_url)
    };
    let cancel = CancellationToken::new();
    let looking_on = async {
        // A batch is written when it is so old, or at the end.
        until("seven users are told of", async || {
            told.lines("pass under way")
                .iter()
                .any(|line| line.contains(" users=7 of=8 requests=8 changes=0 "))
        })
        .await;
        world.simulator.release();
    };
    let (report, ()) = tokio::join!(pass.run(&cancel), looking_on);
    assert_eq!(report.outcome, RunOutcome::Applied, "{report:?}");
    let lines = told.lines("pass under way");
    let said = format!(
        "pass under way client.name=\"{}\" run.id={} users=",
        world.client.name,
        report.run_id.expect("it is on record")
    );
    assert!(lines.iter().all(|line| line.contains(&said)), "{lines:#?}");
    assert!(
        lines
            .iter()
            .any(|line| line.contains(" rate_per_s=") && line.contains(" left_s=")),
        "{lines:#?}"
    );
    let end = progress.snapshot();
    assert_eq!(
        [end.observed, end.expected.unwrap_or_default(), end.changes],
        [8; 3]
    );
}

#[tokio::test]
async fn a_pass_that_a_bar_shows_says_nothing_and_neither_does_a_short_one() {
    let (told, _guard) = Told::listen(Level::INFO);
    let world = World::new(3).await;
    let base_url = world.simulator.base_url();
    let progress = Progress::default();
    for tell_every in [None, Some(Duration::from_secs(3600))] {
        let pass = Pass {
            progress: Some(&progress),
            tell_every,
            ..world.prepare(&world.store, &base_url)
        };
        pass.run(&CancellationToken::new()).await;
    }
    assert_eq!(told.lines("pass ended").len(), 2);
    assert_eq!(told.lines("pass under way"), [""; 0]);
}

#[tokio::test]
async fn a_sign_of_life_puts_on_record_how_far_the_pass_has_come() {
    let world = world(8).await;
    let base_url = world.simulator.base_url();
    // Apart from the connection that looks.
    let store = store(&world.db, 2);
    let progress = Progress::default();
    let pass = Pass {
        progress: Some(&progress),
        beat: OFTEN,
        ..world.prepare(&store, &base_url)
    };
    let cancel = CancellationToken::new();
    let looking_on = async {
        until("seven users are on record", async || {
            let counts: Option<(i64, i64, Option<i64>)> =
                sqlx::query_as("select observed, requests, done_to from sync_runs where outcome is null")
                    .fetch_optional(&world.pool)
                    .await
                    .expect("runs can be read");
            counts == Some((7, 8, None))
        })
        .await;
        world.simulator.release();
    };
    let (report, ()) = tokio::join!(pass.run(&cancel), looking_on);
    assert_eq!(report.outcome, RunOutcome::Applied, "{report:?}");
    let counts: (i64, i64) = sqlx::query_as("select observed, requests from sync_runs")
        .fetch_one(&world.pool)
        .await
        .expect("the run is there");
    assert_eq!(counts, (8, 8), "the end has the last word");
    store.close().await;
}

#[tokio::test]
async fn a_pass_that_cannot_end_before_the_next_tick_says_so_beforehand() {
    let (told, _guard) = Told::listen(Level::INFO);
    let mut world = World::new(40).await;
    // Of our own estimate only: the source of these tests has no limit. The first one is free, 39 take 39 minutes.
    world.client.requests_per_minute = 1;
    world.trigger = Trigger::Operator;
    let base_url = world.simulator.base_url();
    let in_minutes = |minutes| Some(SystemClock.now() + TimeDelta::minutes(minutes));
    for (next_tick, warnings) in [(None, 0), (in_minutes(45), 0), (in_minutes(30), 1)] {
        let pass = Pass {
            next_tick,
            ..world.prepare(&world.store, &base_url)
        };
        pass.run(&CancellationToken::new()).await;
        let lines = told.lines("the pass is expected to end at ");
        assert_eq!(lines.len(), warnings, "{next_tick:?}: {lines:?}");
    }
    let line = told.lines("the pass is expected to end at ").remove(0);
    assert!(line.contains(" WARN "), "{line}");
    assert!(
        line.contains("after the next tick (") && line.contains("requests=40"),
        "{line}"
    );
}

#[tokio::test]
async fn what_the_server_was_heard_to_allow_is_foreseen_whatever_our_own_rate_is() {
    let (told, _guard) = Told::listen(Level::INFO);
    for requests_per_minute in [0, 100_000] {
        let mut world = World::new(25).await;
        world.simulator.set_rate_limit(RateLimit {
            per_client: 10,
            window: Duration::from_secs(1),
            block: Duration::from_secs(1),
            ..RateLimit::default()
        });
        world.client.requests_per_minute = requests_per_minute;
        world.trigger = Trigger::Operator;
        let base_url = world.simulator.base_url();
        // The first pass hears it; 25 requests take until the third window begins, two seconds from the first.
        for (next_tick, warnings) in [(1_900, 0), (60_000, 0), (1_900, 1)] {
            let before = told.lines("the pass is expected to end at ").len();
            let pass = Pass {
                next_tick: Some(SystemClock.now() + TimeDelta::milliseconds(next_tick)),
                ..world.prepare(&world.store, &base_url)
            };
            let report = pass.run(&CancellationToken::new()).await;
            assert_eq!(report.observed, 25, "{report:?}");
            let lines = told.lines("the pass is expected to end at ");
            assert_eq!(lines.len() - before, warnings, "{next_tick:?}: {lines:?}");
        }
    }
    let line = told.lines("the pass is expected to end at ").remove(0);
    assert!(
        line.contains("choose a slower schedule.cron client.name") && line.contains("requests=25"),
        "{line}"
    );
}
