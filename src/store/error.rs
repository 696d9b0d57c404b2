//! What can go wrong with the database, named by what the caller can do.

use crate::model::UserId;
use sqlx::{error::DatabaseError, migrate::MigrateError, postgres::PgDatabaseError};

/// A failure of the store. Texts of Postgres are quoted without their context, which could hold a user's data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Try again: the server is away, starting or stopping, or a connection to it broke.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// Try again: others were in the way, with a lock, a deadlock, or by cancelling the statement.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// Try again: the server is out of disk, memory or connections.
    #[error("the database has no room: {0}")]
    Full(String),
    /// Try again, on a new connection: after a failover an old one may still lead to the server that was the primary.
    #[error("the database is read-only: {0}")]
    ReadOnly(String),
    /// Read again and try again: a row is not as it was when it was read.
    #[error("rows of the mirror changed between reading and writing them")]
    Conflict,
    /// Set them back: rows that were to be written are not as the ledger left them.
    #[error("rows of managed_users were edited in Postgres: {}", listed(.0))]
    Edited(Vec<UserId>),
    /// Stop: another pass over the same client has begun since.
    #[error(
        "another pass over this client began after this one, which writes nothing more (epoch {theirs} after {ours})"
    )]
    Fenced { ours: i64, theirs: i64 },
    /// Stop: somebody else has begun to delete what is not kept.
    #[error(
        "another process began to delete what [retention] does not keep after this one, which goes no further"
    )]
    Overtaken,
    /// The operator decides.
    #[error("client {client} was mirrored from {recorded}, but the configuration says {configured}")]
    SourceChanged {
        client: String,
        recorded: String,
        configured: String,
    },
    /// Migrate first.
    #[error("the database has no tables of calmirror, or older ones, in schema {schema}")]
    NotMigrated { schema: String },
    /// The owner of the tables migrates.
    #[error(
        "schema {schema} lacks {pending} migrations of calmirror, which the user of database.url may not make: {said}"
    )]
    MayNotMigrate {
        schema: String,
        pending: usize,
        said: String,
    },
    /// The owner of the tables does it.
    #[error("user {user} lacks {}", .lacks.join(", "))]
    Denied { user: String, lacks: Vec<String> },
    /// A part of the schema is gone, or was never made.
    #[error("something of the mirror is missing in the database: {0}")]
    Missing(String),
    /// Use a newer calmirror.
    #[error(
        "the database was migrated by a newer calmirror: it has migration {0}, which this one does not know"
    )]
    Newer(i64),
    /// The operator's own query is at fault.
    #[error("users_sql fails: {0}")]
    Query(String),
    /// Nothing of ours helps: rights, settings, a wrong address.
    #[error("the database refused: {0}")]
    Refused(String),
}

impl Error {
    /// Whether the same call may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Busy(_) | Self::Full(_) | Self::ReadOnly(_) | Self::Conflict => true,
            Self::Edited(_)
            | Self::Fenced { .. }
            | Self::Overtaken
            | Self::SourceChanged { .. }
            | Self::NotMigrated { .. }
            | Self::MayNotMigrate { .. }
            | Self::Denied { .. }
            | Self::Missing(_)
            | Self::Newer(_)
            | Self::Query(_)
            | Self::Refused(_) => false,
        }
    }

    /// What the operator can do, where the error itself does not say it.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Unavailable(_) => Some(
                "check that Postgres runs and that database.url reaches it; `calmirror run` goes on by itself",
            ),
            Self::Busy(_) => Some(
                "if it comes again, end the session that holds the lock (see pg_stat_activity); `calmirror run` goes on by itself",
            ),
            Self::Full(_) => Some(
                "give the server disk, memory or connections, as it says; `calmirror run` goes on by itself",
            ),
            Self::ReadOnly(_) => Some(
                "database.url must lead to the primary, and default_transaction_read_only be off there; `calmirror run` goes on by itself",
            ),
            Self::Edited(_) => {
                Some("`calmirror verify` says what is wrong, and with --repair sets right what it can")
            }
            Self::NotMigrated { .. } => Some("run `calmirror migrate`"),
            Self::MayNotMigrate { .. } => Some(
                "run `calmirror migrate` with the address of the role that owns the tables, and what `calmirror grants` prints after it",
            ),
            Self::Denied { .. } => Some(
                "do this with the address of the role that owns the tables, the migrator of `calmirror grants`",
            ),
            Self::Missing(_) => Some(
                "run `calmirror migrate`; if it has nothing to do, restore what was dropped, or rename it back",
            ),
            Self::Newer(_) => Some("install the calmirror that migrated the database, or a later one"),
            Self::SourceChanged { .. } => Some(
                "if the move is meant, run `calmirror sync --accept-source` once; otherwise correct calcom.base_url",
            ),
            Self::Query(_) => Some("correct the client's users_sql; psql shows what it gives"),
            Self::Conflict | Self::Fenced { .. } | Self::Overtaken | Self::Refused(_) => None,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => from_database(error.as_ref()),
            sqlx::Error::Io(error) => Self::Unavailable(error.to_string()),
            sqlx::Error::PoolTimedOut => Self::Unavailable("no connection in time".to_owned()),
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Unavailable("connection closed".to_owned())
            }
            // A server that goes away in the middle of an answer leaves half a message behind.
            sqlx::Error::Protocol(message) => Self::Unavailable(message),
            sqlx::Error::BeginFailed => Self::Unavailable("a transaction could not be begun".to_owned()),
            sqlx::Error::Tls(error) => Self::Refused(format!("TLS: {error}")),
            error => Self::Refused(error.to_string()),
        }
    }
}

impl From<MigrateError> for Error {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) => Self::Newer(version),
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// Users and versions in the ledger.
const LEDGER_KEY: &str = "managed_user_changes_user_id_version_key";

/// Classes of SQLSTATE as in Postgres's appendix of error codes.
fn from_database(error: &dyn DatabaseError) -> Error {
    let code = error.code().unwrap_or_default().into_owned();
    let message = match error.try_downcast_ref::<PgDatabaseError>() {
        // PgBouncer's own refusals come without a code of their class.
        Some(error) => format!("{} ({code})", error.message()),
        None => error.message().to_owned(),
    };
    match code.as_str() {
        // serialization_failure, deadlock_detected; lock_not_available; query_canceled by a time-out or an operator.
        "40001" | "40P01" | "55P03" | "57014" => Error::Busy(message),
        // read_only_sql_transaction.
        "25006" => Error::ReadOnly(message),
        // insufficient_resources: disk_full, out_of_memory, too_many_connections.
        code if code.starts_with("53") => Error::Full(message),
        // Connections, operator_intervention, errors of the system. PgBouncer says 08P01 while its server is away.
        code if ["08", "57", "58"].iter().any(|class| code.starts_with(class)) => Error::Unavailable(message),
        // idle_in_transaction_session_timeout and its kind end the session.
        code if code.starts_with("25P") => Error::Unavailable(message),
        // unique_violation: the ledger has the version that a row of the mirror was to become.
        "23505" if error.constraint() == Some(LEDGER_KEY) => Error::Refused(
            "a row of managed_users is not as the ledger left it; `calmirror verify --repair` sets it right"
                .to_owned(),
        ),
        // undefined_table, undefined_function, undefined_column, invalid_schema_name.
        "42P01" | "42883" | "42703" | "3F000" => Error::Missing(message),
        // program_limit_exceeded is said of many limits. Of this one a transaction hears when it commits.
        "54000" if message.contains("NOTIFY") => Error::Refused(format!(
            "{message}; end the session that listens and does not read (see pg_stat_activity), or set notify.postgres = false"
        )),
        code => Error::Refused(match refusal_remedy(code) {
            Some(remedy) => format!("{message}; {remedy}"),
            None => message,
        }),
    }
}

fn refusal_remedy(code: &str) -> Option<&'static str> {
    match code {
        // invalid_catalog_name.
        "3D000" => Some("create that database, or correct database.url"),
        // invalid_password, invalid_authorization_specification.
        "28P01" | "28000" => {
            Some("correct user and password in database.url, or what the server allows them")
        }
        // insufficient_privilege.
        "42501" => Some(
            "grant it to the user of database.url, as `calmirror grants` prints it; what passes do not do is for the role that owns the tables",
        ),
        _ => None,
    }
}

/// A screen line's worth of users.
fn listed(users: &[UserId]) -> String {
    const MOST: usize = 10;
    let named: Vec<_> = users.iter().take(MOST).map(ToString::to_string).collect();
    let more = users.len().saturating_sub(MOST);
    match more {
        0 => format!("users {}", named.join(", ")),
        more => format!("users {}, and {more} more", named.join(", ")),
    }
}
