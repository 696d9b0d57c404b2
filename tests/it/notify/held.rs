//! Sets of removals that are held, and what is told of them.

use std::time::Duration;

use calmirror::notify::Pace;

use super::{AT_ONCE, hold, kinds, notifier, notifier_with, round};
use crate::support::{
    receiver::{Delivery, Reaction, Receiver},
    world::{LIMIT, World},
};

#[tokio::test]
async fn another_set_of_removals_is_told_once_and_not_right_after_a_message() {
    let world = World::new(20).await;
    let receiver = Receiver::start().await;
    let notifier = notifier(&receiver);
    world.pass().await;
    hold(&world).await;
    let told = async || {
        round(&notifier, &world, &world.store).await;
        round(&notifier, &world, &world.store).await;
        receiver.deliveries()
    };
    let set = async || -> String { world.value("select set_hash from held_sets").await };
    let a_while = async || {
        sqlx::query("update client_notices set told_at = told_at - interval '601 s'")
            .execute(&world.pool)
            .await
            .expect("it can be dated back");
    };
    assert_eq!(told().await.len(), 1);
    let first = set().await;
    // The same set, held by another pass, is the same.
    world.pass().await;
    a_while().await;
    assert_eq!(set().await, first);
    assert_eq!(told().await.len(), 1);

    // One more user is gone with each pass, so each holds another set.
    sqlx::query("update client_notices set told_at = now()")
        .execute(&world.pool)
        .await
        .expect("it can be said");
    for user in &world.users()[8..11] {
        let before = set().await;
        world.simulator.delete_user(*user).expect("the user is there");
        world.pass().await;
        world.pass().await;
        assert_ne!(set().await, before);
        assert_eq!(told().await.len(), 1, "a message was told a moment ago");
    }
    a_while().await;
    let deliveries = told().await;
    assert_eq!(kinds(&deliveries), ["client.held", "client.held"]);
    let data = &deliveries[1].message["data"];
    let run: i64 = world.value("select last_run_id from held_sets").await;
    assert_eq!(data["approve"], format!("calmirror approve {run}"));
    assert_eq!(data["reasons"][0]["users"], 11);
    assert_ne!(deliveries[0].id, deliveries[1].id);
    a_while().await;
    assert_eq!(told().await.len(), 2, "it is told once");
    // What the message says is what lets exactly this set through.
    world.approve(run).await;
}

#[tokio::test]
async fn a_set_that_is_gone_in_the_middle_of_a_pass_is_not_taken_for_well() {
    let world = World::new(20).await;
    let receiver = Receiver::start().await;
    let notifier = notifier(&receiver);
    world.pass().await;
    hold(&world).await;
    round(&notifier, &world, &world.store).await;
    assert_eq!(receiver.taken(), ["client.held"]);
    // Each pass sees one of the users again, and at its end the others are held.
    for user in &world.users()[..2] {
        let run = world.begin().await;
        world
            .store
            .record_sighting(&run.client_id, calmirror::model::UserId(*user))
            .await
            .expect("the user can be seen");
        let held: i64 = world.value("select count(*) from held_sets").await;
        assert_eq!(held, 0);
        round(&notifier, &world, &world.store).await;
        world.pass().await;
        world.pass().await;
        let held: i64 = world.value("select count(*) from held_sets").await;
        assert_eq!(held, 1);
        round(&notifier, &world, &world.store).await;
        assert_eq!(receiver.taken(), ["client.held"], "not a message a pass");
    }
}

#[tokio::test]
async fn a_message_that_waits_is_brought_up_to_date_without_being_sent_sooner() {
    let world = World::new(20).await;
    let receiver = Receiver::start().await;
    let hour = Pace {
        slow: Duration::from_secs(3600),
        ..AT_ONCE
    };
    let notifier = notifier_with(receiver.address(), hour, LIMIT);
    world.pass().await;
    hold(&world).await;
    receiver.script([Reaction::Status(404)]);
    round(&notifier, &world, &world.store).await;
    assert_eq!(receiver.deliveries().len(), 1);
    let next_try = "select next_try_at from client_notices";
    let due: chrono::DateTime<chrono::Utc> = world.value(next_try).await;
    world
        .simulator
        .delete_user(world.users()[8])
        .expect("the user is there");
    world.pass().await;
    world.pass().await;
    round(&notifier, &world, &world.store).await;
    let still_due: chrono::DateTime<chrono::Utc> = world.value(next_try).await;
    assert_eq!(still_due, due);
    assert_eq!(
        receiver.deliveries().len(),
        1,
        "the receiver is not asked more often for it"
    );
    sqlx::query("update client_notices set next_try_at = now()")
        .execute(&world.pool)
        .await
        .expect("it can be dated back");
    round(&notifier, &world, &world.store).await;
    let deliveries = receiver.deliveries();
    let users = |delivery: &Delivery| delivery.message["data"]["reasons"][0]["users"].clone();
    assert_eq!(deliveries.iter().map(users).collect::<Vec<_>>(), [8, 9]);
    assert_ne!(deliveries[0].id, deliveries[1].id);
}
