//! The rate limit and entity tags.

use std::time::Duration;

use calmirror::simulator::{Budget, RateLimit, SimulatorConfig};

use super::Fixture;
use crate::support::http::Answer;

async fn limited(per_client: u32, per_ip: u32) -> Fixture {
    Fixture::start(SimulatorConfig {
        rate_limit: RateLimit {
            per_client,
            per_ip,
            ..RateLimit::default()
        },
        ..SimulatorConfig::default()
    })
    .await
}

/// Limit, remaining and reset, as the headers say them.
fn limits(answer: &Answer) -> [i64; 3] {
    ["limit", "remaining", "reset"].map(|what| {
        let name = format!("x-ratelimit-{what}-default");
        answer
            .header(&name)
            .unwrap_or_else(|| panic!("no {name} in {:?}", answer.headers))
            .parse()
            .expect("a number")
    })
}

#[tokio::test]
async fn going_over_blocks_for_a_minute() {
    let fixture = limited(2, 120).await;
    let path = fixture.user_path(fixture.client.users[0]);
    assert_eq!(limits(&fixture.get(&path).await), [2, 1, 60]);
    fixture.clock.advance(Duration::from_secs(10));
    assert_eq!(limits(&fixture.get("/v2/nowhere").await), [2, 0, 50]);
    let over = fixture.get(&path).await;
    assert_eq!((over.status, limits(&over)), (429, [2, 0, 60]));
    let error = &over.json()["error"];
    assert_eq!(error["code"], "ThrottlerException");
    let message = "CustomThrottlerGuard - Too many requests. Please try again later.";
    assert_eq!(
        (&error["message"], &error["details"]),
        (&message.into(), &message.into())
    );
    assert_eq!(over.header("retry-after"), None);
    fixture.clock.advance(Duration::from_millis(59_500));
    let still = fixture.get(&path).await;
    assert_eq!((still.status, limits(&still)), (429, [2, 0, 1]));
    fixture.clock.advance(Duration::from_millis(500));
    assert_eq!(fixture.get(&path).await.status, 200);
    assert_eq!(fixture.simulator.requests().throttled, 2);
}

#[tokio::test]
async fn hammering_through_a_block_blocks_again() {
    let fixture = limited(2, 120).await;
    let path = fixture.user_path(fixture.client.users[0]);
    let half_a_minute = Duration::from_secs(30);
    fixture.get(&path).await;
    fixture.clock.advance(half_a_minute);
    for _ in 0..2 {
        fixture.get(&path).await;
    }
    // The first window is over, the block is not: these hits fill the next window.
    fixture.clock.advance(half_a_minute);
    for _ in 0..3 {
        assert_eq!(limits(&fixture.get(&path).await), [2, 0, 30]);
    }
    fixture.clock.advance(half_a_minute);
    let again = fixture.get(&path).await;
    assert_eq!((again.status, limits(&again)), (429, [2, 0, 60]));
    fixture.clock.advance(2 * half_a_minute);
    assert_eq!(fixture.get(&path).await.status, 200);
}

#[tokio::test]
async fn without_the_client_id_the_address_is_counted() {
    let fixture = limited(500, 1).await;
    let path = fixture.user_path(fixture.client.users[0]);
    let secret = [("x-cal-secret-key", fixture.client.secret.as_str())];
    assert_eq!(
        limits(&fixture.ask_as("GET", &path, &secret, "").await),
        [1, 0, 60]
    );
    assert_eq!(fixture.ask_as("GET", &path, &secret, "").await.status, 429);
    assert_eq!(fixture.get(&path).await.status, 200);
}

#[tokio::test]
async fn the_throttle_comes_before_the_secret_and_can_be_off() {
    let fixture = limited(1, 120).await;
    let path = fixture.user_path(fixture.client.users[0]);
    let wrong = [
        ("x-cal-client-id", fixture.client.id.as_str()),
        ("x-cal-secret-key", "guess"),
    ];
    assert_eq!(fixture.ask_as("GET", &path, &wrong, "").await.status, 401);
    assert_eq!(fixture.ask_as("GET", &path, &wrong, "").await.status, 429);
    fixture.simulator.set_rate_limit(RateLimit::OFF);
    let answer = fixture.get(&path).await;
    assert_eq!(
        (answer.status, answer.header("x-ratelimit-limit-default")),
        (200, None)
    );
}

#[tokio::test]
async fn an_unchanged_answer_is_a_304_that_costs_a_hit() {
    let fixture = limited(500, 120).await;
    let id = fixture.client.users[0];
    for path in [fixture.user_path(id), fixture.users_path()] {
        let first = fixture.get(&path).await;
        let etag = first.header("etag").expect("200s have one").to_owned();
        assert!(etag.starts_with("W/\""));
        let mut headers = fixture.credentials().to_vec();
        headers.push(("if-none-match", &etag));
        let again = fixture.ask_as("GET", &path, &headers, "").await;
        assert_eq!((again.status, again.body.len()), (304, 0));
        assert_eq!(again.header("etag"), Some(etag.as_str()));
        assert_eq!(limits(&again)[1], limits(&first)[1] - 1);
        let name = format!(r#"{{"name":"{path}"}}"#);
        assert_eq!(
            fixture.ask("PATCH", &fixture.user_path(id), &name).await.status,
            200
        );
        let changed = fixture.ask_as("GET", &path, &headers, "").await;
        assert_eq!(changed.status, 200);
        assert_ne!(changed.header("etag"), Some(etag.as_str()));
    }
}

#[tokio::test]
async fn somebody_elses_traffic_fills_the_same_bucket() {
    let fixture = limited(5, 120).await;
    let (simulator, id) = (&fixture.simulator, &fixture.client.id);
    let path = fixture.user_path(fixture.client.users[0]);
    simulator.burn(id, 2);
    assert_eq!(limits(&fixture.get(&path).await), [5, 2, 60]);
    let used = Budget {
        hits: 3,
        ..Budget::default()
    };
    assert_eq!(simulator.budget(id), used);
    simulator.burn(id, 10);
    let over = fixture.get(&path).await;
    assert_eq!((over.status, limits(&over)), (429, [5, 0, 60]));
    let blocked = Budget {
        hits: 14,
        blocked: true,
        blocks: 1,
        refused: 1,
    };
    assert_eq!(simulator.budget(id), blocked);
    assert_eq!(simulator.requests().total, 2, "what is burnt is no request");

    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(fixture.get(&path).await.status, 200);
    let after = Budget {
        hits: 1,
        blocked: false,
        ..blocked
    };
    assert_eq!(simulator.budget(id), after);
    assert_eq!(simulator.budget("another"), Budget::default());
    simulator.set_rate_limit(RateLimit::OFF);
    simulator.burn(id, 10);
    assert_eq!(simulator.budget(id), Budget::default());
}

#[tokio::test]
async fn windows_and_blocks_can_be_of_any_length() {
    let fixture = Fixture::start(SimulatorConfig {
        rate_limit: RateLimit {
            per_client: 1,
            window: Duration::from_millis(2_500),
            block: Duration::from_secs(7),
            ..RateLimit::default()
        },
        ..SimulatorConfig::default()
    })
    .await;
    let path = fixture.user_path(fixture.client.users[0]);
    assert_eq!(limits(&fixture.get(&path).await), [1, 0, 3]);
    fixture.clock.advance(Duration::from_millis(2_500));
    assert_eq!(limits(&fixture.get(&path).await), [1, 0, 3]);
    assert_eq!(limits(&fixture.get(&path).await), [1, 0, 7]);
    fixture.clock.advance(Duration::from_millis(6_999));
    assert_eq!(fixture.get(&path).await.status, 429);
}
