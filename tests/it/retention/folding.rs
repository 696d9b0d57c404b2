//! The ledger, folded: cut, unanswered, with faults, and out of order.

use std::time::Duration;

use calmirror::{
    model::UserId,
    store::{BegunPruning, Place},
};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{assert_verified, date_back, execute, ledger_days, prune, upkeep, value};
use crate::support::{
    TestDb,
    gate::Gate,
    world::{World, store, store_at},
};

#[tokio::test]
async fn a_user_that_was_removed_before_the_cutoff_stays_removed_and_can_come_back() {
    let world = World::new(12).await;
    world.pass().await;
    let user = world.users()[3];
    let record = world.simulator.user_json(user).expect("the user is there");
    world.simulator.delete_user(user).expect("the user can go");
    world.pass().await;
    world.pass().await;
    // A repair of a removed user leaves it removed, since when it was.
    execute(
        &world.pool,
        format!("update managed_users set bio = 'edited' where id = {user}"),
    )
    .await;
    let repair = world
        .store
        .begin_repair(&world.client.id, true)
        .await
        .expect("it can begin");
    world
        .store
        .repair(&repair, &[UserId(user)])
        .await
        .expect("it can be set back");
    assert_eq!(world.kinds(user).await, ["insert", "removal", "repair"]);
    date_back(&world.pool, 5).await;
    let row = format!("select to_jsonb(m) from managed_users as m where id = {user}");
    let before = value::<Value>(&world.pool, row.clone()).await;
    prune(&world, ledger_days(2)).await;
    assert_eq!(world.kinds(user).await, ["insert"]);
    assert_eq!(value::<Value>(&world.pool, row).await, before);
    let folded = format!(
        "select jsonb_build_object('version', version, 'first_seen_at', first_seen_at, 'removed_at', removed_at)
         from managed_user_changes where user_id = {user}"
    );
    let folded = value::<Value>(&world.pool, folded).await;
    for (key, at) in [
        ("version", json!(3)),
        ("first_seen_at", before["first_seen_at"].clone()),
    ] {
        assert_eq!(folded[key], at);
    }
    assert_eq!(folded["removed_at"], before["removed_at"]);
    assert!(folded["removed_at"].is_string());
    // As docs/queries.md has it.
    let removed = format!(
        "select count(*) from managed_users_history where user_id = {user} and valid_to is null
             and folded_at is not null and removed_at = '{}'",
        before["removed_at"].as_str().unwrap_or_default(),
    );
    assert_eq!(value::<i64>(&world.pool, removed).await, 1);
    world.assert_replay().await;

    // What is edited of it is found by a pass that is about to write it.
    world
        .simulator
        .place_raw(world.client_id(), user, record)
        .expect("it can come back");
    world
        .simulator
        .patch_user(user, json!({ "name": "Changed" }))
        .expect("the user can be changed");
    execute(
        &world.pool,
        format!("update managed_users set removed_at = null where id = {user}"),
    )
    .await;
    world.pass().await;
    assert_eq!(world.kinds(user).await, ["insert", "repair", "restore"]);
    assert_verified(&world.store, 1).await;
    world.assert_quiet().await;
}

/// Three users with many versions, told in SQL.
async fn long_ledgers(pool: &PgPool, versions: i64) {
    execute(
        pool,
        format!(
            "insert into managed_users (id, client_id, email, time_zone, week_start, created_date, locale, version,
                 first_seen_at, changed_at)
             select u, 'cm7acme', u || '@example.com', 'UTC', 'Sunday', '2020-01-01', 'v' || {versions}, {versions},
                 '2020-01-01 00:00:01', timestamptz '2020-01-01' + {versions} * interval '1 s'
             from generate_series(1, 3) as u;
             insert into managed_user_changes (run_id, user_id, client_id, version, kind, observed_at, changed, after)
             select 1, m.id, m.client_id, v, case v when 1 then 'insert' else 'update' end,
                 timestamptz '2020-01-01' + v * interval '1 s',
                 case v when 1 then '{{}}' else jsonb_build_object(
                     'locale', jsonb_build_object('old', 'v' || v - 1, 'new', 'v' || v)
                 ) end,
                 to_jsonb(m) - array['version', 'first_seen_at', 'changed_at', 'removed_at']
                     || jsonb_build_object('locale', 'v' || v)
             from managed_users as m cross join generate_series(1, {versions}) as v"
        ),
    )
    .await;
}

#[tokio::test]
async fn a_fold_that_is_cut_between_batches_loses_nothing_and_is_gone_on_with() {
    let db = TestDb::new().await;
    let (pool, store) = (db.pool().await, store(&db, 2));
    long_ledgers(&pool, 700).await;
    assert_verified(&store, 1).await;
    let begin = async || {
        let begun = store.begin_pruning(&ledger_days(30), None, Duration::ZERO).await;
        match begun.expect("it can begin") {
            BegunPruning::Begun(pruning) => pruning,
            BegunPruning::NotDue { .. } => panic!("whoever asks by hand waits for nobody"),
        }
    };
    // Each batch by another process, which dies after it.
    let mut left = Vec::new();
    loop {
        let batch = store
            .fold(&begin().await, Place::default())
            .await
            .expect("a batch is folded");
        assert!(batch.versions <= 500, "{batch:?}");
        assert_verified(&store, 1).await;
        left.push(value::<i64>(&pool, "select count(*) from managed_user_changes").await);
        if batch.next.is_none() {
            break;
        }
    }
    assert_eq!(left, [1600, 1100, 600, 100, 3]);
    let bases =
        "select string_agg(user_id || ' v' || version || ' ' || folded_at::date || ' ' || first_seen_at, ', '
        order by user_id) from managed_user_changes";
    let bases = value::<String>(&pool, bases).await;
    assert_eq!(bases.matches(" v700 ").count(), 3, "{bases}");
    assert_eq!(bases.matches("2020-01-01 00:00:01").count(), 3, "{bases}");
    store.close().await;
}

#[tokio::test]
async fn a_batch_whose_commit_is_not_answered_is_neither_lost_nor_folded_twice() {
    let db = TestDb::new().await;
    let (pool, direct) = (db.pool().await, store(&db, 2));
    long_ledgers(&pool, 400).await;
    let (mut gate, url) = Gate::before_database(&db);
    gate.open();
    let through = store_at(&url, 1);
    gate.lose_answer(&["kind = 'insert'", "commit\0"]);
    let client = calmirror::model::ClientId("cm7acme".to_owned());
    let upkeep = upkeep(&through, ledger_days(30), &[&client]);
    let token = tokio_util::sync::CancellationToken::new();
    let pruned = super::pruned(upkeep.prune(calmirror::retention::When::Now, &token).await);
    assert!(gate.has_lost());
    assert!(pruned.is_complete);
    assert_eq!(
        value::<i64>(&pool, "select count(*) from managed_user_changes").await,
        3
    );
    // What was not answered is on record all the same.
    assert_eq!(
        value::<i64>(&pool, "select deleted_versions from retention").await,
        3 * 399
    );
    assert_verified(&direct, 1).await;
    through.close().await;
}

#[tokio::test]
async fn a_ledger_with_a_fault_is_not_folded() {
    let db = TestDb::new().await;
    let (pool, store) = (db.pool().await, store(&db, 2));
    for damage in [
        "delete from managed_user_changes where user_id = 2 and version = 4",
        "delete from managed_user_changes where user_id = 2 and version = 1",
        "update managed_user_changes set changed = '{}' where user_id = 2 and version = 5",
        "update managed_user_changes set kind = 'restore' where user_id = 2 and version = 5",
        "update managed_user_changes set after = after || '{\"bio\": \"x\"}' where user_id = 2 and version = 7",
    ] {
        execute(&pool, "truncate managed_users, managed_user_changes").await;
        long_ledgers(&pool, 9).await;
        execute(&pool, damage).await;
        let versions = value::<i64>(
            &pool,
            "select count(*) from managed_user_changes where user_id = 2",
        )
        .await;
        let upkeep = upkeep(&store, ledger_days(30), &[]);
        let token = tokio_util::sync::CancellationToken::new();
        let pruned = super::pruned(upkeep.prune(calmirror::retention::When::Now, &token).await);
        assert_eq!((pruned.folded_users, pruned.users_in_doubt), (2, 1), "{damage}");
        let left = "select string_agg(user_id || ' ' || n, ', ' order by user_id)
            from (select user_id, count(*) as n from managed_user_changes group by user_id) as counted";
        assert_eq!(
            value::<String>(&pool, left).await,
            format!("1 1, 2 {versions}, 3 1"),
            "{damage}"
        );
    }
    store.close().await;
}

#[tokio::test]
async fn what_is_older_than_the_cutoff_after_what_is_not_stays() {
    let db = TestDb::new().await;
    let (pool, store) = (db.pool().await, store(&db, 2));
    long_ledgers(&pool, 9).await;
    // The clock was a year ahead while the fifth version was written.
    execute(
        &pool,
        "update managed_user_changes set observed_at = now() + interval '1 year' where user_id = 2 and version = 5",
    )
    .await;
    let upkeep = upkeep(&store, ledger_days(30), &[]);
    let token = tokio_util::sync::CancellationToken::new();
    for _ in 0..2 {
        super::pruned(upkeep.prune(calmirror::retention::When::Now, &token).await);
        let left = "select string_agg(version::text, ' ' order by version) from managed_user_changes where user_id = 2";
        assert_eq!(value::<String>(&pool, left).await, "4 5 6 7 8 9");
        assert_verified(&store, 1).await;
    }
    store.close().await;
}
