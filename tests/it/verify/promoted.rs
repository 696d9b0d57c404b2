//! A field that an earlier version kept in `extra`, and that has a column of its own now.

use super::{Mirrored, findings};

/// Makes a past in which `bio` was not known: it stands in `extra` of rows and ledger alike.
const UNKNOWN_THEN: &str = r#"
    update managed_users set bio = null, extra = extra || jsonb_build_object('bio', 'bio of ' || id) where id % 3 <> 0;
    update managed_users set bio = null, extra = extra || '{"bio": 12.50, "other": [1]}' where id % 3 = 0;
    update managed_user_changes as c set after = after || jsonb_build_object('bio', null, 'extra', u.extra)
    from managed_users as u where u.id = c.user_id
"#;

#[tokio::test]
async fn a_field_that_becomes_known_is_no_change_of_any_user() {
    let mirrored = Mirrored::new(9).await;
    let world = &mirrored.world;
    mirrored.edit(UNKNOWN_THEN).await;
    mirrored.verify(&[], 0).await;
    world.assert_replay().await;
    let ledger = "select count(*) from managed_user_changes";
    let before: i64 = world.value(ledger).await;

    mirrored.edit("select promote_extra_field('bio', 'bio')").await;
    assert_eq!(world.value::<i64>(ledger).await, before);
    assert_eq!(
        world
            .value::<i64>("select count(*) from managed_users where bio is null or extra ? 'bio'")
            .await,
        0
    );
    world.assert_replay().await;
    mirrored.verify(&["--instants", "20"], 0).await;

    // What the source says is what the field was.
    for user in world.users() {
        let bio: String = sqlx::query_scalar("select bio from managed_users where id = $1")
            .bind(user)
            .fetch_one(&world.pool)
            .await
            .expect("the mirror can be read");
        let mut record: serde_json::Value =
            serde_json::from_slice(&world.simulator.user_json(user).expect("the user is there"))
                .expect("a record is JSON");
        record["bio"] = bio.into();
        if user % 3 == 0 {
            record["other"] = serde_json::json!([1]);
        }
        world
            .simulator
            .place_raw(world.client_id(), user, record.to_string())
            .expect("the record can be placed");
    }
    mirrored.assert_right().await;
}

#[tokio::test]
async fn a_promoted_field_that_was_edited_is_found_and_set_back() {
    let mirrored = Mirrored::new(6).await;
    let user = mirrored.user(2);
    mirrored.edit(UNKNOWN_THEN).await;
    mirrored.edit("select promote_extra_field('bio', 'bio')").await;
    let bio = format!("select bio from managed_users where id = {user}");
    let read = async || -> String {
        sqlx::query_scalar(sqlx::AssertSqlSafe(bio.clone()))
            .fetch_one(&mirrored.world.pool)
            .await
            .expect("the mirror can be read")
    };
    let truth = read().await;
    mirrored
        .edit(format!(
            "update managed_users set bio = 'edited' where id = {user}"
        ))
        .await;
    let lines = mirrored.verify(&["--repair"], 0).await;
    let [finding] = findings(&lines)[..] else {
        panic!("{lines:#?}")
    };
    assert_eq!(
        (&finding["fields"][0]["field"], &finding["fields"][0]["truth"]),
        (&"bio".into(), &truth.clone().into())
    );
    assert_eq!(read().await, truth);
    mirrored.verify(&["--instants", "20"], 0).await;
    mirrored.world.assert_replay().await;
}
