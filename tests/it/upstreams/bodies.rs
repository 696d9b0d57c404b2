//! Answers with status 200 that are none.

use std::time::Duration;

use super::{
    Upstream,
    case::{Case, away, fault, partial},
    check_memory,
    front::{Front, Raw},
};
use crate::support::scripted::head;
use calmirror::simulator::{Answer, Script, Target};

async fn is_garbled(answer: impl Fn(i64) -> Answer, says: &'static [&'static str]) {
    Case {
        answer,
        all: fault(says),
        one: partial(says),
    }
    .check()
    .await;
}

#[tokio::test]
async fn a_200_page_is_not_cal_coms() {
    is_garbled(|_| Answer::html(200), &["a page of HTML"]).await;
}

#[tokio::test]
async fn a_200_that_does_not_say_success_proves_nothing() {
    is_garbled(
        |_| Answer::json(200, r#"{"status":"error","data":{}}"#),
        &["does not say success"],
    )
    .await;
}

#[tokio::test]
async fn a_200_without_data_proves_nothing() {
    is_garbled(
        |_| Answer::json(200, r#"{"status":"success","data":null}"#),
        &["holds no data"],
    )
    .await;
}

#[tokio::test]
async fn an_empty_200_proves_nothing() {
    is_garbled(|_| Answer::json(200, ""), &["it is empty"]).await;
}

#[tokio::test]
async fn a_200_of_another_user_is_rejected() {
    let other = |user| {
        let record = format!(
            r#"{{"id":{},"email":"a@b.c","timeZone":"UTC","weekStart":"Sunday","createdDate":"2024-04-01T00:00:00.000Z"}}"#,
            user + 1
        );
        Answer::json(200, format!(r#"{{"status":"success","data":{record}}}"#))
    };
    let upstream = Upstream::new().await;
    let case = Case {
        answer: other,
        all: partial(&["12 users", "cannot be mirrored", "calmirror status"]),
        one: partial(&["1 user has a record", "cannot be mirrored"]),
    };
    case.check_at(&upstream).await;
}

#[tokio::test]
async fn a_200_cut_in_the_middle_is_tried_again_and_then_away() {
    let says = &["the answer was cut off"];
    let case = Case {
        answer: |_| Answer::CutShort {
            declared_bytes: 900,
            sent: r#"{"status":"success","data":{"id":"#.into(),
        },
        all: away(says),
        one: partial(says),
    };
    case.check().await;
}

#[tokio::test]
async fn a_200_whose_json_just_ends_is_tried_again_and_then_away() {
    let says = &["the answer was cut off"];
    let case = Case {
        answer: |_| Answer::json(200, r#"{"status":"success","data":{"id":"#),
        all: away(says),
        one: partial(says),
    };
    case.check().await;
}

#[tokio::test]
async fn a_200_without_end_stops_at_the_cap() {
    is_garbled(
        |_| Answer::Endless,
        &["more than 8388608 bytes", "`calcom.max_answer_bytes`"],
    )
    .await;
}

#[tokio::test]
async fn a_gzip_bomb_of_512_mib_stops_at_the_cap() {
    is_garbled(
        |_| Answer::GzipBomb {
            inflated_bytes: 512 << 20,
        },
        &["more than 8388608 bytes", "`calcom.max_answer_bytes`"],
    )
    .await;
}

/// What comes too slowly holds up acme alone, for as long as it has time, and is asked for again.
async fn is_too_slow(upstream: &mut Upstream, begin: impl Fn(&Upstream), end: impl Fn(&Upstream)) {
    let baseline = upstream.fill().await;
    upstream.settings.timeout_s = 1;
    upstream.configure();
    let before = upstream.state().await;
    begin(upstream);
    let seen = upstream.sync_freely().await;
    upstream
        .check(&seen, away(&["no whole answer came in time"]), &before)
        .await;

    let before = upstream.state().await;
    let mut program = upstream.daemon();
    let ended = ["\"client.name\":\"acme\"", "\"run.outcome\":\"failed\""];
    program.logged_with(&ended, 1).await;
    check_memory(program.peak_memory(), baseline);
    assert_eq!(upstream.state().await.acme, before.acme);
    end(upstream);
    upstream.recovers(program, &before).await;
}

#[tokio::test]
async fn a_slow_drip_is_given_up_in_time() {
    let mut upstream = Upstream::new().await;
    let drip = Answer::Drip {
        body: vec![b' '; 10_000].into(),
        pause: Duration::from_millis(20),
    };
    is_too_slow(
        &mut upstream,
        |upstream| {
            let acme = Target::Client(upstream.acme.id.clone());
            upstream.simulator.script(acme, Script::ALWAYS, drip.clone());
        },
        |upstream| upstream.simulator.clear_scripts(),
    )
    .await;
}

#[tokio::test]
async fn a_200_that_never_goes_on_is_given_up_in_time() {
    let mut upstream = Upstream::new().await;
    let front = Front::before(upstream.simulator.address()).await;
    upstream.settings.base_url = front.base_url();
    upstream.configure();
    let mut begun = head(200, "content-type: application/json\r\n", Some(900));
    begun.extend_from_slice(br#"{"status":"#);
    is_too_slow(
        &mut upstream,
        |upstream| front.set(&upstream.acme.id, Raw::Stall(begun.clone())),
        |_| front.clear(),
    )
    .await;
}

#[tokio::test]
async fn records_of_a_mebibyte_are_mirrored_a_few_at_a_time() {
    let upstream = Upstream::new().await;
    let baseline = upstream.fill().await;
    let bio = "x".repeat(1 << 20);
    for user in &upstream.acme.users {
        let record = format!(
            r#"{{"id":{user},"email":"a{user}@example.com","bio":"{bio}","timeZone":"UTC","weekStart":"Monday","createdDate":"2024-01-01T00:00:00.000Z"}}"#
        );
        upstream
            .simulator
            .place_raw(&upstream.acme.id, *user, record)
            .expect("the record can be placed");
    }
    let seen = upstream.sync().await;
    let report = seen.ended.report("acme");
    assert_eq!(
        (&report["outcome"], &report["updated"]),
        (&"applied".into(), &12.into())
    );
    check_memory(seen.peak.expect("the pass was held up"), baseline);
}
