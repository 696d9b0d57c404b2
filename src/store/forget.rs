//! Erasing a person, and knowing whom not to mirror again.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Error, Store, rights, tx::Tx};
use crate::{compare::ChangeSet, model::UserId};

/// A user that is erased. Serialized as `forget --output json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    pub user_id: i64,
    /// By the database's clock.
    pub forgotten_at: DateTime<Utc>,
    /// The user had been forgotten before; nothing was left to erase, as a rule.
    pub already: bool,
    /// Rows of `managed_users` that were erased: one, or none.
    pub rows: i64,
    /// Rows of the ledger.
    pub versions: i64,
    pub rejects: i64,
    /// Rows of `missing_users`.
    pub missing: i64,
    /// Held sets that had the user in them, dropped as a whole.
    pub held_sets: i64,
    /// Passes on record whose error named the user; it does not any more.
    pub errors: i64,
}

impl Store {
    /// Erases all that the tables hold of a user, in one transaction, and leaves a tombstone: the id and the time. None, with
    /// nothing done, for a user of whom nothing at all is known.
    ///
    /// Waits for the transactions of passes that are under way, and they for this one: what they write next is checked
    /// against the tombstone.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] for a user who has no right to; otherwise what Postgres says.
    pub async fn forget(&self, user: UserId) -> Result<Option<Forgotten>, Error> {
        let mut tx = self.begin().await?;
        rights::check_forget(&mut tx).await?;
        // Each writer locks its client's row here first. A client's very first pass has no row yet, but adds one.
        sqlx::query!("lock table sync_state in exclusive mode")
            .execute(&mut tx)
            .await?;
        let before = sqlx::query_scalar!(
            "select forgotten_at from forgotten_users where user_id = $1",
            user.0
        )
        .fetch_optional(&mut tx)
        .await?;
        let erased = sqlx::query!(
            r#"
            with
            mirrored as (delete from managed_users where id = $1 returning id),
            versions as (delete from managed_user_changes where user_id = $1 returning version),
            rejected as (delete from rejects where user_id = $1 returning client_id),
            missing as (delete from missing_users where user_id = $1 returning client_id),
            fingerprint as (delete from record_fingerprints where user_id = $1),
            -- Without the user the set would not be what its hash says, so all of it goes.
            held as (
                delete from held_sets
                where client_id in (select client_id from held_removals where user_id = $1)
                returning client_id
            )
            select
                (select count(*) from mirrored) as "rows!",
                (select count(*) from versions) as "versions!",
                (select count(*) from rejected) as "rejects!",
                (select count(*) from missing) as "missing!",
                (select count(*) from held) as "held_sets!"
            "#,
            user.0,
        )
        .fetch_one(&mut tx)
        .await?;
        let nothing = erased.rows + erased.versions + erased.rejects + erased.missing + erased.held_sets == 0;
        if nothing && before.is_none() {
            tx.rollback().await?;
            return Ok(None);
        }
        // An error may have the id after such words, or in the address that was asked for, and any other number elsewhere.
        let errors = sqlx::query!(
            r"
            update sync_runs set error = regexp_replace(error, $1, '\1(forgotten)', 'g')
            where error ~ $1
            ",
            format!(r"((?:[Uu]sers?|ID|and|,) |/users/){}\M", user.0),
        )
        .execute(&mut tx)
        .await?
        .rows_affected();
        let forgotten_at = sqlx::query_scalar!(
            r#"
            insert into forgotten_users as f (user_id, forgotten_at) values ($1, now())
            on conflict (user_id) do update set forgotten_at = f.forgotten_at
            returning forgotten_at
            "#,
            user.0,
        )
        .fetch_one(&mut tx)
        .await?;
        if erased.rows + erased.versions > 0 {
            self.tell_forgotten(&mut tx, user.0).await?;
        }
        tx.commit().await?;
        Ok(Some(Forgotten {
            user_id: user.0,
            forgotten_at,
            already: before.is_some(),
            rows: erased.rows,
            versions: erased.versions,
            rejects: erased.rejects,
            missing: erased.missing,
            held_sets: erased.held_sets,
            errors: i64::try_from(errors).unwrap_or(i64::MAX),
        }))
    }

    /// Which of these users are forgotten: nobody asks for them, and nothing of them is written.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn forgotten_among(&self, users: &[UserId]) -> Result<HashSet<UserId>, Error> {
        let ids: Vec<i64> = users.iter().map(|id| id.0).collect();
        let mut tx = self.begin().await?;
        // Of sets, as opposed to joins, no plan compares each with each: there may be 100,000 users.
        let forgotten = sqlx::query_scalar!(
            r#"
            select user_id as "user_id!" from forgotten_users
            intersect
            select unnest($1::bigint[])
            "#,
            &ids,
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(forgotten.into_iter().map(UserId).collect())
    }
}

/// That nobody of whom a set would write a row was forgotten since it was compared. To be called under the fence.
pub(super) async fn check(tx: &mut Tx, set: &ChangeSet) -> Result<(), Error> {
    let bookkeeping = &set.bookkeeping;
    let mut written: Vec<i64> = set
        .changes()
        .map(|change| change.user_id().0)
        .chain(set.removals.iter().map(|removal| removal.user_id.0))
        .chain(bookkeeping.confirm_missing.iter().map(|id| id.0))
        .chain(bookkeeping.record_missing.iter().map(|id| id.0))
        .chain(bookkeeping.record_rejects.iter().map(|reject| reject.id.0))
        .chain(bookkeeping.fingerprints.iter().map(|print| print.user_id.0))
        .collect();
    written.sort_unstable();
    written.dedup();
    check_users(tx, &written).await
}

/// That none of these users is forgotten. To be called under the fence.
pub(super) async fn check_users(tx: &mut Tx, users: &[i64]) -> Result<(), Error> {
    if users.is_empty() {
        return Ok(());
    }
    let forgotten = sqlx::query_scalar!(
        // As a rule there is nobody, and then thousands need not be looked up.
        r#"
        select
            exists (select from forgotten_users)
            and exists (select from forgotten_users where user_id = any($1)) as "forgotten!"
        "#,
        users,
    )
    .fetch_one(tx)
    .await?;
    if forgotten { Err(Error::Conflict) } else { Ok(()) }
}
