//! Users and clients that are watched no more.

use serde_json::json;

use super::{Setup, assert_fits};

#[tokio::test]
async fn users_that_are_no_longer_watched_are_counted_and_left_as_they_are() {
    let mut setup = Setup::new(2, 30).await;
    setup.run(&["sync"]).await.expect(0);
    let text = setup.run(&["status"]).await.expect(0);
    assert!(!text.stdout.contains("watched"), "{text}");
    let all = setup.clients[0].users.clone();
    setup.clients[0].users.truncate(7);
    setup.configure("");
    setup.run(&["sync"]).await.expect(0);
    assert_eq!(
        setup
            .value::<i64>("select count(*) from managed_users_live")
            .await,
        60,
        "a pass leaves them as they are"
    );
    let text = setup.run(&["status"]).await.expect(0);
    assert_fits(&text);
    let first: Vec<String> = all[7..27].iter().map(i64::to_string).collect();
    let said = format!(
        "{}: no longer watched, and left as they are (23): {}, and 3 more",
        setup.clients[0].name,
        first.join(", ")
    );
    let words: Vec<_> = text.stdout.split_whitespace().collect();
    assert!(words.join(" ").contains(&said), "{text}");
    let status = setup.run(&["--output", "json", "status"]).await.expect(0).json();
    let client = &status[0]["clients"][0];
    assert_eq!(client["unwatched_users"], 23);
    assert_eq!(client["unwatched"], json!(all[7..27]));
    assert_eq!(client["configured"], true);
    assert_eq!(status[0]["clients"][1]["unwatched_users"], 0);
}

#[tokio::test]
async fn a_hundred_thousand_watched_users_are_compared_with_the_mirror() {
    let mut setup = Setup::new(1, 3).await;
    setup.run(&["sync"]).await.expect(0);
    let client = setup.clients[0].id.clone();
    // Twice as many in the mirror, of which the file lists every other.
    sqlx::query(
        "insert into managed_users (id, client_id, email, time_zone, week_start, created_date, version, first_seen_at,
             changed_at)
         select n, $1, 'x', 'UTC', 'Sunday', now(), 1, now(), now() from generate_series(1000001, 1200000) as n",
    )
    .bind(&client)
    .execute(&setup.pool().await)
    .await
    .expect("rows can be made");
    let listed: String = (1_000_001..1_200_000)
        .step_by(2)
        .map(|id| format!("{id}\n"))
        .collect();
    setup.workplace.write("users.txt", &listed);
    setup.clients[0].users.clear();
    setup.configure("");
    let config = std::fs::read_to_string(setup.workplace.path().join("config.toml")).expect("it is there");
    setup.workplace.write(
        "config.toml",
        &config.replace("users = []", "users_file = \"users.txt\""),
    );
    let status = setup.run(&["--output", "json", "status"]).await.expect(0).json();
    let client = &status[0]["clients"][0];
    assert_eq!(client["live_users"], 200_003);
    assert_eq!(client["unwatched_users"], 100_003);
    assert_eq!(client["unwatched"].as_array().map(Vec::len), Some(20));
}

#[tokio::test]
async fn a_client_that_is_not_configured_says_so_and_why_it_turns_stale() {
    let mut setup = Setup::new(2, 3).await;
    setup.run(&["sync"]).await.expect(0);
    let gone = setup.clients.remove(1);
    setup.configure("");
    let text = setup.run(&["status"]).await.expect(0);
    assert_fits(&text);
    let words: Vec<_> = text.stdout.split_whitespace().collect();
    let said = format!(
        "{}: not configured, so no pass is made over it and its verdict turns stale by itself; its 3 live users stay as \
         they are",
        gone.name
    );
    assert!(words.join(" ").contains(&said), "{text}");
    assert_eq!(text.stdout.matches("not configured").count(), 1, "{text}");
    let status = setup.run(&["--output", "json", "status"]).await.expect(0).json();
    assert_eq!(status[0]["clients"][0]["configured"], true);
    let client = &status[0]["clients"][1];
    assert_eq!(
        (&client["client"], &client["configured"]),
        (&json!(gone.name), &json!(false))
    );
    // The same keys, whatever the configuration says.
    let keys = |client: usize| {
        let client = status[0]["clients"][client].as_object();
        client.map(|client| client.keys().cloned().collect::<Vec<_>>())
    };
    assert_eq!(keys(0), keys(1));
    assert_eq!(
        (&client["unwatched_users"], &client["missing_users"]),
        (&json!(3), &json!(0))
    );
}
