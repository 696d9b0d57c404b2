//! Who makes migrations, and what the others are told.

use calmirror::store::{Error, Store};
use sqlx::Connection;

use super::cast::{Cast, execute};
use crate::support::TestDb;

/// Takes back the newest migration, as an older version would have left the database; of its table nothing more is needed.
const LACKING: &str =
    "delete from calmirror_migrations where version = (select max(version) from calmirror_migrations)";

#[tokio::test]
async fn with_nothing_due_the_daemon_migrates_in_vain_and_otherwise_names_the_migrator() {
    let db = TestDb::new().await;
    let cast = Cast::of(&db, "public", false).await;
    let daemon = cast.store(&cast.roles.daemon, "public");
    assert_eq!(daemon.migrate().await, Ok(0));
    let rights = daemon.rights().await.expect("the database answers");
    assert_eq!((rights.excess, rights.may_migrate), (vec![], false));

    let mut admin = cast.admin().await;
    execute(&mut admin, LACKING).await;
    let error = daemon.migrate().await.expect_err("it may not");
    assert!(
        matches!(&error, Error::MayNotMigrate { pending: 1, schema, .. } if schema == "public"),
        "{error}"
    );
    assert!(!error.is_transient());
    let remedy = error.remedy().expect("somebody can do something");
    assert!(remedy.contains("`calmirror migrate`"), "{remedy}");
    daemon.close().await;
    admin.close().await.expect("the connection closes");
}

#[tokio::test]
async fn the_migrator_makes_tables_from_nothing_and_the_same_sql_again_changes_nothing() {
    for schema in ["public", "mirror"] {
        let db = TestDb::empty().await;
        let cast = Cast::without_rights(&db);
        let mut admin = cast.admin().await;
        let role = &cast.roles.migrator;
        // As an administrator may begin: the role first, and the tables by it.
        execute(
            &mut admin,
            &format!("create role {role} login; create schema if not exists {schema}; grant usage, create on schema {schema} to {role}"),
        )
        .await;
        cast.with_passwords(&mut admin, &[role]).await;
        let migrator = cast.store(role, schema);
        assert_eq!(migrator.migrate().await, Ok(Store::migrations()));
        execute(&mut admin, &cast.script(schema, false)).await;
        let before = cast.acl(&mut admin, schema).await;
        execute(&mut admin, &cast.script(schema, false)).await;
        // As the migrator does after an upgrade.
        let mut owner = cast.connect(role).await;
        execute(&mut owner, &cast.script(schema, false)).await;
        assert_eq!(cast.acl(&mut admin, schema).await, before, "{schema}");
        assert_eq!(migrator.migrate().await, Ok(0));
        let rights = migrator.rights().await.expect("the database answers");
        assert!(rights.may_migrate);
        migrator.close().await;
    }
}

#[tokio::test]
async fn sql_for_tables_that_are_not_there_leaves_nothing_behind() {
    let db = TestDb::empty().await;
    let cast = Cast::without_rights(&db);
    let mut admin = cast.admin().await;
    let result = super::cast::try_execute(&mut admin, &cast.script("public", false)).await;
    assert!(
        matches!(&result, Err(error) if error.starts_with("42P01 schema public has no tables")),
        "{result:?}"
    );
    execute(&mut admin, "rollback").await;
    let roles = format!(
        "select rolname::text from pg_roles where rolname like '{}%'",
        cast.roles.daemon
    );
    assert_eq!(super::cast::texts(&mut admin, &roles).await, [""; 0]);
}
