//! A transaction whose statements PgBouncer can carry.

use std::fmt;

use futures_util::{future::BoxFuture, stream::BoxStream};
use sqlx::{
    Database, Describe, Either, Execute, Executor, PgConnection, Postgres, SqlStr, Transaction,
    error::BoxDynError,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

use super::Error;

/// A transaction of the store.
///
/// sqlx gives each statement a name that outlives the transaction, unless it is told not to; and its checked queries
/// cannot be told. A name of one client is in the way of the next one that PgBouncer puts on the same server connection.
/// So this stands between the queries and the connection, and tells it.
pub(super) struct Tx {
    inner: Transaction<'static, Postgres>,
    named_statements: bool,
}

impl Tx {
    pub(super) fn new(inner: Transaction<'static, Postgres>, named_statements: bool) -> Self {
        Self {
            inner,
            named_statements,
        }
    }

    pub(super) async fn commit(self) -> Result<(), Error> {
        Ok(self.inner.commit().await?)
    }

    /// Ends a transaction that only read.
    pub(super) async fn rollback(self) -> Result<(), Error> {
        Ok(self.inner.rollback().await?)
    }

    /// The connection itself, for what only takes that.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.inner
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
