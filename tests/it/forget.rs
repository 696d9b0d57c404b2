//! Erasing a person, and not mirroring it again.

mod under_way;

use calmirror::{
    model::{RunOutcome, UserId},
    simulator::{Answer, Refusal, Target},
    store::{Settings, Store},
};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool};
use tokio_util::sync::CancellationToken;

pub(crate) use under_way::{asked, waiting_for_advice, waiting_for_fence};

use crate::support::{pgbouncer::PgBouncer, world::World};

/// An id that is no other number.
const ID: i64 = 987_654_321;

/// Values of that user which nobody else has.
const VALUES: [&str; 4] = [
    "xanthippe-mail",
    "xanthippe-name",
    "xanthippe-note",
    "xanthippe-bio",
];

fn record(name: &str) -> String {
    json!({
        "id": ID, "email": "xanthippe-mail@example.com", "name": name, "bio": "xanthippe-bio",
        "timeZone": "UTC", "weekStart": "Sunday", "createdDate": "2024-04-01T00:00:00.000Z",
        "metadata": { "note": "xanthippe-note" }, "pronouns": "xanthippe-name",
    })
    .to_string()
}

/// Tables of which a row holds this text, in any column.
async fn tables_with(pool: &PgPool, text: &str) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select table_name::text from information_schema.tables
         where table_schema = 'public' and table_type = 'BASE TABLE' order by 1",
    )
    .fetch_all(pool)
    .await
    .expect("the catalogue can be read");
    assert!(tables.len() >= 10, "{tables:?}");
    let mut found = Vec::new();
    for table in tables {
        let query = format!("select exists (select from {table} as t where to_jsonb(t)::text ~ $1)");
        let holds: bool = sqlx::query_scalar(AssertSqlSafe(query))
            .bind(format!(r"\m{text}"))
            .fetch_one(pool)
            .await
            .expect("the table can be read");
        if holds {
            found.push(table);
        }
    }
    found
}

async fn execute(pool: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement)
        .execute(pool)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// A mirror of four users, one of which is in every table that a user can be in.
async fn everywhere() -> World {
    let mut world = World::new(3).await;
    crate::support::world::watch(&mut world.client, |users| users.push(UserId(ID)));
    let place = |record: String| {
        world
            .simulator
            .place_raw(world.client_id(), ID, record)
            .expect("the record can be placed");
    };
    place(record("xanthippe-name"));
    world.pass().await;
    place(record("xanthippe-name the second"));
    assert_eq!(world.pass().await.updated, 1);
    world
        .simulator
        .script(Target::User(ID), 1, Answer::Refuse(Refusal::RecordMissing));
    assert_eq!(world.pass().await.outcome, RunOutcome::Partial);
    place(record("xanthippe-name").replace("\"Sunday\"", "7"));
    assert_eq!(world.pass().await.rejected, 1);
    sqlx::query(
        "insert into missing_users (client_id, user_id, confirmations, first_missing_at, last_missing_at, last_run_id)
         values ($1, $2, 1, now(), now(), 1)",
    )
    .bind(world.client_id())
    .bind(ID)
    .execute(&world.pool)
    .await
    .expect("a candidate can be put on record");
    hold(&world.pool, world.client_id(), &[ID, world.users()[0]]).await;
    hold(&world.pool, "another client", &[5]).await;
    world
}

/// What a pass leaves that holds removals.
async fn hold(pool: &PgPool, client: &str, users: &[i64]) {
    sqlx::query(
        "with held as (
             insert into held_sets (client_id, set_hash, users, live, reason, first_run_id, last_run_id, held_since)
             values ($1, 'hash', cardinality($2::bigint[]), 20, 'limit', 1, 2, now())
             returning client_id
         )
         insert into held_removals (client_id, user_id, version)
         select held.client_id, id, 2 from held, unnest($2::bigint[]) as of_set (id)",
    )
    .bind(client)
    .bind(users)
    .execute(pool)
    .await
    .expect("a set can be held");
}

#[tokio::test]
async fn forgetting_erases_a_person_from_every_table() {
    let world = everywhere().await;
    assert_eq!(
        tables_with(&world.pool, &ID.to_string()).await,
        [
            "held_removals",
            "managed_user_changes",
            "managed_users",
            "missing_users",
            "record_fingerprints",
            "rejects",
            "sync_runs"
        ]
    );
    for value in VALUES {
        assert_eq!(
            tables_with(&world.pool, value).await,
            ["managed_user_changes", "managed_users", "rejects"],
            "{value}"
        );
    }
    let forgotten = world
        .store
        .forget(UserId(ID))
        .await
        .expect("the user can be forgotten")
        .expect("the user is known");
    assert_eq!(
        (
            forgotten.rows,
            forgotten.versions,
            forgotten.rejects,
            forgotten.missing,
            forgotten.held_sets,
            forgotten.errors,
            forgotten.already,
        ),
        (1, 2, 1, 1, 1, 1, false)
    );
    for value in VALUES {
        assert_eq!(tables_with(&world.pool, value).await, [""; 0], "{value}");
    }
    assert_eq!(
        tables_with(&world.pool, &ID.to_string()).await,
        ["forgotten_users"]
    );
    let tombstone: String = world
        .value("select string_agg(key, ' ' order by key) from forgotten_users as f, jsonb_each(to_jsonb(f))")
        .await;
    assert_eq!(tombstone, "forgotten_at user_id");
    assert_eq!(
        world
            .value::<String>("select string_agg(client_id, ' ') from held_sets")
            .await,
        "another client",
        "the set goes as a whole, and only that one"
    );
    assert!(
        world
            .value::<String>("select string_agg(error, ' ') from sync_runs")
            .await
            .contains("learned of user (forgotten): cal.com lacks a record"),
        "the rest of the error stays"
    );
    let history = world
        .store
        .history(UserId(ID))
        .await
        .expect("the ledger can be read");
    assert!(history.is_empty(), "{history:?}");
    world.assert_replay().await;
}

#[tokio::test]
async fn a_forgotten_user_is_not_asked_for_and_does_not_come_back() {
    let world = everywhere().await;
    world
        .simulator
        .place_raw(world.client_id(), ID, record("xanthippe-name"))
        .expect("the record can be placed");
    world
        .store
        .forget(UserId(ID))
        .await
        .expect("the user can be forgotten");
    let before = world.tuples().await;
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.observed, report.unchanged, report.requests),
        (RunOutcome::NoChange, 3, 3, 3)
    );
    assert_eq!(world.tuples().await, before);
    assert_eq!(
        tables_with(&world.pool, &ID.to_string()).await,
        ["forgotten_users"]
    );

    execute(&world.pool, "delete from forgotten_users").await;
    let report = world.pass().await;
    assert_eq!(
        (report.observed, report.inserted),
        (4, 1),
        "the tombstone was the reason"
    );
    assert_eq!(world.kinds(ID).await, ["insert"], "the history begins anew");
    world.assert_quiet().await;
}

#[tokio::test]
async fn forgetting_again_says_since_when_and_erases_what_came_back() {
    let world = everywhere().await;
    let forget = async || {
        world
            .store
            .forget(UserId(ID))
            .await
            .expect("the database answers")
    };
    let first = forget().await.expect("the user is known");
    let again = forget().await.expect("the tombstone is known");
    assert!(again.already);
    assert_eq!(again.forgotten_at, first.forgotten_at);
    assert_eq!((again.rows, again.versions, again.rejects), (0, 0, 0));

    // As a program would leave it that knows of no tombstones.
    sqlx::query("insert into rejects values ($1, $2, 1, now(), now(), 'x', '{}', 'xanthippe-mail')")
        .bind(world.client_id())
        .bind(ID)
        .execute(&world.pool)
        .await
        .expect("a reject can be put on record");
    let third = forget().await.expect("the tombstone is known");
    assert_eq!((third.already, third.rejects), (true, 1));
    assert_eq!(third.forgotten_at, first.forgotten_at);
    assert_eq!(tables_with(&world.pool, "xanthippe-mail").await, [""; 0]);
}

#[tokio::test]
async fn a_user_of_whom_nothing_is_known_gets_no_tombstone() {
    let world = World::new(3).await;
    world.pass().await;
    let before = world.tuples().await;
    assert_eq!(world.store.forget(UserId(ID)).await, Ok(None));
    assert_eq!(world.tuples().await, before);
    assert_eq!(
        world.value::<i64>("select count(*) from forgotten_users").await,
        0
    );
    // Asked for once, and never there: that is something to forget.
    let mut world = world;
    crate::support::world::watch(&mut world.client, |users| users.push(UserId(ID)));
    world.pass().await;
    let forgotten = world
        .store
        .forget(UserId(ID))
        .await
        .expect("the database answers");
    assert_eq!(forgotten.map(|forgotten| forgotten.missing), Some(1));
    world.assert_quiet().await;
}

#[tokio::test]
async fn forgetting_goes_through_pgbouncer() {
    let world = everywhere().await;
    let bouncer = PgBouncer::start(&world.db);
    let settings = Settings {
        schema: "public".to_owned(),
        max_connections: 2,
        pgbouncer: true,
    };
    let bounced = Store::open(bouncer.connect_options(), &settings);
    for already in [false, true, true] {
        let forgotten = bounced.forget(UserId(ID)).await.expect("the database answers");
        assert_eq!(forgotten.map(|forgotten| forgotten.already), Some(already));
    }
    let report = world.unchecked_pass(&bounced, &CancellationToken::new()).await;
    assert_eq!((report.outcome, report.observed), (RunOutcome::NoChange, 3));
    bounced.close().await;
}
