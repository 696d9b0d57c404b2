//! Cursors on the server, read a bounded number of bytes at a time.

use std::{collections::VecDeque, fmt};

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, postgres::PgRow};

use crate::{
    store::{Error, tx::Tx},
    verify::AsOfFault,
};

/// Rows that one fetch asks for at most.
pub(in crate::store) const MAX_ROWS: usize = 500;

/// A fetch that came to more than this asks for fewer rows the next time.
const MAX_BYTES: usize = 1024 * 1024;

const FIRST_ROWS: usize = 32;

/// What a cursor's rows are read as.
pub(in crate::store) trait Fetched: Sized {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error>;

    /// Roughly the bytes of memory that this takes.
    fn weight(&self) -> usize;
}

/// A cursor, and those of its rows that were fetched and not taken yet.
pub(in crate::store) struct Cursor<T> {
    name: String,
    fetched: VecDeque<T>,
    rows: usize,
    is_over: bool,
}

impl<T> fmt::Debug for Cursor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<T: Fetched> Cursor<T> {
    /// Declares a cursor over a query of our own making.
    pub(in crate::store) async fn declare(tx: &mut Tx, name: String, query: &str) -> Result<Self, Error> {
        execute(tx, format!("declare {name} no scroll cursor for {query}")).await?;
        Ok(Self {
            name,
            fetched: VecDeque::new(),
            rows: FIRST_ROWS,
            is_over: false,
        })
    }

    /// The next row, which stays where it is.
    pub(in crate::store) async fn head(&mut self, tx: &mut Tx) -> Result<Option<&T>, Error> {
        if self.needs_rows() {
            self.fetch(tx).await?;
        }
        Ok(self.fetched.front())
    }

    pub(super) fn needs_rows(&self) -> bool {
        self.fetched.is_empty() && !self.is_over
    }

    /// The next row, if it has been fetched.
    pub(in crate::store) fn take(&mut self) -> Option<T> {
        self.fetched.pop_front()
    }

    pub(super) async fn fetch(&mut self, tx: &mut Tx) -> Result<(), Error> {
        let statement = format!("fetch {} from {}", self.rows, self.name);
        let mut bytes = 0;
        let mut rows = sqlx::query(AssertSqlSafe(statement)).fetch(tx);
        while let Some(row) = rows.try_next().await? {
            let row = T::read(&row)?;
            bytes += row.weight();
            self.fetched.push_back(row);
        }
        self.is_over = self.fetched.len() < self.rows;
        self.rows = if bytes > MAX_BYTES {
            (self.rows / 4).max(1)
        } else if bytes * 2 <= MAX_BYTES {
            (self.rows * 2).min(MAX_ROWS)
        } else {
            self.rows
        };
        Ok(())
    }
}

/// A cursor over a view or a function of ours, whose failure is a finding and not the end. Without a cursor it has failed.
#[derive(Debug)]
pub(super) struct Guarded<T> {
    cursor: Option<Cursor<T>>,
}

impl<T: Fetched> Guarded<T> {
    pub(super) async fn declare(tx: &mut Tx, name: String, query: &str) -> Result<Self, Error> {
        let cursor = Some(Cursor::declare(tx, name, query).await?);
        Ok(Self { cursor })
    }

    /// Fetches rows if there are none. Says so if that fails.
    pub(super) async fn fill(&mut self, tx: &mut Tx) -> Result<Option<AsOfFault>, Error> {
        let Some(cursor) = self.cursor.as_mut().filter(|cursor| cursor.needs_rows()) else {
            return Ok(None);
        };
        execute(tx, "savepoint calmirror_fetch".to_owned()).await?;
        let fetched = cursor.fetch(tx).await;
        let end = match &fetched {
            Ok(()) => "release savepoint calmirror_fetch",
            Err(Error::Refused(_)) => "rollback to savepoint calmirror_fetch",
            Err(error) => return Err(error.clone()),
        };
        execute(tx, end.to_owned()).await?;
        Ok(fetched.err().map(|error| {
            self.cursor = None;
            AsOfFault::Fails {
                error: error.to_string(),
            }
        }))
    }

    pub(super) fn first(&self) -> Option<&T> {
        self.cursor.as_ref()?.fetched.front()
    }

    /// The next row, if it is the one that is wanted. None if there are no rows to be had any more.
    pub(super) fn take_if(&mut self, is_wanted: bool) -> Option<Option<T>> {
        let cursor = self.cursor.as_mut()?;
        Some(if is_wanted { cursor.take() } else { None })
    }
}

/// Runs a statement that gives no rows and is of our own making.
pub(super) async fn execute(tx: &mut Tx, statement: String) -> Result<(), Error> {
    sqlx::query(AssertSqlSafe(statement)).execute(tx).await?;
    Ok(())
}
