//! Answers of a server in trouble: 5xx.

use calmirror::simulator::{Answer, Refusal, Target};

use super::{
    Upstream,
    case::{Case, away, partial},
};

async fn is_away(answer: impl Fn(i64) -> Answer, says: &'static [&'static str]) {
    Case {
        answer,
        all: away(says),
        one: partial(says),
    }
    .check()
    .await;
}

fn asking_for_rest(seconds: &'static str) -> Answer {
    Answer::Respond {
        status: 503,
        headers: vec![("retry-after", seconds.to_owned())],
        body: "down for maintenance".into(),
    }
}

#[tokio::test]
async fn a_500_of_the_framework_is_tried_again_and_then_away() {
    is_away(
        |_| Answer::Refuse(Refusal::Unhandled),
        &["in trouble (500 Internal Server Error)"],
    )
    .await;
}

#[tokio::test]
async fn a_500_in_the_envelope_is_tried_again_and_then_away() {
    let body = r#"{"status":"error","timestamp":"2025-12-01T00:00:00.000Z","path":"/v2",
        "error":{"code":"InternalServerErrorException","message":"the pool is exhausted"}}"#;
    is_away(
        |_| Answer::json(500, body),
        &["in trouble (500", "saying: the pool is exhausted"],
    )
    .await;
}

#[tokio::test]
async fn a_500_in_plain_text_is_tried_again_and_then_away() {
    is_away(
        |_| Answer::text(500, "A server error has occurred\n\nFUNCTION_INVOCATION_FAILED\n"),
        &["in trouble (500"],
    )
    .await;
}

#[tokio::test]
async fn a_502_page_is_tried_again_and_then_away() {
    is_away(|_| Answer::html(502), &["in trouble (502 Bad Gateway)"]).await;
}

#[tokio::test]
async fn a_503_that_asks_for_a_long_rest_is_not_tried_again() {
    let upstream = Upstream::new().await;
    let says = &["in trouble (503", "left alone for 3600 s"];
    let case = Case {
        answer: |_| asking_for_rest("3600"),
        all: away(says),
        one: partial(says),
    };
    case.check_at(&upstream).await;
    let faulted = upstream.simulator.requests().faulted;
    // All of them and one, each once, and what held globex up three times.
    assert!(
        faulted <= 12 + 1 + 3,
        "{faulted} requests to a server that wants none"
    );
}

#[tokio::test]
async fn a_503_that_asks_for_a_short_rest_is_given_it() {
    let upstream = Upstream::new().await;
    upstream.fill().await;
    let before = upstream.state().await;
    let acme = Target::Client(upstream.acme.id.clone());
    upstream.simulator.script(acme, 1, asking_for_rest("1"));
    upstream.check_over(&before).await;
    assert_eq!(upstream.simulator.requests().faulted, 2);
}
