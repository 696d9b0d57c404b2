//! The rate limit, in all the ways in which an answer may tell of it.

use calmirror::simulator::{Answer, Script, Target};
use nix::sys::signal::Signal;

use super::{
    Seen, Upstream,
    case::{Case, away, partial},
    check_memory, named,
};

/// A 429 with these headers.
fn blocked(headers: &[(&'static str, &str)]) -> Answer {
    Answer::Respond {
        status: 429,
        headers: headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect(),
        body: r#"{"status":"error","timestamp":"2025-12-01T00:00:00.000Z","path":"/v2","error":{"code":"ThrottlerException",
            "message":"CustomThrottlerGuard - Too many requests. Please try again later.","details":"x"}}"#
            .into(),
    }
}

/// The pass waits for the end of the block, says so in one line, and is complete.
async fn is_waited_out(headers: &[(&'static str, &str)]) {
    let upstream = Upstream::new().await;
    let baseline = upstream.fill().await;
    let before = upstream.state().await;
    let acme = Target::Client(upstream.acme.id.clone());
    upstream.simulator.script(acme, 1, blocked(headers));
    let Seen { ended, peak } = upstream.sync().await;
    check_memory(peak.expect("the pass was held up"), baseline);
    let ended = ended.expect(0);
    let alarms = ended.alarms();
    let [line] = alarms.as_slice() else {
        panic!("{} lines: {ended}", alarms.len())
    };
    assert_eq!(line["client.name"], "acme");
    let message = line["message"].as_str().expect("it says something");
    assert!(
        message.contains("quiet until the block is over") && message.contains("`requests_per_minute`"),
        "{message}"
    );
    // What is said, and a second on top.
    assert!(line["wait_s"].as_u64().is_some_and(|wait| wait <= 2), "{line}");
    for client in ["acme", "globex"] {
        assert_eq!(ended.report(client)["outcome"], "no_change", "{ended}");
    }
    assert_eq!(ended.report("acme")["requests"], 13, "one is asked for twice");
    let after = upstream.state().await;
    assert_eq!(after.rows, before.rows);
    assert!(after.acme > before.acme && after.globex > before.globex);
}

#[tokio::test]
async fn a_429_with_seconds_to_its_reset_is_waited_out() {
    is_waited_out(&[("x-ratelimit-reset-default", "1")]).await;
}

/// By the server's own clock, however wrong this host's may be.
#[tokio::test]
async fn a_429_with_a_unix_time_as_its_reset_is_waited_out() {
    is_waited_out(&[
        ("date", "Mon, 01 Apr 2024 00:00:00 GMT"),
        ("x-ratelimit-reset-default", "1711929601"),
    ])
    .await;
}

#[tokio::test]
async fn a_429_with_retry_after_0_is_waited_out() {
    is_waited_out(&[("retry-after", "0")]).await;
}

#[tokio::test]
async fn a_429_with_a_date_is_waited_out() {
    is_waited_out(&[
        ("date", "Mon, 01 Apr 2024 00:00:00 GMT"),
        ("retry-after", "Mon, 01 Apr 2024 00:00:01 GMT"),
    ])
    .await;
}

#[tokio::test]
async fn a_429_without_headers_is_a_minute_that_a_signal_ends() {
    let upstream = Upstream::new().await;
    upstream.fill().await;
    let before = upstream.state().await;
    let acme = Target::Client(upstream.acme.id.clone());
    upstream.simulator.script(acme, Script::ALWAYS, blocked(&[]));
    let mut program = upstream.workplace.start(&["--output", "json", "sync"]);
    program.logged("quiet until the block is over").await;
    program.printed("\"client\":\"globex\"").await;
    program.signal(Signal::SIGTERM);
    let ended = program.end().await;
    upstream.simulator.clear_scripts();
    let alarms = ended.alarms();
    let wait = alarms[0]["wait_s"].as_u64();
    assert!(wait.is_some_and(|wait| (50..=60).contains(&wait)), "{ended}");
    assert_eq!(ended.code(), partial(&[]).code, "{ended}");
    let report = ended.report("acme");
    assert_eq!(report["outcome"], "partial", "{ended}");
    assert!(
        report["duration_s"]
            .as_f64()
            .is_some_and(|seconds| seconds < 60.0),
        "the block was not waited out: {ended}"
    );
    assert!(
        report["error"]
            .as_str()
            .is_some_and(|error| error.contains("asked to stop")),
        "{ended}"
    );
    let after = upstream.state().await;
    assert_eq!((after.rows, &after.acme), (before.rows, &before.acme));
    assert!(after.globex > before.globex);
    let before = upstream.state().await;
    // Another process would wait for the rest of the minute.
    let noted = sqlx::query("delete from rate_limits")
        .execute(&upstream.pool)
        .await;
    assert_eq!(noted.expect("the table can be written").rows_affected(), 1);
    upstream.check_over(&before).await;
}

#[tokio::test]
async fn a_429_of_hours_ends_the_pass_and_says_until_when() {
    let says = &[
        "rate limit is used up; nothing is asked before 20",
        "lower `requests_per_minute`",
    ];
    let upstream = Upstream::new().await;
    let case = Case {
        answer: |_| blocked(&[("retry-after", "9223372036854775807")]),
        all: away(says),
        one: away(says),
    };
    case.check_at(&upstream).await;
}

#[tokio::test]
async fn a_429_of_hours_is_remembered_by_the_daemon() {
    let mut upstream = Upstream::new().await;
    upstream.fill().await;
    let before = upstream.state().await;
    let acme = Target::Client(upstream.acme.id.clone());
    let answer = blocked(&[("x-ratelimit-reset-default", "86400")]);
    upstream.simulator.script(acme, Script::ALWAYS, answer);
    let faulted = upstream.simulator.requests().faulted;
    let mut program = upstream.daemon();
    let failed = [&named(&upstream.acme), "nothing is asked before"];
    program.logged_with(&failed, 3).await;
    let complete = [&named(&upstream.globex), "\"run.outcome\":\"no_change\""];
    program.logged_with(&complete, 3).await;
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
    let faulted = upstream.simulator.requests().faulted - faulted;
    assert!(
        faulted <= 8,
        "{faulted} requests, of which 8 were under way at once"
    );
    let after = upstream.state().await;
    assert_eq!((after.rows, &after.acme), (before.rows, &before.acme));
    assert!(after.globex > before.globex);
}

#[tokio::test]
async fn a_window_that_is_used_up_is_waited_for_and_told_once() {
    let upstream = Upstream::new().await;
    upstream.fill().await;
    let before = upstream.state().await;
    // As many as are asked for at once: whichever answers first, the next request waits.
    for user in &upstream.acme.users[..8] {
        let record = upstream.simulator.user_json(*user).expect("it is there");
        let body = format!(
            r#"{{"status":"success","data":{}}}"#,
            String::from_utf8_lossy(&record)
        );
        let last = Answer::Respond {
            status: 200,
            headers: vec![
                ("x-ratelimit-remaining-default", "0".to_owned()),
                ("x-ratelimit-reset-default", "5".to_owned()),
            ],
            body: body.into(),
        };
        upstream.simulator.script(Target::User(*user), 1, last);
    }
    let ended = upstream.sync_freely().await.ended;
    assert_eq!(
        ended.log_lines("the rate limit's window is used up").len(),
        1,
        "{ended}"
    );
    ended.expect_all_complete();
    assert!(upstream.state().await.acme > before.acme);
}
