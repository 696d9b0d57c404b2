//! A Postgres of its own with durable settings, and what it says of a pass.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use calmirror::embedded::{Embedded, Options};
use serde::Serialize;
use sqlx::{Connection, Executor, PgConnection, postgres::PgConnectOptions};
use tempfile::TempDir;

/// In place of Postgres's defaults. None of them makes a commit less durable.
const SETTINGS: [(&str, &str); 6] = [
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    // Checkpoints and vacuums come between measurements, where they are asked for, and not within some of them.
    ("checkpoint_timeout", "1d"),
    ("max_wal_size", "64GB"),
    ("autovacuum", "off"),
];

/// Where everything of a run is; gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    // Before the directory that it is in.
    postgres: Embedded,
    dir: TempDir,
}

/// What a database has done so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    lsn: i64,
    /// Tuples inserted, updated and deleted in the tables of users.
    users: i64,
    /// The same in the tables that passes keep of themselves.
    own: i64,
}

/// What a pass has done to its database.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Written {
    pub(crate) wal_bytes: i64,
    /// Tuples inserted, updated and deleted in the tables of users: mirror, ledger, fingerprints, missing users, rejects.
    pub(crate) user_tuples: i64,
    /// The same in the tables that passes keep of themselves.
    pub(crate) own_tuples: i64,
}

impl Stage {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("calmirror-bench-").tempdir()?;
        // A server of root's runs as another user, who has to pass through.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let options = Options {
            ephemeral: true,
            settings: SETTINGS
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Options::durable(dir.path().join("postgres"))
        };
        let postgres = Embedded::start(options).await?;
        Ok(Self { postgres, dir })
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A directory that is empty.
    pub(crate) fn new_dir(&self, name: &str) -> anyhow::Result<PathBuf> {
        let dir = self.dir().join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir(&dir)?;
        Ok(dir)
    }

    pub(crate) fn connect_options(&self, database: &str) -> PgConnectOptions {
        self.postgres.connect_options().database(database)
    }

    pub(crate) async fn connect(&self, database: &str) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect_with(&self.connect_options(database)).await?)
    }

    /// For a configuration, or for psql.
    pub(crate) fn url(&self, database: &str) -> anyhow::Result<String> {
        let options = self.connect_options(database);
        let socket = options.get_socket().context("it listens on a socket")?;
        let socket = url::form_urlencoded::byte_serialize(socket.as_os_str().as_encoded_bytes());
        let user = options.get_username();
        Ok(format!(
            "postgres:///{database}?user={user}&host={}",
            socket.collect::<String>()
        ))
    }

    /// Creates a database, in place of the one of that name if there is one.
    pub(crate) async fn create(&self, database: &str, template: Option<&str>) -> anyhow::Result<()> {
        let mut connection = self.connect("postgres").await?;
        let template = template.map_or(String::new(), |template| format!(" template {template}"));
        for statement in [
            format!("drop database if exists {database} with (force)"),
            format!("create database {database}{template}"),
        ] {
            connection.execute(sqlx::AssertSqlSafe(statement)).await?;
        }
        connection.close().await?;
        Ok(())
    }

    pub(crate) async fn drop(&self, database: &str) -> anyhow::Result<()> {
        let mut connection = self.connect("postgres").await?;
        let statement = format!("drop database if exists {database} with (force)");
        connection.execute(sqlx::AssertSqlSafe(statement)).await?;
        connection.close().await?;
        Ok(())
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.postgres.stop().await?;
        self.dir.close()?;
        Ok(())
    }
}

/// Puts a database into the state of one that has been left alone for a while.
pub(crate) async fn settle(connection: &mut PgConnection) -> anyhow::Result<()> {
    connection.execute("vacuum (analyze)").await?;
    connection.execute("checkpoint").await?;
    Ok(())
}

/// What has been done, once nobody else is connected: a server process counts for all to see when it ends.
pub(crate) async fn done(connection: &mut PgConnection) -> anyhow::Result<Done> {
    const PAUSE: Duration = Duration::from_millis(5);
    loop {
        let others: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()",
        )
        .fetch_one(&mut *connection)
        .await?;
        if others == 0 {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let (lsn, users, own): (i64, i64, i64) = sqlx::query_as(
        "select
            (pg_current_wal_lsn() - '0/0')::bigint,
            coalesce(sum(touched) filter (where of_users), 0)::bigint,
            coalesce(sum(touched) filter (where not of_users), 0)::bigint
         from (
            select
                n_tup_ins + n_tup_upd + n_tup_del as touched,
                relname in ('managed_users', 'managed_user_changes', 'record_fingerprints', 'missing_users', 'rejects')
                    as of_users
            from pg_stat_user_tables
            where schemaname = 'public'
         ) as tables",
    )
    .fetch_one(&mut *connection)
    .await?;
    Ok(Done { lsn, users, own })
}

impl Done {
    pub(crate) const fn since(self, earlier: Self) -> Written {
        Written {
            wal_bytes: self.lsn - earlier.lsn,
            user_tuples: self.users - earlier.users,
            own_tuples: self.own - earlier.own,
        }
    }
}
