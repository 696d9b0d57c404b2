//! The mirror's tables: the only SQL of the program.
//!
//! Every statement runs in a transaction that begins by setting its own search path and time-outs. So nothing rests on the
//! state of a session, and PgBouncer in transaction mode may stand in between.

mod begin;
mod bookkeeping;
mod channel;
mod copy;
mod edited;
mod error;
mod fence;
mod fields;
mod forget;
mod grants;
mod health;
mod held;
mod history;
mod inserts;
mod locks;
mod migrate;
mod notices;
mod page;
mod population;
mod prior;
mod queried;
mod rate_limits;
mod removals;
mod repair;
mod resumed;
mod retention;
mod rights;
mod runs;
mod status;
mod targets;
mod transport;
mod tx;
mod users;
mod verify;

use std::{fmt, str::FromStr, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use sqlx::{
    Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

pub use begin::{BeginRun, Begun, Trigger};
pub use error::Error;
pub use fence::{Beat, Run};
pub use fields::ExtraField;
pub use forget::Forgotten;
pub use grants::{BadRole, Grants, Roles};
pub use health::{HealthRow, UserCounts};
pub use held::HeldBy;
pub use history::{FoldedHistory, HistoryEntry};
pub use inserts::Inserts;
pub use notices::{Claimed, Due, Failed, Message, Notice};
pub use page::{DayOfChanges, PassRecord, Past, PastWanted, Recent, RecentChange, VersionRecord};
pub use population::Counted;
pub use prior::{Prior, Unsettled};
pub use queried::QueriedUsers;
pub use removals::Candidate;
pub use repair::{Repair, RepairRun};
pub use resumed::Resumed;
pub use retention::{
    BegunPruning, Cutoffs, Deleted, FoldedBatch, Place, Pruning, RetentionStatus, RunBatch, RunPlace,
};
pub use rights::{Excess, Rights};
pub use runs::{Finish, RunCounts, RunRecord};
pub use status::{ClientStatus, HeldStatus, RejectStatus, Waiting, WatchStatus};
pub use targets::KnownTarget;
pub use transport::Transport;
pub use verify::{Instants, Verification};

use self::{channel::Channel, tx::Tx};

/// How long a connection may take, a pool's queue included. A server that refuses is asked again for as long.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A batch takes milliseconds; what takes longer waits for somebody else's lock or has lost its server.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Plans that look rows up by their ids and read them in that order. While a mirror is filled the server's statistics are behind,
/// and by them it is tempting to read all of a table for a batch, again and again.
const ALONG_THE_INDEXES: &str = "SET LOCAL enable_seqscan TO off; SET LOCAL enable_bitmapscan TO off; \
     SET LOCAL enable_hashjoin TO off; SET LOCAL max_parallel_workers_per_gather TO 0; SET LOCAL jit TO off";

/// Connections of those who look on, beside those of passes.
const ONLOOKERS: u32 = 3;

/// Nobody looks on for as long as a pass may wait.
const LOOK_BRIEFLY: &str = "SET LOCAL lock_timeout TO '2s'; SET LOCAL statement_timeout TO '10s'";

/// For what connections say at their end.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// An operator's query has a minute.
const BEGIN_QUERY: &str = "BEGIN READ ONLY; SET LOCAL lock_timeout TO '10s'; SET LOCAL statement_timeout TO '60s'; \
                           SET LOCAL idle_in_transaction_session_timeout TO '60s'";

/// A connection that was idle for longer is tried out before it is used.
const IDLE: Duration = Duration::from_millis(500);

/// For finding out why there is no connection.
const DIAGNOSIS_TIMEOUT: Duration = Duration::from_secs(2);

/// How to reach Postgres.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Unquoted; created by [`Store::migrate`] where it is missing.
    pub schema: String,
    pub max_connections: u32,
    /// PgBouncer in transaction mode stands in between: no statement is prepared for longer than its transaction.
    pub pgbouncer: bool,
}

/// The mirror's database.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    begin: String,
    pgbouncer: bool,
    /// Where connections may not write.
    only_reads: bool,
    schema: String,
    channel: Channel,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a store on the database of a `postgres://` address. Connects when it is first used.
    ///
    /// # Errors
    ///
    /// When the address cannot be parsed.
    pub fn open_url(url: &SecretString, settings: &Settings) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url.expose_secret())
            .map_err(|_| Error::Refused("the database's address cannot be parsed".to_owned()))?;
        Ok(Self::open(options, settings))
    }

    /// Opens a store on a database. Connects when it is first used.
    pub fn open(options: PgConnectOptions, settings: &Settings) -> Self {
        let options = own_options(options, settings.pgbouncer);
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .test_before_acquire(false)
            .before_acquire(|connection, state| {
                Box::pin(async move { Ok(state.idle_for < IDLE || connection.ping().await.is_ok()) })
            })
            .connect_lazy_with(options);
        Self {
            pool,
            begin: begin_statement(&settings.schema, LOCK_TIMEOUT),
            pgbouncer: settings.pgbouncer,
            only_reads: false,
            schema: settings.schema.clone(),
            channel: Channel::default(),
        }
    }

    /// The same database, with connections of its own on which Postgres refuses whatever would write.
    #[must_use]
    pub fn read_only(&self) -> Self {
        let options = refusing_to_write((*self.pool.connect_options()).clone(), self.pgbouncer);
        Self {
            pool: self.pool.options().clone().connect_lazy_with(options),
            begin: format!("{}; SET TRANSACTION READ ONLY", self.begin),
            pgbouncer: self.pgbouncer,
            only_reads: true,
            schema: self.schema.clone(),
            channel: self.channel.clone(),
        }
    }

    /// As [`Store::read_only`], for whoever only looks on while others work: with few connections, and little patience.
    #[must_use]
    pub fn looking_on(&self) -> Self {
        let reading = self.read_only();
        let options = (*reading.pool.connect_options()).clone();
        let pool = reading.pool.options().clone().max_connections(ONLOOKERS);
        Self {
            pool: pool.connect_lazy_with(options),
            begin: format!("{}; {LOOK_BRIEFLY}", reading.begin),
            ..reading
        }
    }

    /// The same store with another limit on the wait for one lock than 10 seconds. Zero means no limit.
    #[must_use]
    pub fn with_lock_timeout(mut self, timeout: Duration) -> Self {
        self.begin = begin_statement(&self.schema, timeout);
        self
    }

    /// Where new connections lead from now on. Those that are there are kept for as long as they work.
    pub fn reconnect(&self, options: PgConnectOptions) {
        let options = own_options(options, self.pgbouncer);
        let options = if self.only_reads {
            refusing_to_write(options, self.pgbouncer)
        } else {
            options
        };
        self.pool.set_connect_options(options);
    }

    /// The schema that holds the mirror's tables.
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Closes every connection, as far as the server takes part in it.
    pub async fn close(&self) {
        // Whoever does not say goodbye within this time is not going to.
        tokio::time::timeout(CLOSE_TIMEOUT, self.pool.close()).await.ok();
    }

    async fn begin(&self) -> Result<Tx, Error> {
        self.begin_by(self.begin.clone()).await
    }

    /// For what may be lost when the server crashes soon after its commit, which waits for no disk. What is committed later is never kept
    /// without it.
    async fn begin_lightly(&self) -> Result<Tx, Error> {
        self.begin_by(format!("{}; SET LOCAL synchronous_commit TO off", self.begin))
            .await
    }

    /// For many users, each named by its id.
    async fn begin_batch(&self) -> Result<Tx, Error> {
        self.begin_by(format!("{}; {ALONG_THE_INDEXES}", self.begin))
            .await
    }

    async fn begin_by(&self, begin: String) -> Result<Tx, Error> {
        match Tx::begin(&self.pool, begin, !self.pgbouncer).await {
            Ok(tx) => Ok(tx),
            Err(sqlx::Error::PoolTimedOut) => Err(self.why_no_connection().await),
            Err(error) => Err(error.into()),
        }
    }

    /// A transaction for an operator's query: it reads, and finds tables where the server's settings for the user say.
    async fn begin_query(&self) -> Result<Tx, Error> {
        match Tx::begin(&self.pool, BEGIN_QUERY.to_owned(), !self.pgbouncer).await {
            Ok(tx) => Ok(tx),
            Err(sqlx::Error::PoolTimedOut) => Err(self.why_no_connection().await),
            Err(error) => Err(error.into()),
        }
    }

    /// The pool says no more than that its time was over.
    async fn why_no_connection(&self) -> Error {
        let options = self.pool.connect_options();
        let attempt = tokio::time::timeout(DIAGNOSIS_TIMEOUT, PgConnection::connect_with(&options)).await;
        match attempt {
            Ok(Err(error)) => error.into(),
            Ok(Ok(_)) => Error::Unavailable("every connection was busy for 5 seconds".to_owned()),
            Err(_) => Error::Unavailable("the server does not answer".to_owned()),
        }
    }
}

fn own_options(options: PgConnectOptions, pgbouncer: bool) -> PgConnectOptions {
    let options = options.application_name("calmirror");
    if pgbouncer {
        // PgBouncer refuses start-up parameters that it does not know.
        options.statement_cache_capacity(0).extra_float_digits(None)
    } else {
        options
    }
}

fn refusing_to_write(options: PgConnectOptions, pgbouncer: bool) -> PgConnectOptions {
    if pgbouncer {
        // It refuses start-up parameters that it does not know.
        options
    } else {
        options.options([("default_transaction_read_only", "on")])
    }
}

fn begin_statement(schema: &str, lock_timeout: Duration) -> String {
    format!(
        "BEGIN; SET LOCAL search_path TO {}; SET LOCAL lock_timeout TO '{}ms'; \
         SET LOCAL statement_timeout TO '60s'; SET LOCAL idle_in_transaction_session_timeout TO '60s'",
        quote_identifier(schema),
        lock_timeout.as_millis(),
    )
}

fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
