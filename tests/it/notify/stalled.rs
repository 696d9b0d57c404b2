//! A daemon that stands still in the middle of a look, while another one goes on.

use super::{age, notifier, round};
use crate::support::{
    gate::Gate,
    receiver::Receiver,
    world::{World, store_at},
};

/// One daemon's look stands still where these words are on their way to the database. Meanwhile another one tells that the mirror
/// is stale, and, after a pass, that it is well.
async fn told_when_one_stands_still_at(words: &'static str, told_before: bool) -> Vec<String> {
    let world = World::new(3).await;
    let receiver = Receiver::start().await;
    let quick = notifier(&receiver);
    let (mut gate, url) = Gate::before_database(&world.db);
    gate.open();
    let behind = store_at(&url, 1);
    world.pass().await;
    let tell_both = async || {
        round(&quick, &world, &world.store).await;
        world.pass().await;
        round(&quick, &world, &world.store).await;
    };
    if told_before {
        age(&world).await;
        tell_both().await;
    }
    age(&world).await;
    gate.freeze_at(&[words]);
    let slow = notifier(&receiver);
    let looking = round(&slow, &world, &behind);
    let meanwhile = async {
        gate.frozen().await;
        tell_both().await;
        gate.open();
    };
    tokio::join!(looking, meanwhile);
    // What is on record goes out with the next look.
    round(&slow, &world, &behind).await;
    receiver.taken()
}

#[tokio::test]
async fn a_look_that_is_older_than_what_was_told_tells_nothing() {
    let twice = ["client.stale", "client.well"];
    let told = told_when_one_stands_still_at("from client_notices where client_id = any($1)", false).await;
    assert_eq!(told, twice);
    // All but the time is on record as it was before.
    let told = told_when_one_stands_still_at("insert into client_notices", true).await;
    assert_eq!(told, [twice, twice].concat());
}
