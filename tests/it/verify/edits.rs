//! Rows that were edited, deleted or put in.

use calmirror::{model::UserId, store::Instants};
use serde_json::{Value, json};

use super::{Mirrored, findings, found, summary};

/// The columns of the table with an expression for each that changes its value.
async fn edits(mirrored: &Mirrored) -> Vec<(String, String)> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "select attname::text, atttypid::regtype::text from pg_attribute
         where attrelid = 'managed_users'::regclass and attnum > 0 and not attisdropped order by attnum",
    )
    .fetch_all(&mirrored.world.pool)
    .await
    .expect("the catalogue can be read");
    columns
        .into_iter()
        .map(|(column, kind)| {
            let expression = match kind.as_str() {
                "text" => format!("coalesce({column}, '') || '!'"),
                "integer" => format!("coalesce({column}, 0) + 1"),
                "bigint" => format!("coalesce({column}, 0) + 1000000"),
                "timestamp with time zone" => {
                    format!("coalesce({column}, now()) + interval '1 microsecond'")
                }
                "jsonb" => format!("coalesce({column}, '{{}}') || '{{\"edited\": [1.0]}}'"),
                other => panic!("no edit of a column of type {other}"),
            };
            (column, expression)
        })
        .collect()
}

#[tokio::test]
async fn each_column_that_was_edited_is_named_and_set_back() {
    let mirrored = Mirrored::new(25).await;
    let edits = edits(&mirrored).await;
    assert!(edits.len() >= 19, "{edits:?}");
    mirrored.assert_right().await;
    let before: Vec<Value> = rows(&mirrored).await;
    for ((column, expression), user) in edits.iter().zip(mirrored.world.users()) {
        let statement = format!("update managed_users set {column} = {expression} where id = {user}");
        mirrored.edit(statement).await;
    }
    let edited = rows(&mirrored).await;

    let lines = mirrored.verify(&[], 1).await;
    let found = findings(&lines);
    let value_in = |rows: &[Value], user: i64, column: &str| {
        let row = rows.iter().find(|row| row["id"] == user).expect("the row");
        row[column].clone()
    };
    for ((column, _), user) in edits.iter().zip(mirrored.world.users()) {
        let of_user: Vec<_> = found
            .iter()
            .filter(|finding| finding["user_id"] == user)
            .collect();
        let [finding] = of_user[..] else {
            panic!("{column}: {of_user:?}")
        };
        if column == "id" {
            assert_eq!(finding["finding"], "missing");
            continue;
        }
        assert_eq!(finding["finding"], "edited", "{column}");
        assert_eq!(
            (&finding["version"], &finding["client_id"]),
            (&json!(1), &before[0]["client_id"])
        );
        let fields = finding["fields"].as_array().expect("a list");
        assert_eq!(fields.len(), 1, "{column}: {finding}");
        assert_eq!(fields[0]["field"], *column);
        assert_eq!(fields[0]["found"], value_in(&edited, user, column));
        if !column.ends_with("_at") && column != "created_date" {
            assert_eq!(fields[0]["truth"], value_in(&before, user, column), "{column}");
        }
    }
    assert_eq!(
        found.len(),
        edits.len() + 1,
        "and the row with another id: {found:#?}"
    );
    assert_eq!(
        found.last().map(|finding| &finding["finding"]),
        Some(&json!("unknown"))
    );
    assert_eq!(summary(&lines)["differences"], json!(found.len()));

    let lines = mirrored.verify(&["--repair"], 0).await;
    assert_eq!(summary(&lines)["repaired"], json!(found.len()), "{lines:#?}");
    let after = rows(&mirrored).await;
    assert_eq!(after.len(), before.len());
    for (before, after) in before.iter().zip(&after) {
        let repaired = i64::from(before["version"] != after["version"]);
        assert_eq!(after["version"], json!(1 + repaired));
        for (column, value) in before.as_object().expect("a row") {
            if !["version", "changed_at"].contains(&column.as_str()) {
                assert_eq!(after[column], *value, "{column}");
            }
        }
    }
    let repairs = "select count(*) from managed_user_changes where kind = 'repair' and version = 2";
    assert_eq!(
        usize::try_from(mirrored.world.value::<i64>(repairs).await),
        Ok(edits.len())
    );
    mirrored.assert_right().await;
}

async fn rows(mirrored: &Mirrored) -> Vec<Value> {
    sqlx::query_scalar("select to_jsonb(u) from managed_users as u order by id")
        .fetch_all(&mirrored.world.pool)
        .await
        .expect("the mirror can be read")
}

#[tokio::test]
async fn the_last_line_says_what_there_is_to_do() {
    let mirrored = Mirrored::new(4).await;
    let (edited, lost) = (mirrored.user(1), mirrored.user(2));
    let last = async |arguments: &[&str]| {
        let ended = mirrored.workplace.run(arguments).await.expect(1);
        ended.stdout.lines().last().unwrap_or_default().to_owned()
    };
    mirrored
        .edit(format!(
            "delete from managed_user_changes where user_id = {lost};
             update managed_users set version = 2 where id = {lost}"
        ))
        .await;
    let restore = "no repair sets the ledger right: restore it from a backup";
    assert_eq!(last(&["verify", "--instants", "0"]).await, restore);
    assert_eq!(last(&["verify", "--repair"]).await, restore);
    mirrored
        .edit(format!(
            "update managed_users set bio = repeat('x', 300) where id = {edited}"
        ))
        .await;
    let ended = mirrored
        .workplace
        .run(&["verify", "--instants", "0"])
        .await
        .expect(1);
    let lines: Vec<_> = ended.stdout.lines().rev().take(2).collect();
    assert_eq!(lines[0], restore);
    assert!(
        lines[1].starts_with("`calmirror verify --repair` sets right"),
        "{ended}"
    );
    // Cut as in a plan.
    let found = format!("    bio: found \"{}…, true ", "x".repeat(199));
    assert!(ended.stdout.contains(&found), "{ended}");
}

#[tokio::test]
async fn what_is_found_reads_field_by_field() {
    let mirrored = Mirrored::new(4).await;
    let user = mirrored.user(1);
    mirrored
        .edit(format!(
            "update managed_users set time_zone = 'Mars/Olympus', version = 7 where id = {user}"
        ))
        .await;
    let zone: String =
        sqlx::query_scalar("select after ->> 'time_zone' from managed_user_changes where user_id = $1")
            .bind(user)
            .fetch_one(&mirrored.world.pool)
            .await
            .expect("the ledger can be read");
    let ended = mirrored.workplace.run(&["verify", "--seed", "3"]).await.expect(1);
    let expected = format!(
        "user {user}: edited in managed_users; the ledger is at v1\n    \
         time_zone: found \"Mars/Olympus\", true {zone:?}\n    version: found 7, true 1\n\
         4 users with 4 versions compared, managed_users_as_of at 1 instant: 1 difference\n\
         the same instants again: --seed 3\n\
         `calmirror verify --repair` sets right what was edited in managed_users, as new versions\n"
    );
    assert_eq!(ended.stdout, expected);
    let ended = mirrored.workplace.run(&["verify", "--repair"]).await.expect(0);
    let last = ended.stdout.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("the same instants again"),
        "nothing is left to do: {ended}"
    );
    assert!(
        ended.stdout.contains(&format!(
            "\nuser {user}: set back to what the ledger says, as v2\n"
        )),
        "{ended}"
    );
    let history = mirrored
        .workplace
        .run(&["history", &user.to_string()])
        .await
        .expect(0);
    let line = format!("    time_zone: \"Mars/Olympus\" -> {zone:?}");
    assert!(
        history.stdout.contains(&line) && history.stdout.contains("v2 repair"),
        "{history}"
    );
    mirrored.assert_right().await;
}

#[tokio::test]
async fn a_row_that_was_deleted_comes_back_and_one_that_was_put_in_goes() {
    let mirrored = Mirrored::new(5).await;
    let (deleted, pattern) = (mirrored.user(0), mirrored.user(1));
    mirrored
        .edit(format!(
            "insert into managed_users select (jsonb_populate_record(u, '{{\"id\": 900001}}')).*
             from managed_users as u where id = {pattern};
             delete from managed_users where id = {deleted}"
        ))
        .await;
    let lines = mirrored.verify(&[], 1).await;
    let kinds: Vec<_> = findings(&lines)
        .iter()
        .map(|finding| (finding["user_id"].clone(), finding["finding"].clone()))
        .collect();
    assert_eq!(
        kinds,
        [
            (json!(deleted), json!("missing")),
            (json!(900_001), json!("unknown"))
        ]
    );
    let lines = mirrored.verify(&["--repair"], 0).await;
    let repairs: Vec<_> = lines.iter().filter_map(|line| line.get("repair")).collect();
    assert_eq!(repairs, ["deleted", "set_back"]);
    assert_eq!(mirrored.world.kinds(deleted).await, ["insert", "repair"]);
    mirrored.assert_right().await;
}

#[tokio::test]
async fn what_the_ledger_has_lost_is_left_for_a_backup() {
    let mirrored = Mirrored::new(4).await;
    let user = mirrored.user(2);
    mirrored
        .edit(format!(
            "delete from managed_user_changes where user_id = {user};
             update managed_users set version = 2 where id = {user}"
        ))
        .await;
    let tuples = mirrored.world.tuples().await;
    let ended = mirrored.workplace.run(&["verify", "--repair"]).await.expect(1);
    let line = format!(
        "user {user}: in managed_users as v2, unknown to the ledger, which has lost it: restore the ledger from a backup\n"
    );
    assert!(ended.stdout.starts_with(&line), "{ended}");
    assert_eq!(mirrored.world.tuples().await, tuples, "nothing was written");
}

/// As an earlier version wrote it, which did not look at the ledger first.
#[tokio::test]
async fn an_edit_that_was_written_over_is_told_of_and_is_no_difference() {
    let mirrored = Mirrored::new(4).await;
    let user = mirrored.user(3);
    mirrored
        .world
        .simulator
        .patch_user(user, json!({ "name": "True" }))
        .expect("the user can be changed");
    assert_eq!(mirrored.world.pass().await.updated, 1);
    mirrored
        .edit(format!(
            r#"update managed_user_changes set changed = jsonb_set(changed, '{{name,old}}', '"Edited"')
               where user_id = {user} and version = 2"#
        ))
        .await;
    let lines = mirrored.verify(&["--repair"], 0).await;
    let [finding] = findings(&lines)[..] else {
        panic!("{lines:#?}")
    };
    assert_eq!(
        (&finding["finding"], &finding["version"]),
        (&json!("overwritten"), &json!(2))
    );
    assert_eq!(finding["fields"][0]["found"], "Edited");
    let summary = summary(&lines);
    assert_eq!(
        (&summary["summary"], &summary["overwritten"], &summary["repaired"]),
        (&json!("agrees"), &json!(1), &json!(0))
    );
    mirrored.world.assert_quiet().await;
}

#[tokio::test]
async fn a_ledger_that_is_lost_deletes_no_rows() {
    let mirrored = Mirrored::new(20).await;
    mirrored.edit("truncate managed_user_changes").await;
    let lines = mirrored.verify(&["--repair"], 1).await;
    assert_eq!(summary(&lines)["repaired"], 0);
    assert_eq!(
        mirrored
            .world
            .value::<i64>("select count(*) from managed_users")
            .await,
        20
    );
}

#[tokio::test]
async fn a_pass_in_between_disturbs_nothing() {
    let mirrored = Mirrored::new(600).await;
    let world = &mirrored.world;
    let store = crate::support::world::store(&world.db, 2);
    let last = mirrored.user(599);
    mirrored
        .edit(format!(
            "update managed_users set bio = 'edited' where id in ({}, {last})",
            mirrored.user(0)
        ))
        .await;
    let instants = Instants { count: 3, seed: 5 };
    let mut verification = store
        .begin_verification(instants, None)
        .await
        .expect("the ledger can be read");
    let first = verification.next().await.expect("the ledger can be read");
    assert!(first.is_some_and(|finding| finding.repairable().is_some()));
    for user in world.users() {
        world
            .simulator
            .patch_user(user, json!({ "name": "Changed meanwhile" }))
            .expect("the user can be changed");
    }
    assert_eq!(world.pass().await.updated, 600);
    let second = verification.next().await.expect("the ledger can be read");
    assert!(second.is_some_and(|finding| finding.repairable() == Some((UserId(last), world.client_id()))));
    assert_eq!(verification.next().await, Ok(None));
    assert_eq!(verification.counts().versions, 600);
    verification.end().await.expect("reading ends");
    store.close().await;
}

/// A change that is committed after the ledger was opened and before the mirror is.
#[tokio::test]
async fn ledger_and_mirror_are_of_one_snapshot() {
    let mirrored = Mirrored::new(3).await;
    let world = &mirrored.world;
    let mut writer = world.pool.begin().await.expect("a writer begins");
    sqlx::raw_sql(
        "lock table managed_users in access exclusive mode;
         insert into managed_user_changes (run_id, user_id, client_id, version, kind, observed_at, changed, after)
         select run_id, user_id, client_id, 2, 'update', now(),
             jsonb_build_object('bio', jsonb_build_object('old', after -> 'bio', 'new', 'other')),
             after || '{\"bio\": \"other\"}'
         from managed_user_changes;
         update managed_users set bio = 'other', version = 2, changed_at = now()",
    )
    .execute(&mut *writer)
    .await
    .expect("and writes");
    let store = crate::support::world::store(&world.db, 1);
    let (found, ()) = tokio::join!(found(&store, 0, 0), async {
        world.until_somebody_waits_for("managed_users").await;
        writer.commit().await.expect("the change is committed");
    });
    assert_eq!(found, Vec::<Value>::new());
    store.close().await;
    mirrored.verify(&["--instants", "20"], 0).await;
}
