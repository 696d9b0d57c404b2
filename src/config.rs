//! What the operator configures: one file, checked whole, with overrides from the environment.
//!
//! This is the only module that reads the environment.

pub(crate) mod environment;

use std::{path::PathBuf, time::Duration};

use chrono_tz::Tz;
use secrecy::SecretString;
use url::Url;

use crate::model::{ClientId, UserId};

/// Everything the program is told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub calcom: Calcom,
    pub database: Database,
    pub schedule: Schedule,
    pub removal: Removal,
    pub log: Log,
    pub clients: Vec<Client>,
}

/// `[calcom]`: where Cal.com is and how hard it may be asked.
#[derive(Clone, Debug)]
pub struct Calcom {
    /// No trailing slash; a path prefix is kept in front of `/v2`.
    pub base_url: Url,
    /// HTTP requests under way at once, for one client.
    pub concurrency: usize,
    /// For one try: connecting, sending and reading the answer.
    pub timeout: Duration,
    /// After decompression.
    pub max_answer_bytes: usize,
}

/// `[database]`: where the mirror is kept.
#[derive(Clone, Debug)]
pub struct Database {
    pub url: DatabaseUrl,
    pub schema: String,
    pub max_connections: u32,
    /// PgBouncer in transaction mode stands in between.
    pub pgbouncer: bool,
}

#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    /// A local Postgres of our own, in this data directory.
    Embedded { data_dir: PathBuf },
    /// `postgres://…`; it may hold a password.
    Postgres(SecretString),
}

/// When passes are due.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Five or six fields (with seconds first), known to parse.
    pub cron: String,
    pub timezone: Tz,
    /// A first pass when the daemon starts.
    pub at_start: bool,
}

/// `[removal]`: what it takes to believe that a user is gone.
#[derive(Clone, Copy, Debug)]
pub struct Removal {
    /// In distinct passes.
    pub confirmations: u32,
    /// From the first 404 to the confirming one.
    pub min_age: Duration,
    pub max_count: u32,
    /// Of the client's live users.
    pub max_percent: f64,
}

#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogFormat,
    pub values: LogValues,
    /// A directive of tracing-subscriber's `EnvFilter`, known to parse.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Whether values of personal fields appear in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogValues {
    Masked,
    Full,
}

/// One `[[clients]]` block, with what it overrides filled in.
#[derive(Clone, Debug)]
pub struct Client {
    /// Unique; what logs, metrics and `--client` call it.
    pub name: String,
    pub id: ClientId,
    pub secret: SecretString,
    /// Ascending, each once.
    pub users: Vec<UserId>,
    /// 0: no limit of our own.
    pub requests_per_minute: u32,
    pub cron: String,
}
