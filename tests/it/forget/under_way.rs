//! Forgetting somebody while a pass is under way.

use std::{future::Future, time::Duration};

use calmirror::{
    calcom::Source as _,
    compare,
    model::{ClientId, Observation, RunOutcome, UserId},
    simulator::{Answer, Simulator, Target},
    store::Error,
};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use tokio_util::sync::CancellationToken;

use super::{ID, execute};
use crate::support::world::{LIMIT, World, store};

#[tokio::test]
async fn what_was_compared_before_is_a_conflict_and_left_out_after() {
    let mut world = World::new(3).await;
    world.pass().await;
    let (changed, gone, unreadable, never) = (world.users()[0], world.users()[1], world.users()[2], ID);
    crate::support::world::watch(&mut world.client, |users| users.push(UserId(never)));
    world
        .simulator
        .patch_user(changed, json!({ "name": "Changed" }))
        .expect("the user can be changed");
    world
        .simulator
        .delete_user(gone)
        .expect("the user can be deleted");
    world
        .simulator
        .place_raw(world.client_id(), unreadable, "{}")
        .expect("the record can be placed");
    execute(
        &world.pool,
        "insert into missing_users values ('another client', 987654321, 0, now(), now(), 1, null)",
    )
    .await;
    // Each of the four would get a row of another kind.
    for user in [changed, gone, unreadable, never].map(UserId) {
        let run = world.begin().await;
        let observation = world.source.get_user(user).await.expect("the simulator answers");
        let compared = async || {
            let known = world.store.known(&run, &[user]).await.expect("users can be read");
            compare::diff(&world.client.id, vec![observation.clone()], &known)
        };
        let set = compared().await;
        assert!(!set.writes_nothing(), "{set:?}");
        world.store.forget(user).await.expect("the user can be forgotten");
        assert_eq!(
            world.store.apply(&run, &set).await,
            Err(Error::Conflict),
            "{set:?}"
        );
        let set = compared().await;
        assert!(set.writes_nothing(), "{set:?}");
        assert_eq!(set.forgotten, 1);
    }
    let left: i64 = world
        .value(
            "select (select count(*) from managed_users) + (select count(*) from managed_user_changes)
                + (select count(*) from missing_users) + (select count(*) from rejects)",
        )
        .await;
    assert_eq!(left, 0);
}

/// Waits until so many wait for a lock on the fence.
pub(crate) async fn waiting_for_fence(pool: &PgPool, sessions: i64) {
    waiting_for(pool, "sync_state", sessions).await;
}

/// Waits until so many wait for a lock on a table.
async fn waiting_for(pool: &PgPool, table: &str, sessions: i64) {
    waiting_where(pool, &format!("relation = '{table}'::regclass"), sessions).await;
}

/// Waits until so many wait for an advisory lock.
pub(crate) async fn waiting_for_advice(pool: &PgPool, sessions: i64) {
    let ours = "locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())";
    waiting_where(pool, ours, sessions).await;
}

async fn waiting_where(pool: &PgPool, locks: &str, sessions: i64) {
    let query = format!("select count(*) from pg_locks where {locks} and not granted");
    let wait = async {
        loop {
            let waiting: i64 = sqlx::query_scalar(AssertSqlSafe(query.as_str()))
                .fetch_one(pool)
                .await
                .expect("locks can be read");
            if waiting >= sessions {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, wait)
        .await
        .expect("they wait in the end");
}

/// Waits until a simulator has had so many requests in all.
pub(crate) async fn asked(simulator: &Simulator, requests: u64) {
    let wait = async {
        while simulator.requests().total < requests {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, wait)
        .await
        .expect("it asks in the end");
}

#[tokio::test]
async fn a_pass_under_way_does_not_write_a_forgotten_user_back() {
    let world = World::new(3).await;
    world.pass().await;
    let [forgotten, hangs, other] = world.users()[..] else {
        panic!("there are three");
    };
    for user in [forgotten, other] {
        world
            .simulator
            .patch_user(user, json!({ "name": "Changed" }))
            .expect("the user can be changed");
    }
    world.simulator.script(Target::User(hangs), 1, Answer::Hang);
    let before = world.simulator.requests().total;
    // Connections of its own for the one that forgets.
    let beside = store(&world.db, 1);
    let mut guard = world.pool.begin().await.expect("a transaction can begin");
    let forgetting = async {
        asked(&world.simulator, before + 3).await;
        // Whoever comes first is served first: the one that forgets, and then the batch, which was compared by then.
        sqlx::query("lock table sync_state in exclusive mode")
            .execute(&mut *guard)
            .await
            .expect("the fence can be locked");
        let release = async {
            waiting_for_fence(&world.pool, 1).await;
            world.simulator.release();
            waiting_for_fence(&world.pool, 2).await;
            guard.commit().await.expect("the guard lets go");
        };
        let (forgot, ()) = tokio::join!(beside.forget(UserId(forgotten)), release);
        forgot
            .expect("the user can be forgotten")
            .expect("the user is known")
    };
    let cancel = CancellationToken::new();
    let pass = world.unchecked_pass(&world.store, &cancel);
    let (report, forgot) = both(pass, forgetting).await;
    assert_eq!(forgot.versions, 1, "nothing was written before");
    assert_eq!(
        (report.outcome, report.observed, report.updated, report.unchanged),
        (RunOutcome::Applied, 2, 1, 1),
        "{:?}",
        report.error
    );
    assert_eq!(world.kinds(other).await, ["insert", "update"]);
    assert_eq!(world.kinds(forgotten).await, [""; 0]);
    let rows: i64 = sqlx::query_scalar("select count(*) from managed_users where id = $1")
        .bind(forgotten)
        .fetch_one(&world.pool)
        .await
        .expect("the mirror can be read");
    assert_eq!(rows, 0);
    world.assert_quiet().await;
    beside.close().await;
}

#[tokio::test]
async fn removals_under_way_leave_a_forgotten_user_out() {
    let world = World::new(20).await;
    world.pass().await;
    let users = world.users();
    for user in &users[..2] {
        world
            .simulator
            .delete_user(*user)
            .expect("the user can be deleted");
    }
    world.pass().await;
    let run = world.begin().await;
    let gone: Vec<UserId> = users[..2].iter().copied().map(UserId).collect();
    let known = world.store.known(&run, &gone).await.expect("users can be read");
    let observations = gone.iter().copied().map(Observation::Gone);
    let set = compare::diff(&world.client.id, observations.collect(), &known);
    world
        .store
        .apply(&run, &set)
        .await
        .expect("a batch can be written");
    world
        .store
        .confirm_missing(&run, true)
        .await
        .expect("confirmations count");
    let removals = async || {
        let removals = world.store.confirmed_gone(&run, 2, Duration::ZERO, true).await;
        compare::ChangeSet {
            removals: removals.expect("they can be read"),
            ..Default::default()
        }
    };
    let set = removals().await;
    assert_eq!(set.removals.len(), 2);
    world
        .store
        .forget(gone[0])
        .await
        .expect("the user can be forgotten");
    assert_eq!(world.store.apply_removals(&run, &set).await, Err(Error::Conflict));
    let set = removals().await;
    assert_eq!(set.removals.len(), 1);
    world
        .store
        .apply_removals(&run, &set)
        .await
        .expect("the other is removed");
    world.assert_replay().await;
    assert_eq!(world.kinds(users[1]).await, ["insert", "removal"]);
}

#[tokio::test]
async fn the_first_pass_of_a_client_waits_for_one_that_forgets() {
    let world = World::new(3).await;
    // Another client of the same database had the user, and is asked to forget it while this one begins.
    let user = world.users()[0];
    sqlx::query("insert into rejects values ('another client', $1, 1, now(), now(), 'x', '{}', '')")
        .bind(user)
        .execute(&world.pool)
        .await
        .expect("a reject can be put on record");
    let mut guard = world.pool.begin().await.expect("a transaction can begin");
    sqlx::query("lock table sync_state in exclusive mode")
        .execute(&mut *guard)
        .await
        .expect("the fence can be locked");
    let beside = store(&world.db, 1);
    let cancel = CancellationToken::new();
    let pass = async {
        waiting_for_fence(&world.pool, 1).await;
        world.unchecked_pass(&world.store, &cancel).await
    };
    let let_go = async {
        waiting_for_fence(&world.pool, 2).await;
        guard.commit().await.expect("the guard lets go");
    };
    let (forgot, (report, ())) = both(beside.forget(UserId(user)), both(pass, let_go)).await;
    assert!(forgot.is_ok_and(|forgot| forgot.is_some()));
    assert_eq!((report.observed, report.inserted), (2, 2));
    assert_eq!(world.kinds(user).await, [""; 0]);
    beside.close().await;
}

async fn both<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    tokio::time::timeout(LIMIT, async { tokio::join!(one, other) })
        .await
        .expect("both come to their end")
}

#[tokio::test]
async fn a_batch_without_anything_to_write_asks_for_no_tombstone() {
    let world = World::new(3).await;
    let run = world.begin().await;
    let client = ClientId("x".to_owned());
    let set = compare::diff(&client, Vec::new(), &Default::default());
    // Nobody could write into this table, nor read it.
    let mut guard = world.pool.begin().await.expect("a transaction can begin");
    sqlx::query("lock table forgotten_users in access exclusive mode")
        .execute(&mut *guard)
        .await
        .expect("the table can be locked");
    world
        .store
        .apply(&run, &set)
        .await
        .expect("an empty set is written");
    guard.rollback().await.expect("the guard lets go");
}
