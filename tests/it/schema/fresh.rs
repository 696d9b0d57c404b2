//! Since when a mirror is fresh, from pass to pass.

use std::time::Duration;

use calmirror::{model::RunOutcome, store::Finish};
use sqlx::PgPool;

use super::{HOUR, TestDb, store, texts};
use crate::support::story::{self, ACME};

const SINCE: &str = "select concat(verdict, ' ', fresh_since) from managed_users_freshness";
const NEWEST: &str = "select concat('fresh ', finished_at) from sync_runs order by run_id desc limit 1";

async fn said(pool: &PgPool, query: &'static str) -> String {
    texts(pool, query).await.concat()
}

async fn execute(pool: &PgPool, statement: &'static str) {
    sqlx::query(statement)
        .execute(pool)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

#[tokio::test]
async fn a_mirror_is_fresh_since_the_first_pass_after_a_gap() {
    let db = TestDb::new().await;
    let pool = db.pool().await;
    let store = store(&db, "public");
    let finish = async |finish: Finish<'static>| {
        let run = story::begin(&store, ACME).await;
        let record = store.finish_run(&run, &finish).await;
        record.expect("a pass can end").outcome
    };
    let complete = async |fresh_for: Duration| {
        let outcome = finish(story::complete(0, fresh_for)).await;
        assert_eq!(outcome, RunOutcome::NoChange);
    };
    let failed = || Finish {
        shortfall: Some(RunOutcome::Failed),
        ..story::complete(0, HOUR)
    };

    finish(failed()).await;
    assert_eq!(said(&pool, SINCE).await, "never ");
    complete(HOUR).await;
    let first = said(&pool, NEWEST).await;
    assert_eq!(said(&pool, SINCE).await, first);
    // Whether the schedule has become another one meanwhile, a pass failed, or those of before are not kept.
    complete(HOUR * 24).await;
    finish(failed()).await;
    complete(HOUR).await;
    execute(&pool, "delete from sync_runs").await;
    complete(HOUR).await;
    assert_eq!(said(&pool, SINCE).await, first);

    // Then nobody came in time.
    execute(&pool, "update sync_state set fresh_until = last_complete_at").await;
    assert_eq!(said(&pool, SINCE).await, "stale ");
    finish(failed()).await;
    assert_eq!(said(&pool, SINCE).await, "stale ");
    complete(HOUR).await;
    let second = said(&pool, NEWEST).await;
    assert_ne!(second, first);
    assert_eq!(said(&pool, SINCE).await, second);
    complete(HOUR).await;
    assert_eq!(said(&pool, SINCE).await, second);

    // A version that knew nothing of it has ended a pass.
    execute(&pool, "update sync_state set fresh_since = null").await;
    let third = said(&pool, NEWEST).await;
    complete(HOUR).await;
    assert_eq!(said(&pool, SINCE).await, third);
    store.close().await;
    pool.close().await;
}
