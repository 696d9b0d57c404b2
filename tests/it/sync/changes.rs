//! What a pass writes, and what it leaves alone.

use calmirror::{model::RunOutcome, simulator::User};
use serde_json::{Value, json};

use crate::support::world::{LIMIT, World};

#[tokio::test]
async fn the_first_pass_fills_the_mirror_and_the_second_writes_nothing() {
    let world = World::new(40).await;
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.inserted, report.observed),
        (RunOutcome::Applied, 40, 40)
    );
    assert_eq!(report.requests, 40);
    assert_eq!(
        world
            .value::<i64>("select count(*) from managed_users_live")
            .await,
        40
    );
    world.assert_quiet().await;
}

#[tokio::test]
async fn an_unchanged_pass_counts_no_tuple_but_its_own() {
    let world = World::new(20).await;
    world.pass().await;
    world.pass().await;
    // A session's counts are public at the latest when it has ended.
    world.store.close().await;
    let counted = async |table: &str| -> (i64, i64, i64) {
        sqlx::query_as("select n_tup_ins, n_tup_upd, n_tup_del from pg_stat_user_tables where relname = $1")
            .bind(table)
            .fetch_one(&world.pool)
            .await
            .expect("statistics can be read")
    };
    // The two passes' own rows come with the same report as all the others.
    let reported = async {
        while counted("sync_runs").await.1 < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, reported)
        .await
        .expect("statistics come in the end");
    assert_eq!(counted("sync_runs").await.0, 2);
    assert_eq!(counted("managed_users").await, (20, 0, 0));
    assert_eq!(counted("managed_user_changes").await, (20, 0, 0));
    assert_eq!(counted("missing_users").await, (0, 0, 0));
    assert_eq!(counted("rejects").await, (0, 0, 0));
}

#[tokio::test]
async fn the_published_example_lands_field_for_field() {
    let mut world = World::new(1).await;
    let alice = User::alice(world.client_id());
    world
        .simulator
        .place_user(world.client_id(), &alice)
        .expect("alice can be placed");
    crate::support::world::watch(&mut world.client, |users| {
        *users = vec![calmirror::model::UserId(1)]
    });
    world.pass().await;
    let row: Value = world
        .value(
            "select to_jsonb(u) - array['first_seen_at', 'changed_at'] from managed_users as u where id = 1",
        )
        .await;
    let expected = json!({
        "id": 1,
        "client_id": world.client_id(),
        "email": format!("alice+{}@example.com", world.client_id()),
        "username": "alice",
        "name": "alice",
        "bio": "bio",
        "time_zone": "America/New_York",
        "week_start": "Sunday",
        "created_date": "2024-04-01T00:00:00+00:00",
        "time_format": 12,
        "default_schedule_id": null,
        "locale": "en",
        "avatar_url": "https://cal.com/api/avatar/2b735186-b01b-46d3-87da-019b8f61776b.png",
        "metadata": { "key": "value" },
        "extra": {},
        "version": 1,
        "removed_at": null,
    });
    assert_eq!(row, expected);
    let contact: String = world.value("select contact_email from managed_users_live").await;
    assert_eq!(contact, "alice@example.com");
    world.assert_quiet().await;
}

#[tokio::test]
async fn a_change_is_one_version_of_one_row() {
    let world = World::new(10).await;
    world.pass().await;
    let before = world.tuples().await;
    let user = world.users()[3];
    world
        .simulator
        .patch_user(
            user,
            json!({ "timeZone": "Asia/Tokyo", "metadata": { "plan": { "seats": 3 } } }),
        )
        .expect("the user can be changed");
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.updated, report.unchanged),
        (RunOutcome::Applied, 1, 9)
    );
    assert_ne!(world.tuples().await, before);
    let changed: Value =
        sqlx::query_scalar("select changed from managed_user_changes where user_id = $1 and version = 2")
            .bind(user)
            .fetch_one(&world.pool)
            .await
            .expect("the change is in the ledger");
    assert_eq!(changed["time_zone"]["new"], "Asia/Tokyo");
    assert_eq!(changed["metadata"]["new"], json!({ "plan": { "seats": 3 } }));
    assert_eq!(changed.as_object().map(serde_json::Map::len), Some(2));
    let touched: i64 = world
        .value("select count(*) from managed_users where xmin <> '0' and version > 1")
        .await;
    assert_eq!(touched, 1);
    world.assert_quiet().await;
}

#[tokio::test]
async fn absent_null_key_order_and_number_spelling_are_no_change() {
    let world = World::new(1).await;
    let user = world.users()[0];
    let place = |record: &str| {
        world
            .simulator
            .place_raw(world.client_id(), user, record)
            .expect("the record can be placed");
    };
    place(&format!(
        r#"{{"id":{user},"email":"a@b.c","username":null,"name":"N","timeZone":"UTC","weekStart":"Sunday",
            "createdDate":"2024-04-01T00:00:00.000Z","timeFormat":12,"defaultScheduleId":null,"locale":null,
            "metadata":{{"a":1,"b":{{"c":[1.50,2e2],"d":null}}}}}}"#
    ));
    world.pass().await;
    place(&format!(
        r#"{{"metadata":{{"b":{{"d":null,"c":[1.5,200]}},"a":1.0}},"locale":null,"bio":null,"avatarUrl":null,
            "createdDate":"2024-04-01T00:00:00Z","timeZone":"UTC","weekStart":"Sunday","timeFormat":12.0,
            "name":"N","email":"a@b.c","id":{user}}}"#
    ));
    world.assert_quiet().await;
}

#[tokio::test]
async fn unknown_fields_and_great_numbers_are_kept_exactly() {
    let world = World::new(1).await;
    let user = world.users()[0];
    let record = format!(
        r#"{{"id":{user},"email":"a@b.c","timeZone":"UTC","weekStart":"Sunday",
            "createdDate":"2024-04-01T00:00:00.123456Z","defaultScheduleId":9007199254740993,
            "metadata":{{"n":123456789012345678901234567890.5}},"pronouns":"they","nothing":null}}"#
    );
    world
        .simulator
        .place_raw(world.client_id(), user, record)
        .expect("the record can be placed");
    assert_eq!(world.pass().await.inserted, 1);
    assert_eq!(
        world
            .value::<i64>("select default_schedule_id from managed_users")
            .await,
        9_007_199_254_740_993
    );
    assert_eq!(
        world
            .value::<String>("select metadata ->> 'n' from managed_users")
            .await,
        "123456789012345678901234567890.5"
    );
    assert_eq!(
        world.value::<Value>("select extra from managed_users").await,
        json!({ "pronouns": "they" })
    );
    assert_eq!(
        world
            .value::<String>("select to_char(created_date at time zone 'utc', 'US') from managed_users")
            .await,
        "123456"
    );
    world.assert_quiet().await;
}

#[tokio::test]
async fn more_users_than_a_batch_are_mirrored_all_the_same() {
    let world = World::new(1201).await;
    let report = world.pass().await;
    assert_eq!((report.outcome, report.inserted), (RunOutcome::Applied, 1201));
    world.assert_quiet().await;
}
