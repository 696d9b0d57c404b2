//! The commands that look: `migrate`, `status`, `history`, `config`.

use serde_json::json;

use super::{Setup, cells};

#[tokio::test]
async fn migrate_says_what_it_did_and_status_asks_for_it() {
    let mut setup = Setup::new(1, 3).await;
    setup.configure("schema = \"elsewhere\"");
    let ended = setup.run(&["status"]).await.expect(1);
    assert!(ended.stderr.contains("elsewhere"), "{ended}");
    assert!(ended.stderr.contains("calmirror migrate"), "{ended}");
    setup.run(&["history", "1"]).await.expect(1);

    let ended = setup.run(&["migrate"]).await.expect(0);
    assert!(
        ended.stdout.starts_with("schema elsewhere: ") && ended.stdout.ends_with(" migrations applied\n"),
        "{ended}"
    );
    let ended = setup.run(&["migrate"]).await.expect(0);
    assert_eq!(ended.stdout, "schema elsewhere is up to date\n");
    let ended = setup.run(&["--output", "json", "migrate"]).await.expect(0);
    assert_eq!(ended.json(), [json!({ "schema": "elsewhere", "applied": 0 })]);
    setup.run(&["sync"]).await.expect(0);
    assert_eq!(
        setup
            .value::<i64>("select count(*) from elsewhere.managed_users")
            .await,
        3
    );
    setup.workplace.set("CALMIRROR__DATABASE__SCHEMA", "public");
    let ended = setup.run(&["status"]).await.expect(0);
    assert_eq!(cells(&ended.stdout)[1], ["acme", "never", "-"], "{ended}");
}

#[tokio::test]
async fn status_shows_each_client_and_what_waits() {
    let mut setup = Setup::new(3, 5).await;
    let (first, second) = (setup.clients[0].clone(), setup.clients[1].clone());
    setup
        .simulator
        .place_raw(&second.id, second.users[1], "{}")
        .expect("the record can be placed");
    let (one, other) = (&first.name, &second.name);
    setup
        .run(&["sync", "--client", one, "--client", other])
        .await
        .expect(4);
    setup
        .simulator
        .delete_user(first.users[4])
        .expect("the user can be deleted");
    setup.run(&["sync", "--client", one]).await.expect(0);

    let text = setup.run(&["status"]).await.expect(0);
    let table = cells(&text.stdout);
    assert_eq!(
        table[0].join(" "),
        "client mirror lag live removed missing rejects last pass run"
    );
    assert_eq!(table[1][..2], [one, "fresh"], "{text}");
    assert_eq!(table[2][..2], [other, "never"], "{text}");
    let reject = format!("{other}  {}", second.users[1]);
    assert!(
        text.stdout.lines().any(|line| line.starts_with(&reject)),
        "the reject is shown: {text}"
    );

    let status = setup.run(&["--output", "json", "status"]).await.expect(0).json();
    let [status] = &status[..] else {
        panic!("one value")
    };
    assert_eq!(status["never_passed"], json!([setup.clients[2].name]));
    let counts = |client: usize| {
        let client = &status["clients"][client];
        ["live_users", "removed_users", "missing_users", "rejects"].map(|key| client[key].clone())
    };
    assert_eq!(counts(0), [5, 0, 1, 0].map(serde_json::Value::from));
    assert_eq!(counts(1), [4, 0, 0, 1].map(serde_json::Value::from));
    assert_eq!(status["clients"][1]["last_outcome"], "partial");
    assert_eq!(status["rejects"][0]["user_id"], second.users[1]);

    setup.workplace.set("SECRET_ACME", "not-it");
    setup.run(&["sync", "--client", one]).await.expect(1);
    let text = setup.run(&["status"]).await.expect(0);
    assert!(
        text.stdout.contains(&format!("\n{one}: ")) && text.stdout.contains("the secret is wrong"),
        "{text}"
    );
}

#[tokio::test]
async fn history_shows_every_version_of_one_user() {
    let setup = Setup::new(1, 3).await;
    setup.run(&["sync"]).await.expect(0);
    let user = setup.clients[0].users[1];
    for zone in ["Antarctica/Troll", "Pacific/Chatham"] {
        setup
            .simulator
            .patch_user(user, json!({ "timeZone": zone }))
            .expect("the user can be changed");
        setup.run(&["sync"]).await.expect(0);
    }
    let id = user.to_string();
    let text = setup.run(&["history", &id]).await.expect(0);
    let heads: Vec<_> = text
        .stdout
        .lines()
        .filter(|line| line.starts_with('v'))
        .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>())
        .collect();
    assert_eq!(heads, [["v1", "insert"], ["v2", "update"], ["v3", "update"]]);
    assert!(
        text.stdout
            .contains(r#"    time_zone: "Antarctica/Troll" -> "Pacific/Chatham""#),
        "{text}"
    );

    let json = setup
        .run(&["--output", "json", "history", &id])
        .await
        .expect(0)
        .json();
    assert_eq!(json.len(), 3);
    assert_eq!(
        json[2]["changed"],
        json!({ "time_zone": { "old": "Antarctica/Troll", "new": "Pacific/Chatham" } })
    );
    assert_eq!(json[2]["after"]["time_zone"], "Pacific/Chatham");

    let unknown = setup.run(&["history", "424242"]).await.expect(1);
    assert_eq!(unknown.stdout, "");
    assert_eq!(
        unknown.stderr,
        "error: user 424242 was never mirrored, and no client of the configuration lists it; is it another id?\n"
    );
    setup.run(&["history", "alice"]).await.expect(2);
}

#[tokio::test]
async fn config_masks_what_is_secret() {
    let setup = Setup::new(2, 2).await;
    let variables = [("DATABASE_URL", "postgres://mirror:hunter2@db.example:5433/cal")];
    for format in ["text", "json"] {
        let ended = setup
            .workplace
            .run_with(&variables, &["--output", format, "config"])
            .await
            .expect(0);
        let all = ended.to_string();
        assert!(all.contains("db.example:5433"), "{ended}");
        assert!(!all.contains("hunter2"), "{ended}");
        for client in &setup.clients {
            assert!(
                all.contains(&client.id) && !all.contains(&client.secret),
                "{ended}"
            );
        }
        if format == "json" {
            let config = &ended.json()[0];
            assert_eq!(config["calcom"]["requests_per_minute"], 0);
            assert_eq!(config["clients"].as_array().map(Vec::len), Some(2));
        }
    }
}
