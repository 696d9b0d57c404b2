//! Several processes, and passes beside.

use std::time::Duration;

use calmirror::{
    model::{RunOutcome, UserId},
    retention::{Attempt, When},
    simulator::{Answer, Target},
    store::{BegunPruning, Error, Place, Pruning},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{assert_verified, date_back, execute, ledger_days, pruned, upkeep, value};
use crate::{
    forget::{asked, waiting_for_fence},
    support::world::{World, store},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn begin(world: &World, every: Option<Duration>, silence: Duration) -> Option<Pruning> {
    let begun = world.store.begin_pruning(&ledger_days(1), every, silence).await;
    match begun.expect("it can be asked") {
        BegunPruning::Begun(pruning) => Some(pruning),
        BegunPruning::NotDue { .. } => None,
    }
}

/// Everybody has two versions, of some days ago.
async fn changed_long_ago(users: usize) -> World {
    let world = World::new(users).await;
    world.pass().await;
    for user in world.users() {
        world
            .simulator
            .patch_user(user, json!({ "name": "Changed" }))
            .expect("the user can be changed");
    }
    world.pass().await;
    date_back(&world.pool, 5).await;
    world
}

#[tokio::test]
async fn one_process_does_it_and_once_a_day() {
    let world = changed_long_ago(3).await;
    let first = begin(&world, Some(DAY), DAY).await.expect("it was never done");
    assert!(begin(&world, Some(DAY), DAY).await.is_none(), "somebody is at it");
    // Whoever is silent is dead, and the next goes on.
    let second = begin(&world, Some(DAY), Duration::ZERO)
        .await
        .expect("the first is dead");
    let late = world.store.fold(&first, Place::default()).await;
    assert_eq!(late, Err(Error::Overtaken));
    assert_eq!(
        world
            .store
            .prune_runs(&first, None)
            .await
            .map(|batch| batch.deleted),
        Ok(0),
        "which are not configured to go"
    );
    assert_eq!(world.store.finish_pruning(&first).await, Err(Error::Overtaken));
    let folded = world.store.fold(&second, Place::default()).await.expect("it may");
    assert_eq!((folded.users, folded.versions), (3, 3));
    world.store.finish_pruning(&second).await.expect("it may");
    assert!(
        begin(&world, Some(DAY), Duration::ZERO).await.is_none(),
        "it was done today"
    );
    execute(
        &world.pool,
        "update retention set finished_at = finished_at - interval '25 hours'",
    )
    .await;
    assert!(begin(&world, Some(DAY), DAY).await.is_some());
    // A person waits for nobody.
    assert!(begin(&world, None, DAY).await.is_some());
}

#[tokio::test]
async fn a_batch_gives_way_to_one_of_another_process() {
    let world = changed_long_ago(3).await;
    let pruning = begin(&world, None, DAY).await.expect("it can begin");
    let mut guard = world.pool.begin().await.expect("a transaction can begin");
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('calmirror retention public', 0))")
        .execute(&mut *guard)
        .await
        .expect("the lock can be had");
    assert_eq!(
        world.store.fold(&pruning, Place::default()).await,
        Err(Error::Overtaken)
    );
    guard.rollback().await.expect("the guard lets go");
    let folded = world.store.fold(&pruning, Place::default()).await;
    assert!(folded.is_ok_and(|folded| folded.users == 3));
}

#[tokio::test]
async fn a_look_at_whether_it_is_due_is_in_nobodys_way() {
    let world = changed_long_ago(3).await;
    begin(&world, None, DAY).await.expect("it can begin");
    // A batch under way. Whoever waited for it would hold the lock when the next one begins.
    let mut guard = world.pool.begin().await.expect("a transaction can begin");
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('calmirror retention public', 0))")
        .execute(&mut *guard)
        .await
        .expect("the lock can be had");
    assert!(begin(&world, Some(DAY), DAY).await.is_none(), "somebody is at it");
    guard.rollback().await.expect("the guard lets go");
}

#[tokio::test]
async fn neither_waits_for_a_pass_nor_lets_one_wait() {
    let world = changed_long_ago(3).await;
    let [changed, hangs, _] = world.users()[..] else {
        panic!("there are three");
    };
    world
        .simulator
        .patch_user(changed, json!({ "name": "Again" }))
        .expect("the user can be changed");
    world.simulator.script(Target::User(hangs), 1, Answer::Hang);
    let before = world.simulator.requests().total;
    let (beside, token) = (store(&world.db, 1), CancellationToken::new());
    let upkeep = upkeep(&beside, ledger_days(1), &[&world.client.id]);
    let pruning = async {
        asked(&world.simulator, before + 3).await;
        // Whatever a batch of the pass has locked, down to its fence.
        let mut guard = world.pool.begin().await.expect("a transaction can begin");
        sqlx::query("select from sync_state for update")
            .execute(&mut *guard)
            .await
            .expect("the fence can be locked");
        let pruned = pruned(upkeep.prune(When::Now, &token).await);
        guard.rollback().await.expect("the guard lets go");
        world.simulator.release();
        pruned
    };
    let (report, pruned) = tokio::join!(world.unchecked_pass(&world.store, &token), pruning);
    assert_eq!(pruned.folded_users, 3);
    assert_eq!(
        (report.outcome, report.updated),
        (RunOutcome::Applied, 1),
        "{:?}",
        report.error
    );
    assert_eq!(world.kinds(changed).await, ["insert", "update"]);
    world.assert_replay().await;
    assert_verified(&world.store, 1).await;

    // And the other way round: a batch of the pass goes through while one of folding is open.
    date_back(&world.pool, 5).await;
    world
        .simulator
        .patch_user(changed, json!({ "name": "And again" }))
        .expect("the user can be changed");
    let mut guard = world.pool.begin().await.expect("a transaction can begin");
    for statement in [
        "lock table sync_state in row share mode",
        "select from retention for update",
        "update managed_user_changes set run_id = run_id",
    ] {
        sqlx::query(statement)
            .execute(&mut *guard)
            .await
            .expect("what folding locks can be locked");
    }
    let report = world.unchecked_pass(&world.store, &token).await;
    assert_eq!(report.updated, 1, "{:?}", report.error);
    guard.rollback().await.expect("the guard lets go");
    beside.close().await;
}

#[tokio::test]
async fn forgetting_and_folding_come_one_after_the_other() {
    let world = changed_long_ago(3).await;
    let pruning = begin(&world, None, DAY).await.expect("it can begin");
    let user = world.users()[1];
    let (forgets, folds) = (store(&world.db, 1), store(&world.db, 1));
    let mut guard = world.pool.begin().await.expect("a transaction can begin");
    sqlx::query("lock table sync_state in exclusive mode")
        .execute(&mut *guard)
        .await
        .expect("the fence can be locked");
    let order = async {
        waiting_for_fence(&world.pool, 2).await;
        guard.commit().await.expect("the guard lets go");
    };
    let (forgot, folded, ()) = tokio::join!(
        forgets.forget(UserId(user)),
        folds.fold(&pruning, Place::default()),
        order
    );
    assert!(forgot.is_ok_and(|forgot| forgot.is_some()));
    assert!(folded.is_ok());
    let left = format!("select count(*) from managed_user_changes where user_id = {user}");
    assert_eq!(value::<i64>(&world.pool, left).await, 0);
    assert_verified(&world.store, 1).await;
    forgets.close().await;
    folds.close().await;
}

#[tokio::test]
async fn it_ends_between_two_batches_when_it_is_told_to() {
    let world = changed_long_ago(3).await;
    execute(
        &world.pool,
        "insert into sync_runs (client_id, client_name, outcome, started_at, finished_at)
         select 'x', 'x', 'skipped', '2020-01-01', '2020-01-01' from generate_series(1, 1200)",
    )
    .await;
    let all = calmirror::config::Retention {
        no_change_runs_days: 30,
        ..ledger_days(1)
    };
    let upkeep = upkeep(&world.store, all, &[&world.client.id]);
    let token = CancellationToken::new();
    token.cancel();
    let cut = pruned(upkeep.prune(When::IfDue, &token).await);
    assert_eq!((cut.deleted.sync_runs, cut.is_complete), (500, false));
    let token = CancellationToken::new();
    // It was cut, so it is due as soon as that one must be dead.
    assert!(matches!(
        upkeep.prune(When::IfDue, &token).await,
        Ok(Attempt::NotDue { .. })
    ));
    execute(
        &world.pool,
        "update retention set heartbeat_at = heartbeat_at - interval '1 hour'",
    )
    .await;
    let rest = pruned(upkeep.prune(When::IfDue, &token).await);
    assert_eq!(
        (rest.deleted.sync_runs, rest.folded_users, rest.is_complete),
        (700, 3, true)
    );
}
