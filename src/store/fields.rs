//! Fields of Cal.com's answers that this version does not know.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Error, Run, Store, tx::Tx};
use crate::compare::{AnnouncedFields, NewField};

/// A field that is mirrored in `extra`. Serialized as `status --output json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExtraField {
    /// Its name on the wire, cut at [`AnnouncedFields::MAX_CHARS`].
    pub field: String,
    pub first_seen_at: DateTime<Utc>,
    /// The pass that saw it first.
    pub run_id: i64,
}

impl Store {
    /// Every unknown field that was ever announced, the oldest first: at most [`AnnouncedFields::MAX`].
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn extra_fields(&self) -> Result<Vec<ExtraField>, Error> {
        let mut tx = self.begin().await?;
        let fields = sqlx::query_as!(
            ExtraField,
            "select field, first_seen_at, run_id from extra_fields order by first_seen_at, field"
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(fields)
    }
}

/// Puts new fields on record, in the batch's transaction.
pub(super) async fn write(tx: &mut Tx, run: &Run, fields: &[NewField]) -> Result<(), Error> {
    if fields.is_empty() {
        return Ok(());
    }
    // Passes over two clients may find more fields at once than there is room for.
    // A lock of the table would take the right to change what is in it.
    sqlx::query!(
        "select pg_advisory_xact_lock(hashtextextended('calmirror extra_fields ' || current_schema(), 0))"
    )
    .execute(&mut *tx)
    .await?;
    let names: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
    sqlx::query!(
        r#"
        insert into extra_fields (field, first_seen_at, run_id)
        select name, now(), $2 from unnest($1::text[]) as new (name)
        where not exists (select from extra_fields as e where e.field = name)
        order by name
        limit greatest(0, $3 - (select count(*) from extra_fields))
        on conflict do nothing
        "#,
        &names,
        run.id,
        i64::try_from(AnnouncedFields::MAX).unwrap_or(i64::MAX),
    )
    .execute(&mut *tx)
    .await?;
    Ok(())
}
