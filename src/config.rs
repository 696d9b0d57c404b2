//! What the operator configures: one file, checked whole, with overrides from the environment.
//!
//! This is the only module that reads the environment. A file is read in three steps: `tree` gives each value its
//! place, `overrides` lays the environment over it, and each section's file checks its own keys.

mod calcom;
mod clients;
mod database;
mod difference;
mod effective;
pub(crate) mod environment;
mod fault;
mod listed;
mod location;
mod log;
mod names;
mod notify;
mod overrides;
mod reading;
mod removal;
mod retention;
mod schedule;
mod secret;
mod section;
mod server;
#[cfg(test)]
mod tests;
mod tree;
mod users;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use chrono_tz::Tz;
use secrecy::{SecretSlice, SecretString};
use serde::Serialize;
use url::Url;

use crate::model::ClientId;

pub(crate) use database::holds_password;
pub use difference::Difference;
pub(crate) use effective::quoted;
pub use environment::Environment;
pub use fault::{Fault, Faults, Place, Warning};
pub use listed::Listed;
pub use location::{Loaded, NotFound};
pub(crate) use names::nearest;
pub use secret::{SecretSource, Secrets};

/// Everything the program is told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub calcom: Calcom,
    pub database: Database,
    pub schedule: Schedule,
    pub removal: Removal,
    pub retention: Retention,
    pub log: Log,
    pub server: Server,
    pub notify: Notify,
    pub clients: Vec<Client>,
}

/// `[calcom]`: where Cal.com is and how hard it may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calcom {
    /// No trailing slash; a path prefix is kept in front of `/v2`.
    pub base_url: Url,
    /// For clients that do not say otherwise.
    pub fetch: FetchPlan,
    /// For clients that do not say otherwise. 0: no limit of our own.
    pub requests_per_minute: u32,
    /// HTTP requests under way at once, for one client.
    pub concurrency: usize,
    /// For one try: connecting, sending and reading the answer.
    pub timeout: Duration,
    /// After decompression.
    pub max_answer_bytes: usize,
}

/// How users are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FetchPlan {
    /// The plan with the fewest requests.
    Auto,
    /// One GET a user.
    Get,
    /// By addresses, 250 at a time; by GET whoever has no known address or is not in the answer.
    Bulk,
    /// By the pages of the client's list; by GET whoever is not on them.
    List,
}

impl FetchPlan {
    /// As the configuration writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Get => "get",
            Self::Bulk => "bulk",
            Self::List => "list",
        }
    }
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

/// Which Postgres is meant.
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

/// `[retention]`: what is deleted once it is older than so many days. 0: it is kept for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Passes that changed nothing, and ticks that were skipped.
    pub no_change_runs_days: u32,
    /// Rejects of users that nobody asks for any more.
    pub rejects_days: u32,
    /// Versions of users: the oldest of each user are folded into one.
    pub ledger_days: u32,
}

/// Whom a client's passes are to look at: what all of these give, merged.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// `users = [..]` and `users_file`.
    pub listed: Listed,
    /// `users = "all"`: everyone whom the client has.
    pub all: bool,
    /// `users_sql`: a query on the target database that gives `user_id` and, where it likes, `email`.
    pub sql: Option<String>,
    /// `organization_id`: whose user list finds more than the client's own, for `users = "all"`.
    pub organization_id: Option<i64>,
}

/// `[log]`: what is written to stderr, and how.
#[derive(Clone, Debug)]
pub struct Log {
    pub format: LogFormat,
    pub values: LogValues,
    /// A directive of tracing-subscriber's `EnvFilter`, known to parse.
    pub level: String,
}

/// `[server]`: where the daemon says over HTTP how things are, and to whom.
#[derive(Clone, Debug)]
pub struct Server {
    /// None: there is no server. An address that other machines reach has a token.
    pub listen: Option<SocketAddr>,
    /// What a request has to bring. Empty where secrets were left alone: see [`Secrets::LeftAlone`].
    pub token: Option<SecretString>,
    /// Where the token was read from.
    pub token_source: Option<SecretSource>,
    /// Whether pages show the values of personal fields.
    pub show_values: bool,
    /// Names that a request may have in `Host`, beside those of the address itself.
    pub hosts: Vec<String>,
}

/// `[notify]`: who is told, and of what.
#[derive(Clone, Debug)]
pub struct Notify {
    /// Where it is said that a client is held, stale, refused or well again.
    pub webhook: Option<Webhook>,
    /// Whether each change is told on the Postgres channel `managed_users`.
    pub postgres: bool,
}

/// A receiver of messages that are signed as the Standard Webhooks specification says.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Known to parse; plain http leads to hosts only that are not public. It may hold a token. Empty where it was left alone:
    /// see [`Secrets::LeftAlone`].
    pub url: SecretString,
    /// Scheme, host and port of it, fit to be shown.
    pub origin: String,
    /// Where the address was read from.
    pub url_source: SecretSource,
    /// What messages are signed with: 24 to 64 bytes, or none where it was left alone.
    pub key: SecretSlice<u8>,
    /// Where the key was read from.
    pub secret_source: SecretSource,
}

/// How log lines are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

/// Whether values of personal fields appear in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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
    /// Empty where it was left alone: see [`Secrets::LeftAlone`].
    pub secret: SecretString,
    /// Where the secret was read from.
    pub secret_source: SecretSource,
    /// Whom to mirror.
    pub watch: Watch,
    pub fetch: FetchPlan,
    /// 0: no limit of our own.
    pub requests_per_minute: u32,
    pub cron: String,
}
