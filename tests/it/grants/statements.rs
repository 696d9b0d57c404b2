//! Every statement of the program against every right of the daemon: none is missing, and each is needed.

use std::{fs, path::Path};

use serde_json::Value;
use sqlx::postgres::PgConnection;

use super::cast::{Cast, execute, texts, try_execute};
use crate::support::TestDb;

/// Statements that the checked queries do not have: those put together when they are run.
const OTHERS: [&str; 6] = [
    "select version from calmirror_migrations",
    "select * from managed_users_history",
    "select * from managed_users_as_of(now())",
    "select * from rejects",
    // Of retention.
    "delete from sync_runs where run_id = 1",
    "delete from rejects where user_id = 1",
];

/// What no pass does: it begins so. These are acts of an operator, for the migrator.
const ACTS: [&str; 5] = [
    "delete from managed_users where id = any($1)",
    "insert into forgotten_users as f",
    "lock table sync_state in exclusive mode",
    "lock table sync_state in share row exclusive mode",
    "with mirrored as (delete from managed_users where id = $1",
];

/// What folding the ledger does, for which there is a grant of its own: it begins so.
const FOLDING: [&str; 3] = [
    "delete from managed_user_changes as c",
    "update managed_user_changes as c set",
    "lock table sync_state in row share mode",
];

struct Statement {
    sql: String,
    parameters: usize,
}

impl Statement {
    /// Runs it in vain, or, where it has parameters, has it planned and its rights checked.
    fn tried(&self) -> String {
        if self.parameters == 0 {
            return self.sql.clone();
        }
        let nulls = vec!["null"; self.parameters].join(", ");
        format!(
            "set local plan_cache_mode to force_generic_plan; prepare tried as {}; explain execute tried ({nulls})",
            self.sql
        )
    }
}

/// The checked queries, of which a copy is kept for building without a database, and the others.
fn statements() -> Vec<Statement> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx");
    let files = fs::read_dir(dir).expect("the checked queries are kept");
    let mut statements: Vec<Statement> = files
        .map(|file| {
            let text = fs::read_to_string(file.expect("a file").path()).expect("a checked query is text");
            let query: Value = serde_json::from_str(&text).expect("a checked query is JSON");
            let parameters = query["describe"]["parameters"]["Left"].as_array();
            Statement {
                sql: query["query"].as_str().expect("a statement").to_owned(),
                parameters: parameters.expect("its parameters").len(),
            }
        })
        .collect();
    assert!(statements.len() > 80, "only {} statements", statements.len());
    statements.extend(OTHERS.map(|sql| Statement {
        sql: sql.to_owned(),
        parameters: 0,
    }));
    statements
}

/// One line without comments, so that it can be told by its beginning.
fn squeezed(sql: &str) -> String {
    let lines = sql
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default());
    lines
        .flat_map(str::split_whitespace)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether the role may run it. Leaves no trace in the transaction.
async fn is_allowed(connection: &mut PgConnection, role: &str, statement: &Statement) -> bool {
    let tried = format!("savepoint tried; set local role {role}; {}", statement.tried());
    let result = try_execute(connection, &tried).await;
    execute(connection, "rollback to tried; deallocate all").await;
    match result {
        Ok(()) => true,
        // Without the schema there is no such table.
        Err(error) if ["42501", "42P01"].iter().any(|code| error.starts_with(code)) => false,
        Err(error) => panic!("{error}: {}", statement.sql),
    }
}

async fn rights(connection: &mut PgConnection, role: &str) -> Vec<(String, String)> {
    let found = texts(
        connection,
        &format!(
            "with acl as (
                 select 'revoke ' || a.privilege_type || ' on ' ||
                     case when c.relkind = 'S' then 'sequence ' else 'table ' end || c.oid::regclass as revoke,
                     case when c.relkind = 'S' then 'nextval' else c.relname end as object, a.grantee
                 from pg_class as c cross join lateral aclexplode(c.relacl) as a
                 union all
                 select 'revoke ' || a.privilege_type || ' (' || quote_ident(c.attname) || ') on ' || c.attrelid::regclass,
                     c.attrelid::regclass::text, a.grantee
                 from pg_attribute as c cross join lateral aclexplode(c.attacl) as a
                 union all
                 select 'revoke execute on function ' || p.oid::regprocedure, '', a.grantee
                 from pg_proc as p cross join lateral aclexplode(p.proacl) as a
                 union all
                 select 'revoke ' || a.privilege_type || ' on schema ' || n.nspname, '', a.grantee
                 from pg_namespace as n cross join lateral aclexplode(n.nspacl) as a
                 where n.nspname = 'mirror'
             )
             select object || '|' || revoke || ' from {role}' from acl where grantee = '{role}'::regrole order by 1"
        ),
    )
    .await;
    found
        .iter()
        .map(|line| line.split_once('|').expect("two parts"))
        .map(|(object, revoke)| (object.to_owned(), revoke.to_owned()))
        .collect()
}

/// In a schema of its own: rights in `public` are everybody's by default.
async fn in_own_schema(ledger_retention: bool) -> (TestDb, Cast, PgConnection) {
    let db = TestDb::empty().await;
    let cast = Cast::without_rights(&db);
    let mut admin = cast.admin().await;
    let settings = calmirror::store::Settings {
        schema: "mirror".to_owned(),
        max_connections: 1,
        pgbouncer: false,
    };
    let store = calmirror::store::Store::open(db.connect_options(), &settings);
    store.migrate().await.expect("an empty database can be migrated");
    store.close().await;
    execute(&mut admin, &cast.script("mirror", ledger_retention)).await;
    execute(&mut admin, "begin; set local search_path to mirror").await;
    (db, cast, admin)
}

async fn refused(ledger_retention: bool) -> Vec<String> {
    let (_db, cast, mut admin) = in_own_schema(ledger_retention).await;
    let mut refused = Vec::new();
    for statement in statements() {
        if !is_allowed(&mut admin, &cast.roles.daemon, &statement).await {
            refused.push(squeezed(&statement.sql));
        }
    }
    refused.sort_unstable();
    refused
}

#[tokio::test]
async fn no_statement_of_a_pass_lacks_a_right_and_no_act_of_an_operator_has_it() {
    let mut found = refused(false).await;
    found.retain(|statement| !FOLDING.iter().any(|folding| statement.starts_with(folding)));
    assert_eq!(found.len(), ACTS.len(), "{found:#?}");
    for (refused, act) in found.iter().zip(ACTS) {
        assert!(refused.starts_with(act), "{refused}");
    }
}

#[tokio::test]
async fn folding_the_ledger_takes_a_grant_of_its_own() {
    let (_db, cast, mut admin) = in_own_schema(false).await;
    let folding = |sql: &str| Statement {
        sql: sql.to_owned(),
        parameters: 0,
    };
    let statements = [
        "delete from managed_user_changes as c where version < 0",
        "update managed_user_changes as c set kind = 'insert', changed = '{}' where version < 0",
        "lock table sync_state in row share mode",
    ]
    .map(folding);
    for statement in &statements {
        let allowed = is_allowed(&mut admin, &cast.roles.daemon, statement).await;
        assert!(!allowed, "{}", statement.sql);
    }
    execute(&mut admin, "commit").await;
    execute(&mut admin, &cast.script("mirror", true)).await;
    execute(&mut admin, "begin; set local search_path to mirror").await;
    for statement in &statements {
        let allowed = is_allowed(&mut admin, &cast.roles.daemon, statement).await;
        assert!(allowed, "{}", statement.sql);
    }
    // Nothing else comes with it, but that its lock takes a right to all of a table of which passes need less.
    let mut acts = refused(true).await;
    acts.retain(|statement| !statement.starts_with("lock table sync_state"));
    let others: Vec<_> = ACTS
        .iter()
        .filter(|act| !act.starts_with("lock table sync_state"))
        .collect();
    assert_eq!(acts.len(), others.len(), "{acts:#?}");
    for (refused, act) in acts.iter().zip(others) {
        assert!(refused.starts_with(act), "{refused}");
    }
}

#[tokio::test]
async fn each_right_of_the_daemon_is_missed_by_a_statement() {
    let (_db, cast, mut admin) = in_own_schema(false).await;
    let role = &cast.roles.daemon;
    let mut allowed = Vec::new();
    for statement in statements() {
        if is_allowed(&mut admin, role, &statement).await {
            allowed.push(statement);
        }
    }
    let rights = rights(&mut admin, role).await;
    assert!(rights.len() > 120, "only {} rights", rights.len());
    let mut needless = Vec::new();
    for (object, revoke) in rights {
        execute(&mut admin, &format!("savepoint revoked; {revoke}")).await;
        let mut is_missed = false;
        for statement in allowed.iter().filter(|statement| statement.sql.contains(&object)) {
            if !is_allowed(&mut admin, role, statement).await {
                is_missed = true;
                break;
            }
        }
        execute(&mut admin, "rollback to revoked").await;
        if !is_missed {
            needless.push(revoke);
        }
    }
    assert!(needless.is_empty(), "no statement needs these: {needless:#?}");
}
