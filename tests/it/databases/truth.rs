//! What must be true of the tables, whatever happened to the database.

use calmirror::simulator::Simulator;
use sqlx::PgPool;

/// The mirror is what Cal.com says, the ledger is the mirror's history and no more, runs account for all of it, and freshness
/// is that of the newest complete pass. `changes` is how many changes there were since the beginning, the first sight of each
/// user included.
pub(super) async fn assert_true(pool: &PgPool, simulator: &Simulator, users: &[i64], changes: i64) {
    for (what, query) in [
        (
            "the ledger folded is the mirror",
            "select not exists (
                 (table managed_users except select * from managed_users_as_of('infinity'))
                 union all
                 (select * from managed_users_as_of('infinity') except table managed_users)
             )",
        ),
        (
            "versions are 1..n",
            "select not exists (
                 select from managed_user_changes group by user_id
                 having max(version) <> count(*) or min(version) <> 1
             )",
        ),
        (
            "a user is inserted once",
            "select count(*) filter (where kind = 'insert') = count(distinct user_id) from managed_user_changes",
        ),
        (
            "an update changes something",
            "select not exists (select from managed_user_changes where kind = 'update' and changed = '{}')",
        ),
        (
            "runs account for the ledger",
            "select not exists (
                 select r.run_id from sync_runs as r
                 full join managed_user_changes as c on c.run_id = r.run_id
                 group by r.run_id, r.inserted, r.updated, r.removed, r.restored
                 having r.run_id is null
                     or r.inserted <> count(c.*) filter (where c.kind = 'insert')
                     or r.updated <> count(c.*) filter (where c.kind = 'update')
                     or r.removed <> count(c.*) filter (where c.kind = 'removal')
                     or r.restored <> count(c.*) filter (where c.kind = 'restore')
             )",
        ),
        (
            "freshness is that of the newest complete pass",
            "select s.last_complete_at is not distinct from r.finished_at
                 and s.last_complete_run_id is not distinct from r.run_id
             from sync_state as s left join lateral (
                 select * from sync_runs where outcome in ('applied', 'no_change') and client_id = s.client_id
                 order by run_id desc limit 1
             ) as r on true",
        ),
    ] {
        let is_so: bool = sqlx::query_scalar(query)
            .fetch_one(pool)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        assert!(is_so, "it is not so: {what}");
    }
    let rows: i64 = sqlx::query_scalar("select count(*) from managed_user_changes")
        .fetch_one(pool)
        .await
        .expect("the ledger can be read");
    assert_eq!(rows, changes, "changes in the ledger");
    let mirrored: Vec<(i64, String, String)> =
        sqlx::query_as("select id, email, time_zone from managed_users_live order by id")
            .fetch_all(pool)
            .await
            .expect("the mirror can be read");
    let mut served: Vec<(i64, String, String)> = users
        .iter()
        .filter_map(|id| {
            let record = simulator.user_json(*id)?;
            let record: serde_json::Value = serde_json::from_slice(&record).expect("a record is JSON");
            let text = |field: &str| record[field].as_str().expect("a string").to_owned();
            Some((*id, text("email"), text("timeZone")))
        })
        .collect();
    served.sort();
    assert_eq!(mirrored, served, "the mirror is what Cal.com says");
}
