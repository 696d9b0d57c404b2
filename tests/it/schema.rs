//! What the database's schema promises to those who read it.

mod columns;
mod fresh;
mod inserts;
mod ledger;
mod targets;
mod upgrade;

use std::time::Duration;

use calmirror::{
    model::{ManagedUser, RunOutcome},
    store::{Error, Finish, Settings, Store},
};
use sqlx::{Connection, PgPool, postgres::PgConnection};

use crate::support::{
    TestDb,
    pgbouncer::PgBouncer,
    story::{self, ACME, GLOBEX, Story},
};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// How many there are in migrations/.
const MIGRATIONS: usize = 7;

fn settings(schema: &str) -> Settings {
    Settings {
        schema: schema.to_owned(),
        max_connections: 2,
        pgbouncer: false,
    }
}

fn store(db: &TestDb, schema: &str) -> Store {
    Store::open(db.connect_options(), &settings(schema))
}

/// A database in which the story of `support::story` was told today.
async fn told() -> (TestDb, Store, PgPool) {
    let db = TestDb::new().await;
    let store = store(&db, "public");
    Story::of_today(&store).tell().await;
    let pool = db.pool().await;
    (db, store, pool)
}

async fn texts(pool: &PgPool, query: &'static str) -> Vec<String> {
    sqlx::query_scalar(query)
        .fetch_all(pool)
        .await
        .unwrap_or_else(|error| panic!("{query}: {error}"))
}

async fn count(pool: &PgPool, query: &'static str) -> i64 {
    sqlx::query_scalar(query)
        .fetch_one(pool)
        .await
        .unwrap_or_else(|error| panic!("{query}: {error}"))
}

#[tokio::test]
async fn everything_has_a_comment() {
    let db = TestDb::new().await;
    let pool = db.pool().await;
    // sqlx's own table has none.
    let described = "
        with relation as (
            select oid, relname from pg_class
            where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v', 'm', 'f')
                and relname <> 'calmirror_migrations'
        ),
        thing (name, comment) as (
            select relname, obj_description(oid, 'pg_class') from relation
            union all
            select relname || '.' || attname, col_description(oid, attnum)
            from relation join pg_attribute on attrelid = oid
            where attnum > 0 and not attisdropped
            union all
            select oid::regprocedure::text, obj_description(oid, 'pg_proc')
            from pg_proc where pronamespace = 'public'::regnamespace
        )
        select name from thing where coalesce(comment, '') like $1 order by name";
    let named = async |comment: &str| -> Vec<String> {
        sqlx::query_scalar(described)
            .bind(comment)
            .fetch_all(&pool)
            .await
            .expect("the catalogue can be read")
    };
    assert_eq!(named("").await, [""; 0], "these have no comment");
    let all = named("%").await;
    for thing in [
        "managed_users",
        "managed_users.email",
        "managed_users_live.contact_email",
        "managed_users_history",
        "managed_users_freshness.verdict",
        "managed_users_as_of(timestamp with time zone)",
    ] {
        assert!(
            all.iter().any(|name| name == thing),
            "{thing} is not among {all:?}"
        );
    }
    pool.close().await;
}

/// Whatever a migration or a pass could touch in `public`, with the transaction that wrote it.
const PUBLIC: &str = "
    select 'relation ' || relname || ' ' || xmin || ' ' || relfilenode from pg_class
        where relnamespace = 'public'::regnamespace
    union all
    select 'column ' || attrelid::regclass || ' ' || attname || ' ' || a.xmin
        from pg_attribute a join pg_class c on c.oid = attrelid where relnamespace = 'public'::regnamespace
    union all
    select 'function ' || oid::regprocedure || ' ' || xmin from pg_proc where pronamespace = 'public'::regnamespace
    union all
    select 'migration ' || version || ' ' || xmin from public.calmirror_migrations
    union all
    select 'rows ' || (select count(*) from public.managed_users) || ' '
        || (select count(*) from public.managed_user_changes) || ' ' || (select count(*) from public.sync_runs)
    order by 1";

#[tokio::test]
async fn another_schema_works_and_public_stays_as_it_is() {
    let db = TestDb::new().await;
    let pool = db.pool().await;
    let before = texts(&pool, PUBLIC).await;
    // A word that SQL reserves, so that a name without quotes would show.
    let store = store(&db, "user");
    assert_eq!(
        store.pending_migrations().await,
        Err(Error::NotMigrated {
            schema: "user".to_owned()
        })
    );
    assert_eq!(store.migrate().await, Ok(MIGRATIONS));
    Story::of_today(&store).tell().await;
    let live = count(&pool, r#"select count(*) from "user".managed_users_live"#).await;
    assert_eq!(live, 7);
    assert_eq!(texts(&pool, PUBLIC).await, before);
    store.close().await;
    pool.close().await;
}

#[tokio::test]
async fn migrating_twice_applies_nothing() {
    let db = TestDb::new().await;
    let pool = db.pool().await;
    let store = store(&db, "public");
    let before = texts(&pool, PUBLIC).await;
    assert_eq!(store.pending_migrations().await, Ok(0));
    assert_eq!(store.migrate().await, Ok(0));
    assert_eq!(texts(&pool, PUBLIC).await, before);
    store.close().await;
    pool.close().await;
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused() {
    let db = TestDb::new().await;
    let pool = db.pool().await;
    sqlx::query(
        "insert into calmirror_migrations (version, description, success, checksum, execution_time)
         values (9999, 'of the future', true, '', 0)",
    )
    .execute(&pool)
    .await
    .expect("a migration can be put on record");
    let store = store(&db, "public");
    let before = texts(&pool, PUBLIC).await;
    assert_eq!(store.pending_migrations().await, Err(Error::Newer(9999)));
    assert_eq!(store.migrate().await, Err(Error::Newer(9999)));
    assert_eq!(texts(&pool, PUBLIC).await, before);
    store.close().await;
    pool.close().await;
}

#[tokio::test]
async fn views_do_not_need_the_callers_search_path() {
    let db = TestDb::new().await;
    let store = store(&db, "elsewhere");
    store.migrate().await.expect("the schema can be migrated");
    Story::of_today(&store).tell().await;
    let mut connection = PgConnection::connect_with(&db.connect_options())
        .await
        .expect("the test's database takes connections");
    for path in ["pg_catalog", "public"] {
        // In `public` there are empty tables of the same names.
        sqlx::query("select set_config('search_path', $1, false)")
            .bind(path)
            .execute(&mut connection)
            .await
            .expect("the search path can be set");
        for (query, expected) in [
            ("select count(*) from elsewhere.managed_users_live", 7),
            ("select count(*) from elsewhere.managed_users_history", 13),
            ("select count(*) from elsewhere.managed_users_freshness", 2),
            ("select count(*) from elsewhere.managed_users_as_of(now())", 7),
        ] {
            let found: i64 = sqlx::query_scalar(query)
                .fetch_one(&mut connection)
                .await
                .unwrap_or_else(|error| panic!("{query}: {error}"));
            assert_eq!(found, expected, "{query} with search_path {path}");
        }
    }
    connection.close().await.expect("the connection closes");
    store.close().await;
}

#[tokio::test]
async fn freshness_moves_with_complete_passes_only() {
    let db = TestDb::new().await;
    let pool = db.pool().await;
    let store = store(&db, "public");
    let verdict = async || {
        let verdicts =
            "select verdict || ' ' || coalesce(last_complete_at::text, '-') from managed_users_freshness";
        texts(&pool, verdicts).await.concat()
    };
    let finish = async |finish: Finish<'static>| {
        let run = story::begin(&store, ACME).await;
        store
            .finish_run(&run, &finish)
            .await
            .expect("a pass can end")
            .outcome
    };
    let short_of = |outcome| Finish {
        shortfall: Some(outcome),
        ..story::complete(0, HOUR)
    };
    let unfinished = [RunOutcome::Failed, RunOutcome::Partial, RunOutcome::Held];

    assert_eq!(verdict().await, "", "nothing is known of a client without a pass");
    for outcome in unfinished {
        assert_eq!(finish(short_of(outcome)).await, outcome);
        assert_eq!(verdict().await, "never -");
    }
    assert_eq!(finish(story::complete(0, HOUR)).await, RunOutcome::NoChange);
    let fresh = verdict().await;
    assert!(fresh.starts_with("fresh 2"), "{fresh}");
    for outcome in unfinished {
        assert_eq!(finish(short_of(outcome)).await, outcome);
        assert_eq!(verdict().await, fresh);
    }
    assert_eq!(
        finish(story::complete(0, Duration::ZERO)).await,
        RunOutcome::NoChange
    );
    // It stays fresh for as long as the pass took, which is next to nothing.
    let stale = async { while !verdict().await.starts_with("stale 2") {} };
    tokio::time::timeout(Duration::from_secs(30), stale)
        .await
        .expect("a mirror that nobody refreshes turns stale");
    store.close().await;
    pool.close().await;
}

#[tokio::test]
async fn all_of_it_goes_through_pgbouncer() {
    let db = TestDb::new().await;
    let bouncer = PgBouncer::start(&db);
    let settings = Settings {
        pgbouncer: true,
        ..settings("mirror")
    };
    let store = Store::open(bouncer.connect_options(), &settings);
    assert_eq!(store.migrate().await, Ok(MIGRATIONS));
    assert_eq!(store.migrate().await, Ok(0));
    // The same server connections, and the same names for other statements: as two processes would.
    let other = Store::open(bouncer.connect_options(), &settings);
    let alice = story::alice();
    let moved = ManagedUser {
        time_zone: "Europe/Berlin".to_owned(),
        ..story::alice()
    };
    for (store, user, outcome) in [
        (&store, &alice, RunOutcome::Applied),
        (&other, &alice, RunOutcome::NoChange),
        (&store, &moved, RunOutcome::Applied),
        (&other, &moved, RunOutcome::NoChange),
    ] {
        let record = Story::of_today(store)
            .good(ACME, "", vec![story::present(user)])
            .await;
        assert_eq!(record.outcome, outcome);
    }
    let history = store.history(alice.id).await.expect("the ledger can be read");
    assert_eq!(history.len(), 2);
    let status = store.status().await.expect("the state can be read");
    assert_eq!(status.len(), 1);
    assert_eq!(status[0].verdict, "fresh");
    other.close().await;
    store.close().await;
}

#[tokio::test]
async fn a_client_knows_nothing_of_another() {
    let (_db, store, pool) = told().await;
    // Alice is acme's; globex asking for her is a reject there and nothing here.
    let before = texts(
        &pool,
        "select (u.*)::text || xmin from managed_users as u where id = 101",
    )
    .await;
    let record = Story::of_today(&store)
        .good(GLOBEX, "", vec![story::present(&story::alice())])
        .await;
    assert_eq!((record.counts.rejected, record.counts.changes()), (1, 0));
    let after = texts(
        &pool,
        "select (u.*)::text || xmin from managed_users as u where id = 101",
    )
    .await;
    assert_eq!(before, after);
    store.close().await;
    pool.close().await;
}
