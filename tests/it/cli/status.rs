//! What `calmirror status` says beside the numbers.

mod watched;

use serde_json::json;
use sqlx::PgPool;

use super::{Setup, cells};
use crate::support::program::Ended;

/// As wide as terminals are, for what is no single word.
#[track_caller]
fn assert_fits(ended: &Ended) {
    for line in ended.stdout.lines() {
        assert!(
            line.chars().count() <= 100,
            "{} columns: {line}",
            line.chars().count()
        );
    }
}

async fn execute(pool: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement)
        .execute(pool)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

#[tokio::test]
async fn users_that_wait_for_another_confirmation_and_users_that_were_never_there_are_named() {
    let mut setup = Setup::new(1, 60).await;
    let name = setup.clients[0].name.clone();
    let users = setup.clients[0].users.clone();
    setup.run(&["sync"]).await.expect(0);
    setup.clients[0].users.push(777_777);
    setup.configure("");
    setup
        .simulator
        .delete_user(users[3])
        .expect("the user can be deleted");
    setup.run(&["sync"]).await.expect(0);
    setup
        .simulator
        .delete_user(users[1])
        .expect("the user can be deleted");
    setup.run(&["sync"]).await.expect(0);
    let text = setup.run(&["status"]).await.expect(0);
    assert_fits(&text);
    let words = text.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in [
        format!("{name}: configured, but not the client's at Cal.com: 777777"),
        format!(
            "{name}: gone in 1 of 2 passes, not removed yet: {}; gone in 2 of 2 passes, not removed yet: {}",
            users[1], users[3]
        ),
    ] {
        assert!(words.contains(&said), "{said}: {text}");
    }
    let row = &cells(&text.stdout)[1];
    assert!(row.contains(&"60") && row.contains(&"2"), "{text}");
    let status = setup.run(&["--output", "json", "status"]).await.expect(0).json();
    let client = &status[0]["clients"][0];
    assert_eq!(status[0]["confirmations_needed"], 2);
    assert_eq!(
        client["waiting"],
        json!([
            { "user_id": users[1], "confirmations": 1 },
            { "user_id": users[3], "confirmations": 2 },
        ])
    );
    assert_eq!(client["never_mirrored"], json!([777_777]));
    let counts = ["missing_users", "waiting_users", "never_mirrored_users"].map(|key| client[key].clone());
    assert_eq!(counts, [2, 2, 1].map(serde_json::Value::from));

    // Nobody waits who is not asked for any more, or whose removal waits for an operator.
    setup.clients[0].users = users[2..].to_vec();
    setup.configure("");
    let words = setup.run(&["status"]).await.expect(0).stdout;
    assert!(
        !words.contains("777777") && !words.contains("gone in 1 of"),
        "{words}"
    );
    execute(
        &setup.pool().await,
        "insert into held_sets select client_id, 'abc', 1, 60, 'limit', 1, 1, now() from sync_state;
         insert into held_removals select client_id, user_id, 2 from missing_users where confirmations = 2",
    )
    .await;
    let words = setup.run(&["status"]).await.expect(0).stdout;
    assert!(!words.contains("not removed yet"), "{words}");
    let status = setup.run(&["--output", "json", "status"]).await.expect(0).json();
    let client = &status[0]["clients"][0];
    let counts = ["missing_users", "waiting_users", "never_mirrored_users"].map(|key| client[key].clone());
    assert_eq!(counts, [1, 0, 0].map(serde_json::Value::from));
}

#[tokio::test]
async fn twenty_of_those_who_wait_or_were_never_there_are_named() {
    let mut setup = Setup::new(1, 60).await;
    let users = setup.clients[0].users.clone();
    setup.run(&["sync"]).await.expect(0);
    for user in &users[..23] {
        setup
            .simulator
            .delete_user(*user)
            .expect("the user can be deleted");
    }
    setup.clients[0].users.extend(700_001..=700_024);
    setup.configure("");
    setup.run(&["sync"]).await.expect(0);
    let text = setup.run(&["status"]).await.expect(0);
    assert_fits(&text);
    let words = text.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(&format!("{}; and 3 more", users[19])), "{text}");
    assert!(words.contains("700020, and 4 more"), "{text}");
    let status = setup.run(&["--output", "json", "status"]).await.expect(0).json();
    let client = &status[0]["clients"][0];
    for key in ["waiting", "never_mirrored"] {
        assert_eq!(client[key].as_array().map(Vec::len), Some(20), "{key}");
    }
}

#[tokio::test]
async fn a_held_set_is_shown_with_the_command_that_lets_it_through() {
    let setup = Setup::new(2, 40).await;
    setup.run(&["sync"]).await.expect(0);
    let pool = setup.pool().await;
    sqlx::query("insert into held_sets values ($1, 'abc', 30, 40, 'limit', 7, 12, '2026-03-01T12:00:00Z')")
        .bind(&setup.clients[0].id)
        .execute(&pool)
        .await
        .expect("a set can be held");
    sqlx::query("insert into held_removals select $1, id, 2 from unnest($2::bigint[]) as of_set (id)")
        .bind(&setup.clients[0].id)
        .bind(&setup.clients[0].users[..30])
        .execute(&pool)
        .await
        .expect("a set can be held");
    let text = setup.run(&["status"]).await.expect(0);
    assert_fits(&text);
    let first: Vec<String> = setup.clients[0].users[..20].iter().map(i64::to_string).collect();
    let said = format!(
        "{}: 30 of 40 live users would be removed (more than a pass may remove); held since 2026-03-01 12:00:00Z: {}, \
         and 10 more",
        setup.clients[0].name,
        first.join(", ")
    );
    let words: Vec<_> = text.stdout.split_whitespace().collect();
    assert!(words.join(" ").contains(&said), "{text}");
    assert!(
        text.stdout.lines().any(|line| line == "    calmirror approve 12"),
        "{text}"
    );
    let status = setup.run(&["--output", "json", "status"]).await.expect(0).json();
    assert_eq!(
        status[0]["clients"][0]["held"],
        json!({
            "set_hash": "abc", "users": 30, "live": 40, "reason": "limit", "run_id": 12, "first_run_id": 7,
            "held_since": "2026-03-01T12:00:00Z", "first_users": setup.clients[0].users[..20],
        })
    );
    assert!(status[0]["clients"][1]["held"].is_null());
    for (statement, said) in [
        ("update held_sets set reason = 'everyone'", "(all of them)"),
        (
            "update held_sets set reason = 'no_control'",
            "(no other user of the client answered)",
        ),
    ] {
        execute(&pool, statement).await;
        let text = setup.run(&["status"]).await.expect(0);
        let words: Vec<_> = text.stdout.split_whitespace().collect();
        assert!(words.join(" ").contains(said), "{text}");
    }
}

#[tokio::test]
async fn a_pass_under_way_is_shown_with_its_start() {
    let setup = Setup::new(1, 3).await;
    setup.run(&["sync"]).await.expect(0);
    execute(
        &setup.pool().await,
        "update sync_runs set outcome = null, finished_at = null, started_at = '2026-03-01T12:00:00Z',
             heartbeat_at = '2026-03-01T12:00:07Z'",
    )
    .await;
    let text = setup.run(&["status"]).await.expect(0);
    assert_fits(&text);
    assert!(cells(&text.stdout)[1].contains(&"running"), "{text}");
    let words = text.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("run 1 is under way since 2026-03-01 12:00:00Z ("),
        "{text}"
    );
    assert!(
        words.contains("), and last showed that it is alive at 2026-03-01 12:00:07Z"),
        "{text}"
    );
    assert!(
        words.contains("; so far 3 of 3 users observed, 3 requests made by get, 3 changes written"),
        "{text}"
    );
    let status = setup.run(&["--output", "json", "status"]).await.expect(0).json();
    assert_eq!(
        status[0]["clients"][0]["last_heartbeat_at"],
        "2026-03-01T12:00:07Z"
    );
    assert_eq!(status[0]["clients"][0]["last_planned_users"], 3);
    execute(
        &setup.pool().await,
        "update sync_runs set observed = 2, planned_users = 5, requests = 4, planned_requests = 6, fetch_plan = 'bulk',
             resumes = 7",
    )
    .await;
    let text = setup.run(&["status"]).await.expect(0);
    assert_fits(&text);
    let words = text.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("), going on from run 7, and last showed"),
        "{text}"
    );
    assert!(
        words.contains("; so far 2 of 5 users observed, 4 of 6 requests made by bulk, 3 changes written"),
        "{text}"
    );
    let status = setup.run(&["--output", "json", "status"]).await.expect(0).json();
    let client = &status[0]["clients"][0];
    for (key, value) in [
        ("last_observed", json!(2)),
        ("last_planned_users", json!(5)),
        ("last_requests", json!(4)),
        ("last_planned_requests", json!(6)),
        ("last_fetch_plan", json!("bulk")),
        ("last_changes", json!(3)),
        ("last_resumes", json!(7)),
    ] {
        assert_eq!(client[key], value, "{key}");
    }
    execute(&setup.pool().await, "update sync_runs set heartbeat_at = null").await;
    let text = setup.run(&["status"]).await.expect(0);
    assert!(!text.stdout.contains("alive"), "{text}");
}

#[tokio::test]
async fn rejects_are_shown_with_their_reason_and_the_fields_at_fault() {
    let setup = Setup::new(1, 25).await;
    let client = &setup.clients[0];
    for user in &client.users[..23] {
        setup
            .simulator
            .place_raw(
                &client.id,
                *user,
                format!(r#"{{"id":{user},"email":"secret-mail"}}"#),
            )
            .expect("the record can be placed");
    }
    let whole = client.users[23];
    setup
        .simulator
        .place_raw(&client.id, whole, "{}")
        .expect("the record can be placed");
    setup.run(&["sync"]).await.expect(4);
    sqlx::query(
        "update rejects set changed_at = now() + interval '1 second', fields = '{}', reason = 'is no record'
         where user_id = $1",
    )
    .bind(whole)
    .execute(&setup.pool().await)
    .await
    .expect("the reject can be changed");
    let text = setup.run(&["status"]).await.expect(0);
    assert_fits(&text);
    assert!(!text.stdout.contains("secret-mail"), "{text}");
    let lines: Vec<_> = text
        .stdout
        .lines()
        .skip_while(|line| *line != "records that cannot be mirrored:")
        .skip(1)
        .collect();
    let head: Vec<_> = lines[0].split_whitespace().collect();
    assert_eq!(head, ["client", "user", "since", "at", "fault"]);
    let first: Vec<_> = lines[1].split_whitespace().take(2).collect();
    assert_eq!(first, [client.name.as_str(), &whole.to_string()], "{text}");
    assert!(lines[1].ends_with("  the record as a whole"), "{text}");
    assert_eq!(lines[2], "    is no record");
    assert!(lines[3].ends_with("timeZone, weekStart, createdDate"), "{text}");
    assert!(
        lines[4].starts_with("    timeZone: ") && lines[4].contains("; weekStart: "),
        "{text}"
    );
    assert_eq!(lines.last(), Some(&"and 4 more, in the table rejects"), "{text}");
    let status = setup.run(&["--output", "json", "status"]).await.expect(0).json();
    assert_eq!(
        status[0]["rejects"][1]["fields"],
        json!(["timeZone", "weekStart", "createdDate"])
    );
}
