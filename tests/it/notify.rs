//! Told when it matters: the webhook, and the channel of Postgres.

mod channel;

use std::{net::SocketAddr, time::Duration};

use calmirror::{
    notify::{Notifier, Pace, Sender},
    retry::Policy,
    simulator::{Answer, Refusal, Target},
    store::Store,
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    gate::Gate,
    receiver::{Delivery, Reaction, Receiver, TOKEN, webhook_at},
    world::{LIMIT, World, store},
};

/// Nothing is waited for between tries.
const AT_ONCE: Pace = Pace {
    look: Duration::from_secs(30),
    rest: Duration::ZERO,
    retry: Policy {
        max_tries: u32::MAX,
        first_wait: Duration::ZERO,
        max_wait: Duration::ZERO,
    },
    slow: Duration::ZERO,
    lease: Duration::from_secs(600),
    lately: Duration::from_secs(600),
};

fn notifier_with(address: SocketAddr, pace: Pace, time: Duration) -> Notifier {
    let sender = Sender::with_timeout(&webhook_at(address), time).expect("it can be set up");
    Notifier::new(sender, pace)
}

fn notifier(receiver: &Receiver) -> Notifier {
    notifier_with(receiver.address(), AT_ONCE, LIMIT)
}

/// One look at the world's client, and what is due sent once each.
async fn round(notifier: &Notifier, world: &World, store: &Store) -> Option<Duration> {
    let clients = [world.client.clone()];
    notifier
        .round(store, &clients, &CancellationToken::new())
        .await
        .expect("the database answers")
}

async fn age(world: &World) {
    sqlx::query("update sync_state set fresh_until = last_complete_at")
        .execute(&world.pool)
        .await
        .expect("freshness can be dated back");
}

fn kinds(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(Delivery::kind).collect()
}

/// Twenty users of whom eight are gone, and are held.
async fn hold(world: &World) {
    for user in &world.users()[..8] {
        world.simulator.delete_user(*user).expect("the user is there");
    }
    world.pass().await;
    world.pass().await;
}

#[tokio::test]
async fn each_becoming_is_told_once() {
    let world = World::new(20).await;
    let receiver = Receiver::start().await;
    let notifier = notifier(&receiver);
    let mut expected: Vec<&str> = Vec::new();
    let mut tell = async |world: &World, told: Option<&'static str>| {
        expected.extend(told);
        round(&notifier, world, &world.store).await;
        round(&notifier, world, &world.store).await;
        assert_eq!(receiver.taken(), expected);
    };
    tell(&world, None).await;
    world.pass().await;
    tell(&world, None).await;
    age(&world).await;
    tell(&world, Some("client.stale")).await;
    world.pass().await;
    tell(&world, Some("client.well")).await;
    let wrong_secret = Answer::Refuse(Refusal::WrongSecret);
    world.simulator.script(Target::Any, 100, wrong_secret);
    world.pass().await;
    tell(&world, Some("client.refused")).await;
    world.simulator.clear_scripts();
    world.pass().await;
    tell(&world, Some("client.well")).await;
    hold(&world).await;
    tell(&world, Some("client.held")).await;
    age(&world).await;
    tell(&world, Some("client.stale")).await;
    let run: i64 = world.value("select last_run_id from held_sets").await;
    world.approve(run).await;
    world.pass().await;
    tell(&world, Some("client.well")).await;
}

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

#[tokio::test]
async fn a_message_says_what_is_wrong_and_what_to_do_and_names_nobody() {
    let world = World::new(20).await;
    let receiver = Receiver::start().await;
    world.pass().await;
    hold(&world).await;
    round(&notifier(&receiver), &world, &world.store).await;
    let message = receiver.deliveries()[0].message.clone();
    let run: i64 = world.value("select last_run_id from held_sets").await;
    assert_eq!(message["type"], "client.held");
    let timestamp = message["timestamp"].as_str().expect("a time");
    assert!(
        chrono::DateTime::parse_from_rfc3339(timestamp).is_ok(),
        "{timestamp}"
    );
    let data = &message["data"];
    assert_eq!(data["client"], world.client.name.as_str());
    assert_eq!(data["client_id"], world.client_id());
    assert_eq!(data["condition"], "held");
    assert_eq!(data["approve"], format!("calmirror approve {run}"));
    let reason = &data["reasons"][0];
    assert_eq!(
        (&reason["reason"], &reason["users"], &reason["run_id"]),
        (&"held".into(), &8.into(), &run.into())
    );
    assert!(data["last_complete_at"].is_string(), "{data}");
    // Neither ids nor addresses.
    let text = message.to_string();
    assert!(!text.contains('@'), "{text}");
    for user in world.users() {
        assert!(
            !text.contains(&format!("\"{user}\"")) && !text.contains(&format!(":{user},")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_restart_and_another_daemon_repeat_nothing() {
    let world = World::new(3).await;
    let receiver = Receiver::start().await;
    world.pass().await;
    age(&world).await;
    let other = store(&world.db, 2);
    let (first, second) = (notifier(&receiver), notifier(&receiver));
    // Both at once.
    tokio::join!(
        round(&first, &world, &world.store),
        round(&second, &world, &other)
    );
    round(&notifier(&receiver), &world, &other).await;
    assert_eq!(kinds(&receiver.deliveries()), ["client.stale"]);
    world.pass().await;
    tokio::join!(
        round(&first, &world, &world.store),
        round(&second, &world, &other)
    );
    round(&notifier(&receiver), &world, &other).await;
    assert_eq!(kinds(&receiver.deliveries()), ["client.stale", "client.well"]);
}

#[tokio::test]
async fn while_one_daemon_sends_another_waits() {
    let world = World::new(3).await;
    let receiver = Receiver::start().await;
    receiver.script([Reaction::Hang]);
    world.pass().await;
    age(&world).await;
    let other = store(&world.db, 2);
    let slow = notifier(&receiver);
    let sending = round(&slow, &world, &world.store);
    let looking = async {
        receiver.came(1).await;
        let wait = round(&notifier(&receiver), &world, &other).await;
        assert!(wait.is_some(), "it is not over");
        assert_eq!(receiver.deliveries().len(), 1);
        receiver.release();
    };
    tokio::join!(sending, looking);
    round(&notifier(&receiver), &world, &other).await;
    assert_eq!(receiver.deliveries().len(), 1);
}

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
    // It takes the message, and its answer does not come in time.
    let notifier = notifier_with(receiver.address(), waiting, Duration::from_millis(200));
    world.pass().await;
    age(&world).await;
    round(&notifier, &world, &world.store).await;
    let alarmed: bool = world.value("select alarmed from client_notices").await;
    assert!(alarmed);
    world.pass().await;
    round(&notifier, &world, &world.store).await;
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
async fn a_receiver_that_is_gone_is_told_nothing_more_before_a_restart() {
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
async fn nothing_is_told_while_the_database_is_away() {
    let world = World::new(3).await;
    let receiver = Receiver::start().await;
    let (mut gate, url) = Gate::before_database(&world.db);
    gate.open();
    let behind = crate::support::world::store_at(&url, 1);
    world.pass().await;
    let notifier = notifier(&receiver);
    round(&notifier, &world, &behind).await;
    age(&world).await;
    gate.shut();
    let clients = [world.client.clone()];
    let away = notifier.round(&behind, &clients, &CancellationToken::new()).await;
    assert!(away.is_err_and(|error| error.is_transient()));
    assert!(receiver.deliveries().is_empty());
    gate.open();
    round(&notifier, &world, &behind).await;
    assert_eq!(receiver.taken(), ["client.stale"]);
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
    let other = self::notifier(&receiver);
    round(&other, &world, &world.store).await;
    let deliveries = receiver.deliveries();
    assert_eq!(kinds(&deliveries), ["client.stale", "client.stale"]);
    assert_eq!(deliveries[0].id, deliveries[1].id);
}
