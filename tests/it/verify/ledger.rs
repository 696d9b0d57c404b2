//! Damage to the ledger itself: found where it is, and never repaired.

use serde_json::{Value, json};

use super::{edit, findings, found, summary, told, verify, workplace};

/// A statement that damages the story's ledger, and what is then found: user, version and fault.
const DAMAGES: [(&str, i64, i64, &str); 17] = [
    (
        "delete from managed_user_changes where user_id = 101 and version = 2",
        101,
        3,
        "gap",
    ),
    (
        "delete from managed_user_changes where user_id = 101 and version = 1",
        101,
        2,
        "gap",
    ),
    (
        "update managed_user_changes set version = 9 where user_id = 101 and version = 3",
        101,
        9,
        "gap",
    ),
    (
        "update managed_user_changes set kind = 'update' where user_id = 101 and version = 1",
        101,
        1,
        "first_not_insert",
    ),
    (
        "update managed_user_changes set kind = 'insert' where user_id = 101 and version = 2",
        101,
        2,
        "insert_again",
    ),
    (
        "update managed_user_changes set kind = 'removal', changed = '{}' where user_id = 104 and version = 3",
        104,
        3,
        "removal_of_removed",
    ),
    (
        "update managed_user_changes set kind = 'update' where user_id = 104 and version = 3",
        104,
        3,
        "update_of_removed",
    ),
    (
        "update managed_user_changes set kind = 'restore' where user_id = 101 and version = 3",
        101,
        3,
        "restore_of_live",
    ),
    (
        "alter table managed_user_changes drop constraint managed_user_changes_kind_check;
         update managed_user_changes set kind = 'merge' where user_id = 101 and version = 3",
        101,
        3,
        "unknown_kind",
    ),
    (
        "update managed_user_changes set observed_at = 'infinity' where user_id = 101 and version = 3",
        101,
        3,
        "no_time",
    ),
    (
        "update managed_user_changes set changed = '{\"time_zone\": 5}' where user_id = 101 and version = 2",
        101,
        2,
        "malformed",
    ),
    (
        "update managed_user_changes set after = '[1]' where user_id = 101 and version = 2",
        101,
        2,
        "malformed",
    ),
    (
        "update managed_user_changes set after = after || '{\"id\": 102}' where user_id = 101 and version = 2",
        101,
        2,
        "other_user",
    ),
    (
        "update managed_user_changes set changed = '{\"bio\": {\"old\": null, \"new\": null}}'
         where user_id = 104 and version = 2",
        104,
        2,
        "nothing_to_change",
    ),
    (
        "update managed_user_changes set changed = '{}' where user_id = 101 and version = 2",
        101,
        2,
        "after",
    ),
    (
        "update managed_user_changes set after = after || '{\"time_zone\": \"Mars/Olympus\"}'
         where user_id = 101 and version = 2",
        101,
        2,
        "after",
    ),
    // A removal leaves a user as it was.
    (
        "update managed_user_changes set after = after || '{\"metadata\": null}'
         where user_id = 104 and version = 2",
        104,
        2,
        "after",
    ),
];

#[tokio::test]
async fn each_fault_of_the_ledger_is_found_where_it_is() {
    for (damage, user, version, fault) in DAMAGES {
        let (_db, store, pool) = told().await;
        edit(&pool, damage).await;
        let found = found(&store, 4, 7).await;
        let is_it = |finding: &Value| {
            finding["finding"] == "ledger"
                && finding["user_id"] == user
                && finding["version"] == version
                && finding["fault"] == fault
        };
        assert!(found.iter().any(is_it), "{damage}: {found:#?}");
        let elsewhere = |finding: &&Value| finding["finding"] == "ledger" && finding["user_id"] != user;
        assert_eq!(found.iter().find(elsewhere), None, "{damage}");
        store.close().await;
        pool.close().await;
    }
}

#[tokio::test]
async fn a_row_whose_ledger_is_in_doubt_is_not_repaired() {
    let (db, store, pool) = told().await;
    edit(
        &pool,
        "update managed_user_changes set after = after || '{\"locale\": \"xx\"}' where user_id = 101 and version = 3;
         update managed_users set name = 'Edited' where id = 102",
    )
    .await;
    let rows = "select jsonb_object_agg(id, name || ' ' || locale || ' ' || version) from managed_users where id < 103";
    let ended = verify(&workplace(&db.url(), ""), &["--repair", "--instants", "0"], 1).await;
    let lines = ended.json();
    let of_row: Vec<_> = findings(&lines)
        .into_iter()
        .filter(|finding| finding["finding"] == "edited")
        .map(|finding| (finding["user_id"].clone(), finding["repairable"].clone()))
        .collect();
    assert_eq!(of_row, [(json!(101), json!(false)), (json!(102), json!(true))]);
    assert_eq!(
        (&summary(&lines)["summary"], &summary(&lines)["repaired"]),
        (&json!("differs"), &json!(1))
    );
    let rows: Value = sqlx::query_scalar(rows)
        .fetch_one(&pool)
        .await
        .expect("the mirror can be read");
    assert_eq!(
        rows,
        json!({"101": "Alice Moreau en 3", "102": "Robert Stone en-GB 3"})
    );
    store.close().await;
    pool.close().await;
}

/// As docs/output.md has them.
#[tokio::test]
async fn a_fault_of_the_ledger_says_which_version_should_come_and_which_column_is_malformed() {
    for (damage, fault, key, value) in [
        (
            "delete from managed_user_changes where user_id = 101 and version = 2",
            "gap",
            "expected",
            json!(2),
        ),
        (
            "update managed_user_changes set changed = '{\"time_zone\": 5}' where user_id = 101 and version = 2",
            "malformed",
            "column",
            json!("changed"),
        ),
        (
            "update managed_user_changes set after = '[1]' where user_id = 101 and version = 2",
            "malformed",
            "column",
            json!("after"),
        ),
    ] {
        let (db, store, pool) = told().await;
        edit(&pool, damage).await;
        let lines = verify(&workplace(&db.url(), ""), &["--instants", "0"], 1)
            .await
            .json();
        let found = findings(&lines);
        let of_fault = found.iter().find(|finding| finding["fault"] == fault);
        let of_fault = of_fault.unwrap_or_else(|| panic!("{damage}: {lines:#?}"));
        assert_eq!(of_fault[key], value, "{damage}: {of_fault}");
        let others = found.iter().filter(|finding| finding["fault"] != fault);
        for other in others {
            assert!(other.get(key).is_none(), "{damage}: {other}");
        }
        store.close().await;
        pool.close().await;
    }
}
