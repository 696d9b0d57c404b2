//! Rejects: those that stand stay, however old they are.

use calmirror::{config::Retention, model::UserId};

use super::{NOTHING, date_back, execute, prune, upkeep, value};
use crate::support::world::{World, watch};

const DAYS: Retention = Retention {
    rejects_days: 10,
    ..NOTHING
};

/// A client with three users, of whom one was rejected twenty days ago.
async fn rejected() -> (World, i64) {
    let world = World::new(3).await;
    world.pass().await;
    let user = world.users()[1];
    world
        .simulator
        .place_raw(world.client_id(), user, "{}")
        .expect("the record can be placed");
    world.pass().await;
    date_back(&world.pool, 20).await;
    (world, user)
}

async fn left(world: &World) -> i64 {
    value(&world.pool, "select count(*) from rejects").await
}

#[tokio::test]
async fn a_reject_that_stands_stays_however_old_it_is() {
    let (world, _) = rejected().await;
    assert_eq!(prune(&world, DAYS).await.deleted.rejects, 0);
    // It stands, and is not written again.
    let tuples = world.tuples().await;
    assert_eq!(world.pass().await.rejected, 1);
    assert_eq!(world.tuples().await, tuples);
    assert_eq!(prune(&world, DAYS).await.deleted.rejects, 0);
    assert_eq!(left(&world).await, 1);
}

#[tokio::test]
async fn a_reject_of_a_user_that_is_watched_no_more_goes_once_it_is_old() {
    let (mut world, user) = rejected().await;
    watch(&mut world.client, |users| users.retain(|id| *id != UserId(user)));
    assert_eq!(
        prune(&world, DAYS).await.deleted.rejects,
        0,
        "no pass has shown it"
    );
    assert_eq!(world.pass().await.rejected, 0);
    let young = Retention {
        rejects_days: 30,
        ..NOTHING
    };
    assert_eq!(prune(&world, young).await.deleted.rejects, 0);
    assert_eq!(prune(&world, DAYS).await.deleted.rejects, 1);
    assert_eq!(left(&world).await, 0);

    // Watched again, it is rejected again.
    watch(&mut world.client, |users| users.push(UserId(user)));
    assert_eq!(world.pass().await.rejected, 1);
    assert_eq!(left(&world).await, 1);
}

#[tokio::test]
async fn a_reject_that_stands_for_another_process_stays() {
    let (mut world, user) = rejected().await;
    assert_eq!(world.pass().await.rejected, 1, "of a process that lists the user");
    watch(&mut world.client, |users| users.retain(|id| *id != UserId(user)));
    assert_eq!(world.pass().await.rejected, 0, "of one that does not");
    assert_eq!(prune(&world, DAYS).await.deleted.rejects, 0);
    date_back(&world.pool, 11).await;
    assert_eq!(prune(&world, DAYS).await.deleted.rejects, 1);
}

#[tokio::test]
async fn while_a_pass_is_under_way_or_begins_its_clients_rejects_stay() {
    let (mut world, user) = rejected().await;
    watch(&mut world.client, |users| users.retain(|id| *id != UserId(user)));
    world.pass().await;
    let run = world.begin().await;
    assert_eq!(prune(&world, DAYS).await.deleted.rejects, 0);
    execute(
        &world.pool,
        format!(
            "update sync_runs set outcome = 'failed', finished_at = now() where run_id = {}",
            run.id
        ),
    )
    .await;
    // As a pass that begins does.
    let mut guard = world.pool.begin().await.expect("a transaction can begin");
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('calmirror public ' || $1, 0))")
        .bind(world.client_id())
        .execute(&mut *guard)
        .await
        .expect("the lock can be had");
    let upkeep = upkeep(&world.store, DAYS, &[&world.client.id]);
    let token = tokio_util::sync::CancellationToken::new();
    let pruned = super::pruned(upkeep.prune(calmirror::retention::When::Now, &token).await);
    assert_eq!(pruned.deleted.rejects, 0);
    guard.rollback().await.expect("the guard lets go");
    assert_eq!(prune(&world, DAYS).await.deleted.rejects, 1);
}

#[tokio::test]
async fn rejects_of_a_client_that_is_not_configured_go_once_it_has_had_no_pass_for_long() {
    let (world, _) = rejected().await;
    let nobody = upkeep(&world.store, DAYS, &[]);
    let token = tokio_util::sync::CancellationToken::new();
    world.pass().await;
    let prune = async || {
        super::pruned(nobody.prune(calmirror::retention::When::Now, &token).await)
            .deleted
            .rejects
    };
    assert_eq!(prune().await, 0, "another process has it configured");
    date_back(&world.pool, 11).await;
    assert_eq!(prune().await, 1);
}

#[tokio::test]
async fn a_pass_that_died_keeps_no_rejects_of_a_client_that_is_not_configured_any_more() {
    let (world, _) = rejected().await;
    // Its process dies, and the client is taken out of the configuration.
    world.begin().await;
    let nobody = upkeep(&world.store, DAYS, &[]);
    let token = tokio_util::sync::CancellationToken::new();
    let prune = async || {
        super::pruned(nobody.prune(calmirror::retention::When::Now, &token).await)
            .deleted
            .rejects
    };
    assert_eq!(prune().await, 0, "it may be alive");
    date_back(&world.pool, 11).await;
    assert_eq!(prune().await, 1);
    let open = "select count(*) from sync_runs where outcome is null";
    assert_eq!(value::<i64>(&world.pool, open).await, 1);
}
