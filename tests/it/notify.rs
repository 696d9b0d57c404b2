//! Told when it matters: the webhook, and the channel of Postgres.

mod channel;
mod held;
mod stalled;
mod tries;

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
    receiver::{Delivery, Reaction, Receiver, webhook_at},
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
