//! `managed_users_as_of`, proven by a fold of its own.

use serde_json::json;

use super::{Mirrored, edit, findings, found, summary, told, verify, workplace};

#[tokio::test]
async fn the_story_is_right_at_every_instant() {
    let (_db, store, pool) = told().await;
    for seed in 0..4 {
        assert_eq!(found(&store, 25, seed).await, Vec::<serde_json::Value>::new());
    }
    store.close().await;
    pool.close().await;
}

/// The function's definition with one part of it replaced.
async fn broken(pool: &sqlx::PgPool, part: &str, by: &str) {
    let definition: String = sqlx::query_scalar("select pg_get_functiondef('managed_users_as_of'::regproc)")
        .fetch_one(pool)
        .await
        .expect("the function is there");
    assert!(definition.contains(part), "{definition}");
    edit(pool, definition.replace(part, by)).await;
}

#[tokio::test]
async fn a_function_that_was_replaced_is_found() {
    for (part, by, fault) in [
        // The instant of a change is its first one.
        ("(change.observed_at <= ", "(change.observed_at < ", "differs"),
        ("(latest.kind = 'removal'::text)", "false", "differs"),
        ("change.version DESC", "change.version", "differs"),
        (
            "'changed_at', latest.observed_at",
            "'changed_at', first_version.observed_at",
            "differs",
        ),
        (
            "'version', latest.version",
            "'version', 1 / (latest.user_id - 105)",
            "fails",
        ),
    ] {
        let (_db, store, pool) = told().await;
        broken(&pool, part, by).await;
        let found = found(&store, 20, 1).await;
        assert!(!found.is_empty(), "{by}");
        assert!(
            found.iter().any(|finding| finding["fault"] == fault),
            "{by}: {found:#?}"
        );
        // The mirror is compared all the same.
        assert!(
            found.iter().all(|finding| finding["finding"] == "as_of"),
            "{by}: {found:#?}"
        );
        store.close().await;
        pool.close().await;
    }
}

#[tokio::test]
async fn users_that_are_left_out_or_made_up_are_found() {
    for (body, fault) in [
        ("select * from managed_users where id <> 103", "absent"),
        (
            "select * from managed_users union all select * from managed_users where id = 103",
            "surplus",
        ),
    ] {
        let (_db, store, pool) = told().await;
        let statement = format!(
            "create or replace function managed_users_as_of(instant timestamptz) returns setof managed_users
             language sql stable as '{body}'"
        );
        edit(&pool, statement).await;
        let found = found(&store, 10, 2).await;
        let is_it = |finding: &serde_json::Value| finding["user_id"] == 103 && finding["fault"] == fault;
        assert!(found.iter().any(is_it), "{body}: {found:#?}");
        store.close().await;
        pool.close().await;
    }
}

/// Users come, change, go and come back; rows are edited and repaired in between.
#[tokio::test]
async fn a_random_past_is_right_at_random_instants() {
    let mirrored = Mirrored::new(12).await;
    let world = &mirrored.world;
    let mut random = fastrand::Rng::with_seed(20_250_220);
    let mut gone = std::collections::HashMap::new();
    for round in 0..12 {
        for user in world.users() {
            match random.u8(0..10) {
                0..3 if !gone.contains_key(&user) => world
                    .simulator
                    .patch_user(
                        user,
                        json!({ "name": format!("Name {round}"), "metadata": { "round": round } }),
                    )
                    .expect("the user can be changed"),
                3 if !gone.contains_key(&user) && gone.len() < 5 => {
                    gone.insert(user, world.simulator.user_json(user).expect("the user is there"));
                    world.simulator.delete_user(user).expect("the user can go");
                }
                4 | 5 => {
                    if let Some(record) = gone.remove(&user) {
                        world
                            .simulator
                            .place_raw(world.client_id(), user, record)
                            .expect("and come back");
                    }
                }
                _ => {}
            }
        }
        world.pass().await;
        if round % 3 == 2 {
            let user = world.users()[random.usize(0..12)];
            mirrored
                .edit(format!(
                    "update managed_users set locale = 'x{round}', removed_at = null where id = {user}"
                ))
                .await;
            mirrored.verify(&["--repair"], 0).await;
        }
    }
    let kinds: Vec<String> =
        sqlx::query_scalar("select distinct kind from managed_user_changes order by kind")
            .fetch_all(&world.pool)
            .await
            .expect("the ledger can be read");
    assert_eq!(kinds, ["insert", "removal", "repair", "restore", "update"]);
    for seed in ["1", "2", "3"] {
        mirrored.verify(&["--instants", "40", "--seed", seed], 0).await;
    }
    world.assert_replay().await;
}

#[tokio::test]
async fn a_history_that_was_replaced_is_found() {
    for (column, by, rest, fault) in [
        (
            "valid_to",
            "lag(valid_to) over (partition by user_id order by version)",
            "",
            "differs",
        ),
        ("valid_to", "coalesce(valid_to, now())", "", "differs"),
        ("removed_at", "null::timestamptz", "", "differs"),
        ("folded_at", "valid_from", "", "differs"),
        ("valid_to", "valid_to", "where kind <> 'removal'", "absent"),
        (
            "valid_to",
            "valid_to",
            "union all select * from was where user_id = 103",
            "surplus",
        ),
        (
            "valid_to",
            "valid_from + (0 / (user_id - 104)) * interval '1 second'",
            "",
            "fails",
        ),
    ] {
        let (_db, store, pool) = told().await;
        let view: String = sqlx::query_scalar("select pg_get_viewdef('managed_users_history'::regclass)")
            .fetch_one(&pool)
            .await
            .expect("the view is there");
        let view = view.trim_end_matches(';');
        let columns = "user_id, version, kind, valid_from, valid_to, run_id, changed, client_id, email, username, name, bio,
             time_zone, week_start, created_date, time_format, default_schedule_id, locale, avatar_url, metadata, extra,
             folded_at, removed_at";
        let columns = columns.replacen(column, &format!("{by} as {column}"), 1);
        let statement = format!(
            "create or replace view managed_users_history as with was as ({view}) select {columns} from was {rest}"
        );
        edit(&pool, statement).await;
        let found = found(&store, 2, 1).await;
        let is_history = |finding: &serde_json::Value| finding["finding"] == "history";
        assert!(found.iter().all(is_history), "{by} {rest}: {found:#?}");
        assert!(
            found.iter().any(|finding| finding["fault"] == fault),
            "{by} {rest}: {found:#?}"
        );
        store.close().await;
        pool.close().await;
    }
}

/// As docs/output.md has them.
#[tokio::test]
async fn what_fails_says_with_which_error_and_of_which_instant() {
    const ERROR: &str = "the database refused: division by zero (22012)";
    let (db, store, pool) = told().await;
    broken(
        &pool,
        "'version', latest.version",
        "'version', 1 / (latest.user_id - 105)",
    )
    .await;
    // As many as it takes for some to come after the user's first version.
    let lines = verify(&workplace(&db.url(), ""), &["--instants", "30"], 1)
        .await
        .json();
    let instants = &summary(&lines)["instants"];
    assert!(
        instants.as_array().is_some_and(|instants| instants.len() > 10),
        "{lines:#?}"
    );
    let found = findings(&lines);
    let failed: Vec<_> = found
        .iter()
        .filter(|finding| finding["fault"] == "fails")
        .collect();
    assert!(!failed.is_empty(), "{lines:#?}");
    for finding in failed {
        assert_eq!(finding["finding"], "as_of");
        assert_eq!(finding["error"], ERROR, "{finding}");
        assert!(finding["user_id"].is_null(), "{finding}");
    }
    for finding in found {
        let instants = instants.as_array().into_iter().flatten();
        assert_eq!(
            instants.filter(|instant| **instant == finding["instant"]).count(),
            1,
            "{finding}"
        );
    }
    store.close().await;
    pool.close().await;

    let (db, store, pool) = told().await;
    let statement = "alter view managed_users_history rename to was;
        create view managed_users_history as
            select *, 1 / (user_id - user_id) as nothing from was";
    edit(&pool, statement).await;
    let lines = verify(&workplace(&db.url(), ""), &["--instants", "1"], 1)
        .await
        .json();
    let found = findings(&lines);
    let [finding] = &found[..] else {
        panic!("{lines:#?}")
    };
    assert_eq!(
        (&finding["finding"], &finding["fault"], &finding["error"]),
        (&json!("history"), &json!("fails"), &json!(ERROR))
    );
    assert!(
        finding.get("instant").is_none() && finding["user_id"].is_null(),
        "{finding}"
    );
    store.close().await;
    pool.close().await;
}
