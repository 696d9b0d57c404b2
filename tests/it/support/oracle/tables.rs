//! The mirror's tables as they stand at one moment, read with plain SQL.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{FromRow, PgConnection, PgPool};

use super::record::canonical;

/// A row of `managed_users`.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) version: i32,
    pub(super) removed: bool,
    /// Canonical.
    pub(super) fields: Value,
}

/// A row of the ledger.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) change_id: i64,
    pub(super) run: i64,
    pub(super) user: i64,
    pub(super) version: i32,
    pub(super) kind: String,
    /// Canonical.
    pub(super) changed: Value,
    pub(super) after: Value,
}

/// A row of `sync_runs`.
#[derive(Clone, Debug, FromRow)]
pub(super) struct Run {
    pub(super) run_id: i64,
    pub(super) outcome: Option<String>,
    pub(super) trigger: String,
    pub(super) finished_at: Option<DateTime<Utc>>,
    pub(super) observed: i64,
    pub(super) inserted: i64,
    pub(super) updated: i64,
    pub(super) removed: i64,
    pub(super) restored: i64,
    pub(super) rejected: i64,
    pub(super) missing: i64,
    pub(super) unanswered: i64,
}

#[derive(Clone, Debug, FromRow)]
pub(super) struct Freshness {
    pub(super) last_complete_run_id: Option<i64>,
    pub(super) last_complete_at: Option<DateTime<Utc>>,
}

/// One client's part of every table.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) rows: BTreeMap<i64, Row>,
    /// In the order of writing.
    pub(super) ledger: Vec<Entry>,
    pub(super) runs: BTreeMap<i64, Run>,
    /// Confirmations, by user.
    pub(super) missing: BTreeMap<i64, i32>,
    pub(super) rejects: BTreeSet<i64>,
    pub(super) forgotten: BTreeSet<i64>,
    pub(super) freshness: Option<Freshness>,
    /// Rows in which the ledger, folded by `managed_users_as_of`, differs from the mirror; of all clients.
    pub(super) differing: Vec<i64>,
}

impl Tables {
    pub(super) async fn read(pool: &PgPool, client: &str) -> Self {
        let mut tx = pool.begin().await.expect("the database takes connections");
        sqlx::raw_sql("set transaction isolation level repeatable read, read only")
            .execute(&mut *tx)
            .await
            .expect("a transaction can be of that kind");
        let tables = Self::read_in(&mut tx, client)
            .await
            .expect("the tables can be read");
        tx.rollback().await.expect("a transaction can end");
        tables
    }

    async fn read_in(tx: &mut PgConnection, client: &str) -> Result<Self, sqlx::Error> {
        let rows: Vec<(i64, i32, bool, String)> = sqlx::query_as(
            "select id, version, removed_at is not null,
                 (to_jsonb(m) - array['version', 'first_seen_at', 'changed_at', 'removed_at'])::text
             from managed_users as m where client_id = $1",
        )
        .bind(client)
        .fetch_all(&mut *tx)
        .await?;
        let ledger: Vec<(i64, i64, i64, i32, String, String, String)> = sqlx::query_as(
            "select change_id, run_id, user_id, version, kind, changed::text, after::text
             from managed_user_changes where client_id = $1 order by change_id",
        )
        .bind(client)
        .fetch_all(&mut *tx)
        .await?;
        let runs: Vec<Run> = sqlx::query_as("select * from sync_runs where client_id = $1")
            .bind(client)
            .fetch_all(&mut *tx)
            .await?;
        let missing: Vec<(i64, i32)> =
            sqlx::query_as("select user_id, confirmations from missing_users where client_id = $1")
                .bind(client)
                .fetch_all(&mut *tx)
                .await?;
        let rejects: Vec<i64> = sqlx::query_scalar("select user_id from rejects where client_id = $1")
            .bind(client)
            .fetch_all(&mut *tx)
            .await?;
        let forgotten: Vec<i64> = sqlx::query_scalar("select user_id from forgotten_users")
            .fetch_all(&mut *tx)
            .await?;
        let freshness = sqlx::query_as(
            "select last_complete_run_id, last_complete_at from sync_state where client_id = $1",
        )
        .bind(client)
        .fetch_optional(&mut *tx)
        .await?;
        let differing = sqlx::query_scalar(
            "select id from ((table managed_users except select * from managed_users_as_of('infinity'))
                 union all (select * from managed_users_as_of('infinity') except table managed_users)) as differing
             order by id",
        )
        .fetch_all(&mut *tx)
        .await?;
        Ok(Self {
            rows: rows
                .into_iter()
                .map(|(id, version, removed, fields)| {
                    let fields = json(&fields);
                    (
                        id,
                        Row {
                            version,
                            removed,
                            fields,
                        },
                    )
                })
                .collect(),
            ledger: ledger
                .into_iter()
                .map(|(change_id, run, user, version, kind, changed, after)| Entry {
                    change_id,
                    run,
                    user,
                    version,
                    kind,
                    changed: changes(&changed),
                    after: json(&after),
                })
                .collect(),
            runs: runs.into_iter().map(|run| (run.run_id, run)).collect(),
            missing: missing.into_iter().collect(),
            rejects: rejects.into_iter().collect(),
            forgotten: forgotten.into_iter().collect(),
            freshness,
            differing,
        })
    }
}

/// Place, writer and locker of every tuple that only the pass in force may write: table, key, tuple. A transaction that was
/// rolled back has touched nothing, though the tuple still names it.
pub(super) async fn tuples(pool: &PgPool) -> BTreeMap<(String, i64), String> {
    let rows: Vec<(String, i64, String)> = sqlx::query_as(
        // A transaction that was rolled back, as by a crash, leaves its mark and touched nothing.
        "select 'managed_users', id, ctid::text || xmin::text || '/'
             || case when pg_xact_status(xmax::text::xid8) = 'aborted' then '0' else xmax::text end
         from managed_users
         union all
         select 'managed_user_changes', change_id, ctid::text || xmin::text || '/'
             || case when pg_xact_status(xmax::text::xid8) = 'aborted' then '0' else xmax::text end
         from managed_user_changes
         union all
         select 'missing_users', user_id, ctid::text || xmin::text from missing_users
         union all
         select 'rejects', user_id, ctid::text || xmin::text from rejects
         union all
         select 'sync_state', last_run_id, ctid::text || xmin::text from sync_state",
    )
    .fetch_all(pool)
    .await
    .expect("the tables can be read");
    rows.into_iter()
        .map(|(table, key, tuple)| ((table, key), tuple))
        .collect()
}

fn json(text: &str) -> Value {
    canonical(serde_json::from_str(text).expect("Postgres gives JSON"))
}

/// `{"time_zone": {"old": …, "new": …}}` with both values as those of the column.
fn changes(text: &str) -> Value {
    let Value::Object(columns) = serde_json::from_str(text).expect("Postgres gives JSON") else {
        return Value::Null;
    };
    let columns = columns.into_iter().map(|(column, change)| {
        let of = |side: &str| {
            let pair = [(column.clone(), change[side].clone())];
            canonical(Value::Object(pair.into_iter().collect()))[&column].clone()
        };
        let change = serde_json::json!({ "old": of("old"), "new": of("new") });
        (column, change)
    });
    Value::Object(columns.collect())
}
