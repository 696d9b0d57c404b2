//! `calmirror verify`: the mirror against its ledger, through the program, on databases that somebody has edited.

mod as_of;
mod edits;
mod ledger;
mod passes;
mod process;
mod promoted;
mod repair;

use calmirror::store::{Instants, Store};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::{
    TestDb,
    program::{Ended, Workplace},
    world::World,
};

/// A world that was mirrored, and the program configured for it.
struct Mirrored {
    world: World,
    workplace: Workplace,
}

impl Mirrored {
    /// So many users, each with its first version.
    async fn new(users: usize) -> Self {
        let world = World::new(users).await;
        world.pass().await;
        let workplace = workplace(&world.db.url(), "");
        Self { world, workplace }
    }

    /// Does something in Postgres behind the program's back.
    async fn edit(&self, statement: impl Into<String>) {
        edit(&self.world.pool, statement).await;
    }

    async fn verify(&self, arguments: &[&str], code: i32) -> Vec<Value> {
        verify(&self.workplace, arguments, code).await.json()
    }

    /// Mirror and ledger agree, and neither a pass nor a repair has anything to write.
    async fn assert_right(&self) {
        let lines = self.verify(&["--instants", "20"], 0).await;
        let [summary] = &lines[..] else {
            panic!("{lines:#?}")
        };
        assert_eq!(summary["summary"], "agrees");
        self.world.assert_replay().await;
        self.world.assert_quiet().await;
    }

    fn user(&self, position: usize) -> i64 {
        self.world.users()[position]
    }
}

pub(crate) async fn edit(pool: &PgPool, statement: impl Into<String>) {
    let statement = statement.into();
    sqlx::raw_sql(AssertSqlSafe(statement.clone()))
        .execute(pool)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// A configuration with a client that needs no answer: nothing here asks Cal.com.
fn workplace(database_url: &str, database: &str) -> Workplace {
    let mut workplace = Workplace::new();
    workplace.set("SECRET", "s");
    workplace.write(
        "config.toml",
        &format!(
            "[database]\nurl = \"{database_url}\"\n{database}\n\
             [[clients]]\nname = \"acme\"\nid = \"cm7acme\"\nsecret = {{ env = \"SECRET\" }}\nusers = [1]\n"
        ),
    );
    workplace
}

async fn verify(workplace: &Workplace, arguments: &[&str], code: i32) -> Ended {
    let all: Vec<&str> = [&["--output", "json", "verify"], arguments].concat();
    workplace.run(&all).await.expect(code)
}

/// The findings among the lines, without summary and repairs.
fn findings(lines: &[Value]) -> Vec<&Value> {
    lines
        .iter()
        .filter(|line| line.get("finding").is_some())
        .collect()
}

fn summary(lines: &[Value]) -> &Value {
    let last = lines.last().expect("there is always a summary");
    assert!(last.get("summary").is_some(), "{last}");
    last
}

/// What the library finds, as JSON.
async fn found(store: &Store, instants: usize, seed: u64) -> Vec<Value> {
    let instants = Instants {
        count: instants,
        seed,
    };
    let mut verification = store
        .begin_verification(instants, None)
        .await
        .expect("the ledger can be read");
    let mut found = Vec::new();
    while let Some(finding) = verification.next().await.expect("the ledger can be read") {
        found.push(serde_json::to_value(finding).expect("a finding is JSON"));
    }
    verification.end().await.expect("reading ends");
    found
}

/// A database in which the story of `support::story` was told in its own time.
async fn told() -> (TestDb, Store, PgPool) {
    let db = TestDb::new().await;
    let pool = db.pool().await;
    let store = crate::support::world::store(&db, 1);
    crate::support::story::Story::of_then(&store, &pool).tell().await;
    (db, store, pool)
}
