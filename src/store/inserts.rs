//! Many new users at once.

use chrono::{DateTime, Utc};

use super::{
    Error, Run,
    copy::{self, Writer},
    tx::Tx,
};
use crate::{
    compare::{Change, ChangeSet, VersionFingerprint},
    model::{ClientId, Field, ManagedUser, UserId},
};

/// From so many on, COPY is worth its round trips.
const MANY: usize = 64;

/// Columns of `managed_users` that are not the API's fields: id, client, version, and three times.
const OWN_COLUMNS: i64 = 6;

/// Users of whom neither row nor ledger should exist, as COPY takes them. Made before the transaction, which then does nothing but
/// write.
#[derive(Clone, Debug)]
pub struct Inserts {
    /// In ascending order, as everything here is: so transactions wait for each other, and never in a circle.
    users: Vec<UserId>,
    rows: Vec<u8>,
    /// The end of each row in `rows`, before which its two times are to be put.
    ends: Vec<usize>,
    /// Empty if there are none.
    fingerprints: Vec<u8>,
}

impl Inserts {
    /// The inserts of a client's set, if there are many.
    ///
    /// # Errors
    ///
    /// When a field is longer than Postgres takes.
    pub fn of(client: &ClientId, set: &ChangeSet) -> Result<Option<Self>, Error> {
        let is_plain = |change: &Change| change.version == 1 && change.fields.is_empty();
        if set.inserts.len() < MANY || !set.inserts.iter().all(is_plain) {
            return Ok(None);
        }
        let mut changes: Vec<&Change> = set.inserts.iter().collect();
        changes.sort_unstable_by_key(|change| change.user_id());
        let users: Vec<UserId> = changes.iter().map(|change| change.user_id()).collect();
        let of_these = |print: &&VersionFingerprint| users.binary_search(&print.user_id).is_ok();
        let mut fingerprints: Vec<_> = set
            .bookkeeping
            .fingerprints
            .iter()
            .filter(of_these)
            .copied()
            .collect();
        fingerprints.sort_unstable_by_key(|print| print.user_id);
        let (rows, ends) = rows(client, &changes)?;
        Ok(Some(Self {
            users,
            rows,
            ends,
            fingerprints: fingerprint_rows(client, &fingerprints)?,
        }))
    }

    pub(super) fn users(&self) -> &[UserId] {
        &self.users
    }

    /// Writes rows, ledger and fingerprints. False when something is in the way, such as a row, or a ledger without a row: then
    /// the transaction is of no use, and what it is has to be found out in another one.
    pub(super) async fn write(&mut self, tx: &mut Tx, run: &Run) -> Result<bool, Error> {
        match self.copy(tx, run).await {
            Err(Failure::Database(sqlx::Error::Database(error)))
                if error.code().is_some_and(|code| is_of_what_was_written(&code)) =>
            {
                Ok(false)
            }
            Err(Failure::Database(error)) => Err(error.into()),
            Err(Failure::Store(error)) => Err(error),
            Ok(written) => Ok(written),
        }
    }

    async fn copy(&mut self, tx: &mut Tx, run: &Run) -> Result<bool, Failure> {
        let ids: Vec<i64> = self.users.iter().map(|user| user.0).collect();
        let found = sqlx::query!(
            r#"
            select
                now() as "now!",
                exists (
                    select from unnest($1::bigint[]) as new (id)
                    cross join lateral (
                        select from managed_user_changes as c where c.user_id = new.id limit 1
                    ) as entry
                ) as "in_ledger!",
                (
                    select count(*) from pg_attribute
                    where attrelid = 'managed_users'::regclass and attnum > 0 and not attisdropped
                ) as "columns!"
            "#,
            &ids,
        )
        .fetch_one(&mut *tx)
        .await?;
        // A column that somebody has added belongs into the ledger too, which the statement below would leave out.
        let has_own_columns_only = usize::try_from(found.columns - OWN_COLUMNS) == Ok(Field::ALL.len());
        if found.in_ledger || !has_own_columns_only {
            return Ok(false);
        }
        let copied = tx
            .copy_in(
                "copy managed_users (
                    id, client_id, email, username, name, bio, time_zone, week_start, created_date, time_format,
                    default_schedule_id, locale, avatar_url, metadata, extra, version, first_seen_at, changed_at
                ) from stdin (format binary)",
                self.rows_of(found.now),
            )
            .await?;
        // Made of the rows, so that the ledger says what they became and not what was sent.
        let logged = sqlx::query!(
            r#"
            insert into managed_user_changes (
                run_id, user_id, client_id, version, kind, observed_at, changed, after
            )
            select
                $1, w.id, w.client_id, w.version, 'insert', w.changed_at, '{}',
                -- Not of the whole row less four columns, which takes half as long again.
                (
                    select to_jsonb(fields) from (
                        select
                            w.id, w.client_id, w.email, w.username, w.name, w.bio, w.time_zone, w.week_start,
                            w.created_date, w.time_format, w.default_schedule_id, w.locale, w.avatar_url,
                            w.metadata, w.extra
                    ) as fields
                )
            from managed_users as w
            where w.id = any($2)
            order by w.id
            "#,
            run.id,
            &ids,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        let count = u64::try_from(self.users.len());
        if count != Ok(copied) || count != Ok(logged) {
            return Ok(false);
        }
        if !self.fingerprints.is_empty() {
            let statement = "copy record_fingerprints (user_id, client_id, version, fingerprint) from stdin (format binary)";
            tx.copy_in(statement, &self.fingerprints).await?;
        }
        Ok(true)
    }

    fn rows_of(&mut self, now: DateTime<Utc>) -> &[u8] {
        for end in &self.ends {
            copy::put_times(&mut self.rows[..*end], now);
        }
        &self.rows
    }
}

/// With times that are none yet.
fn rows(client: &ClientId, changes: &[&Change]) -> Result<(Vec<u8>, Vec<usize>), Error> {
    let mut rows = Writer::with_capacity(changes.len() * 512);
    let mut ends = Vec::with_capacity(changes.len());
    for change in changes {
        let ManagedUser {
            id,
            email,
            username,
            name,
            bio,
            time_zone,
            week_start,
            created_date,
            time_format,
            default_schedule_id,
            locale,
            avatar_url,
            metadata,
            extra,
        } = &*change.after;
        rows.row(18)
            .bigint(id.0)?
            .text(client.as_str())?
            .text(email)?
            .optional_text(username.as_deref())?
            .optional_text(name.as_deref())?
            .optional_text(bio.as_deref())?
            .text(time_zone)?
            .text(week_start)?
            .time(*created_date)?;
        match time_format {
            Some(hours) => rows.integer(*hours)?,
            None => rows.null(),
        };
        match default_schedule_id {
            Some(id) => rows.bigint(*id)?,
            None => rows.null(),
        };
        rows.optional_text(locale.as_deref())?
            .optional_text(avatar_url.as_deref())?;
        match metadata {
            Some(metadata) => rows.jsonb(metadata)?,
            None => rows.null(),
        };
        rows.jsonb(extra)?.integer(change.version)?.no_time()?.no_time()?;
        ends.push(rows.len());
    }
    Ok((rows.finish(), ends))
}

fn fingerprint_rows(client: &ClientId, fingerprints: &[VersionFingerprint]) -> Result<Vec<u8>, Error> {
    if fingerprints.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = Writer::with_capacity(fingerprints.len() * 80);
    for print in fingerprints {
        rows.row(4)
            .bigint(print.user_id.0)?
            .text(client.as_str())?
            .integer(print.version)?
            .bytes(print.fingerprint.as_bytes())?;
    }
    Ok(rows.finish())
}

/// Whether a SQLSTATE is of the rows or of the table they are for: what COPY cannot do (with row-level security), data,
/// constraints, names and types.
fn is_of_what_was_written(code: &str) -> bool {
    ["0A", "22", "23", "42"]
        .iter()
        .any(|class| code.starts_with(class))
}

/// What the database says is looked at before it is told.
#[derive(Debug)]
enum Failure {
    Database(sqlx::Error),
    Store(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}
