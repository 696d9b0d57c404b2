//! What it takes to mark a user removed, and what never does.

use std::time::Duration;

use calmirror::{
    model::RunOutcome,
    simulator::{Answer, Refusal, Target},
};

use crate::support::world::World;

async fn live(world: &World) -> i64 {
    world.value("select count(*) from managed_users_live").await
}

#[tokio::test]
async fn two_passes_of_gone_remove_and_a_sighting_restores() {
    let world = World::new(20).await;
    world.pass().await;
    let user = world.users()[7];
    let record = world.simulator.user_json(user).expect("the user is there");
    world
        .simulator
        .delete_user(user)
        .expect("the user can be deleted");

    let first = world.pass().await;
    assert_eq!(
        (first.outcome, first.missing, first.removed),
        (RunOutcome::NoChange, 1, 0)
    );
    assert_eq!(live(&world).await, 20, "one answer proves nothing yet");
    assert_eq!(
        world
            .value::<i32>("select confirmations from missing_users")
            .await,
        1
    );

    let second = world.pass().await;
    assert_eq!((second.outcome, second.removed), (RunOutcome::Applied, 1));
    assert_eq!(live(&world).await, 19);
    assert_eq!(
        world.value::<i64>("select count(*) from managed_users").await,
        20,
        "rows are kept"
    );
    assert_eq!(world.kinds(user).await, ["insert", "removal"]);
    world.assert_quiet().await;

    world
        .simulator
        .place_raw(world.client_id(), user, record)
        .expect("the user can come back");
    let third = world.pass().await;
    assert_eq!((third.outcome, third.restored), (RunOutcome::Applied, 1));
    assert_eq!(world.kinds(user).await, ["insert", "removal", "restore"]);
    assert_eq!(live(&world).await, 20);
    world.assert_quiet().await;
}

#[tokio::test]
async fn a_sighting_between_clears_the_candidate() {
    let world = World::new(20).await;
    world.pass().await;
    let user = world.users()[0];
    let gone = || {
        world
            .simulator
            .script(Target::User(user), 1, Answer::Refuse(Refusal::NotOurUser(user)))
    };
    gone();
    world.pass().await;
    world.pass().await;
    assert_eq!(world.value::<i64>("select count(*) from missing_users").await, 0);
    gone();
    assert_eq!(world.pass().await.removed, 0, "the count starts anew");
    assert_eq!(world.kinds(user).await, ["insert"]);
}

#[tokio::test]
async fn an_unreadable_record_is_a_sighting() {
    let world = World::new(20).await;
    world.pass().await;
    let user = world.users()[0];
    let gone = || {
        world
            .simulator
            .script(Target::User(user), 1, Answer::Refuse(Refusal::NotOurUser(user)))
    };
    gone();
    world.pass().await;
    let unreadable = Answer::json(200, format!(r#"{{"status":"success","data":{{"id":{user}}}}}"#));
    world.simulator.script(Target::User(user), 1, unreadable);
    assert_eq!(world.pass().await.rejected, 1);
    gone();
    assert_eq!(world.pass().await.removed, 0);
}

#[tokio::test]
async fn confirmations_must_be_as_far_apart_as_configured() {
    let mut world = World::new(20).await;
    world.removal.min_age = Duration::from_secs(3600);
    world.pass().await;
    world
        .simulator
        .delete_user(world.users()[0])
        .expect("the user can be deleted");
    for _ in 0..4 {
        assert_eq!(world.pass().await.removed, 0);
    }
    sqlx::query("update missing_users set first_missing_at = first_missing_at - interval '1 hour'")
        .execute(&world.pool)
        .await
        .expect("time can be moved");
    assert_eq!(world.pass().await.removed, 1);
    world.assert_quiet().await;
}

#[tokio::test]
async fn more_than_the_limit_are_held_as_one_set() {
    let mut world = World::new(20).await;
    world.pass().await;
    for user in &world.users()[..6] {
        world
            .simulator
            .delete_user(*user)
            .expect("the user can be deleted");
    }
    world
        .simulator
        .patch_user(world.users()[10], serde_json::json!({ "name": "Held Up" }))
        .expect("changes");
    world.pass().await;
    let held = world.pass().await;
    assert_eq!((held.outcome, held.removed), (RunOutcome::Held, 0));
    assert!(
        held.error.as_ref().is_some_and(|error| error.contains(&format!(
            "`calmirror approve {}`",
            held.run_id.unwrap_or_default()
        ))),
        "{:?}",
        held.error
    );
    assert_eq!(live(&world).await, 20);
    world.removal.max_count = 6;
    let applied = world.pass().await;
    assert_eq!((applied.outcome, applied.removed), (RunOutcome::Applied, 6));
    world.assert_quiet().await;
}

#[tokio::test]
async fn without_a_user_that_answers_nothing_is_concluded() {
    let mut world = World::new(20).await;
    world.pass().await;
    let fresh: chrono::DateTime<chrono::Utc> = world
        .value("select last_complete_at from managed_users_freshness")
        .await;
    world.removal.max_percent = 100.0;
    for user in world.users() {
        world
            .simulator
            .script(Target::User(user), 2, Answer::Refuse(Refusal::NotOurUser(user)));
    }
    for why in [
        "nothing is concluded",
        "20 of 20 live users that they are gone, and no other user",
    ] {
        let held = world.pass().await;
        assert_eq!(
            (held.outcome, held.removed, held.missing),
            (RunOutcome::Held, 0, 20)
        );
        assert!(
            held.error.as_ref().is_some_and(|error| error.contains(why)),
            "{:?}",
            held.error
        );
    }
    assert_eq!(
        world
            .value::<i64>("select sum(confirmations) from missing_users")
            .await,
        0
    );
    let still: chrono::DateTime<chrono::Utc> = world
        .value("select last_complete_at from managed_users_freshness")
        .await;
    assert_eq!(still, fresh, "freshness stands still");

    let user = world.users()[0];
    world
        .simulator
        .delete_user(user)
        .expect("the user can be deleted");
    assert_eq!(world.pass().await.removed, 0, "this is the first confirmation");
    assert_eq!(world.pass().await.removed, 1);
}

#[tokio::test]
async fn a_user_that_never_was_is_recorded_once() {
    let mut world = World::new(3).await;
    crate::support::world::watch(&mut world.client, |users| {
        users.push(calmirror::model::UserId(999_999))
    });
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.inserted, report.missing),
        (RunOutcome::Applied, 3, 1)
    );
    assert_eq!(
        world.value::<i64>("select user_id from missing_users").await,
        999_999
    );
    world.assert_quiet().await;
}

#[tokio::test]
async fn nothing_else_counts_as_gone() {
    let world = World::new(20).await;
    world.pass().await;
    let user = world.users()[0];
    let other = world.users()[1];
    let answers = [
        Answer::Refuse(Refusal::RecordMissing),
        Answer::Refuse(Refusal::NotOurUser(other)),
        Answer::Refuse(Refusal::NoRoute {
            method: "GET".to_owned(),
            path: "/v2/nowhere".to_owned(),
        }),
        Answer::json(410, r#"{"status":"error"}"#),
        Answer::html(404),
        Answer::html(200),
        Answer::json(200, r#"{"status":"success","data":null}"#),
        Answer::json(200, r#"{"status":"success","data":[]}"#),
    ];
    for answer in answers {
        for _ in 0..3 {
            world.simulator.script(Target::User(user), 3, answer.clone());
            let report = world.pass().await;
            assert_eq!((report.removed, report.missing), (0, 0), "{answer:?}");
            assert!(!report.outcome.is_complete(), "{answer:?} proves nothing");
            world.simulator.clear_scripts();
        }
    }
    assert_eq!(live(&world).await, 20);
    assert_eq!(world.value::<i64>("select count(*) from missing_users").await, 0);
}

#[tokio::test]
async fn only_live_users_that_are_watched_make_the_share_that_may_go() {
    let mut world = World::new(4).await;
    world.removal.confirmations = 1;
    world.removal.max_count = 0;
    world.removal.max_percent = 50.0;
    world.pass().await;
    // Three of four are watched still, and somebody who never was.
    crate::support::world::watch(&mut world.client, Vec::pop);
    crate::support::world::watch(&mut world.client, |users| {
        users.push(calmirror::model::UserId(999_999))
    });
    for user in &world.users()[..2] {
        world.simulator.delete_user(*user).expect("the user is there");
    }
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.removed),
        (RunOutcome::Held, 0),
        "two are more than half of three"
    );
    assert_eq!(live(&world).await, 4);
}
