//! A transaction whose statements PgBouncer can carry.

use std::{fmt, time::Duration};

use futures_util::{TryStreamExt, future::BoxFuture, stream::BoxStream};
use sqlx::{
    AssertSqlSafe, Database, Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr,
    error::BoxDynError,
    pool::PoolConnection,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

use super::Error;

/// What is sent of a COPY at once.
const COPY_BYTES: usize = 64 * 1024;

/// For a connection that has just answered.
const RETURN_TIMEOUT: Duration = Duration::from_secs(1);

/// A transaction of the store.
///
/// sqlx gives each statement a name that outlives the transaction, unless it is told not to; and its checked queries
/// cannot be told. A name of one client is in the way of the next one that PgBouncer puts on the same server connection.
/// So this stands between the queries and the connection, and tells it.
///
/// A transaction that is neither committed nor rolled back takes its connection with it: whatever state that is in, also
/// when the server at its other end is gone without a word, nobody else will have to do with it.
pub(super) struct Tx {
    connection: PoolConnection<Postgres>,
    named_statements: bool,
    open: bool,
}

impl Tx {
    pub(super) async fn begin(
        pool: &PgPool,
        begin: String,
        named_statements: bool,
    ) -> Result<Self, sqlx::Error> {
        let mut tx = Self {
            connection: pool.acquire().await?,
            named_statements,
            open: true,
        };
        sqlx::raw_sql(AssertSqlSafe(begin))
            .execute(tx.connection())
            .await?;
        Ok(tx)
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        self.end("commit").await
    }

    /// Ends a transaction that only read.
    pub(super) async fn rollback(self) -> Result<(), Error> {
        self.end("rollback").await
    }

    async fn end(mut self, how: &'static str) -> Result<(), Error> {
        sqlx::raw_sql(how).execute(self.connection()).await?;
        self.open = false;
        // Left to itself, it goes back somewhat later, and whoever begins meanwhile opens another one. One that is silent now
        // is dropped.
        tokio::time::timeout(RETURN_TIMEOUT, self.connection.return_to_pool())
            .await
            .ok();
        Ok(())
    }

    /// What a `copy … to stdout` sends, whole. After an error the transaction is of no use.
    pub(super) async fn copy_out(&mut self, statement: &str) -> Result<Vec<u8>, Error> {
        let chunks = self.connection().copy_out_raw(statement).await?;
        let sent = chunks.try_fold(Vec::new(), |mut sent, chunk| {
            sent.extend_from_slice(&chunk);
            std::future::ready(Ok(sent))
        });
        Ok(sent.await?)
    }

    /// Sends a `copy … from stdin` its rows, and says how many were written. An error of the database leaves the
    /// connection usable.
    pub(super) async fn copy_in(&mut self, statement: &str, rows: &[u8]) -> Result<u64, sqlx::Error> {
        let mut copy = self.connection().copy_in_raw(statement).await?;
        // The connection keeps room for the largest that it ever sent.
        for part in rows.chunks(COPY_BYTES) {
            copy.send(part).await?;
        }
        copy.finish().await
    }

    fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if self.open {
            self.connection.close_on_drop();
        }
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tx")
            .field("named_statements", &self.named_statements)
            .finish_non_exhaustive()
    }
}

/// A query with its own say on whether its statement is kept.
struct Named<E> {
    query: E,
    named: bool,
}

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Named<E> {
    fn sql(self) -> SqlStr {
        self.query.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.query.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<<Postgres as Database>::Arguments>, BoxDynError> {
        self.query.take_arguments()
    }

    fn persistent(&self) -> bool {
        self.named && self.query.persistent()
    }
}

impl<'c> Executor<'c> for &'c mut Tx {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let named = self.named_statements;
        self.connection().fetch_many(Named { query, named })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let named = self.named_statements;
        self.connection().fetch_optional(Named { query, named })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        self.connection().prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        self.connection().describe(sql)
    }
}
