//! Passes that were cut, and those that go on from them.

use std::time::Duration;

use calmirror::{
    config::FetchPlan,
    model::RunOutcome,
    simulator::{Answer, Target},
    sync::{Pass, Progress},
};
use chrono::{DateTime, Utc};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::world::{World, watch};

const USERS: usize = 600;

/// The user at whom a pass is stuck. Of the others, a few more are asked for.
const STUCK: usize = 520;

/// Whole runs of 250 that come before.
const DONE: usize = 500;

async fn world() -> World {
    let mut world = World::new(USERS).await;
    world.pass().await;
    world.client.fetch = FetchPlan::Get;
    world.resume_since = Some(DateTime::UNIX_EPOCH);
    world
}

/// A pass that is asked to stop when it is stuck.
async fn cut(world: &World) -> calmirror::sync::Report {
    let before = world.simulator.requests().get_user;
    world
        .simulator
        .script(Target::User(world.users()[STUCK]), 1, Answer::Hang);
    let cancel = CancellationToken::new();
    let stop = async {
        // Seven others at most are asked for beside the one that hangs: all of them are answered when nothing else is.
        world
            .simulator
            .wait_until(|counts| counts.get_user >= before + USERS as u64)
            .await;
        cancel.cancel();
    };
    let (report, ()) = tokio::join!(world.pass_until(&cancel), stop);
    world.simulator.release();
    report
}

/// Looks at the pass under way until its signs of life say that it has come so far.
async fn told_of(world: &World, user: i64) {
    loop {
        let done_to: Option<i64> = world
            .value("select max(done_to) from sync_runs where outcome is null")
            .await;
        if done_to == Some(user) {
            break;
        }
    }
}

#[tokio::test]
async fn a_pass_that_was_cut_is_gone_on_from() {
    let world = world().await;
    let started: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(&world.pool)
        .await
        .expect("the server has a clock");
    let report = cut(&world).await;
    assert_eq!(report.outcome, RunOutcome::Partial);
    let done_to: i64 = world
        .value("select done_to from sync_runs order by run_id desc limit 1")
        .await;
    assert_eq!(done_to, world.users()[DONE - 1]);
    let report = world.pass().await;
    assert_eq!(report.outcome, RunOutcome::NoChange, "{:?}", report.error);
    assert_eq!(
        (report.observed, report.requests),
        ((USERS - DONE) as u64, (USERS - DONE) as u64)
    );
    // Nothing is claimed to be fresher than the first of the two passes makes it.
    let complete: DateTime<Utc> = world
        .value("select last_complete_started_at from sync_state")
        .await;
    let began: DateTime<Utc> = world
        .value("select started_at from sync_runs order by run_id desc offset 1 limit 1")
        .await;
    assert_eq!(complete, began);
    assert!(began >= started);
    // What is complete is begun anew.
    assert_eq!(world.pass().await.requests, USERS as u64);
}

#[tokio::test]
async fn a_pass_whose_process_died_is_gone_on_from_its_last_sign_of_life() {
    let mut world = world().await;
    world.beat = Duration::from_millis(50);
    world
        .simulator
        .script(Target::User(world.users()[STUCK]), 1, Answer::Hang);
    tokio::select! {
        _ = world.pass() => panic!("the pass is stuck"),
        () = told_of(&world, world.users()[DONE - 1]) => {}
    }
    world.simulator.release();
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.observed),
        (RunOutcome::NoChange, (USERS - DONE) as u64)
    );
    let resumes: Option<i64> = world
        .value("select resumes from sync_runs order by run_id desc limit 1")
        .await;
    assert!(resumes.is_some());
}

#[tokio::test]
async fn what_was_written_by_the_pass_that_was_cut_is_not_asked_for_again() {
    let mut world = World::new(USERS).await;
    world.resume_since = Some(DateTime::UNIX_EPOCH);
    let report = cut(&world).await;
    assert!(report.inserted >= DONE as u64, "{report:?}");
    let rest = USERS as u64 - report.inserted;
    let report = world.pass().await;
    // One of them is, for a control.
    assert_eq!((report.inserted, report.requests), (rest, rest + 1));
    assert_eq!(report.outcome, RunOutcome::Applied);
}

#[tokio::test]
async fn missing_users_and_rejects_are_looked_at_in_each_pass() {
    let world = world().await;
    let (gone, odd) = (world.users()[3], world.users()[5]);
    world.simulator.delete_user(gone).expect("the user is there");
    world
        .simulator
        .place_raw(world.client_id(), odd, "{}")
        .expect("the record can be placed");
    assert_eq!(cut(&world).await.outcome, RunOutcome::Partial);
    let report = world.pass().await;
    assert_eq!((report.missing, report.rejected), (1, 1));
    assert_eq!(
        report.outcome,
        RunOutcome::Partial,
        "the reject keeps the pass from being complete"
    );
    // Cut passes confirm nothing; this is the second that does.
    let report = world.pass().await;
    assert_eq!((report.removed, report.observed), (1, USERS as u64));
}

#[tokio::test]
async fn a_pass_that_goes_on_announces_what_is_left() {
    for (fetch, requests_per_minute, requests) in [
        (FetchPlan::Get, 0, None),
        (FetchPlan::Get, 1, Some(102)),
        (FetchPlan::Bulk, 1, Some(1)),
        (FetchPlan::Auto, 1, Some(1)),
        (FetchPlan::Auto, 0, None),
    ] {
        let mut world = world().await;
        world
            .simulator
            .delete_user(world.users()[3])
            .expect("the user is there");
        assert_eq!(cut(&world).await.outcome, RunOutcome::Partial);
        // Of our own estimate only: the source has no limit.
        world.client.requests_per_minute = requests_per_minute;
        world.client.fetch = fetch;
        let progress = Progress::default();
        let base_url = world.simulator.base_url();
        let pass = Pass {
            progress: Some(&progress),
            ..world.prepare(&world.store, &base_url)
        };
        let report = pass.run(&CancellationToken::new()).await;
        // Who is missing is asked for in each pass, with a control.
        let left = (USERS - DONE) as u64 + 2;
        assert_eq!(report.observed, left, "{fetch:?}: {report:?}");
        assert_eq!(progress.snapshot().expected, Some(left), "{fetch:?}");
        let planned: (Option<i64>, Option<i64>) = sqlx::query_as(
            "select planned_users, planned_requests from sync_runs order by run_id desc limit 1",
        )
        .fetch_one(&world.pool)
        .await
        .expect("the run is there");
        assert_eq!(planned, (Some(102), requests), "{fetch:?}");
    }
}

#[tokio::test]
async fn a_pass_that_goes_on_has_its_control_among_those_that_changed_since() {
    // Missing is everyone who is left, and perhaps one before the cut.
    for before in [false, true] {
        let world = world().await;
        for user in world.users() {
            world
                .simulator
                .patch_user(user, json!({ "bio": "changed" }))
                .expect("the user can be changed");
        }
        if before {
            world
                .simulator
                .delete_user(world.users()[3])
                .expect("the user is there");
        }
        assert_eq!(cut(&world).await.outcome, RunOutcome::Partial);
        // Whoever was not answered for in time is gone as well.
        let left: Vec<i64> = sqlx::query_scalar("select id from managed_users where version = 1")
            .fetch_all(&world.pool)
            .await
            .expect("the mirror can be read");
        for user in &left {
            // One is gone already.
            world.simulator.delete_user(*user).ok();
        }
        let report = world.pass().await;
        assert_eq!(
            (report.outcome, report.missing),
            (RunOutcome::NoChange, left.len() as u64),
            "{:?}",
            report.error
        );
        assert!(
            report.requests <= left.len() as u64 + 2,
            "{} requests",
            report.requests
        );
    }
}

#[tokio::test]
async fn what_is_not_the_same_pass_begins_from_the_start() {
    // Another list of users.
    let mut changed = world().await;
    cut(&changed).await;
    let dropped = watch(&mut changed.client, Vec::pop);
    assert!(dropped.is_some());
    assert_eq!(changed.pass().await.requests, USERS as u64 - 1);
    // A tick since then.
    let mut later = world().await;
    cut(&later).await;
    later.resume_since = Some(DateTime::UNIX_EPOCH + chrono::TimeDelta::days(365 * 300));
    assert_eq!(later.pass().await.requests, USERS as u64);
    // Whoever asks for it.
    let mut asked = world().await;
    cut(&asked).await;
    asked.resume_since = None;
    assert_eq!(asked.pass().await.requests, USERS as u64);
}

#[tokio::test]
async fn a_user_of_whom_nothing_was_learned_is_asked_for_again() {
    let world = world().await;
    let user = world.users()[100];
    world
        .simulator
        .script(Target::User(user), 100, Answer::json(500, json!({}).to_string()));
    assert_eq!(cut(&world).await.outcome, RunOutcome::Partial);
    world.simulator.clear_scripts();
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.requests),
        (RunOutcome::NoChange, USERS as u64)
    );
}
