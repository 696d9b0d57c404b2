//! Two pages of a list at a time.

use calmirror::{
    config::FetchPlan,
    model::RunOutcome,
    simulator::{Answer, Lists, MaxLimit, Refusal, Script, Target},
    sync::{Pass, Progress, Report},
};
use tokio_util::sync::CancellationToken;

use super::filled;
use crate::support::world::{LIMIT, World};

/// A mirror of at least as many users as a page holds, whose list is read.
async fn listed(users: usize) -> World {
    let mut world = filled(users).await;
    world.client.fetch = FetchPlan::List;
    world
}

/// Makes a pass in which a page does not come until a condition holds.
async fn pass_without(world: &World, page: usize, progress: &Progress, condition: impl AsyncFn()) -> Report {
    world.simulator.script(Target::Page(page), 1, Answer::Hang);
    let base_url = world.simulator.base_url();
    let pass = Pass {
        progress: Some(progress),
        ..world.prepare(&world.store, &base_url)
    };
    let cancel = CancellationToken::new();
    let looking_on = async {
        tokio::time::timeout(LIMIT, condition())
            .await
            .expect("it does not wait for the page");
        world.simulator.release();
    };
    let (report, ()) = tokio::join!(pass.run(&cancel), looking_on);
    report
}

fn assert_whole(report: &Report) {
    assert_eq!(
        (report.outcome, report.unchanged, report.requests),
        (RunOutcome::NoChange, 300, 2),
        "{:?}",
        report.error
    );
}

#[tokio::test]
async fn the_second_page_is_asked_for_beside_a_first_that_will_be_full() {
    let world = listed(300).await;
    let so_far = world.simulator.requests().list_users;
    let both_are_asked_for = async || {
        world
            .simulator
            .wait_until(|counts| (counts.list_users - so_far, counts.hanging) == (2, 1))
            .await;
    };
    assert_whole(&pass_without(&world, 0, &Progress::default(), both_are_asked_for).await);
}

#[tokio::test]
async fn the_first_page_is_taken_before_the_second_is_there() {
    let world = listed(300).await;
    let progress = Progress::default();
    let first_is_taken = async || {
        world.simulator.wait_until(|counts| counts.hanging == 1).await;
        while progress.snapshot().observed < 250 {
            tokio::task::yield_now().await;
        }
    };
    assert_whole(&pass_without(&world, 250, &progress, first_is_taken).await);
}

#[tokio::test]
async fn a_second_page_that_does_not_follow_the_first_is_not_waited_for() {
    // The first page and the one beside it, and from 0 or 100 on to 200, behind which there is nobody.
    for (max_limit, requests) in [(MaxLimit::Refuse(100), 2 + 3), (MaxLimit::Clamp(100), 2 + 2)] {
        let world = listed(250).await;
        world.simulator.set_lists(Lists {
            max_limit,
            ..Lists::default()
        });
        world
            .simulator
            .script(Target::Page(250), Script::ALWAYS, Answer::Hang);
        let report = world.pass().await;
        assert_eq!(
            (report.outcome, report.unchanged, report.requests),
            // Whoever waits for an answer that does not come asks once more.
            (RunOutcome::NoChange, 250, requests),
            "{max_limit:?}: {:?}",
            report.error
        );
    }
}

#[tokio::test]
async fn where_one_request_at_a_time_is_allowed_pages_are_asked_for_one_by_one() {
    for (concurrency, requests) in [(1, 1), (2, 2)] {
        let world = listed(300).await;
        let refused = Answer::Refuse(Refusal::WrongSecret);
        world.simulator.script(Target::Page(0), 1, refused);
        let base_url = world.simulator.base_url();
        let pass = Pass {
            concurrency,
            ..world.prepare(&world.store, &base_url)
        };
        let report = pass.run(&CancellationToken::new()).await;
        assert_eq!(
            (report.outcome, report.requests),
            (RunOutcome::Failed, requests),
            "{concurrency}: {:?}",
            report.error
        );
    }
}
