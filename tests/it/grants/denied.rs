//! What each role is refused.

use sqlx::{Connection, postgres::PgConnection};

use super::cast::{Cast, execute, texts, try_execute};
use crate::support::{TestDb, world::begin};

async fn assert_denied(connection: &mut PgConnection, statements: &[&str]) {
    for statement in statements {
        let result = try_execute(connection, statement).await;
        assert!(
            matches!(&result, Err(error) if error.starts_with("42501")),
            "{statement}: {result:?}"
        );
    }
}

#[tokio::test]
async fn the_daemon_neither_defines_nor_truncates_nor_rewrites_history() {
    let db = TestDb::new().await;
    let cast = Cast::of(&db, "public", false).await;
    let mut daemon = cast.connect(&cast.roles.daemon).await;
    assert_denied(
        &mut daemon,
        &[
            "create table mine ()",
            "create view mine as select",
            "create function mine() returns int language sql as 'select 1'",
            "create schema mine",
            "create role mine",
            "alter table managed_users add column mine int",
            "drop table managed_users",
            "drop view managed_users_live",
            "create index on managed_users (name)",
            "alter table managed_user_changes disable trigger all",
            "create trigger mine after insert on managed_users execute function pg_catalog.suppress_redundant_updates_trigger()",
            "truncate managed_users",
            "truncate managed_user_changes",
            "truncate sync_runs",
            "update managed_user_changes set version = 1",
            "update managed_user_changes set after = '{}'",
            "delete from managed_user_changes",
            "insert into managed_user_changes (change_id, run_id, user_id, client_id, version, kind, observed_at, changed, after)
             overriding system value values (1, 1, 1, 'c', 1, 'insert', now(), '{}', '{}')",
            "select setval('managed_user_changes_change_id_seq', 1)",
            "select setval('sync_runs_run_id_seq', 1)",
            "delete from managed_users",
            "update managed_users set id = 1",
            "insert into forgotten_users values (1, now())",
            "delete from forgotten_users",
            "update sync_runs set client_id = 'another'",
            "insert into calmirror_migrations (version) values (0)",
            "delete from calmirror_migrations",
            "select promote_extra_field('a', 'b')",
        ],
    )
    .await;
    // COPY is fallen back from where it is refused, so that nothing else would show it.
    for copy in [
        "copy managed_users (id, client_id, email, username, name, bio, time_zone, week_start, created_date, time_format,
             default_schedule_id, locale, avatar_url, metadata, extra, version, first_seen_at, changed_at) from stdin",
        "copy record_fingerprints (user_id, client_id, version, fingerprint) from stdin",
    ] {
        let copying = daemon.copy_in_raw(copy).await.expect("COPY is allowed");
        assert_eq!(copying.finish().await.expect("nothing is copied"), 0);
    }
}

#[tokio::test]
async fn the_ledger_can_be_folded_only_where_that_was_granted() {
    let db = TestDb::new().await;
    let cast = Cast::of(&db, "public", true).await;
    let mut daemon = cast.connect(&cast.roles.daemon).await;
    execute(
        &mut daemon,
        "delete from managed_user_changes where version = 1; update managed_user_changes set version = 1",
    )
    .await;
    assert_denied(&mut daemon, &["truncate managed_user_changes"]).await;
    // Printed without it, it is taken back.
    let mut admin = cast.admin().await;
    execute(&mut admin, &cast.script("public", false)).await;
    assert_denied(
        &mut daemon,
        &[
            "delete from managed_user_changes",
            "update managed_user_changes set version = 1",
        ],
    )
    .await;
}

#[tokio::test]
async fn the_reader_may_ask_every_documented_query_and_nothing_else() {
    let db = TestDb::new().await;
    let cast = Cast::of(&db, "public", false).await;
    let mut reader = cast.connect(&cast.roles.reader).await;
    let queries = crate::queries::documented();
    assert!(queries.len() > 10, "only {} queries", queries.len());
    for query in &queries {
        execute(&mut reader, query).await;
    }
    for view in [
        "managed_users_live",
        "managed_users_history",
        "managed_users_freshness",
        "managed_users_as_of(now())",
        "promoted_fields",
    ] {
        execute(&mut reader, &format!("select * from {view}")).await;
    }
    let tables = texts(
        &mut reader,
        "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'",
    )
    .await;
    assert!(tables.len() > 10, "{tables:?}");
    for table in &tables {
        assert_denied(
            &mut reader,
            &[
                &format!("insert into {table} default values"),
                &format!("delete from {table}"),
                &format!("truncate {table}"),
            ],
        )
        .await;
    }
    assert_denied(
        &mut reader,
        &[
            "create table mine ()",
            "update managed_users set name = null",
            "select * from sync_state",
            "select * from missing_users",
            "select * from held_sets",
            "select * from held_removals",
            "select * from forgotten_users",
            "select * from record_fingerprints",
            "select * from rate_limits",
            "select * from extra_fields",
            "select * from calmirror_migrations",
            "select token from sync_runs",
            "select record from rejects",
            "select promote_extra_field('a', 'b')",
            "select nextval('sync_runs_run_id_seq')",
        ],
    )
    .await;
}

#[tokio::test]
async fn whoever_is_nobody_of_the_three_sees_nothing() {
    let db = TestDb::new().await;
    let cast = Cast::of(&db, "public", false).await;
    let mut admin = cast.admin().await;
    let open = texts(
        &mut admin,
        "select c.relname::text from pg_class as c cross join lateral aclexplode(c.relacl) as a
         where c.relnamespace = 'public'::regnamespace and a.grantee = 0
         union all
         select p.proname::text from pg_proc as p
         cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a
         where p.pronamespace = 'public'::regnamespace and a.grantee = 0",
    )
    .await;
    assert_eq!(open, [""; 0]);
    let owners = texts(
        &mut admin,
        "select distinct pg_get_userbyid(relowner)::text from pg_class where relnamespace = 'public'::regnamespace
         union
         select pg_get_userbyid(proowner)::text from pg_proc where pronamespace = 'public'::regnamespace",
    )
    .await;
    assert_eq!(owners, [cast.roles.migrator.as_str()]);
    // What a later migration makes.
    let mut migrator = cast.connect(&cast.roles.migrator).await;
    execute(
        &mut migrator,
        "create table later (); create function later() returns int language sql as 'select 1'",
    )
    .await;
    let mut daemon = cast.connect(&cast.roles.daemon).await;
    execute(&mut daemon, "select from later").await;
    assert_denied(
        &mut daemon,
        &["insert into later default values", "select later()"],
    )
    .await;
    let mut reader = cast.connect(&cast.roles.reader).await;
    assert_denied(&mut reader, &["select from later", "select later()"]).await;
    for connection in [admin, migrator, daemon, reader] {
        connection.close().await.expect("the connection closes");
    }
}

#[tokio::test]
async fn a_pass_of_the_daemon_names_who_holds_a_lock() {
    let db = TestDb::new().await;
    let cast = Cast::of(&db, "public", false).await;
    let mut holder = cast.connect(&cast.roles.migrator).await;
    execute(
        &mut holder,
        "begin; lock table sync_state in access exclusive mode",
    )
    .await;
    let store = cast.store(&cast.roles.daemon, "public");
    let busy = calmirror::store::Error::Busy("a lock".to_owned());
    let named = store.name_holder(busy).await.to_string();
    assert!(
        named.contains(&cast.roles.migrator) && named.ends_with("holds locks on the mirror's tables"),
        "{named}"
    );
    execute(&mut holder, "rollback").await;
    begin(
        &store,
        &calmirror::model::ClientId("c".to_owned()),
        "c",
        "http://x",
    )
    .await;
    store.close().await;
}
