//! From the tables of the version before to those of this one, with people in them.

use std::path::Path;

use sqlx::{AssertSqlSafe, PgPool, migrate::Migrator};

use super::{MIGRATIONS, TestDb, store, texts, told};
use crate::retention::assert_verified;

/// How many migrations the version before had.
const BEFORE: usize = 4;

/// What analysts read, without what is new; the lag of freshness is another at each look.
const READ: [&str; 4] = [
    "select u::text from managed_users_live as u order by id",
    "select (to_jsonb(h) - array['folded_at', 'removed_at'])::text from managed_users_history as h
     order by user_id, version",
    "select a::text from managed_users_as_of('infinity') as a order by id",
    "select concat(client_id, client_name, last_complete_at, fresh_until, verdict) from managed_users_freshness order by 1",
];

async fn read(pool: &PgPool) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for query in READ {
        all.push(texts(pool, query).await);
    }
    assert!(all.iter().all(|answer| !answer.is_empty()), "{all:?}");
    all
}

/// The tables of the version before, with all that is in these.
async fn of_before(source: &PgPool) -> (TestDb, PgPool) {
    let db = TestDb::empty().await;
    let pool = db.pool().await;
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut migrator = Migrator::new(dir).await.expect("the migrations can be read");
    migrator.dangerous_set_table_name("calmirror_migrations");
    migrator
        .run_to(i64::try_from(BEFORE).expect("a few"), &pool)
        .await
        .expect("the first migrations apply");

    let mut session = pool.acquire().await.expect("the database answers");
    sqlx::raw_sql("set session_replication_role = replica")
        .execute(&mut *session)
        .await
        .expect("references can be left alone");
    let tables = texts(
        &pool,
        "select tablename::text from pg_tables where schemaname = 'public' and tablename <> 'calmirror_migrations'",
    )
    .await;
    for table in tables {
        let rows: String = sqlx::query_scalar(AssertSqlSafe(format!(
            "select coalesce(jsonb_agg(to_jsonb(t)), '[]')::text from {table} as t"
        )))
        .fetch_one(source)
        .await
        .expect("a table can be read");
        sqlx::query(AssertSqlSafe(format!(
            "insert into {table} overriding system value select * from jsonb_populate_recordset(null::{table}, $1::jsonb)"
        )))
        .bind(rows)
        .execute(&mut *session)
        .await
        .unwrap_or_else(|error| panic!("{table}: {error}"));
    }
    session.close().await.expect("a session can be ended");
    (db, pool)
}

#[tokio::test]
async fn an_upgrade_leaves_what_analysts_read_as_it_was() {
    let (_source_db, source_store, source) = told().await;
    let (db, pool) = of_before(&source).await;
    let before = read(&pool).await;
    let store = store(&db, "public");
    assert_eq!(store.migrate().await, Ok(MIGRATIONS - BEFORE));
    assert_eq!(read(&pool).await, before);
    // Of the times before, no more is claimed than is known.
    let since =
        "select concat(verdict, fresh_since = last_complete_at) from managed_users_freshness order by 1";
    assert_eq!(texts(&pool, since).await, ["fresht", "fresht"]);
    assert_verified(&store, 1).await;
    store.close().await;
    source_store.close().await;
    pool.close().await;
    source.close().await;
}
