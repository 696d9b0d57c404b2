//! Each row of the table of errors.

use calmirror::simulator::{Refusal, SimulatorConfig, Target};
use serde_json::{Value, json};

use super::Fixture;
use crate::support::http::Answer;

fn assert_refused(answer: &Answer, status: u16, code: &str, message: &str) {
    let body = answer.json();
    assert_eq!(answer.status, status, "{body}");
    assert_eq!(body["status"], "error");
    assert_eq!(body["timestamp"], "2026-03-01T12:00:00.000Z");
    assert!(body["path"].as_str().is_some_and(|path| path.starts_with('/')));
    assert_eq!(body["error"]["code"], code);
    assert_eq!(body["error"]["message"], message);
    assert_eq!(
        answer.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert!(answer.header("x-ratelimit-limit-default").is_some());
}

#[tokio::test]
async fn callers_who_are_not_the_client_are_unauthorized() {
    let fixture = Fixture::with_users(1).await;
    let path = fixture.user_path(fixture.client.users[0]);
    let wrong = fixture
        .ask_as("GET", &path, &[("x-cal-secret-key", "guess")], "")
        .await;
    assert_refused(
        &wrong,
        401,
        "UnauthorizedException",
        "ApiAuthStrategy - oAuth client - Invalid client secret",
    );
    let none = fixture
        .ask_as("GET", &path, &[("x-cal-client-id", &fixture.client.id)], "")
        .await;
    assert_refused(
        &none,
        401,
        "UnauthorizedException",
        "ApiAuthStrategy - Only 'x-cal-client-id' header provided. Please also provide 'x-cal-secret-key' header or \
         Auth bearer token as 'Authentication' header",
    );
    let unknown = fixture.get("/v2/oauth-clients/clx0/users/1").await;
    assert_refused(
        &unknown,
        401,
        "UnauthorizedException",
        "ApiAuthStrategy - oAuth client - Client with ID clx0 not found",
    );
}

#[tokio::test]
async fn the_secret_alone_is_enough_and_can_be_replaced() {
    let fixture = Fixture::with_users(1).await;
    let path = fixture.user_path(fixture.client.users[0]);
    let secret = [("x-cal-secret-key", fixture.client.secret.as_str())];
    assert_eq!(fixture.ask_as("GET", &path, &secret, "").await.status, 200);
    fixture
        .simulator
        .set_secret(&fixture.client.id, "new")
        .expect("the client exists");
    assert_eq!(fixture.ask_as("GET", &path, &secret, "").await.status, 401);
}

#[tokio::test]
async fn a_forbidden_client_is_told_so_before_anything_else() {
    let fixture = Fixture::with_users(1).await;
    let id = &fixture.client.id;
    fixture
        .simulator
        .set_forbidden(id, true)
        .expect("the client exists");
    let answer = fixture.get(&format!("{}/abc", fixture.users_path())).await;
    let message = format!(
        "OAuthClientGuard - forbidden. oAuth client with id={id} does not belong to the organization with id=1."
    );
    assert_refused(&answer, 403, "ForbiddenException", &message);
}

#[tokio::test]
async fn users_that_are_absent_deleted_or_anothers_are_not_part_of_the_client() {
    let fixture = Fixture::start(SimulatorConfig {
        clients: 2,
        users_per_client: 2,
        ..SimulatorConfig::default()
    })
    .await;
    let deleted = fixture.client.users[0];
    let path = fixture.user_path(deleted);
    assert_eq!(fixture.ask("DELETE", &path, "").await.status, 200);
    let anothers = fixture.simulator.clients()[1].users[0];
    for id in [deleted, anothers, 999_999_999, -1] {
        let answer = fixture.get(&fixture.user_path(id)).await;
        let message = format!("User with ID {id} is not part of this OAuth client.");
        assert_refused(&answer, 404, "NotFoundException", &message);
        assert_eq!(answer.json()["path"], fixture.user_path(id));
    }
}

#[tokio::test]
async fn what_has_no_route_cannot_be_got() {
    let fixture = Fixture::start(SimulatorConfig {
        path_prefix: "/api".to_owned(),
        ..SimulatorConfig::default()
    })
    .await;
    let id = fixture.client.users[0];
    let without = fixture.user_path(id);
    let answer = fixture.get(&without).await;
    assert_refused(
        &answer,
        404,
        "NotFoundException",
        &format!("Cannot GET {without}"),
    );
    assert_eq!(fixture.get(&format!("/api{without}")).await.status, 200);
    assert!(fixture.simulator.base_url().ends_with("/api"));
    let answer = fixture.ask("PUT", &format!("/api{without}"), "{}").await;
    assert_refused(
        &answer,
        404,
        "NotFoundException",
        &format!("Cannot PUT /api{without}"),
    );
}

#[tokio::test]
async fn an_id_is_a_numeric_string() {
    let fixture = Fixture::with_users(1).await;
    for id in ["abc", "1.5", "7x"] {
        let answer = fixture.get(&format!("{}/{id}", fixture.users_path())).await;
        let message = "Validation failed (numeric string is expected)";
        assert_refused(&answer, 400, "BadRequestException", message);
    }
}

#[tokio::test]
async fn limit_and_offset_have_bounds() {
    let fixture = Fixture::with_users(1).await;
    for (query, property, rule, says) in [
        ("limit=0", "limit", "min", "limit must not be less than 1"),
        ("limit=251", "limit", "max", "limit must not be greater than 250"),
        ("offset=-1", "offset", "min", "offset must not be less than 0"),
        (
            "offset=251",
            "offset",
            "max",
            "offset must not be greater than 250",
        ),
        (
            "limit=x",
            "limit",
            "isNumber",
            "limit must be a number conforming to the specified constraints",
        ),
    ] {
        let answer = fixture.get(&format!("{}?{query}", fixture.users_path())).await;
        assert_refused(&answer, 400, "BadRequestException", "Bad Request Exception");
        let error = &answer.json()["error"]["details"]["errors"][0];
        assert_eq!(error["property"], property);
        assert_eq!(error["constraints"][rule], says);
    }
    for query in ["limit=1", "limit=250", "offset=0", "offset=250", "limit=10abc"] {
        let answer = fixture.get(&format!("{}?{query}", fixture.users_path())).await;
        assert_eq!(answer.status, 200, "{query}");
    }
}

#[tokio::test]
async fn the_servers_other_shapes_can_be_had_by_script() {
    let fixture = Fixture::with_users(1).await;
    let path = fixture.user_path(fixture.client.users[0]);
    let script = |refusal| {
        let answer = calmirror::simulator::Answer::Refuse(refusal);
        fixture.simulator.script(Target::Any, 1, answer);
    };
    script(Refusal::RecordMissing);
    let missing = fixture.get(&path).await;
    assert_refused(
        &missing,
        404,
        "NOT_FOUND",
        "Invalid Query: The requested record was not found.",
    );
    assert_eq!(missing.json()["error"].get("details"), None::<&Value>);
    script(Refusal::Unhandled);
    let unhandled = fixture.get(&path).await;
    assert_eq!(unhandled.status, 500);
    assert_eq!(
        unhandled.json(),
        json!({ "statusCode": 500, "message": "Internal server error" })
    );
    assert_eq!(fixture.get(&path).await.status, 200);
}
