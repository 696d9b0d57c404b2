//! However much there is, and however little of it is to go, no statement reads more than its batch.

use std::{fs, path::Path, time::Duration};

use calmirror::{
    config::Retention,
    store::{BegunPruning, Place, Pruning, Store},
};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{NOTHING, execute, ledger_days};
use crate::support::{TestDb, world::store};

async fn begin(store: &Store, retention: Retention) -> Pruning {
    match store.begin_pruning(&retention, None, Duration::ZERO).await {
        Ok(BegunPruning::Begun(pruning)) => pruning,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn passes_that_stay_are_passed_over_in_batches() {
    let db = TestDb::new().await;
    let (pool, store) = (db.pool().await, store(&db, 1));
    // To each of the oldest something refers; then come some that can go.
    execute(
        &pool,
        "insert into sync_runs (client_id, client_name, outcome, started_at, finished_at)
             select 'x', 'x', 'no_change', timestamptz '2020-01-01' + n / 2 * interval '1 s',
                 timestamptz '2020-01-01' + n / 2 * interval '1 s'
             from generate_series(1, 2200) as n;
         insert into missing_users
             select 'x', run_id, 1, now(), now(), run_id, null, 0 from sync_runs where run_id <= 1000;
         insert into missing_users
             select 'x', run_id, 1, now(), now(), 1, run_id, 0 from sync_runs where run_id between 1001 and 1500;
         insert into rejects
             select 'x', run_id, run_id, now(), now(), 'why', '{}', '' from sync_runs
             where run_id between 1501 and 2100",
    )
    .await;
    let retention = Retention {
        no_change_runs_days: 1,
        ..NOTHING
    };
    let pruning = begin(&store, retention).await;
    let (mut from, mut seen, mut deleted) = (None, Vec::new(), Vec::new());
    loop {
        let would = store
            .prunable_runs(&pruning.cutoffs(), from)
            .await
            .expect("it can be looked at");
        let batch = store.prune_runs(&pruning, from).await.expect("it may");
        seen.push(would.deleted);
        deleted.push(batch.deleted);
        assert_eq!(would.next, batch.next);
        let Some(next) = batch.next else { break };
        from = Some(next);
    }
    assert_eq!(deleted, [0, 0, 0, 0, 100]);
    assert_eq!(seen, deleted);
    store.close().await;
}

#[tokio::test]
async fn versions_that_stay_are_passed_over_in_batches() {
    let db = TestDb::new().await;
    let (pool, store) = (db.pool().await, store(&db, 1));
    // Of 3,000 users the versions are young, and of the last they are old.
    execute(
        &pool,
        "insert into managed_user_changes (run_id, user_id, client_id, version, kind, observed_at, changed, after)
         select 1, u, 'x', v, case v when 1 then 'insert' else 'update' end,
             case when u <= 3000 then now() else timestamptz '2020-01-01' + v * interval '1 s' end,
             case v when 1 then '{}' else jsonb_build_object(
                 'locale', jsonb_build_object('old', 'v' || v - 1, 'new', 'v' || v)
             ) end,
             to_jsonb(m) - array['version', 'first_seen_at', 'changed_at', 'removed_at']
         from generate_series(1, 3001) as u cross join generate_series(1, 2) as v
         cross join lateral jsonb_populate_record(null::managed_users, jsonb_build_object(
             'id', u, 'client_id', 'x', 'email', 'a@example.com', 'time_zone', 'UTC', 'week_start', 'Sunday',
             'created_date', '2020-01-01', 'locale', 'v' || v, 'extra', '{}'::jsonb
         )) as m",
    )
    .await;
    let pruning = begin(&store, ledger_days(1)).await;
    let (mut from, mut places, mut folded) = (Place::default(), Vec::new(), Vec::new());
    loop {
        let batch = store.fold(&pruning, from).await.expect("it may");
        assert_eq!(batch.in_doubt, 0);
        folded.push((batch.users, batch.versions));
        let Some(next) = batch.next else { break };
        from = next;
        places.push(next.user_id);
    }
    assert_eq!(places, [1000, 2000, 3000]);
    assert_eq!(folded, [(0, 0), (0, 0), (0, 0), (1, 1)]);
    store.close().await;
}

/// As the transactions of batches begin.
const ALONG_THE_INDEXES: &str =
    "set enable_seqscan to off; set enable_bitmapscan to off; set enable_hashjoin to off;
    set max_parallel_workers_per_gather to 0; set plan_cache_mode to force_generic_plan";

/// The statements of retention on tables that grow without end.
const STATEMENTS: [&str; 8] = [
    "from deletable_runs as d",
    "delete from sync_runs where run_id = any($1)",
    "where (user_id, version) > ($1, $2)",
    "delete from managed_user_changes as c",
    "update managed_user_changes as c set",
    "with recursive client as",
    "where client_id = $1 and user_id = any(array(",
    "from rejects where client_id = $1 and changed_at < $2",
];

const GROWING: [&str; 4] = ["sync_runs", "managed_user_changes", "missing_users", "rejects"];

#[tokio::test]
async fn an_index_leads_each_statement_of_retention_to_its_rows() {
    let db = TestDb::new().await;
    let mut connection = PgConnection::connect_with(&db.connect_options())
        .await
        .expect("the server answers");
    sqlx::raw_sql(ALONG_THE_INDEXES)
        .execute(&mut connection)
        .await
        .expect("settings can be made");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let mut found = 0;
    for file in fs::read_dir(dir).expect("the checked queries are kept") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("text");
        let query: Value = serde_json::from_str(&text).expect("JSON");
        let sql = query["query"].as_str().expect("a statement");
        if !STATEMENTS.iter().any(|part| sql.contains(part)) {
            continue;
        }
        found += 1;
        let parameters = query["describe"]["parameters"]["Left"]
            .as_array()
            .map_or(0, Vec::len);
        let nulls = vec!["null"; parameters].join(", ");
        sqlx::raw_sql(AssertSqlSafe(format!("prepare tried as {sql}")))
            .execute(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("explain execute tried ({nulls})")))
            .persistent(false)
            .fetch_all(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        sqlx::raw_sql("deallocate tried")
            .execute(&mut connection)
            .await
            .expect("it is there");
        for table in GROWING {
            for (position, line) in plan.iter().enumerate() {
                let reads = line.contains(&format!(" on {table} ")) && line.contains("Scan");
                // The first of all rejects, which a limit ends.
                let is_first =
                    line.contains("rejects_by_age on rejects ") && plan[position - 1].contains("Limit");
                let is_led = plan
                    .get(position + 1)
                    .is_some_and(|next| next.contains("Index Cond"));
                assert!(!reads || is_led || is_first, "{sql}\n{}", plan.join("\n"));
            }
        }
    }
    assert_eq!(found, STATEMENTS.len());
    connection.close().await.expect("it closes");
}
