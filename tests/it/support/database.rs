//! A database for each test, copied from a template that is migrated once.

use std::{
    future::Future,
    io::Write,
    str::FromStr,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use calmirror::store::{Settings, Store};
use sqlx::{
    AssertSqlSafe, Connection, PgPool,
    postgres::{PgConnectOptions, PgConnection, PgPoolOptions},
};
use tokio::{runtime, sync::Mutex};
use url::Url;

use self::source::Source;

mod source;

/// Every database of the tests has a name that starts so, followed by the time of its creation.
const PREFIX: &str = "calmirror_test_";

/// Databases of a `DATABASE_URL` that are older belong to a run that was killed.
const LEFTOVER_AGE_S: i64 = 6 * 60 * 60;

/// Brings an empty database to the newest schema, as the program does it.
async fn migrate(options: PgConnectOptions) {
    let settings = Settings {
        schema: "public".to_owned(),
        max_connections: 1,
        pgbouncer: false,
    };
    let store = Store::open(options, &settings);
    store.migrate().await.expect("an empty database can be migrated");
    // The template may have no connection when it is copied.
    store.close().await;
}

/// A migrated database that nobody else uses.
#[derive(Debug)]
pub(crate) struct TestDb {
    name: String,
}

/// The server of this process, and the template in it.
#[derive(Debug)]
struct Server {
    source: Source,
    template: String,
    /// What the names of this process's databases start with.
    prefix: String,
}

/// Each test has a runtime of its own, and this outlives them all.
static SERVER: OnceLock<Server> = OnceLock::new();

/// One copy at a time: Postgres copies a template only while no other session is connected to it.
static CREATION: Mutex<()> = Mutex::const_new(());

impl TestDb {
    pub(crate) async fn new() -> Self {
        Self::of(&server().template).await
    }

    /// One without any table.
    pub(crate) async fn empty() -> Self {
        Self::of("template1").await
    }

    /// Another one that is as this one is now. Nobody may be connected to this one.
    pub(crate) async fn copy(&self) -> Self {
        Self::of(&self.name).await
    }

    async fn of(template: &str) -> Self {
        let db = Self {
            name: format!("{}{}", server().prefix, next_number()),
        };
        let _creation = CREATION.lock().await;
        let statement = format!("CREATE DATABASE {} TEMPLATE {template}", db.name);
        execute(&mut admin().await, statement).await;
        db
    }

    /// For `database.url`, in this process or another.
    pub(crate) fn url(&self) -> String {
        server().url(&self.name).to_string()
    }

    pub(crate) fn connect_options(&self) -> PgConnectOptions {
        PgConnectOptions::from_str(&self.url()).expect("the address is one of Postgres")
    }

    /// Names for migrator, daemon and reader of this database. Roles are the server's, so they go with the database only where
    /// somebody sees to it.
    pub(crate) fn roles(&self) -> [String; 3] {
        ["migrator", "daemon", "reader"].map(|role| format!("{}_{role}", self.name))
    }

    /// A few connections, as the product has them.
    pub(crate) async fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(5)
            .connect_with(self.connect_options())
            .await
            .expect("the test's database takes connections")
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        // Ours goes as a whole when the process ends.
        if !server().source.is_shared() {
            return;
        }
        let statements = [
            format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name),
            format!("DROP ROLE IF EXISTS {}", self.roles().join(", ")),
        ];
        on_own_runtime(async || {
            let mut admin = admin().await;
            for statement in statements {
                execute(&mut admin, statement).await;
            }
        });
    }
}

impl Server {
    async fn start() -> Self {
        let source = Source::choose().await;
        let mut admin = PgConnection::connect_with(&options(source.url()))
            .await
            .expect("the tests' database server takes connections");
        let now: i64 = sqlx::query_scalar("SELECT extract(epoch FROM now())::bigint")
            .fetch_one(&mut admin)
            .await
            .expect("the server knows the time");
        if source.is_shared() {
            drop_leftovers(&mut admin, now).await;
        }
        let prefix = format!("{PREFIX}{now}_{}_", std::process::id());
        let server = Self {
            source,
            template: format!("{prefix}template"),
            prefix,
        };
        execute(&mut admin, format!("CREATE DATABASE {}", server.template)).await;
        migrate(options(&server.url(&server.template))).await;
        admin.close().await.expect("the connection closes");
        server
    }

    fn url(&self, database: &str) -> Url {
        let mut url = self.source.url().clone();
        url.set_path(database);
        url
    }
}

fn server() -> &'static Server {
    SERVER.get_or_init(|| on_own_runtime(Server::start))
}

async fn admin() -> PgConnection {
    PgConnection::connect_with(&options(server().source.url()))
        .await
        .expect("the tests' database server takes connections")
}

fn options(url: &Url) -> PgConnectOptions {
    PgConnectOptions::from_str(url.as_str()).expect("the address is one of Postgres")
}

async fn execute(connection: &mut PgConnection, statement: String) {
    // Names are made of our own prefix, digits and underscores.
    sqlx::raw_sql(AssertSqlSafe(statement.clone()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

async fn drop_leftovers(admin: &mut PgConnection, now: i64) {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT datname FROM pg_database
         WHERE starts_with(datname, $1) AND (split_part(datname, '_', 3))::bigint < $2",
    )
    .bind(PREFIX)
    .bind(now - LEFTOVER_AGE_S)
    .fetch_all(&mut *admin)
    .await
    .expect("databases can be listed");
    for name in names {
        // Another run may be at it as well.
        execute(admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        let roles = ["migrator", "daemon", "reader"].map(|role| format!("{name}_{role}"));
        execute(admin, format!("DROP ROLE IF EXISTS {}", roles.join(", "))).await;
    }
}

/// Runs a future where no runtime of a test can end it, nor be blocked by it.
fn on_own_runtime<T: Send, F: Future<Output = T>>(work: impl FnOnce() -> F + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be built")
                .block_on(work())
        });
        thread.join().expect("the reason is in the panic above")
    })
}

fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Past libtest's capture, which hides what passing tests print.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("standard error takes a line");
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own() {
    let (one, other) = tokio::join!(TestDb::new(), TestDb::new());
    let (one, other) = (one.pool().await, other.pool().await);
    sqlx::raw_sql("CREATE TABLE only_here ()")
        .execute(&one)
        .await
        .expect("a table can be created");
    let seen: bool = sqlx::query_scalar("SELECT to_regclass('only_here') IS NOT NULL")
        .fetch_one(&other)
        .await
        .expect("the other database answers");
    assert!(!seen, "the databases are one");
    one.close().await;
    other.close().await;
}
