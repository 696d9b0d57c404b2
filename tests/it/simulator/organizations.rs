//! The organisation's list of users.

use std::time::Duration;

use calmirror::simulator::{Faults, RateLimit, ReadLag, SimulatorConfig};
use serde_json::{Value, json};

use super::Fixture;

const PATH: &str = "/v2/organizations/1/users";

async fn fixture() -> Fixture {
    Fixture::start(SimulatorConfig {
        clients: 2,
        users_per_client: 600,
        plain_members: 5,
        ..SimulatorConfig::default()
    })
    .await
}

async fn page(fixture: &Fixture, query: &str) -> Vec<Value> {
    let answer = fixture.get(&format!("{PATH}{query}")).await;
    let body = answer.json();
    assert_eq!(answer.status, 200, "{body}");
    body["data"].as_array().expect("a list").clone()
}

fn ids(users: &[Value]) -> Vec<i64> {
    users
        .iter()
        .map(|user| user["id"].as_i64().expect("a number"))
        .collect()
}

#[tokio::test]
async fn an_organisation_has_the_users_of_all_clients_and_others() {
    let fixture = fixture().await;
    let mut users = page(&fixture, "?take=1000").await;
    users.extend(page(&fixture, "?take=1000&skip=1000").await);
    let all = ids(&users);
    assert!(all.is_sorted() && all.len() == 1205);
    assert_eq!(ids(&page(&fixture, "").await), all[..250]);
    assert_eq!(ids(&page(&fixture, "?take=3&skip=700").await), all[700..703]);
    assert!(page(&fixture, "?skip=1205").await.is_empty());
    assert!(page(&fixture, "?skip=99999999999999999999").await.is_empty());

    let clients = fixture.simulator.clients();
    let mut plain = 0;
    for user in &users {
        let id = user["id"].as_i64().expect("a number");
        let email = user["email"].as_str().expect("text");
        match clients.iter().find(|client| client.users.contains(&id)) {
            Some(client) => assert!(email.contains(&format!("+{}@", client.id))),
            None => {
                plain += 1;
                assert!(!email.contains('+'));
                let single = fixture.get(&fixture.user_path(id)).await;
                assert_eq!(single.status, 404, "no client has user {id}");
                let taken = fixture.simulator.place_raw(&fixture.client.id, id, "{}");
                assert!(taken.is_err(), "the id is somebody's");
            }
        }
    }
    assert_eq!(plain, 5);
    assert_eq!(fixture.simulator.requests().list_organization_users, 6);
}

#[tokio::test]
async fn a_user_of_the_organisation_has_the_documented_fields() {
    let fixture = Fixture::start(SimulatorConfig {
        organization_id: 77,
        ..SimulatorConfig::default()
    })
    .await;
    let id = fixture.client.users[0];
    let single = fixture.get(&fixture.user_path(id)).await.json();
    let mut expected = single["data"].clone();
    for (key, value) in [
        ("emailVerified", Value::Null),
        ("appTheme", Value::Null),
        ("theme", Value::Null),
        ("hideBranding", json!(false)),
        ("brandColor", Value::Null),
        ("darkBrandColor", Value::Null),
        ("allowDynamicBooking", json!(true)),
        ("verified", json!(false)),
        ("invitedTo", Value::Null),
        (
            "profile",
            json!({ "id": id, "organizationId": 77, "userId": id, "username": expected["username"] }),
        ),
    ] {
        expected[key] = value;
    }
    let listed = fixture.get("/v2/organizations/77/users?take=1").await.json();
    assert_eq!(listed, json!({ "status": "success", "data": [expected] }));
    // Records that are no objects come as they are.
    fixture
        .simulator
        .place_raw(&fixture.client.id, id, r#"[1, 2]"#)
        .expect("the user is the client's");
    let listed = fixture.get("/v2/organizations/77/users?take=1").await;
    assert_eq!(listed.body, br#"{"status":"success","data":[[1, 2]]}"#);
}

#[tokio::test]
async fn emails_match_exactly_as_they_are_stored() {
    let fixture = fixture().await;
    let users = page(&fixture, "?take=1000").await;
    let email = |user: &Value| user["email"].as_str().expect("text").replace('+', "%2B");
    let plain = users.iter().find(|user| !email(user).contains("%2B"));
    let plain = plain.expect("somebody has no client");
    let own = users
        .iter()
        .find(|user| user["id"] == fixture.client.users[0])
        .expect("it is listed");
    let query = format!(
        "?emails={}&emails={}&emails={}",
        email(plain),
        email(own),
        email(own)
    );
    let mut expected = [plain, own].map(|user| user["id"].as_i64().expect("a number"));
    expected.sort();
    assert_eq!(ids(&page(&fixture, &query).await), expected);
    let without = email(own).replace(&format!("%2B{}", fixture.client.id), "");
    assert!(page(&fixture, &format!("?emails={without}")).await.is_empty());
    let bad = fixture.get(&format!("{PATH}?emails=oops")).await;
    assert_eq!(bad.status, 400);
    assert_eq!(bad.json()["error"]["details"]["errors"][0]["property"], "emails");
}

#[tokio::test]
async fn who_comes_and_goes_is_in_the_list_once_reads_see_it() {
    let fixture = fixture().await;
    let (simulator, client) = (&fixture.simulator, &fixture.client.id);
    let before = ids(&page(&fixture, "?take=1000").await);
    simulator.delete_user(before[0]).expect("a client has the user");
    assert_eq!(ids(&page(&fixture, "?take=999").await), before[1..]);

    simulator.set_faults(Faults {
        read_lag: ReadLag::Time(Duration::from_secs(1)),
        ..Faults::default()
    });
    let new = simulator
        .create_user(client, json!({ "email": "new@example.com", "name": "New" }))
        .expect("the address is free");
    assert_eq!(page(&fixture, "?skip=1204").await.len(), 0);
    fixture.clock.advance(Duration::from_secs(1));
    assert_eq!(ids(&page(&fixture, "?skip=1204").await), [new]);
    simulator.remove_client(client);
    let second = &simulator.clients()[0];
    let headers = [
        ("x-cal-client-id", second.id.as_str()),
        ("x-cal-secret-key", second.secret.as_str()),
    ];
    let answer = fixture
        .ask_as("GET", &format!("{PATH}?take=1000"), &headers, "")
        .await;
    assert_eq!(answer.json()["data"].as_array().map(Vec::len), Some(605));
}

#[tokio::test]
async fn the_list_is_for_the_organisations_own_clients() {
    let fixture = Fixture::with_users(1).await;
    let [id, secret] = fixture.credentials();
    let wrong = ("x-cal-secret-key", "guess");
    let unknown = ("x-cal-client-id", "clx0");
    for (headers, path, status, code) in [
        (&[id, secret][..], "/v2/organizations/2/users", 403, "Forbidden"),
        (&[id, secret], "/v2/organizations/one/users", 403, "Forbidden"),
        (&[id, wrong], PATH, 401, "Unauthorized"),
        (&[unknown, secret], PATH, 401, "Unauthorized"),
        (&[id], PATH, 401, "Unauthorized"),
        (&[secret], PATH, 401, "Unauthorized"),
        (&[], PATH, 401, "Unauthorized"),
    ] {
        let answer = fixture.ask_as("GET", path, headers, "").await;
        assert_eq!(answer.status, status, "{path} {headers:?}");
        assert_eq!(answer.json()["error"]["code"], format!("{code}Exception"));
    }
    let posted = fixture.ask("POST", PATH, "{}").await;
    assert_eq!(
        (posted.status, &posted.json()["error"]["message"]),
        (404, &format!("Cannot POST {PATH}").into())
    );
}

#[tokio::test]
async fn take_and_skip_have_bounds() {
    let fixture = Fixture::with_users(1).await;
    for (query, property, rule, says) in [
        ("take=0", "take", "min", "take must not be less than 1"),
        ("take=1001", "take", "max", "take must not be greater than 1000"),
        ("skip=-1", "skip", "min", "skip must not be less than 0"),
        (
            "skip=x",
            "skip",
            "isNumber",
            "skip must be a number conforming to the specified constraints",
        ),
    ] {
        let answer = fixture.get(&format!("{PATH}?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        let error = &answer.json()["error"]["details"]["errors"][0];
        assert_eq!(error["property"], property);
        assert_eq!(error["constraints"][rule], says);
    }
    for query in ["take=1", "take=1000", "skip=0", "skip=251"] {
        assert_eq!(
            fixture.get(&format!("{PATH}?{query}")).await.status,
            200,
            "{query}"
        );
    }
}

#[tokio::test]
async fn the_list_costs_a_hit_and_unchanged_it_is_a_304() {
    let fixture = Fixture::start(SimulatorConfig {
        rate_limit: RateLimit {
            per_client: 2,
            ..RateLimit::default()
        },
        ..SimulatorConfig::default()
    })
    .await;
    let etag = fixture
        .get(PATH)
        .await
        .header("etag")
        .expect("200s have one")
        .to_owned();
    let mut headers = fixture.credentials().to_vec();
    headers.push(("if-none-match", &etag));
    assert_eq!(fixture.ask_as("GET", PATH, &headers, "").await.status, 304);
    assert_eq!(fixture.get(PATH).await.status, 429);
}
