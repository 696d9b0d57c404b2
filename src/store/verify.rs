//! Reading the ledger and what is made of it, side by side, for [`crate::verify`].
//!
//! All of it is one snapshot, which a pass under way neither disturbs nor waits for. Cursors on the server keep what is not
//! being looked at, so that memory grows neither with users nor with versions.

mod cursor;
mod instants;
mod scan;

use std::{collections::VecDeque, time::Duration};

use chrono::{DateTime, Utc};

pub(super) use cursor::Cursor;
pub(super) use scan::{Scan, Step, Users, entries};

use super::{Error, Store, tx::Tx};
use crate::{
    model::UserId,
    verify::{Column, Counts, Finding, Promoted, Shape},
};

/// The whole ledger may have to be sorted before the first row of it comes.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Whoever reads the findings may take as long between two of them.
const IDLE_LIMIT: Duration = Duration::from_secs(60 * 60);

/// At which instants `managed_users_as_of` is proven.
#[derive(Clone, Copy, Debug)]
pub struct Instants {
    pub count: usize,
    /// The same seed gives the same instants, as long as the ledger is the same.
    pub seed: u64,
}

/// A comparison of ledger and mirror that is under way.
#[derive(Debug)]
pub struct Verification {
    tx: Tx,
    scan: Scan,
    found: VecDeque<Finding>,
}

impl Store {
    /// Begins to compare ledger and mirror, from the first user after the given one.
    ///
    /// # Errors
    ///
    /// [`Error::NotMigrated`] when the tables are not those of this version; otherwise what Postgres says.
    pub async fn begin_verification(
        &self,
        instants: Instants,
        after: Option<UserId>,
    ) -> Result<Verification, Error> {
        if self.pending_migrations().await? > 0 {
            return Err(Error::NotMigrated {
                schema: self.schema().to_owned(),
            });
        }
        let mut tx = self.begin().await?;
        let (statement, idle) = (STATEMENT_LIMIT.as_secs(), IDLE_LIMIT.as_secs());
        for setting in [
            "set transaction isolation level repeatable read, read only".to_owned(),
            format!("set local statement_timeout to '{statement}s'"),
            format!("set local idle_in_transaction_session_timeout to '{idle}s'"),
        ] {
            cursor::execute(&mut tx, setting).await?;
        }
        let shape = read_shape(&mut tx).await?;
        let instants = instants::choose(&mut tx, instants).await?;
        let scan = Scan::open(&mut tx, shape, instants, Users::After(after)).await?;
        Ok(Verification {
            tx,
            scan,
            found: VecDeque::new(),
        })
    }
}

impl Verification {
    /// At which instants `managed_users_as_of` is proven. None while the ledger is empty.
    pub fn instants(&self) -> &[DateTime<Utc>] {
        self.scan.instants()
    }

    /// What was compared so far.
    pub fn counts(&self) -> Counts {
        self.scan.counts()
    }

    /// The next finding, in the order of users; none when everything was compared.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn next(&mut self) -> Result<Option<Finding>, Error> {
        loop {
            if let Some(finding) = self.found.pop_front() {
                return Ok(Some(finding));
            }
            // The server gives up first, if it is still there.
            let patience = STATEMENT_LIMIT + Duration::from_secs(60);
            let step = tokio::time::timeout(patience, self.scan.step(&mut self.tx)).await;
            let step = step.unwrap_or_else(|_| {
                Err(Error::Unavailable(
                    "the server went silent in the middle of a call".to_owned(),
                ))
            })?;
            match step {
                None => return Ok(None),
                Some(Step::Version(findings) | Step::User { findings, .. }) => self.found.extend(findings),
            }
        }
    }

    /// Gives the snapshot back.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn end(self) -> Result<(), Error> {
        self.tx.rollback().await
    }
}

/// What a row of `managed_users` looks like in this database.
pub(super) async fn read_shape(tx: &mut Tx) -> Result<Shape, Error> {
    let columns = sqlx::query!(
        r#"
        select attname::text as "name!", atttypid = 'timestamptz'::regtype as "is_time!"
        from pg_attribute
        where attrelid = 'managed_users'::regclass and attnum > 0 and not attisdropped
        order by attnum
        "#
    )
    .fetch_all(&mut *tx)
    .await?;
    let promoted = sqlx::query!("select field, column_name from promoted_fields order by field")
        .fetch_all(&mut *tx)
        .await?;
    Ok(Shape {
        columns: columns
            .into_iter()
            .map(|column| Column {
                name: column.name,
                is_time: column.is_time,
            })
            .collect(),
        promoted: promoted
            .into_iter()
            .map(|promoted| Promoted {
                field: promoted.field,
                column: promoted.column_name,
            })
            .collect(),
    })
}
