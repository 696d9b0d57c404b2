//! Users that a query of the operator's gives.

use sqlx::{AssertSqlSafe, Row};

use super::{Error, Store};
use crate::model::{UserId, UserSet};

/// What `users_sql` gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueriedUsers {
    pub users: UserSet,
    /// There is a column `email`.
    pub has_addresses: bool,
}

const UNDEFINED_COLUMN: &str = "42703";

/// Rows of the query that are read at once.
const PAGE: i64 = 10_000;

impl Store {
    /// The ids of an operator's query: its column `user_id`. Read-only, and not longer than a minute.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] for what Postgres says of the query, or if it gives no whole numbers from 1 on as `user_id`.
    pub async fn users_by_query(&self, sql: &str) -> Result<QueriedUsers, Error> {
        let has_addresses = self.gives_addresses(sql).await?;
        let mut tx = self.begin_query().await?;
        // A cursor, so that the rows are never all in memory.
        let shown = shown(sql, "user_id::bigint", "");
        sqlx::query(AssertSqlSafe(format!(
            "declare users_sql no scroll cursor for {shown}"
        )))
        .execute(&mut tx)
        .await
        .map_err(of_query)?;
        let mut users = UserSet::default();
        loop {
            let fetch = format!("fetch {PAGE} from users_sql");
            let rows = sqlx::query(AssertSqlSafe(fetch))
                .fetch_all(&mut tx)
                .await
                .map_err(of_query)?;
            for row in &rows {
                match row.try_get::<Option<i64>, _>(0).map_err(of_query)? {
                    Some(id) if id > 0 => users.insert(UserId(id)),
                    Some(id) => {
                        return Err(Error::Query(format!(
                            "it gives the user_id {id}, which no user has"
                        )));
                    }
                    None => return Err(Error::Query("it gives a user_id that is null".to_owned())),
                }
            }
            if rows.is_empty() {
                break;
            }
        }
        tx.rollback().await?;
        Ok(QueriedUsers { users, has_addresses })
    }

    /// Whether an operator's query has a column `email`.
    async fn gives_addresses(&self, sql: &str) -> Result<bool, Error> {
        let mut tx = self.begin_query().await?;
        let shown = shown(sql, "email::text", "limit 0");
        match sqlx::query(AssertSqlSafe(shown)).execute(&mut tx).await {
            Ok(_) => tx.rollback().await.map(|()| true),
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(UNDEFINED_COLUMN) => {
                tx.rollback().await.map(|()| false)
            }
            Err(error) => Err(of_query(error)),
        }
    }

    /// The addresses that an operator's query gives for these users: its column `email`. Those that cannot be addresses are left
    /// out.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] for what Postgres says of the query.
    pub async fn addresses_by_query(
        &self,
        sql: &str,
        users: &[UserId],
    ) -> Result<Vec<(UserId, String)>, Error> {
        let ids: Vec<i64> = users.iter().map(|id| id.0).collect();
        let mut tx = self.begin_query().await?;
        let wanted = shown(
            sql,
            "user_id::bigint, email::text",
            "where user_id::bigint = any($1) and email is not null",
        );
        let rows = sqlx::query(AssertSqlSafe(wanted))
            .bind(&ids)
            .fetch_all(&mut tx)
            .await
            .map_err(of_query)?;
        tx.rollback().await?;
        let mut addresses = Vec::with_capacity(rows.len());
        for row in rows {
            let (id, email): (i64, String) = (
                row.try_get(0).map_err(of_query)?,
                row.try_get(1).map_err(of_query)?,
            );
            if email.contains('@') {
                addresses.push((UserId(id), email));
            }
        }
        Ok(addresses)
    }
}

/// The query as a table. On lines of its own, for it may end with a comment.
fn shown(sql: &str, columns: &str, rest: &str) -> String {
    format!("select {columns} from (\n{sql}\n) as users_sql {rest}")
}

/// A connection that breaks is the database's fault; whatever else goes wrong here is the query's.
fn of_query(error: sqlx::Error) -> Error {
    match Error::from(error) {
        Error::Refused(message) => Error::Query(message),
        Error::Missing(message) => Error::Query(message),
        // Whoever holds it up holds up every try.
        Error::Busy(message) => Error::Query(format!("{message}; it has a minute")),
        other => other,
    }
}
