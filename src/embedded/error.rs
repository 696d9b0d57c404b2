//! Why an embedded server is not to be had, and what to do about it.

use std::{io, path::PathBuf, time::Duration};

use super::installation::{MIN_VERSION, Version};

/// Why the embedded Postgres could not be started, reached or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no Postgres {MIN_VERSION} or later is installed: install it (Debian, Ubuntu: apt-get install postgresql; \
         Fedora: dnf install postgresql-server; macOS: brew install postgresql@17), or set PG_BIN_DIR to the \
         directory that holds initdb and postgres{}", found_instead(.rejected)
    )]
    NotInstalled {
        /// What was found and cannot serve, each with its reason.
        rejected: Vec<String>,
    },

    #[error("PG_BIN_DIR names {dir}, which cannot serve: {why}")]
    BadBinDir { dir: PathBuf, why: String },

    #[error(
        "the data in {data_dir} is of Postgres {data}, and the installed Postgres is {installed}: install Postgres \
         {data} beside it (or set PG_BIN_DIR), or move {data_dir} away to start with an empty database"
    )]
    OtherVersion {
        data_dir: PathBuf,
        data: Version,
        /// The versions found, as a list.
        installed: String,
    },

    #[error(
        "Postgres refuses to run as root, and the user `{user}`, which would run it, cannot enter {closed}: choose a \
         data directory outside of it (database.data_dir = \"/var/lib/calmirror/postgres\"), or open it with \
         chmod o+x {closed}"
    )]
    Unreachable { closed: PathBuf, user: String },

    #[error("Postgres refuses to run as root, and there is neither a user `postgres` nor `nobody` to run it")]
    NoAccount,

    #[error(
        "{data_dir} belongs to user {owner}: run calmirror as that user or as root, or choose another \
         database.data_dir"
    )]
    OtherOwner { data_dir: PathBuf, owner: String },

    #[error(
        "{data_dir} holds files that are not of an embedded database: choose an empty or new directory for \
         database.data_dir"
    )]
    NotOurs { data_dir: PathBuf },

    #[error("{dir} is not a private directory of user {user}: remove it")]
    SocketDirTaken { dir: PathBuf, user: String },

    #[error("initdb could not create a database cluster in {data_dir}:\n{output}")]
    Initdb { data_dir: PathBuf, output: String },

    #[error("the Postgres server in {data_dir} ended while starting; its last log lines:\n{log}")]
    Server { data_dir: PathBuf, log: String },

    #[error(
        "the Postgres server in {data_dir} did not accept connections within {} s; its last log lines:\n{log}",
        .waited.as_secs()
    )]
    NotReady {
        data_dir: PathBuf,
        waited: Duration,
        log: String,
        #[source]
        last: Option<sqlx::Error>,
    },

    #[error("another process has been starting the database in {data_dir} for {} s", .waited.as_secs())]
    Busy { data_dir: PathBuf, waited: Duration },

    #[error("the Postgres server in {data_dir} did not stop within {} s; its log is postgres.log there", .waited.as_secs())]
    NotStopped { data_dir: PathBuf, waited: Duration },

    #[error("failed to prepare the database `{name}`")]
    Prepare {
        name: &'static str,
        #[source]
        source: sqlx::Error,
    },

    #[error("failed to {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: what was being done to which path.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

fn found_instead(rejected: &[String]) -> String {
    if rejected.is_empty() {
        String::new()
    } else {
        format!(" (found: {})", rejected.join("; "))
    }
}
