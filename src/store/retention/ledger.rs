//! Folding the oldest versions of each user into one.
//!
//! The newest version that is older than the cutoff stays in its place, as an insert that also says when the user was first
//! seen and since when it is removed; those before it go. No pass reads or writes any of these rows but to look at a user's
//! newest version, and that says the same before and after.

use chrono::{DateTime, Utc};
use sqlx::types::Json as Jsonb;

use super::{
    BATCH, Cutoffs, LOOKED_AT, Mode, Pruning, check,
    due::{Due, due, look},
    stored,
};
use crate::{
    model::{JsonObject, UserId},
    store::{
        Error, Store,
        tx::Tx,
        verify::{Cursor, entries, read_shape},
    },
    verify::{Comparison, Entry, Verdict},
};

/// How far the ledger has been folded: every version up to this one of this user, in the order of users and versions, has been
/// looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub user_id: i64,
    pub version: i32,
}

/// What one transaction folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoldedBatch {
    /// Where to go on; none when nothing is left.
    pub next: Option<Place>,
    /// Users whose ledger begins with a version that others were folded into.
    pub users: u64,
    /// Rows that were deleted.
    pub versions: u64,
    /// Users whose ledger has a fault, which folding would hide.
    pub in_doubt: u64,
}

/// Folded rows, column by column, as `unnest` takes them.
#[derive(Default)]
struct Bases {
    user_id: Vec<i64>,
    version: Vec<i32>,
    row: Vec<Jsonb<JsonObject>>,
}

impl Store {
    /// Folds some users' oldest versions, from a place on.
    ///
    /// # Errors
    ///
    /// [`Error::Overtaken`] when somebody else has begun to delete.
    pub async fn fold(&self, pruning: &Pruning, from: Place) -> Result<FoldedBatch, Error> {
        self.fold_by(Mode::Delete(pruning.token), pruning.cutoffs.ledger, from)
            .await
    }

    /// What [`Store::fold`] would do, where everything before the place has been folded.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn foldable(&self, cutoffs: &Cutoffs, from: Place) -> Result<FoldedBatch, Error> {
        self.fold_by(Mode::Look, cutoffs.ledger, from).await
    }

    async fn fold_by(
        &self,
        mode: Mode,
        cutoff: Option<DateTime<Utc>>,
        from: Place,
    ) -> Result<FoldedBatch, Error> {
        let mut batch = FoldedBatch {
            next: None,
            users: 0,
            versions: 0,
            in_doubt: 0,
        };
        let Some(cutoff) = cutoff else {
            return Ok(batch);
        };
        let mut tx = self.begin_batch().await?;
        if let Mode::Delete(token) = mode {
            // In nobody's way but that of `forget`, which erases the very rows: one after the other.
            sqlx::query!("lock table sync_state in row share mode")
                .execute(&mut tx)
                .await?;
            check(&mut tx, token).await?;
        }
        let looked = look(&mut tx, cutoff, from).await?;
        let is_end = super::count(LOOKED_AT) > looked.len() as u64;
        let (due, next) = due(&looked, BATCH, is_end);
        let sound = sound(&mut tx, &due).await?;
        let bases = sound.user_id.len();
        batch.next = next.map(|next| {
            let in_doubt = due.last().is_some_and(|due| due.user_id == next.user_id)
                && sound.user_id.last() != Some(&next.user_id);
            // Nothing after the fault can be folded, and all before it would be read again.
            if in_doubt { next.after_user() } else { next }
        });
        batch.users = bases as u64;
        batch.in_doubt = (due.len() - bases) as u64;
        let versions = due
            .iter()
            .filter(|due| sound.user_id.binary_search(&due.user_id).is_ok())
            .map(|due| due.versions);
        batch.versions = super::count(versions.sum());
        if let Mode::Look = mode {
            tx.rollback().await?;
            return Ok(batch);
        }
        if bases > 0 {
            batch.versions = write(&mut tx, &sound).await?;
        }
        sqlx::query!(
            r#"
            update retention set
                heartbeat_at = now(),
                deleted_versions = deleted_versions + $1,
                folded_users = folded_users + $2,
                users_in_doubt = users_in_doubt + $3,
                -- It may have been configured to go back further since.
                history_from = case when $2 > 0 then greatest(history_from, $4) else history_from end
            "#,
            stored(batch.versions),
            stored(batch.users),
            stored(batch.in_doubt),
            cutoff,
        )
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(batch)
    }
}

/// What the versions of these users leave, for those whose versions contradict themselves nowhere.
async fn sound(tx: &mut Tx, due: &[Due]) -> Result<Bases, Error> {
    let mut bases = Bases::default();
    if due.is_empty() {
        return Ok(bases);
    }
    let shape = read_shape(tx).await?;
    let list = |values: Vec<String>| values.join(",");
    let from = format!(
        "unnest('{{{}}}'::bigint[], '{{{}}}'::integer[]) as due (user_id, base)
         join managed_user_changes as c on c.user_id = due.user_id and c.version <= due.base",
        list(due.iter().map(|due| due.user_id.to_string()).collect()),
        list(due.iter().map(|due| due.base.to_string()).collect()),
    );
    let query = entries(&shape, &from, "true");
    let mut ledger = Cursor::<Entry>::declare(tx, "calmirror_folded".to_owned(), &query).await?;
    let mut comparison = Comparison::new(shape, Vec::new());
    for Due { user_id, base, .. } in due {
        let id = UserId(*user_id);
        while ledger.head(tx).await?.is_some_and(|entry| entry.user_id == id) {
            if let Some(entry) = ledger.take() {
                comparison.version(&entry);
            }
        }
        // There is no row for what the user once was, so that it is told.
        let (Verdict::Missing { truth }, _) = comparison.user(id, None, &[]) else {
            continue;
        };
        if truth.is_sound && truth.version == *base {
            bases.user_id.push(*user_id);
            bases.version.push(*base);
            bases.row.push(Jsonb(truth.row));
        }
    }
    Ok(bases)
}

/// Deletes what is folded, and makes the last version of each user its first.
async fn write(tx: &mut Tx, bases: &Bases) -> Result<u64, Error> {
    let deleted = sqlx::query!(
        r#"
        delete from managed_user_changes as c
        using unnest($1::bigint[], $2::integer[]) as base (user_id, version)
        where c.user_id = base.user_id and c.version < base.version
        "#,
        &bases.user_id,
        &bases.version,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    let written = sqlx::query!(
        r#"
        update managed_user_changes as c set
            kind = 'insert',
            changed = '{}',
            folded_at = now(),
            first_seen_at = (base.row ->> 'first_seen_at')::timestamptz,
            removed_at = (base.row ->> 'removed_at')::timestamptz
        from unnest($1::bigint[], $2::integer[], $3::jsonb[]) as base (user_id, version, row)
        where c.user_id = base.user_id and c.version = base.version
        "#,
        &bases.user_id,
        &bases.version,
        &bases.row as &[Jsonb<JsonObject>],
    )
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if written == bases.user_id.len() as u64 {
        Ok(deleted)
    } else {
        Err(Error::Conflict)
    }
}
