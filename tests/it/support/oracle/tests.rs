//! The oracle itself: it agrees with what is right and names what is not.

use calmirror::simulator::{Answer, Refusal, Target};
use tokio_util::sync::CancellationToken;

use super::Oracle;
use crate::support::world::{World, source};

async fn pass(world: &World, oracle: &mut Oracle) {
    let begun = oracle
        .begin_pass(&world.simulator, &world.users(), world.removal)
        .await;
    // Every other pass by its tag, the others by what was answered between their ends.
    let base_url = match begun.index % 2 {
        0 => begun.base_url(&world.simulator),
        _ => world.simulator.base_url(),
    };
    let source = source(&base_url, &world.client);
    let report = world
        .pass_by(&world.store, &source, &CancellationToken::new())
        .await;
    // As if the first one had died without a word.
    let run = report.run_id.filter(|run| *run > 1);
    oracle.end_pass(&world.simulator, begun, run).await;
}

/// Four passes over six users, of whom one is removed, one changes, and one cannot be read.
async fn past() -> (World, Oracle) {
    let world = World::new(6).await;
    world.simulator.keep_answers(true);
    let mut oracle = Oracle::new(&world.db, world.client_id()).await;
    let users = world.users();
    pass(&world, &mut oracle).await;
    world.simulator.delete_user(users[0]).expect("the user is there");
    world
        .simulator
        .patch_user(
            users[1],
            serde_json::json!({ "name": "Else", "metadata": { "a": 1.50 } }),
        )
        .expect("the user is there");
    pass(&world, &mut oracle).await;
    let gone = Answer::Refuse(Refusal::NotOurUser(users[2]));
    world.simulator.script(Target::User(users[2]), 1, gone);
    pass(&world, &mut oracle).await;
    world
        .simulator
        .place_raw(world.client_id(), users[3], format!(r#"{{"id":{}}}"#, users[3]))
        .expect("it is the client's user");
    pass(&world, &mut oracle).await;
    (world, oracle)
}

#[tokio::test]
async fn the_oracle_agrees_with_passes_that_went_well() {
    let (world, oracle) = past().await;
    oracle.check().await.expect("nothing is wrong");
    assert_eq!(world.kinds(world.users()[0]).await, ["insert", "removal"]);
    assert_eq!(world.kinds(world.users()[1]).await, ["insert", "update"]);
    assert_eq!(world.value::<i64>("select count(*) from rejects").await, 1);
}

#[tokio::test]
async fn the_oracle_names_what_no_pass_can_have_written() {
    let (world, oracle) = past().await;
    // Each with the promise that it breaks, and taken back before the next one.
    let wrongs = [
        (
            "fidelity",
            "update managed_users set name = 'Nobody' where id = (select max(id) from managed_users)",
        ),
        (
            "replay",
            "update managed_user_changes set version = 3 where version = 2 and kind = 'update'",
        ),
        (
            "replay",
            r#"update managed_user_changes set changed = '{"name": {"old": "x", "new": "Else"}}' where kind = 'update'"#,
        ),
        ("atomicity", "update sync_runs set inserted = inserted + 1"),
        ("atomicity", "update sync_runs set missing = missing + 1"),
        ("atomicity", "delete from rejects"),
        (
            "removal",
            "insert into missing_users select client_id, id, 1, now(), now(), 1, 1 from managed_users where removed_at is null",
        ),
        (
            "removal",
            "with gone as (update managed_users as m set version = version + 1, changed_at = now(), removed_at = now()
                 where id = (select min(id) from managed_users where removed_at is null) returning m.*)
             insert into managed_user_changes (run_id, user_id, client_id, version, kind, observed_at, changed, after)
             select (select max(run_id) from sync_runs), id, client_id, version, 'removal', now(), '{}',
                 to_jsonb(gone) - array['version', 'first_seen_at', 'changed_at', 'removed_at'] from gone",
        ),
        (
            "guard",
            "with gone as (update managed_users as m set version = version + 1, changed_at = now(), removed_at = now()
                 where removed_at is null returning m.*)
             insert into managed_user_changes (run_id, user_id, client_id, version, kind, observed_at, changed, after)
             select (select max(run_id) from sync_runs), id, client_id, version, 'removal', now(), '{}',
                 to_jsonb(gone) - array['version', 'first_seen_at', 'changed_at', 'removed_at'] from gone",
        ),
        (
            "fence",
            "with entry as (delete from managed_user_changes where version = 2 returning *)
             insert into managed_user_changes (run_id, user_id, client_id, version, kind, observed_at, changed, after)
             select 1, user_id, client_id, version, kind, observed_at, changed, after from entry",
        ),
        (
            "freshness",
            "update sync_runs set outcome = 'no_change' where run_id = (select max(run_id) from sync_runs)",
        ),
        ("freshness", "update sync_state set last_complete_at = now()"),
    ];
    for table in TABLES {
        execute(&world, format!("create table saved_{table} as table {table}")).await;
    }
    for (promise, statement) in wrongs {
        execute(&world, statement.to_owned()).await;
        let wrong = oracle.check().await.expect_err(statement);
        assert!(
            wrong.lines().any(|line| line.starts_with(promise)),
            "{statement}: {promise} is not among\n{wrong}"
        );
        for table in TABLES {
            execute(&world, format!("delete from {table}")).await;
            execute(
                &world,
                format!("insert into {table} overriding system value table saved_{table}"),
            )
            .await;
        }
        oracle.check().await.expect("it is as it was");
    }
}

const TABLES: [&str; 6] = [
    "managed_users",
    "managed_user_changes",
    "missing_users",
    "rejects",
    "sync_runs",
    "sync_state",
];

async fn execute(world: &World, statement: String) {
    // Of this file alone.
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone()))
        .execute(&world.pool)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}
