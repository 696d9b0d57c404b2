//! Removals that wait for an operator.

use calmirror::{
    model::RunOutcome,
    simulator::{Answer, Refusal, Target},
    store::HeldBy,
    sync::Report,
};

use crate::support::world::World;

/// Twenty users, of whom the first so many are deleted at the source, after which `confirmations` passes were made.
pub(super) async fn held(gone: usize) -> (World, Report) {
    let world = World::new(20).await;
    world.pass().await;
    delete(&world, 0..gone);
    world.pass().await;
    let report = world.pass().await;
    assert_eq!((report.outcome, report.removed), (RunOutcome::Held, 0));
    (world, report)
}

pub(super) fn delete(world: &World, users: std::ops::Range<usize>) {
    for user in &world.users()[users] {
        world.simulator.delete_user(*user).expect("the user is there");
    }
}

pub(super) fn run_of(report: &Report) -> i64 {
    report.run_id.expect("the pass is on record")
}

pub(super) async fn held_now(world: &World) -> Vec<(String, i64, i64, i64, i64)> {
    sqlx::query_as("select reason, users, live, first_run_id, last_run_id from held_sets")
        .fetch_all(&world.pool)
        .await
        .expect("the table can be read")
}

pub(super) async fn live(world: &World) -> i64 {
    world.value("select count(*) from managed_users_live").await
}

#[tokio::test]
async fn a_held_pass_that_is_repeated_moves_no_row_of_the_set() {
    let (world, _) = held(8).await;
    let places = "select string_agg(ctid::text || xmin::text, ' ' order by user_id) from held_removals";
    let before: String = world.value(places).await;
    world.pass().await;
    assert_eq!(world.value::<String>(places).await, before);
}

#[tokio::test]
async fn another_set_takes_the_place_of_the_first_which_expires() {
    let (world, first) = held(8).await;
    delete(&world, 8..9);
    world.pass().await;
    let second = world.pass().await;
    let (first, second) = (run_of(&first), run_of(&second));
    assert_eq!(held_now(&world).await[0].1, 9);
    let found = world.store.held_by(first).await.expect("the database answers");
    assert!(
        matches!(found, HeldBy::Expired { waiting: Some(run), .. } if run == second),
        "{found:?}"
    );
    assert_eq!(world.approve(second).await.removed, 9);
}

#[tokio::test]
async fn a_complete_pass_without_removals_ends_the_wait() {
    let (world, report) = held(8).await;
    for user in &world.users()[..8] {
        let record = serde_json::json!({
            "id": user, "email": "back@example.com", "timeZone": "UTC", "weekStart": "Monday",
            "createdDate": "2024-01-01T00:00:00.000Z",
        });
        world
            .simulator
            .place_raw(world.client_id(), *user, record.to_string())
            .expect("the user can come back");
    }
    assert_eq!(world.pass().await.outcome, RunOutcome::Applied);
    assert_eq!(held_now(&world).await, []);
    let found = world
        .store
        .held_by(run_of(&report))
        .await
        .expect("the database answers");
    assert!(
        matches!(found, HeldBy::Expired { waiting: None, .. }),
        "{found:?}"
    );
}

#[tokio::test]
async fn sayings_without_a_control_prove_nothing_later() {
    let world = World::new(20).await;
    world.pass().await;
    for user in world.users() {
        world
            .simulator
            .script(Target::User(user), 3, Answer::Refuse(Refusal::NotOurUser(user)));
    }
    for _ in 0..3 {
        world.pass().await;
    }
    delete(&world, 0..1);
    let first = world.pass().await;
    assert_eq!(
        (first.outcome, first.removed),
        (RunOutcome::NoChange, 0),
        "this is the first confirmation"
    );
    assert_eq!(world.pass().await.removed, 1);
}

#[tokio::test]
async fn a_held_set_does_not_go_through_in_parts() {
    let (world, report) = held(8).await;
    let run = run_of(&report);
    for unanswered in [0..3, 3..6, 6..8] {
        for user in &world.users()[unanswered] {
            world
                .simulator
                .script(Target::User(*user), 1, Answer::Refuse(Refusal::RecordMissing));
        }
        let report = world.pass().await;
        assert_eq!(
            (report.outcome, report.removed),
            (RunOutcome::Held, 0),
            "{report:?}"
        );
    }
    assert_eq!(
        held_now(&world).await[0].1,
        8,
        "whoever gave no answer is still in the set"
    );
    assert_eq!(world.approve(run).await.removed, 8);
}

#[tokio::test]
async fn the_limit_is_for_everyone_of_whom_it_is_said_and_not_for_the_proven_alone() {
    let world = World::new(20).await;
    world.pass().await;
    // Four a pass: fewer than the limit each time, and more of them together.
    delete(&world, 0..4);
    world.pass().await;
    delete(&world, 4..8);
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.removed),
        (RunOutcome::Held, 0),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_sighting_ends_the_wait_also_in_a_partial_pass() {
    let (world, report) = held(8).await;
    let record = |user: i64| {
        format!(
            r#"{{"status":"success","data":{{"id":{user},"email":"a@example.com","timeZone":"UTC","weekStart":"Monday","createdDate":"2024-01-01T00:00:00.000Z"}}}}"#
        )
    };
    let unreadable = world.users()[15];
    world
        .simulator
        .place_raw(world.client_id(), unreadable, "{}")
        .expect("the record can be placed");
    let user = world.users()[2];
    world
        .simulator
        .script(Target::User(user), 1, Answer::json(200, record(user)));
    world.simulator.script(
        Target::User(world.users()[3]),
        1,
        Answer::Refuse(Refusal::RecordMissing),
    );
    world.pass().await;
    let found = world
        .store
        .held_by(run_of(&report))
        .await
        .expect("the database answers");
    assert!(matches!(found, HeldBy::Expired { .. }), "{found:?}");
}

#[tokio::test]
async fn a_client_whose_users_are_all_removed_is_held_no_more() {
    let (world, report) = held(20).await;
    world.approve(run_of(&report)).await;
    let next = world.pass().await;
    assert_eq!((next.outcome, next.error), (RunOutcome::NoChange, None));
}
