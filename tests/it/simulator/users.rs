//! Reading, listing and writing users.

use std::time::Duration;

use calmirror::simulator::{Faults, ReadLag, Simulator, SimulatorConfig, User};
use serde_json::{Value, json};

use super::Fixture;

async fn emails(fixture: &Fixture, query: &str) -> Vec<String> {
    let answer = fixture
        .get(&format!("{}?emails={query}", fixture.users_path()))
        .await;
    let body = answer.json();
    let data = body["data"]
        .as_array()
        .unwrap_or_else(|| panic!("no data in {body}"));
    data.iter()
        .map(|user| user["email"].as_str().expect("users have one").to_owned())
        .collect()
}

#[tokio::test]
async fn the_published_example_is_served_field_for_field() {
    let fixture = Fixture::with_users(0).await;
    let id = &fixture.client.id;
    fixture
        .simulator
        .place_user(id, &User::alice(id))
        .expect("the id is free");
    let answer = fixture.get(&fixture.user_path(1)).await;
    let expected = json!({
        "status": "success",
        "data": {
            "id": 1,
            "email": format!("alice+{id}@example.com"),
            "username": "alice",
            "name": "alice",
            "bio": "bio",
            "timeZone": "America/New_York",
            "weekStart": "Sunday",
            "createdDate": "2024-04-01T00:00:00.000Z",
            "timeFormat": 12,
            "defaultScheduleId": null,
            "locale": "en",
            "avatarUrl": "https://cal.com/api/avatar/2b735186-b01b-46d3-87da-019b8f61776b.png",
            "metadata": { "key": "value" },
        },
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
}

#[tokio::test]
async fn a_raw_record_is_served_byte_for_byte() {
    let fixture = Fixture::with_users(0).await;
    let raw =
        r#"{"id": 7,"name":"\u0000\ud800","big":9007199254740993.10,"timeFormat":"x"  , "email":"r@x.org"}"#;
    fixture
        .simulator
        .place_raw(&fixture.client.id, 7, raw)
        .expect("the id is free");
    let one = fixture.get(&fixture.user_path(7)).await;
    assert_eq!(
        String::from_utf8_lossy(&one.body),
        format!(r#"{{"status":"success","data":{raw}}}"#)
    );
    let list = fixture.get(&fixture.users_path()).await;
    assert_eq!(
        String::from_utf8_lossy(&list.body),
        format!(r#"{{"status":"success","data":[{raw}]}}"#)
    );
}

#[tokio::test]
async fn lists_are_pages_by_ascending_id_up_to_500() {
    let fixture = Fixture::with_users(600).await;
    let page = async |query: &str| -> Vec<i64> {
        let body = fixture
            .get(&format!("{}{query}", fixture.users_path()))
            .await
            .json();
        let users = body["data"].as_array().expect("a list").clone();
        users
            .iter()
            .map(|user| user["id"].as_i64().expect("a number"))
            .collect()
    };
    let ids = &fixture.client.users;
    assert!(ids.is_sorted());
    assert_eq!(page("").await, ids[..50]);
    assert_eq!(page("?limit=250").await, ids[..250]);
    assert_eq!(page("?limit=250&offset=250").await, ids[250..500]);
    assert_eq!(page("?limit=3&offset=10").await, ids[10..13]);
}

#[tokio::test]
async fn emails_match_exactly_with_or_without_the_suffix() {
    let fixture = Fixture::with_users(3).await;
    let client = &fixture.client.id;
    for local in ["ann", "ben"] {
        let body = json!({ "email": format!("{local}@example.com"), "name": local });
        fixture
            .simulator
            .create_user(client, body)
            .expect("the address is free");
    }
    let [ann, ben] = ["ann", "ben"].map(|local| format!("{local}+{client}@example.com"));
    let suffixed = format!("ben%2B{client}%40example.com");
    assert_eq!(
        emails(
            &fixture,
            &format!("{suffixed},nobody@example.com,ann@example.com,ann@example.com")
        )
        .await,
        [ann.clone(), ben]
    );
    assert_eq!(
        emails(&fixture, "ann@example.com,%20ben@example.com&limit=1").await,
        [ann]
    );
    assert!(emails(&fixture, "an@example.com").await.is_empty());
    for bad in [
        "oops",
        "",
        "ann@example.com,,ben@example.com",
        "x%20y@example.com",
    ] {
        let path = format!("{}?emails={bad}", fixture.users_path());
        let answer = fixture.get(&path).await;
        let message = answer.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(answer.status, 400);
        assert!(message.starts_with("Invalid email "), "{message}");
    }
}

#[tokio::test]
async fn users_are_created_changed_and_deleted_for_good() {
    let fixture = Fixture::with_users(1).await;
    let client = &fixture.client.id;
    let body = json!({ "email": "bob@example.com", "name": "Bob", "timeZone": "Asia/Tokyo", "metadata": { "a": 1, "b": 2 } });
    let created = fixture
        .ask("POST", &fixture.users_path(), &body.to_string())
        .await;
    assert_eq!(created.status, 201);
    let data = &created.json()["data"];
    for token in ["accessToken", "refreshToken"] {
        assert!(data[token].is_string() && data[format!("{token}ExpiresAt")].is_number());
    }
    let id = data["user"]["id"].as_i64().expect("a number");
    assert!(id > fixture.client.users[0]);
    let expected = json!({
        "id": id,
        "email": format!("bob+{client}@example.com"),
        "username": format!("bob-{client}-example"),
        "name": "Bob",
        "bio": null,
        "timeZone": "Asia/Tokyo",
        "weekStart": "Sunday",
        "createdDate": "2026-03-01T12:00:00.000Z",
        "timeFormat": 12,
        "defaultScheduleId": id * 2,
        "locale": null,
        "avatarUrl": null,
        "metadata": { "a": 1, "b": 2 },
    });
    assert_eq!(data["user"], expected);

    let path = fixture.user_path(id);
    let twice = fixture
        .ask("POST", &fixture.users_path(), &body.to_string())
        .await;
    assert_eq!(
        (twice.status, &twice.json()["error"]["code"]),
        (409, &"ConflictException".into())
    );

    let change = json!({ "timeFormat": 24, "metadata": { "c": { "d": [1] } }, "email": "rob@example.com", "nose": "big" });
    let patched = fixture.ask("PATCH", &path, &change.to_string()).await.json();
    let mut after = expected.clone();
    after["timeFormat"] = json!(24);
    after["metadata"] = json!({ "c": { "d": [1] } });
    after["email"] = json!(format!("rob+{client}@example.com"));
    assert_eq!(patched["data"], after);
    assert_eq!(fixture.get(&path).await.json(), patched);

    let cleared = fixture
        .ask("PATCH", &path, r#"{"metadata":null,"name":null}"#)
        .await
        .json();
    assert_eq!(
        (cleared["data"].get("metadata"), &cleared["data"]["name"]),
        (None, &Value::Null)
    );

    let deleted = fixture.ask("DELETE", &path, "").await;
    assert_eq!((deleted.status, deleted.json()), (200, cleared));
    for method in ["GET", "PATCH", "DELETE"] {
        assert_eq!(fixture.ask(method, &path, "{}").await.status, 404);
    }
    let next = fixture
        .simulator
        .create_user(client, body)
        .expect("the address is free again");
    assert!(next > id, "ids are not given out twice");
}

#[tokio::test]
async fn writes_are_checked() {
    let fixture = Fixture::with_users(1).await;
    let path = fixture.user_path(fixture.client.users[0]);
    let before = fixture.get(&path).await.json();
    for body in [
        r#"{"timeFormat":13}"#,
        r#"{"email":"oops"}"#,
        r#"{"timeZone":"Mars/Olympus"}"#,
        r#"{"metadata":"text"}"#,
        "{",
        "[]",
    ] {
        assert_eq!(fixture.ask("PATCH", &path, body).await.status, 400, "{body}");
    }
    let big = format!(r#"{{"bio":"{}"}}"#, "x".repeat(200_000));
    assert_eq!(fixture.ask("PATCH", &path, &big).await.status, 413);
    assert_eq!(fixture.get(&path).await.json(), before);
}

#[tokio::test]
async fn clients_come_and_go_and_ids_are_global() {
    let fixture = Fixture::with_users(1).await;
    let (simulator, id) = (&fixture.simulator, fixture.client.users[0]);
    simulator.add_client("late", "cl-late", "s");
    let late = simulator
        .create_user("cl-late", json!({ "email": "a@example.com", "name": "A" }))
        .expect("the address is free");
    assert!(late > id);
    let taken = User {
        id,
        ..User::alice("cl-late")
    };
    assert!(
        simulator.place_user("cl-late", &taken).is_err(),
        "another client's id"
    );
    let path = format!("/v2/oauth-clients/cl-late/users/{late}");
    let secret = [("x-cal-secret-key", "s")];
    assert_eq!(fixture.ask_as("GET", &path, &secret, "").await.status, 200);
    assert!(simulator.remove_client("cl-late"));
    assert_eq!(fixture.ask_as("GET", &path, &secret, "").await.status, 401);
}

#[tokio::test]
async fn in_process_writes_are_those_of_http() {
    let fixture = Fixture::with_users(2).await;
    let (simulator, id) = (&fixture.simulator, fixture.client.users[0]);
    simulator
        .patch_user(id, json!({ "name": "Zed" }))
        .expect("the user exists");
    assert_eq!(
        fixture.get(&fixture.user_path(id)).await.json()["data"]["name"],
        "Zed"
    );
    simulator.delete_user(id).expect("the user exists");
    assert_eq!(fixture.get(&fixture.user_path(id)).await.status, 404);
    assert!(simulator.delete_user(id).is_err());
    assert_eq!(simulator.user_json(id), None);
    assert_eq!(simulator.clients()[0].users, fixture.client.users[1..]);
}

#[tokio::test]
async fn reads_can_be_behind_writes_by_time_or_by_requests() {
    let fixture = Fixture::with_users(1).await;
    let (simulator, id) = (&fixture.simulator, fixture.client.users[0]);
    let lag = |read_lag| {
        simulator.set_faults(Faults {
            read_lag,
            ..Faults::default()
        });
    };
    lag(ReadLag::Time(Duration::from_millis(100)));
    let bob = simulator
        .create_user(
            &fixture.client.id,
            json!({ "email": "b@example.com", "name": "B" }),
        )
        .expect("the address is free");
    assert_eq!(fixture.get(&fixture.user_path(bob)).await.status, 404);
    fixture.clock.advance(Duration::from_millis(100));
    assert_eq!(fixture.get(&fixture.user_path(bob)).await.status, 200);

    lag(ReadLag::Requests(2));
    let path = fixture.user_path(id);
    assert_eq!(fixture.ask("DELETE", &path, "").await.status, 200);
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(fixture.get(&path).await.status);
    }
    assert_eq!(seen, [200, 200, 404]);
}

#[tokio::test]
async fn the_same_configuration_is_the_same_world() {
    let start = async |seed| {
        let config = SimulatorConfig {
            seed,
            clients: 2,
            users_per_client: 20,
            ..SimulatorConfig::default()
        };
        let simulator = Simulator::start(config).await.expect("the simulator starts");
        let clients = simulator.clients();
        let users: Vec<_> = clients
            .iter()
            .flat_map(|client| client.users.iter().map(|id| simulator.user_json(*id)))
            .collect();
        simulator.shutdown().await.expect("it stops");
        (clients, users)
    };
    assert_eq!(start(5).await, start(5).await);
    assert_ne!(start(5).await, start(6).await);
}
