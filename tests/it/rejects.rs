//! Records that cannot be mirrored.

use calmirror::model::RunOutcome;

use crate::support::world::World;

#[tokio::test]
async fn a_reject_is_cleared_when_the_same_user_can_be_read_again() {
    let world = World::new(3).await;
    world.pass().await;
    let user = world.users()[1];
    let record = world.simulator.user_json(user).expect("the user is there");
    let unreadable = String::from_utf8_lossy(&record).replace("\"timeZone\"", "\"timezone\"");
    world
        .simulator
        .place_raw(world.client_id(), user, unreadable)
        .expect("the record can be placed");
    let before = world.tuples().await;
    let partial = world.pass().await;
    assert_eq!(
        (partial.outcome, partial.rejected, partial.changes()),
        (RunOutcome::Partial, 1, 0)
    );
    let [reject] = &world.store.rejects(5).await.expect("rejects can be read")[..] else {
        panic!("there is one");
    };
    assert_eq!(
        (reject.user_id, reject.fields.as_slice()),
        (user, &["timeZone".to_owned()][..])
    );
    assert_ne!(world.tuples().await, before);
    // What is wrong with a record is no news of its fields.
    assert_eq!(world.store.extra_fields().await, Ok(Vec::new()));
    world
        .simulator
        .place_raw(world.client_id(), user, record)
        .expect("the record can be placed");
    assert_eq!(world.pass().await.outcome, RunOutcome::NoChange);
    assert_eq!(world.tuples().await, before, "only the reject is gone");
}

#[tokio::test]
async fn a_reject_counts_as_present_and_not_as_the_control() {
    let world = World::new(3).await;
    world.pass().await;
    let [gone, unreadable, other] = world.users()[..] else {
        panic!("there are three");
    };
    let place = |user, record: &str| {
        world
            .simulator
            .place_raw(world.client_id(), user, record)
            .expect("the record can be placed");
    };
    let records = [unreadable, other].map(|user| world.simulator.user_json(user).expect("the user is there"));
    world
        .simulator
        .delete_user(gone)
        .expect("the user can be deleted");
    for user in [unreadable, other] {
        place(user, "{}");
    }
    for _ in 0..3 {
        let held = world.pass().await;
        assert_eq!(
            (held.outcome, held.missing, held.rejected, held.removed),
            (RunOutcome::Held, 1, 2, 0),
            "nobody could be read: {:?}",
            held.error
        );
    }
    assert_eq!(
        world
            .value::<String>("select string_agg(user_id || ' ' || confirmations, ', ') from missing_users")
            .await,
        format!("{gone} 0"),
        "those who cannot be read are no candidates"
    );
    assert_eq!(world.value::<i64>("select count(*) from rejects").await, 2);
    place(other, &String::from_utf8_lossy(&records[1]));
    assert_eq!(world.pass().await.removed, 0);
    let removed = world.pass().await;
    assert_eq!(
        (removed.removed, removed.rejected),
        (1, 1),
        "one that can be read is enough"
    );
    place(unreadable, &String::from_utf8_lossy(&records[0]));
    assert_eq!(world.pass().await.outcome, RunOutcome::NoChange);
    assert_eq!(world.value::<i64>("select count(*) from rejects").await, 0);
    assert_eq!(world.kinds(unreadable).await, ["insert"]);
    world.assert_quiet().await;
}
