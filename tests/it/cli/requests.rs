//! `calmirror plan --requests`: what each way of asking would take.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::Setup;

/// How many requests the simulator has had.
fn asked(setup: &Setup) -> u64 {
    setup.simulator.requests().total
}

#[tokio::test]
async fn requests_are_foretold_without_one_and_without_secrets_or_tables() {
    let mut setup = Setup::new(2, 40).await;
    setup
        .workplace
        .set("CALMIRROR__CALCOM__REQUESTS_PER_MINUTE", "18");
    setup.fetch = "auto";
    setup.configure("schema = \"elsewhere\"");
    let names: Vec<String> = setup.clients.iter().map(|client| client.name.clone()).collect();
    let text = fs::read_to_string(setup.workplace.path().join("config.toml")).expect("it is written");
    setup.workplace.write(
        "config.toml",
        &text.replace("env = \"SECRET_", "env = \"NOWHERE_"),
    );
    let first = &names[0];
    let ended = setup
        .run(&["--output", "json", "plan", "--requests", "--client", first])
        .await
        .expect(0);
    let expected = |with_address: u64, address_bytes: &Value, bulk: Value, chosen: &str| {
        json!({
            "client": first, "users": 40, "with_address": with_address, "address_bytes": address_bytes,
            "everyone": false, "sql": false, "requests_per_minute": 18, "configured": "auto", "chosen": chosen,
            "plans": {
                "get": { "requests": 40, "duration_s": 130.0 },
                "bulk": bulk,
                "list": { "requests": 1, "duration_s": 0.0 },
            },
        })
    };
    assert_eq!(
        ended.json(),
        [expected(
            0,
            &json!(0),
            json!({ "requests": 40, "duration_s": 130.0 }),
            "list"
        )]
    );
    assert_eq!(asked(&setup), 0);
    assert_eq!(
        setup
            .value::<i64>("select count(*) from pg_namespace where nspname = 'elsewhere'")
            .await,
        0,
        "nothing is made"
    );
    setup.workplace.write("config.toml", &text);
    setup.workplace.set("CALMIRROR__CALCOM__REQUESTS_PER_MINUTE", "0");
    setup.run(&["sync"]).await.expect(0);
    setup
        .workplace
        .set("CALMIRROR__CALCOM__REQUESTS_PER_MINUTE", "18");
    let before = asked(&setup);
    let ended = setup
        .run(&["--output", "json", "plan", "--requests"])
        .await
        .expect(0);
    let mut found = ended.json();
    let bytes = found[0]["address_bytes"].clone();
    assert!(bytes.as_u64().is_some_and(|bytes| bytes > 40 * 8), "{ended}");
    assert_eq!(
        found.remove(0),
        expected(40, &bytes, json!({ "requests": 1, "duration_s": 0.0 }), "bulk")
    );
    assert_eq!(found[0]["client"], json!(names[1]));
    assert_eq!(asked(&setup), before, "Cal.com is asked nothing");
    // Another plan is chosen by the configuration only.
    setup.workplace.set("CALMIRROR__CALCOM__FETCH", "get");
    let forced = setup
        .run(&["plan", "--requests", "--client", first])
        .await
        .expect(0);
    assert!(
        forced
            .stdout
            .contains("get   40        2 min 10 s  chosen by the configuration"),
        "{forced}"
    );
}

#[tokio::test]
async fn the_documented_costs_are_those_that_are_printed() {
    let mut setup = Setup::new(2, 400).await;
    setup.run(&["migrate"]).await.expect(0);
    let acme = setup.clients[0].id.clone();
    sqlx::query(
        "insert into managed_users (id, client_id, email, time_zone, week_start, created_date, version, first_seen_at,
             changed_at)
         select n, $1, 'person.' || n || '+' || $1 || '@example.com', 'UTC', 'Sunday', now(), 1, now(), now()
         from generate_series(1000001, 1020000) as n",
    )
    .bind(&acme)
    .execute(&setup.pool().await)
    .await
    .expect("rows can be made");
    // A hundred of them are new.
    setup.clients[0].users = (1_000_001..=1_020_100).collect();
    setup.fetch = "auto";
    setup.configure("");
    setup
        .workplace
        .set("CALMIRROR__CALCOM__REQUESTS_PER_MINUTE", "450");
    let ended = setup.run(&["plan", "--requests"]).await.expect(0);
    let shown: String = ended
        .stdout
        .lines()
        .map(|line| format!("    {line}").trim_end().to_owned() + "\n")
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/operations.md")).expect("the document can be read");
    assert!(
        document.contains(&shown),
        "docs/operations.md should have:\n{shown}"
    );
}

/// Of the first client.
async fn counted(setup: &Setup) -> Value {
    let arguments = ["--output", "json", "plan", "--requests"];
    setup.run(&arguments).await.expect(0).json().remove(0)
}

#[tokio::test]
async fn the_users_of_a_query_are_counted_and_only_without_tables_is_it_said_that_they_are_not() {
    let mut setup = Setup::new(1, 40).await;
    let pool = setup.pool().await;
    sqlx::raw_sql("create table public.customers (user_id bigint, email text)")
        .execute(&pool)
        .await
        .expect("the table can be made");
    let id = setup.clients[0].id.clone();
    for (user, email) in setup.simulator.addresses(&id).expect("the client is there") {
        sqlx::query("insert into public.customers values ($1, $2)")
            .bind(user)
            .bind(email)
            .execute(&pool)
            .await
            .expect("the row can be written");
    }
    // Whoever is listed is mirrored; the others only the query gives.
    setup.clients[0].users.truncate(10);
    setup.configure("");
    setup.run(&["sync"]).await.expect(0);
    let query = |columns: &str| {
        setup.configure("");
        let path = setup.workplace.path().join("config.toml");
        let text = fs::read_to_string(path).expect("it is written");
        let query = format!("{text}users_sql = \"select {columns} from public.customers\"\n");
        setup.workplace.write("config.toml", &query);
    };
    query("user_id");
    let found = counted(&setup).await;
    assert_eq!(
        (&found["sql"], &found["users"], &found["with_address"]),
        (&json!(true), &json!(40), &json!(10))
    );
    assert_eq!(found["plans"]["bulk"]["requests"], json!(31));
    let known = found["address_bytes"].as_u64().expect("a number");
    query("user_id, email");
    let found = counted(&setup).await;
    assert_eq!(
        (&found["users"], &found["with_address"]),
        (&json!(40), &json!(40))
    );
    assert_eq!(
        found["address_bytes"],
        json!(known * 4),
        "as long as the known ones"
    );
    assert_eq!(found["plans"]["bulk"]["requests"], json!(1));
    let note = "the users that users_sql gives are not counted";
    let ended = setup.run(&["plan", "--requests"]).await.expect(0);
    assert!(!ended.stdout.contains(note), "{ended}");
    setup.workplace.set("CALMIRROR__DATABASE__SCHEMA", "elsewhere");
    let found = counted(&setup).await;
    assert_eq!((&found["users"], &found["with_address"]), (&json!(10), &json!(0)));
    let ended = setup.run(&["plan", "--requests"]).await.expect(0);
    assert!(ended.stdout.contains(note), "{ended}");
}
