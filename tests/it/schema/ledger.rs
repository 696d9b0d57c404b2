//! The ledger tells how the table came to be, without a gap.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{count, texts, told};

#[tokio::test]
async fn as_of_now_is_the_table_and_as_of_then_what_was() {
    let (_db, store, pool) = told().await;
    let differing = "
        select coalesce(a.id, b.id)::text from managed_users as a
        full join managed_users_as_of(now()) as b on a.id = b.id
        where a is distinct from b";
    assert_eq!(texts(&pool, differing).await, [""; 0]);
    assert_eq!(
        count(&pool, "select count(*) from managed_users_as_of(now())").await,
        7
    );
    let zones = "
        select (select time_zone from managed_users_as_of(v.observed_at) where id = v.user_id) || ', before: '
            || coalesce(
                (select time_zone from managed_users_as_of(v.observed_at - interval '1 microsecond')
                 where id = v.user_id), 'none')
        from managed_user_changes as v where v.user_id = 101 order by v.version";
    assert_eq!(
        texts(&pool, zones).await,
        [
            "America/New_York, before: none",
            "Europe/Berlin, before: America/New_York",
            "Europe/Paris, before: Europe/Berlin",
        ]
    );
    let removed_then = "
        select bool_and(u.removed_at = v.observed_at)::text || ' ' || count(*)
        from managed_user_changes as v cross join lateral managed_users_as_of(v.observed_at) as u
        where v.kind = 'removal' and u.id = v.user_id";
    assert_eq!(texts(&pool, removed_then).await, ["true 1"]);
    store.close().await;
    pool.close().await;
}

#[tokio::test]
async fn the_history_has_no_gap_and_no_overlap() {
    let (_db, store, pool) = told().await;
    let broken = "
        select user_id || ' v' || version from managed_users_history as h
        where valid_to is distinct from (
            select valid_from from managed_users_history as next
            where next.user_id = h.user_id and next.version = h.version + 1
        ) or valid_to <= valid_from";
    assert_eq!(texts(&pool, broken).await, [""; 0]);
    let open = "select count(*) from managed_users_history where valid_to is null";
    assert_eq!(count(&pool, open).await, 7, "one newest version a user");
    assert_eq!(
        count(&pool, "select count(*) from managed_users_history").await,
        store.ledger_rows().await.expect("the ledger can be counted")
    );
    store.close().await;
    pool.close().await;
}

/// One row of the ledger, as far as replaying it needs.
#[derive(Debug, sqlx::FromRow)]
struct Entry {
    user_id: i64,
    version: i32,
    kind: String,
    changed: Value,
    after: Value,
    row_times: Value,
}

fn fields(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("the column holds an object")
}

#[tokio::test]
async fn folding_the_ledger_gives_the_table() {
    let (_db, store, pool) = told().await;
    let ledger: Vec<Entry> = sqlx::query_as(
        "select user_id, version, kind, changed, after, to_jsonb(observed_at) as row_times
         from managed_user_changes order by user_id, version",
    )
    .fetch_all(&pool)
    .await
    .expect("the ledger can be read");
    let mut kinds: Vec<&str> = ledger.iter().map(|entry| entry.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(
        kinds,
        ["insert", "removal", "restore", "update"],
        "the story has them all"
    );

    let mut mirror: BTreeMap<i64, Map<String, Value>> = BTreeMap::new();
    for entry in &ledger {
        let row = mirror.entry(entry.user_id).or_default();
        let version = row.get("version").and_then(Value::as_i64).unwrap_or_default();
        assert_eq!(i64::from(entry.version), version + 1, "{entry:?}");
        match entry.kind.as_str() {
            "insert" => {
                assert_eq!(entry.version, 1, "{entry:?}");
                row.extend(fields(&entry.after).clone());
                row.insert("first_seen_at".to_owned(), entry.row_times.clone());
            }
            _ => {
                for (field, change) in fields(&entry.changed) {
                    let old = row.insert(field.clone(), change["new"].clone());
                    assert_eq!(old.as_ref(), Some(&change["old"]), "{field} of {entry:?}");
                }
            }
        }
        for (field, value) in fields(&entry.after) {
            assert_eq!(row.get(field), Some(value), "{field} of {entry:?}");
        }
        let removed = entry.kind == "removal";
        let removed_at = if removed {
            entry.row_times.clone()
        } else {
            Value::Null
        };
        row.insert("version".to_owned(), entry.version.into());
        row.insert("changed_at".to_owned(), entry.row_times.clone());
        row.insert("removed_at".to_owned(), removed_at);
    }
    let table: Vec<(i64, Value)> =
        sqlx::query_as("select id, to_jsonb(u) from managed_users as u order by id")
            .fetch_all(&pool)
            .await
            .expect("the table can be read");
    let table: BTreeMap<i64, Map<String, Value>> =
        table.iter().map(|(id, row)| (*id, fields(row).clone())).collect();
    assert_eq!(mirror, table);
    store.close().await;
    pool.close().await;
}
