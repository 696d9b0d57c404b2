//! The program as such: exit codes, signals, PgBouncer, memory.

use nix::sys::signal::Signal;

use super::{Mirrored, edit, findings, summary, verify, workplace};
use crate::support::{TestDb, pgbouncer::PgBouncer};

#[tokio::test]
async fn seventy_five_while_the_database_is_away_and_one_without_tables() {
    let ended = verify(&workplace("postgres://nobody@127.0.0.1:1/none", ""), &[], 75).await;
    assert!(ended.stderr.contains("the database is unavailable"), "{ended}");
    assert_eq!(ended.stdout, "");
    let db = TestDb::new().await;
    let ended = verify(&workplace(&db.url(), "schema = \"elsewhere\""), &[], 1).await;
    assert!(ended.stderr.contains("calmirror migrate"), "{ended}");
    let lines = verify(&workplace(&db.url(), ""), &[], 0).await.json();
    assert_eq!(
        (lines.len(), &summary(&lines)["users"]),
        (1, &0.into()),
        "an empty mirror is right"
    );
}

#[tokio::test]
async fn a_signal_ends_it_while_it_waits() {
    let mirrored = Mirrored::new(3).await;
    let world = &mirrored.world;
    let mut analyst = world.pool.begin().await.expect("an analyst begins");
    sqlx::query("lock table managed_user_changes in access exclusive mode")
        .execute(&mut *analyst)
        .await
        .expect("and locks");
    let program = mirrored.workplace.start(&["verify"]);
    world.until_somebody_waits_for("managed_user_changes").await;
    program.signal(Signal::SIGINT);
    let ended = program.end().await.expect(4);
    assert!(ended.stdout.contains("ended early"), "{ended}");
    analyst.rollback().await.expect("the lock is given back");
    mirrored.assert_right().await;
}

#[tokio::test]
async fn it_works_through_pgbouncer_in_transaction_mode() {
    let mirrored = Mirrored::new(60).await;
    let bouncer = PgBouncer::start(&mirrored.world.db);
    let workplace = workplace(&bouncer.url(), "pgbouncer = true\nmax_connections = 1");
    for _ in 0..2 {
        verify(&workplace, &[], 0).await;
    }
    mirrored
        .edit("update managed_users set bio = 'edited' where id % 2 = 0")
        .await;
    let lines = verify(&workplace, &["--repair"], 0).await.json();
    assert!(findings(&lines).len() > 10);
    verify(&workplace, &["--repair"], 0).await;
    mirrored.assert_right().await;
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_stops_no_repair() {
    let mirrored = Mirrored::new(30).await;
    mirrored
        .edit("update managed_users set bio = repeat('x', 9000)")
        .await;
    let program = mirrored.workplace.start(&["verify", "--repair"]);
    program.leave_output().await;
    program.end().await.expect(0);
    mirrored.assert_right().await;
}

/// So many users that were changed so often, by SQL: the ledger as the store would have written it.
async fn fill(db: &TestDb, users: u32, versions: u32) {
    let pool = db.pool().await;
    let statement = format!(
        "insert into managed_users
         select id, 'cm7acme', id || '@example.com', null, 'Name {versions}', null, 'UTC', 'Sunday',
             '2024-01-01', 12, null, 'en', null, null, '{{}}', {versions}, '2025-01-01 00:00:01',
             '2025-01-01'::timestamptz + {versions} * interval '1 second', null
         from generate_series(1, {users}) as id;
         insert into managed_user_changes (run_id, user_id, client_id, version, kind, observed_at, changed, after)
         select 1, u.id, u.client_id, v, case v when 1 then 'insert' else 'update' end,
             '2025-01-01'::timestamptz + v * interval '1 second',
             case v when 1 then '{{}}' else jsonb_build_object(
                 'name', jsonb_build_object('old', 'Name ' || v - 1, 'new', 'Name ' || v)) end,
             to_jsonb(u) - array['version', 'first_seen_at', 'changed_at', 'removed_at']
                 || jsonb_build_object('name', 'Name ' || v)
         from managed_users as u cross join generate_series(1, {versions}) as v;
         analyze managed_user_changes; analyze managed_users"
    );
    edit(&pool, statement).await;
    pool.close().await;
}

/// The most memory that a run of `verify` took, in KiB, and what it said at its end.
async fn peak(users: u32, versions: u32) -> (u64, serde_json::Value) {
    let db = TestDb::new().await;
    fill(&db, users, versions).await;
    let workplace = workplace(&db.url(), "");
    let program = workplace.start(&["--output", "json", "verify", "--instants", "1"]);
    let status = format!("/proc/{}/status", program.id());
    let mut peak = 0;
    let watch = async {
        // It only grows, and is gone with the process.
        while let Some(now) = std::fs::read_to_string(&status)
            .ok()
            .as_deref()
            .and_then(high_water)
        {
            peak = now;
            tokio::task::yield_now().await;
        }
    };
    let (ended, ()) = tokio::join!(program.end(), watch);
    let lines = ended.expect(0).json();
    (peak, summary(&lines).clone())
}

fn high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[tokio::test]
async fn memory_grows_neither_with_users_nor_with_versions() {
    let (few, said) = peak(1_000, 1).await;
    assert_eq!(
        (&said["users"], &said["versions"]),
        (&1_000.into(), &1_000.into())
    );
    for (users, versions) in [(20_000, 1), (1, 20_000)] {
        let (many, said) = peak(users, versions).await;
        assert_eq!(said["users"], users);
        assert_eq!(said["versions"], users * versions);
        assert!(
            many < few + 6 * 1024,
            "{users} users with {versions} versions take {many} KiB, 1000 with one {few} KiB"
        );
    }
}
