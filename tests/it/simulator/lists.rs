//! How other servers list, and which addresses a list takes.

use calmirror::simulator::{EmailFilter, ListRoute, Lists, MaxLimit};
use serde_json::{Value, json};

use super::Fixture;
use crate::support::http::Answer;

fn ids(answer: &Answer) -> Vec<i64> {
    let body = answer.json();
    let users = body["data"]
        .as_array()
        .unwrap_or_else(|| panic!("no list in {body}"));
    users
        .iter()
        .map(|user| user["id"].as_i64().expect("a number"))
        .collect()
}

fn violation(answer: &Answer) -> Value {
    assert_eq!(answer.status, 400);
    let error = &answer.json()["error"];
    assert_eq!(error["code"], "BadRequestException");
    assert_eq!(error["message"], "Bad Request Exception");
    error["details"]["errors"][0].clone()
}

#[tokio::test]
async fn a_server_may_ignore_or_refuse_emails() {
    let fixture = Fixture::with_users(3).await;
    let simulator = &fixture.simulator;
    let (last, address) = simulator
        .addresses(&fixture.client.id)
        .expect("the client exists")
        .swap_remove(2);
    assert!(!address.contains('+'), "as people know it: {address}");
    let path = format!("{}?limit=2&emails={address}", fixture.users_path());
    assert_eq!(ids(&fixture.get(&path).await), [last]);

    let emails = |emails| Lists {
        emails,
        ..Lists::default()
    };
    simulator.set_lists(emails(EmailFilter::Ignored));
    assert_eq!(ids(&fixture.get(&path).await), fixture.client.users[..2]);
    let nonsense = format!("{}?emails=oops", fixture.users_path());
    assert_eq!(fixture.get(&nonsense).await.status, 200);

    simulator.set_lists(emails(EmailFilter::Refused));
    let refused = violation(&fixture.get(&path).await);
    assert_eq!(refused["property"], "emails");
    assert_eq!(
        refused["constraints"],
        json!({ "whitelistValidation": "property emails should not exist" })
    );
    assert_eq!(fixture.get(&fixture.users_path()).await.status, 200);

    simulator.set_lists(Lists::default());
    assert_eq!(ids(&fixture.get(&path).await), [last]);
}

#[tokio::test]
async fn a_server_may_have_another_limit() {
    let fixture = Fixture::with_users(300).await;
    let users = &fixture.client.users;
    let path = |limit: usize| format!("{}?limit={limit}", fixture.users_path());
    for (max_limit, limit, length) in [
        (MaxLimit::Refuse(100), 100, 100),
        (MaxLimit::Refuse(1000), 1000, 300),
        (MaxLimit::Clamp(100), 250, 100),
        (MaxLimit::Clamp(100), 99, 99),
    ] {
        fixture.simulator.set_lists(Lists {
            max_limit,
            ..Lists::default()
        });
        assert_eq!(ids(&fixture.get(&path(limit)).await), users[..length]);
    }
    fixture.simulator.set_lists(Lists {
        max_limit: MaxLimit::Refuse(100),
        ..Lists::default()
    });
    let refused = violation(&fixture.get(&path(250)).await);
    assert_eq!(
        refused["constraints"],
        json!({ "max": "limit must not be greater than 100" })
    );
}

#[tokio::test]
async fn a_list_may_be_missing_or_forbidden() {
    let fixture = Fixture::with_users(1).await;
    let (list, organization) = (fixture.users_path(), "/v2/organizations/1/users".to_owned());
    for (path, other) in [(&list, &organization), (&organization, &list)] {
        let set = |route| {
            let mut lists = Lists::default();
            *(if *path == list {
                &mut lists.users
            } else {
                &mut lists.organization
            }) = route;
            fixture.simulator.set_lists(lists);
        };
        set(ListRoute::Missing);
        let missing = fixture.get(&format!("{path}?limit=1")).await;
        assert_eq!(missing.status, 404);
        assert_eq!(
            missing.json()["error"]["message"],
            format!("Cannot GET {path}?limit=1")
        );
        assert_eq!(fixture.get(other).await.status, 200);

        set(ListRoute::Forbidden);
        let forbidden = fixture.get(path).await;
        assert_eq!(forbidden.status, 403);
        assert_eq!(forbidden.json()["error"]["code"], "ForbiddenException");
        let nobody = fixture.ask_as("GET", path, &[], "").await;
        assert_eq!(nobody.status, 401);
        let user = fixture.user_path(fixture.client.users[0]);
        assert_eq!(fixture.get(&user).await.status, 200);
        assert_eq!(fixture.get(other).await.status, 200);
    }
}

#[tokio::test]
async fn a_proxy_may_refuse_a_long_url() {
    let fixture = Fixture::with_users(1).await;
    let path = fixture.user_path(fixture.client.users[0]);
    fixture.simulator.set_lists(Lists {
        max_url_bytes: Some(path.len() + 2),
        ..Lists::default()
    });
    assert_eq!(fixture.get(&format!("{path}?x")).await.status, 200);
    let hits = fixture.simulator.budget(&fixture.client.id).hits;
    let refused = fixture.get(&format!("{path}?xy")).await;
    assert_eq!(
        (refused.status, refused.header("content-type")),
        (414, Some("text/html"))
    );
    assert!(refused.body.starts_with(b"<html>"));
    assert_eq!(fixture.simulator.budget(&fixture.client.id).hits, hits);
}

#[tokio::test]
async fn strange_addresses_are_found_or_fail_the_list() {
    let fixture = Fixture::with_users(0).await;
    let client = &fixture.client.id;
    let create = |address: &str| {
        let body = json!({ "email": address, "name": "A" });
        fixture.simulator.create_user(client, body).expect("it is free")
    };
    let ask = async |addresses: &[&str]| {
        let encoded: String = url::form_urlencoded::byte_serialize(addresses.join(",").as_bytes()).collect();
        let path = format!("{}?emails={encoded}", fixture.users_path());
        fixture.get(&path).await
    };
    let fine = [
        "o'hara+tag@example.com",
        "zoë@bücher.example",
        r#""a b"@example.com"#,
    ];
    let found = fine.map(create);
    assert_eq!(ids(&ask(&fine).await), found);
    // With the suffix the quotes end too early.
    let stored = format!(r#""a b"+{client}@example.com"#);
    let long = format!("{}@example.com", "l".repeat(60));
    let long_id = create(&long);
    let long_stored = format!("{}+{client}@example.com", "l".repeat(60));
    assert_eq!(ids(&ask(&[&long]).await), [long_id]);
    for (bad, culprit) in [
        (stored.as_str(), stored.as_str()),
        (&long_stored, &long_stored),
        ("\u{1f600}@example.com", "\u{1f600}@example.com"),
        (r#""a,b"@example.com"#, r#""a"#),
    ] {
        let refused = ask(&[fine[0], bad, fine[1]]).await;
        assert_eq!(refused.status, 400);
        assert_eq!(
            refused.json()["error"]["message"],
            format!("Invalid email {culprit}")
        );
    }
}
