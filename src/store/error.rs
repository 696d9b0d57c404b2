//! What can go wrong with the database, named by what the caller can do.

use sqlx::{error::DatabaseError, migrate::MigrateError, postgres::PgDatabaseError};

/// A failure of the store. Texts of Postgres are quoted without their context, which could hold a user's data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Try again: the server is away, starting, stopping, full or busy.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// Read again and try again: a row is not as it was when it was read.
    #[error("rows of the mirror changed between reading and writing them")]
    Conflict,
    /// Stop: another pass over the same client has begun since.
    #[error(
        "another pass over this client began after this one, which writes nothing more (epoch {theirs} after {ours})"
    )]
    Fenced { ours: i64, theirs: i64 },
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
    /// Use a newer calmirror.
    #[error(
        "the database was migrated by a newer calmirror: it has migration {0}, which this one does not know"
    )]
    Newer(i64),
    /// Nothing of ours helps: rights, settings, a wrong address.
    #[error("the database refused: {0}")]
    Refused(String),
}

impl Error {
    /// Whether the same call may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Conflict)
    }

    /// What the operator can do, where the error itself does not say it.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Unavailable(_) => Some(
                "check that Postgres runs and that database.url reaches it; `calmirror run` goes on by itself",
            ),
            Self::NotMigrated { .. } => Some("run `calmirror migrate`"),
            Self::Newer(_) => Some("install the calmirror that migrated the database, or a later one"),
            Self::SourceChanged { .. } => Some(
                "if the move is meant, run `calmirror sync --accept-source` once; otherwise correct calcom.base_url",
            ),
            Self::Conflict | Self::Fenced { .. } | Self::Refused(_) => None,
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
        // serialization_failure, deadlock_detected: somebody else's transaction won.
        "40001" | "40P01" => Error::Conflict,
        // lock_not_available, query_canceled: an analyst's lock, a statement time-out.
        "55P03" | "57014" => Error::Unavailable(message),
        // read_only_sql_transaction: a failover in progress shows a standby.
        "25006" => Error::Unavailable(message),
        // protocol_violation is what PgBouncer says while its server is away.
        "08P01" => Error::Unavailable(message),
        code if ["08", "53", "57", "58"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            Error::Unavailable(message)
        }
        // idle_in_transaction_session_timeout and its kind end the session.
        code if code.starts_with("25P") => Error::Unavailable(message),
        // unique_violation: the ledger has the version that a row of the mirror was to become.
        "23505" if error.constraint() == Some(LEDGER_KEY) => Error::Refused(
            "a row of managed_users is not as the ledger left it; `calmirror verify --repair` sets it right"
                .to_owned(),
        ),
        // undefined_table, undefined_function, undefined_column.
        "42P01" | "42883" | "42703" | "3F000" => {
            Error::Refused(format!("{message}; run `calmirror migrate`"))
        }
        _ => Error::Refused(message),
    }
}
