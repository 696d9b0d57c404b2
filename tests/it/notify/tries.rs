//! Receivers that are away, slow, gone or elsewhere, and tries that are cut.

use std::time::Duration;

use calmirror::{notify::Pace, retry::Policy};
use tokio_util::sync::CancellationToken;

use super::{AT_ONCE, age, kinds, notifier, notifier_with, round};
use crate::support::{
    gate::Gate,
    receiver::{Reaction, Receiver, TOKEN},
    world::{LIMIT, World},
};

#[tokio::test]
async fn a_receiver_that_was_away_gets_the_message_once_and_under_one_id() {
    let world = World::new(3).await;
    let receiver = Receiver::start().await;
    let mut gate = Gate::before(receiver.address());
    let notifier = notifier_with(gate.address(), AT_ONCE, LIMIT);
    world.pass().await;
    age(&world).await;
    // Nobody listens.
    round(&notifier, &world, &world.store).await;
    let id: String = world.value("select message_id from client_notices").await;
    gate.open();
    receiver.script([500, 404, 429].map(Reaction::Status));
    while receiver.taken().is_empty() {
        round(&notifier, &world, &world.store).await;
    }
    let deliveries = receiver.deliveries();
    assert_eq!(deliveries.len(), 4, "{deliveries:?}");
    assert!(
        deliveries.iter().all(|delivery| delivery.id == id),
        "{deliveries:?}"
    );
    assert!(
        deliveries
            .windows(2)
            .all(|pair| pair[0].message == pair[1].message),
        "each try says the same"
    );
    round(&notifier, &world, &world.store).await;
    assert_eq!(receiver.deliveries().len(), 4);
}

#[tokio::test]
async fn what_was_never_delivered_is_not_told_when_it_is_over() {
    let world = World::new(3).await;
    let receiver = Receiver::start().await;
    let waiting = Pace {
        slow: LIMIT,
        ..AT_ONCE
    };
    let notifier = notifier_with(receiver.address(), waiting, LIMIT);
    receiver.script([Reaction::Status(404)]);
    world.pass().await;
    age(&world).await;
    let wait = round(&notifier, &world, &world.store).await;
    assert!(
        wait.is_some_and(|wait| wait > Duration::ZERO),
        "somebody has to change something first"
    );
    assert_eq!(kinds(&receiver.deliveries()), ["client.stale"]);
    world.pass().await;
    round(&notifier, &world, &world.store).await;
    let due: i64 = world
        .value("select count(*) from client_notices where message_id is not null")
        .await;
    assert_eq!((due, receiver.deliveries().len()), (0, 1));
}

#[tokio::test]
async fn what_may_have_been_delivered_counts_as_told() {
    let world = World::new(3).await;
    let receiver = Receiver::start().await;
    receiver.script([Reaction::Hang]);
    let waiting = Pace {
        retry: Policy {
            first_wait: LIMIT,
            max_wait: LIMIT,
            ..AT_ONCE.retry
        },
        ..AT_ONCE
    };
    // The receiver takes the message, and its answer does not come in time.
    let hasty = notifier_with(receiver.address(), waiting, Duration::from_millis(200));
    world.pass().await;
    age(&world).await;
    round(&hasty, &world, &world.store).await;
    let alarmed: bool = world.value("select alarmed from client_notices").await;
    assert!(alarmed);
    world.pass().await;
    // By one that waits for the answer.
    round(&notifier(&receiver), &world, &world.store).await;
    assert_eq!(receiver.taken(), ["client.well"]);
}

#[tokio::test]
async fn a_wish_to_be_left_alone_is_kept() {
    let world = World::new(3).await;
    let receiver = Receiver::start().await;
    // An hour is the most.
    receiver.script([Reaction::After(503, 600), Reaction::After(429, 1_000_000)]);
    world.pass().await;
    age(&world).await;
    let wait = "select extract(epoch from next_try_at - now())::float8 from client_notices";
    for (tries, asked) in [(1, 600.0), (2, 3_600.0)] {
        for _ in 0..2 {
            round(&notifier(&receiver), &world, &world.store).await;
        }
        let wait: f64 = world.value(wait).await;
        assert!(wait <= asked && wait > asked - 300.0, "{wait} of {asked}");
        assert_eq!(receiver.deliveries().len(), tries);
        sqlx::query("update client_notices set next_try_at = now()")
            .execute(&world.pool)
            .await
            .expect("time can pass");
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_told_nothing_more_before_a_reload_or_a_restart() {
    let world = World::new(3).await;
    let receiver = Receiver::start().await;
    receiver.script([Reaction::Status(410)]);
    world.pass().await;
    age(&world).await;
    let one = notifier(&receiver);
    assert_eq!(round(&one, &world, &world.store).await, None);
    assert_eq!(round(&one, &world, &world.store).await, None);
    assert_eq!(receiver.deliveries().len(), 1);
    round(&notifier(&receiver), &world, &world.store).await;
    assert_eq!(receiver.taken(), ["client.stale"]);
}

#[tokio::test]
async fn a_redirect_of_the_webhook_is_not_followed() {
    let world = World::new(3).await;
    let (receiver, elsewhere) = (Receiver::start().await, Receiver::start().await);
    receiver.script([Reaction::Redirect(elsewhere.url())]);
    let waiting = Pace {
        slow: LIMIT,
        ..AT_ONCE
    };
    world.pass().await;
    age(&world).await;
    round(
        &notifier_with(receiver.address(), waiting, LIMIT),
        &world,
        &world.store,
    )
    .await;
    assert_eq!(receiver.deliveries().len(), 1);
    assert!(elsewhere.deliveries().is_empty());
    let webhook = receiver.webhook();
    receiver.script([Reaction::Redirect(elsewhere.url())]);
    let error = calmirror::notify::try_receiver(&webhook)
        .await
        .expect_err("it is no answer");
    let shown = format!("{error} {error:?} {} {webhook:?}", error.remedy());
    assert!(
        shown.contains("redirect (307") && !shown.contains(TOKEN),
        "{shown}"
    );
    assert!(elsewhere.deliveries().is_empty());
}

#[tokio::test]
async fn a_try_that_the_end_of_the_process_cuts_is_made_again_under_its_id() {
    let world = World::new(3).await;
    let receiver = Receiver::start().await;
    receiver.script([Reaction::Hang]);
    world.pass().await;
    age(&world).await;
    let cancel = CancellationToken::new();
    let (clients, notifier) = ([world.client.clone()], notifier(&receiver));
    let sending = notifier.round(&world.store, &clients, &cancel);
    let ending = async {
        receiver.came(1).await;
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(sending, ending);
    ended.expect("the database answers");
    let other = super::notifier(&receiver);
    round(&other, &world, &world.store).await;
    let deliveries = receiver.deliveries();
    assert_eq!(kinds(&deliveries), ["client.stale", "client.stale"]);
    assert_eq!(deliveries[0].id, deliveries[1].id);
}
