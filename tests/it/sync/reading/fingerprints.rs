//! Records that need not be read.

use calmirror::{config::FetchPlan, model::RunOutcome};
use serde_json::{Map, Value};

use super::filled;
use crate::support::world::World;

/// The same record in other bytes.
fn respell(world: &World, user: i64) {
    let record = world.simulator.user_json(user).expect("the user is there");
    let record: Map<String, Value> = serde_json::from_slice(&record).expect("it is JSON");
    let respelled = serde_json::to_string_pretty(&record).expect("it is JSON");
    world
        .simulator
        .place_raw(world.client_id(), user, respelled)
        .expect("the record can be placed");
}

async fn fingerprints(world: &World) -> Vec<(i64, Vec<u8>)> {
    sqlx::query_as("select user_id, fingerprint from record_fingerprints order by user_id")
        .fetch_all(&world.pool)
        .await
        .expect("the table can be read")
}

#[tokio::test]
async fn each_mirrored_user_has_the_fingerprint_of_its_record() {
    let world = filled(5).await;
    let expected: Vec<(i64, Vec<u8>)> = world
        .users()
        .into_iter()
        .map(|user| {
            let record = world.simulator.user_json(user).expect("the user is there");
            let print = calmirror::model::Fingerprint::of(&record);
            (user, print.as_bytes().to_vec())
        })
        .collect();
    assert_eq!(fingerprints(&world).await, expected);
}

#[tokio::test]
async fn another_spelling_is_no_change_and_writes_nothing() {
    for fetch in [FetchPlan::Get, FetchPlan::Bulk, FetchPlan::List] {
        let mut world = filled(10).await;
        world.client.fetch = fetch;
        let (tuples, prints) = (world.tuples().await, fingerprints(&world).await);
        for user in &world.users()[..4] {
            respell(&world, *user);
        }
        for _ in 0..2 {
            let report = world.pass().await;
            assert_eq!(
                (report.outcome, report.unchanged),
                (RunOutcome::NoChange, 10),
                "{fetch:?}"
            );
        }
        assert_eq!(world.tuples().await, tuples);
        assert_eq!(fingerprints(&world).await, prints);
        let respelled: i64 = world
            .value("select respelled from sync_runs order by run_id desc limit 1")
            .await;
        assert_eq!(respelled, 4);
    }
}

#[tokio::test]
async fn fingerprints_are_written_anew_once_most_records_are_respelled() {
    let world = filled(10).await;
    let (tuples, prints) = (world.tuples().await, fingerprints(&world).await);
    for user in world.users() {
        respell(&world, user);
    }
    world.pass().await;
    assert_eq!(
        fingerprints(&world).await,
        prints,
        "the pass that notices writes nothing"
    );
    world.pass().await;
    assert_ne!(fingerprints(&world).await, prints);
    assert_eq!(world.tuples().await, tuples, "mirror and ledger are left alone");
    world.pass().await;
    let respelled: i64 = world
        .value("select respelled from sync_runs order by run_id desc limit 1")
        .await;
    assert_eq!(respelled, 0, "from then on nothing has to be read");
    // Of two spellings in turn, the second within a day is read each time.
    for user in world.users() {
        world
            .simulator
            .patch_user(user, serde_json::json!({}))
            .expect("the user can be written");
    }
    let prints = fingerprints(&world).await;
    for _ in 0..3 {
        assert_eq!(world.pass().await.outcome, RunOutcome::NoChange);
    }
    assert_eq!(fingerprints(&world).await, prints);
}

#[tokio::test]
async fn a_mirror_without_fingerprints_gets_them_in_its_next_pass() {
    let world = filled(10).await;
    let prints = fingerprints(&world).await;
    sqlx::query("delete from record_fingerprints")
        .execute(&world.pool)
        .await
        .expect("it can be emptied");
    let tuples = world.tuples().await;
    let report = world.pass().await;
    assert_eq!((report.outcome, report.unchanged), (RunOutcome::NoChange, 10));
    assert_eq!(fingerprints(&world).await, prints);
    assert_eq!(world.tuples().await, tuples);
}

#[tokio::test]
async fn a_reject_that_comes_back_in_its_old_bytes_is_no_reject_any_more() {
    let world = filled(5).await;
    let user = world.users()[2];
    let good = world.simulator.user_json(user).expect("the user is there");
    world
        .simulator
        .place_raw(world.client_id(), user, "{\"id\":3}")
        .expect("the record can be placed");
    assert_eq!(world.pass().await.rejected, 1);
    world
        .simulator
        .place_raw(world.client_id(), user, &good)
        .expect("the record can be placed");
    let report = world.pass().await;
    assert_eq!((report.outcome, report.rejected), (RunOutcome::NoChange, 0));
    let rejects: i64 = world.value("select count(*) from rejects").await;
    assert_eq!(rejects, 0);
}

#[tokio::test]
async fn a_missing_user_that_comes_back_in_its_old_bytes_is_sighted() {
    let world = filled(5).await;
    let user = world.users()[2];
    let record = world.simulator.user_json(user).expect("the user is there");
    world.simulator.delete_user(user).expect("the user is there");
    assert_eq!(world.pass().await.missing, 1);
    world
        .simulator
        .place_raw(world.client_id(), user, &record)
        .expect("the record can be placed");
    assert_eq!(world.pass().await.missing, 0);
    let missing: i64 = world.value("select count(*) from missing_users").await;
    assert_eq!(missing, 0);
    world.simulator.delete_user(user).expect("the user is there");
    assert_eq!(world.pass().await.removed, 0, "the sighting in between counts");
}
