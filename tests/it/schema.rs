//! What the database's schema promises to those who read it.

use std::{collections::BTreeMap, time::Duration};

use calmirror::{
    model::{ManagedUser, RunOutcome},
    store::{Error, Finish, Settings, Store},
};
use serde_json::{Map, Value};
use sqlx::{Connection, PgPool, postgres::PgConnection};

use crate::support::{
    TestDb,
    pgbouncer::PgBouncer,
    story::{self, ACME, GLOBEX, Story},
};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// How many there are in migrations/.
const MIGRATIONS: usize = 2;

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
async fn as_of_now_is_the_table_and_as_of_then_what_was() {
    let (_db, store, pool) = told().await;
    let differing = "
        select coalesce(a.id, b.id)::text from managed_users as a
        full join managed_users_as_of(now()) as b on a.id = b.id
        where a is distinct from b";
    assert_eq!(texts(&pool, differing).await, [""; 0]);
    assert_eq!(
        count(&pool, "select count(*) from managed_users_as_of(now())").await,
        7
    );
    let zones = "
        select (select time_zone from managed_users_as_of(v.observed_at) where id = v.user_id) || ', before: '
            || coalesce(
                (select time_zone from managed_users_as_of(v.observed_at - interval '1 microsecond')
                 where id = v.user_id), 'none')
        from managed_user_changes as v where v.user_id = 101 order by v.version";
    assert_eq!(
        texts(&pool, zones).await,
        [
            "America/New_York, before: none",
            "Europe/Berlin, before: America/New_York",
            "Europe/Paris, before: Europe/Berlin",
        ]
    );
    let removed_then = "
        select bool_and(u.removed_at = v.observed_at)::text || ' ' || count(*)
        from managed_user_changes as v cross join lateral managed_users_as_of(v.observed_at) as u
        where v.kind = 'removal' and u.id = v.user_id";
    assert_eq!(texts(&pool, removed_then).await, ["true 1"]);
    store.close().await;
    pool.close().await;
}

#[tokio::test]
async fn the_history_has_no_gap_and_no_overlap() {
    let (_db, store, pool) = told().await;
    let broken = "
        select user_id || ' v' || version from managed_users_history as h
        where valid_to is distinct from (
            select valid_from from managed_users_history as next
            where next.user_id = h.user_id and next.version = h.version + 1
        ) or valid_to <= valid_from";
    assert_eq!(texts(&pool, broken).await, [""; 0]);
    let open = "select count(*) from managed_users_history where valid_to is null";
    assert_eq!(count(&pool, open).await, 7, "one newest version a user");
    assert_eq!(
        count(&pool, "select count(*) from managed_users_history").await,
        store.ledger_rows().await.expect("the ledger can be counted")
    );
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
    while !verdict().await.starts_with("stale 2") {
        assert!(verdict().await.starts_with(['f', 's']), "neither fresh nor stale");
    }
    store.close().await;
    pool.close().await;
}

/// One row of the ledger, as far as replaying it needs.
#[derive(Debug, sqlx::FromRow)]
struct Entry {
    user_id: i64,
    version: i32,
    kind: String,
    changed: Value,
    after: Value,
    row_times: Value,
}

fn fields(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("the column holds an object")
}

#[tokio::test]
async fn folding_the_ledger_gives_the_table() {
    let (_db, store, pool) = told().await;
    let ledger: Vec<Entry> = sqlx::query_as(
        "select user_id, version, kind, changed, after, to_jsonb(observed_at) as row_times
         from managed_user_changes order by user_id, version",
    )
    .fetch_all(&pool)
    .await
    .expect("the ledger can be read");
    let mut kinds: Vec<&str> = ledger.iter().map(|entry| entry.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(
        kinds,
        ["insert", "removal", "restore", "update"],
        "the story has them all"
    );

    let mut mirror: BTreeMap<i64, Map<String, Value>> = BTreeMap::new();
    for entry in &ledger {
        let row = mirror.entry(entry.user_id).or_default();
        let version = row.get("version").and_then(Value::as_i64).unwrap_or_default();
        assert_eq!(i64::from(entry.version), version + 1, "{entry:?}");
        match entry.kind.as_str() {
            "insert" => {
                assert_eq!(entry.version, 1, "{entry:?}");
                row.extend(fields(&entry.after).clone());
                row.insert("first_seen_at".to_owned(), entry.row_times.clone());
            }
            _ => {
                for (field, change) in fields(&entry.changed) {
                    let old = row.insert(field.clone(), change["new"].clone());
                    assert_eq!(old.as_ref(), Some(&change["old"]), "{field} of {entry:?}");
                }
            }
        }
        for (field, value) in fields(&entry.after) {
            assert_eq!(row.get(field), Some(value), "{field} of {entry:?}");
        }
        let removed = entry.kind == "removal";
        let removed_at = if removed {
            entry.row_times.clone()
        } else {
            Value::Null
        };
        row.insert("version".to_owned(), entry.version.into());
        row.insert("changed_at".to_owned(), entry.row_times.clone());
        row.insert("removed_at".to_owned(), removed_at);
    }
    let table: Vec<(i64, Value)> =
        sqlx::query_as("select id, to_jsonb(u) from managed_users as u order by id")
            .fetch_all(&pool)
            .await
            .expect("the table can be read");
    let table: BTreeMap<i64, Map<String, Value>> =
        table.iter().map(|(id, row)| (*id, fields(row).clone())).collect();
    assert_eq!(mirror, table);
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
