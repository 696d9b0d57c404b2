//! Fields that this version does not know, and fields that a later version comes to know.

use calmirror::{compare::AnnouncedFields, model::UserId};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::{forget::waiting_for_advice, support::world::World};

/// Gives a user fields beyond those that it has.
fn add(world: &World, user: i64, fields: &Value) {
    let record = world.simulator.user_json(user).expect("the user is there");
    let mut record: Value = serde_json::from_slice(&record).expect("it is JSON");
    for (name, value) in fields.as_object().expect("an object") {
        record[name] = value.clone();
    }
    world
        .simulator
        .place_raw(world.client_id(), user, record.to_string())
        .expect("the record can be placed");
}

async fn announced(world: &World) -> Vec<String> {
    let fields = world.store.extra_fields().await.expect("fields can be read");
    fields.into_iter().map(|field| field.field).collect()
}

/// Place and writer of each row of `extra_fields`.
async fn tuples(world: &World) -> String {
    world
        .value(
            "select coalesce(string_agg(field || ctid::text || xmin::text || xmax::text, ' ' order by field), '')
             from extra_fields",
        )
        .await
}

#[tokio::test]
async fn an_unknown_field_is_put_on_record_once() {
    let world = World::new(3).await;
    for user in world.users() {
        add(&world, user, &json!({ "pronouns": "they", "verified": true }));
    }
    let first = world.pass().await;
    assert_eq!(first.inserted, 3);
    let fields = world.store.extra_fields().await.expect("fields can be read");
    assert_eq!(announced(&world).await, ["pronouns", "verified"]);
    assert!(fields.iter().all(|field| Some(field.run_id) == first.run_id));
    let before = tuples(&world).await;
    world.assert_quiet().await;
    add(
        &world,
        world.users()[1],
        &json!({ "pronouns": "she", "badge": 7 }),
    );
    assert_eq!(world.pass().await.updated, 1);
    assert_eq!(announced(&world).await, ["pronouns", "verified", "badge"]);
    world.assert_quiet().await;
    assert!(tuples(&world).await.contains(&before[..before.len() - 1]));
}

#[tokio::test]
async fn fields_that_an_earlier_version_mirrored_are_announced_without_a_change() {
    let world = World::new(3).await;
    add(&world, world.users()[2], &json!({ "pronouns": "they" }));
    world.pass().await;
    // That version kept no record of them, and no fingerprints.
    sqlx::raw_sql("delete from extra_fields; delete from record_fingerprints")
        .execute(&world.pool)
        .await
        .expect("the table can be emptied");
    world.assert_quiet().await;
    assert_eq!(announced(&world).await, ["pronouns"]);
}

#[tokio::test]
async fn no_more_fields_are_announced_than_the_most_and_all_are_mirrored() {
    let world = World::new(2).await;
    let long = "ü".repeat(300);
    let mut fields: Value = (0..150)
        .map(|n| (format!("field{n:03}"), json!(n)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    add(&world, world.users()[0], &fields);
    fields[&long] = json!("x");
    world.pass().await;
    assert_eq!(announced(&world).await.len(), AnnouncedFields::MAX);
    let before = tuples(&world).await;
    add(&world, world.users()[1], &fields);
    assert_eq!(world.pass().await.updated, 1);
    assert_eq!(tuples(&world).await, before);
    let mirrored: i64 = world
        .value("select max((select count(*) from jsonb_object_keys(extra))) from managed_users")
        .await;
    assert_eq!(mirrored, 151);
    world.assert_quiet().await;

    sqlx::query("delete from extra_fields")
        .execute(&world.pool)
        .await
        .expect("the table can be emptied");
    add(&world, world.users()[1], &json!({ "a": 1 }));
    world.pass().await;
    let cut: i64 = world
        .value("select count(*) from extra_fields where length(field) > 200")
        .await;
    assert_eq!(cut, 0);
}

#[tokio::test]
async fn passes_over_two_clients_share_the_room() {
    let world = World::new(1).await;
    let fields: serde_json::Map<_, _> = (0..70).map(|n| (format!("ours{n:02}"), json!(n))).collect();
    add(&world, world.users()[0], &fields.into());
    // What a pass over another client has written and not committed: neither knew of the other's when it began.
    let mut other = world.pool.begin().await.expect("a transaction can begin");
    sqlx::query(
        "select pg_advisory_xact_lock(hashtextextended('calmirror extra_fields ' || current_schema(), 0))",
    )
    .execute(&mut *other)
    .await
    .expect("nobody else holds the lock");
    sqlx::query("insert into extra_fields select 'theirs' || n, now(), 1 from generate_series(1, 60) as n")
        .execute(&mut *other)
        .await
        .expect("fields can be put on record");
    let commit = async {
        waiting_for_advice(&world.pool, 1).await;
        other.commit().await.expect("the other pass commits");
    };
    let (report, ()) = tokio::join!(world.pass(), commit);
    assert_eq!(report.inserted, 1);
    assert_eq!(announced(&world).await.len(), AnnouncedFields::MAX);
    world.assert_quiet().await;
}

/// Makes a field unknown, as a version would have left it that had no column for it.
async fn unlearn(world: &World, wire: &str, column: &str) {
    let values =
        |from: &str| format!("jsonb_strip_nulls(jsonb_build_object('{wire}', {from} -> '{column}'))");
    for statement in [
        format!(
            "update managed_users as m set {column} = null, extra = m.extra || {} where {column} is not null",
            values("to_jsonb(m)")
        ),
        format!(
            "update managed_user_changes as c
             set after = after - '{column}' || jsonb_build_object('extra', after -> 'extra' || {})",
            values("after")
        ),
        format!(
            "update managed_user_changes as c
             set changed = changed - '{column}' || jsonb_build_object('extra', jsonb_build_object(
                 'old', jsonb_build_object('{wire}', changed -> '{column}' -> 'old'),
                 'new', jsonb_build_object('{wire}', changed -> '{column}' -> 'new')))
             where changed ? '{column}'"
        ),
        format!("insert into extra_fields values ('{wire}', now(), 1)"),
    ] {
        sqlx::query(AssertSqlSafe(statement.clone()))
            .execute(&world.pool)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

async fn promote(world: &World, wire: &str, column: &str) -> i64 {
    sqlx::query_scalar("select promote_extra_field($1, $2)")
        .bind(wire)
        .bind(column)
        .fetch_one(&world.pool)
        .await
        .expect("the field can be promoted")
}

const LEDGER: &str = "select string_agg(c::text || ctid::text || xmin::text, ' ' order by change_id) from managed_user_changes as c";
const VERSIONS: &str =
    "select string_agg(id || ' ' || version || ' ' || changed_at || ' ' || first_seen_at, ' ' order by id)
     from managed_users";

#[tokio::test]
async fn a_field_that_becomes_known_is_taken_from_extra_without_a_version() {
    let fields = [
        ("bio", "bio"),
        ("timeFormat", "time_format"),
        ("defaultScheduleId", "default_schedule_id"),
        ("metadata", "metadata"),
        ("avatarUrl", "avatar_url"),
    ];
    let world = World::new(4).await;
    let [changes, stays, without, removed] = world.users()[..] else {
        panic!("there are four");
    };
    for (user, bio) in [(changes, "first"), (stays, "always"), (removed, "once")] {
        add(
            &world,
            user,
            &json!({
                "bio": bio, "timeFormat": 24, "defaultScheduleId": 9_007_199_254_740_993_i64,
                "metadata": { "a": [1, null] }, "avatarUrl": "https://example.com/a.png",
            }),
        );
    }
    let nothing = json!({
        "bio": null, "timeFormat": null, "defaultScheduleId": null, "metadata": null, "avatarUrl": null,
    });
    add(&world, without, &nothing);
    // One that stays unknown.
    add(&world, stays, &json!({ "pronouns": "they" }));
    world.pass().await;
    add(&world, changes, &json!({ "bio": "second" }));
    world
        .simulator
        .delete_user(removed)
        .expect("the user can be deleted");
    world.pass().await;
    assert_eq!(world.pass().await.removed, 1);
    let known: Value = world
        .value("select jsonb_agg(to_jsonb(u) order by id) from managed_users as u")
        .await;
    for (wire, column) in fields {
        unlearn(&world, wire, column).await;
    }
    let bios: i64 = world
        .value("select count(*) from managed_users where extra ? 'bio' and bio is null")
        .await;
    assert_eq!(bios, 3);
    world.assert_replay().await;
    let before = (
        world.value::<String>(LEDGER).await,
        world.value::<String>(VERSIONS).await,
    );

    for (wire, column) in fields {
        assert_eq!(promote(&world, wire, column).await, 3, "{wire}");
        world.assert_replay().await;
    }
    let after = (
        world.value::<String>(LEDGER).await,
        world.value::<String>(VERSIONS).await,
    );
    assert_eq!(after, before, "neither ledger nor versions have moved");
    let now: Value = world
        .value("select jsonb_agg(to_jsonb(u) order by id) from managed_users as u")
        .await;
    assert_eq!(now, known, "as if the fields had always been known");
    assert_eq!(announced(&world).await, ["pronouns"]);

    let bios: Vec<Option<String>> =
        sqlx::query_scalar("select bio from managed_users_history where user_id = $1 order by version")
            .bind(changes)
            .fetch_all(&world.pool)
            .await
            .expect("the history can be read");
    assert_eq!(bios, [Some("first".to_owned()), Some("second".to_owned())]);
    let history = world
        .store
        .history(UserId(changes))
        .await
        .expect("the ledger can be read");
    let bios: Vec<String> = history
        .iter()
        .map(|entry| {
            entry
                .after
                .get("bio")
                .map_or_else(String::new, ToString::to_string)
        })
        .collect();
    assert_eq!(bios, ["\"first\"", "\"second\""]);
    assert!(history.iter().all(|entry| {
        entry
            .after
            .get("extra")
            .is_some_and(|extra| extra.is_empty_object())
    }));
    world.assert_quiet().await;

    add(&world, changes, &json!({ "bio": "third" }));
    assert_eq!(world.pass().await.updated, 1);
    assert_eq!(world.kinds(changes).await, ["insert", "update", "update"]);
    world.assert_quiet().await;
}

#[tokio::test]
async fn a_new_column_takes_what_extra_held() {
    // As CONTRIBUTING.md has it, with the function's own text.
    let migration = include_str!("../../migrations/0003_trust.sql");
    let start = migration
        .find("create or replace function managed_users_as_of")
        .expect("it is made there");
    let end = start + migration[start..].find("\nend;").expect("it has an end") + "\nend;".len();
    let world = World::new(3).await;
    add(
        &world,
        world.users()[1],
        &json!({ "pronouns": "they", "badge": 7 }),
    );
    world.pass().await;
    sqlx::raw_sql("alter table managed_users add column pronouns text")
        .execute(&world.pool)
        .await
        .expect("a column can be added");
    assert_eq!(promote(&world, "pronouns", "pronouns").await, 1);
    sqlx::raw_sql(AssertSqlSafe(migration[start..end].to_owned()))
        .execute(&world.pool)
        .await
        .expect("the function can be made anew");
    world.assert_replay().await;
    assert_eq!(
        world
            .value::<Value>("select jsonb_agg(array[to_jsonb(pronouns), extra]) from managed_users where version = 1 and extra <> '{}'")
            .await,
        json!([["they", { "badge": 7 }]])
    );
    assert_eq!(announced(&world).await, ["badge"]);
}
