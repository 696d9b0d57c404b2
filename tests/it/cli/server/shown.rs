//! Values of users, which answers hold only where they may.

use serde_json::{Value, json};
use sqlx::Row;

use super::{
    Daemon, HARDLY_EVER, Setup,
    guard::{PROBES, ROUTES},
};

/// Texts in metadata, with what pages and JSON spell otherwise: first and second version.
const METADATA: [[&str; 3]; 2] = [
    ["platinum plan", "<Sheffield> & \"Hallam\"", "ACC-990011"],
    ["copper plan", "Ünder 'the' \\ Bridge", "ACC-990022"],
];

fn metadata(version: usize) -> Value {
    let [plan, city, account] = METADATA[version];
    json!({ "plan": plan, "address": { "city": city, "floor": 17 }, "accounts": [account] })
}

/// As it may stand in an answer: plain, in JSON, and either of them in HTML.
fn is_in(text: &str, value: &str) -> bool {
    let quoted = Value::from(value).to_string();
    let json = &quoted[1..quoted.len() - 1];
    let html = |text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        text.replace('>', "&gt;").replace('"', "&quot;")
    };
    [value.to_owned(), json.to_owned(), html(value), html(json)]
        .iter()
        .any(|spelled| text.contains(spelled))
}

/// Answers of all routes: pages and the like, and JSON.
async fn answers(daemon: &Daemon, users: &[i64]) -> (String, String) {
    let mut routes: Vec<_> = ROUTES.map(|(route, _)| route.to_owned()).into();
    routes.extend(PROBES.map(str::to_owned));
    for user in users {
        for query in ["", "?at=2100-01-01T00:00:00Z", "?before=2"] {
            routes.push(format!("/users/{user}{query}"));
            routes.push(format!("/api/v1/users/{user}{query}"));
        }
    }
    let (mut pages, mut api) = (String::new(), String::new());
    for route in routes {
        let answer = daemon.get(&route).await;
        let text = String::from_utf8(answer.body).expect("UTF-8");
        if route.starts_with("/api/") {
            api.push_str(&text);
        } else {
            pages.push_str(&text);
        }
    }
    (pages, api)
}

#[tokio::test]
async fn without_show_values_no_answer_holds_one() {
    for shown in [false, true] {
        let setup = Setup::new(1, 5).await;
        let users = setup.clients[0].users.clone();
        let patch = |setup: &Setup, body: &Value| {
            for user in &users {
                let patched = setup.simulator.patch_user(*user, body.clone());
                patched.expect("the user is there");
            }
        };
        patch(&setup, &json!({ "metadata": metadata(0) }));
        let server = format!("{HARDLY_EVER}\n[server]\nshow_values = {shown}");
        let daemon = Daemon::start(setup, &server).await;
        daemon.until_ready(200, "ok", None).await;
        let rows = sqlx::query("select email, username, name, bio, avatar_url from managed_users")
            .fetch_all(&daemon.setup.pool().await)
            .await
            .expect("users can be read");
        let mut values: Vec<String> = rows
            .iter()
            .flat_map(|row| (0..row.len()).filter_map(|column| row.get::<Option<String>, _>(column)))
            .filter(|value| value.len() > 4)
            .collect();
        assert!(values.len() >= 10, "{values:?}");
        // A second version of each, so that old values are there beside new ones.
        let second = json!({ "name": "Augusta Ada", "bio": "Countess of Lovelace", "metadata": metadata(1) });
        patch(&daemon.setup, &second);
        daemon.setup.run(&["sync"]).await.expect(0);
        values.extend(["Augusta Ada".to_owned(), "Countess of Lovelace".to_owned()]);
        let (pages, api) = answers(&daemon, &users).await;
        for value in &values {
            // A page may have the beginning of a long one only.
            let found = is_in(&pages, value) || is_in(&api, value);
            assert_eq!(found, shown, "{value} in\n{pages}\n{api}");
        }
        for value in METADATA.as_flattened() {
            let found = [&pages, &api].map(|text| is_in(text, value));
            assert_eq!(found, [shown; 2], "{value} in\n{pages}\n{api}");
        }
        daemon.stop().await;
    }
}
