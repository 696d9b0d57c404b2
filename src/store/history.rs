//! One user's versions, as the ledger has them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::types::Json as Jsonb;

use super::{Error, Store};
use crate::model::{JsonObject, UserId};

/// What a version says of those before it, which were folded into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FoldedHistory {
    pub folded_at: DateTime<Utc>,
    /// When the first of them was written.
    pub first_seen_at: DateTime<Utc>,
    /// Since when the user is removed, if it is as of this version.
    pub removed_at: Option<DateTime<Utc>>,
}

/// A row of the ledger. Serialized as `history --output json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryEntry {
    pub version: i32,
    /// `insert`, `update`, `removal`, `restore` or `repair`.
    pub kind: String,
    pub observed_at: DateTime<Utc>,
    pub run_id: i64,
    pub client_id: String,
    /// Column name to `{"old": …, "new": …}`.
    pub changed: JsonObject,
    /// The user's fields as they became. A field that was unknown then and has a column now stands there.
    pub after: JsonObject,
    /// Of a version into which those before it were folded; its key is left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folded: Option<FoldedHistory>,
}

/// The same as the database has it. The last three are of a version into which others were folded.
pub(super) struct Row {
    pub(super) version: i32,
    pub(super) kind: String,
    pub(super) observed_at: DateTime<Utc>,
    pub(super) run_id: i64,
    pub(super) client_id: String,
    pub(super) changed: Jsonb<JsonObject>,
    pub(super) after: Jsonb<JsonObject>,
    pub(super) folded_at: Option<DateTime<Utc>>,
    pub(super) first_seen_at: Option<DateTime<Utc>>,
    pub(super) removed_at: Option<DateTime<Utc>>,
}

impl From<Row> for HistoryEntry {
    fn from(row: Row) -> Self {
        let of_folded = row.folded_at.zip(row.first_seen_at);
        Self {
            version: row.version,
            kind: row.kind,
            observed_at: row.observed_at,
            run_id: row.run_id,
            client_id: row.client_id,
            changed: row.changed.0,
            after: row.after.0,
            folded: of_folded.map(|(folded_at, first_seen_at)| FoldedHistory {
                folded_at,
                first_seen_at,
                removed_at: row.removed_at,
            }),
        }
    }
}

impl Store {
    /// When a user was forgotten; none for one that was not.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn forgotten_at(&self, user: UserId) -> Result<Option<DateTime<Utc>>, Error> {
        let mut tx = self.begin().await?;
        let at = sqlx::query_scalar!(
            "select forgotten_at from forgotten_users where user_id = $1",
            user.0
        )
        .fetch_optional(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(at)
    }

    /// Every version of a user, the first one first. Empty for a user that was never mirrored, or is forgotten.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn history(&self, user: UserId) -> Result<Vec<HistoryEntry>, Error> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query_as!(
            Row,
            r#"
            select
                version, kind, observed_at, run_id, client_id,
                changed as "changed: Jsonb<JsonObject>",
                managed_user_promoted(after) as "after!: Jsonb<JsonObject>",
                folded_at, first_seen_at, removed_at
            from managed_user_changes
            where user_id = $1
            order by version
            "#,
            user.0,
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(rows.into_iter().map(HistoryEntry::from).collect())
    }
}
