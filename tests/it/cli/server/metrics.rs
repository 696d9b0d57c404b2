//! `/metrics` is what Prometheus takes, and has all that alarms and dashboards go by.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

use calmirror::{
    clock::{Clock as _, SystemClock},
    measured::METRICS,
    simulator::{Answer, Target},
};
use chrono::{DateTime, Datelike, TimeZone, Utc};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{Daemon, HARDLY_EVER, Samples, Setup};

#[tokio::test]
async fn promtool_finds_nothing_wrong_and_every_metric_is_there() {
    let before = unix_seconds();
    let mut daemon = Daemon::start(super::limited().await, HARDLY_EVER).await;
    daemon.program.logged("pass ended").await;
    let answer = daemon.get("/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let samples = daemon
        .until("users of the first pass and a beat", |samples| {
            let beat = samples.value("calmirror_scheduler_last_beat_timestamp_seconds");
            samples.acme("live_users") == Some(7.0) && beat.is_some()
        })
        .await;
    let text = &samples.0;
    for (name, kind) in METRICS {
        assert!(
            text.contains(&format!("# TYPE {name} {kind}\n")),
            "{name} is no {kind}:\n{text}"
        );
        assert!(
            text.contains(&format!("# HELP {name} ")),
            "{name} has no help text"
        );
        let is_sample = |line: &str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ', '_']))
        };
        assert!(text.lines().any(is_sample), "{name} has no sample:\n{text}");
    }
    let exported: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| name.starts_with("calmirror_"))
        .collect();
    let distinct: BTreeSet<_> = exported.iter().copied().collect();
    assert_eq!(exported.len(), distinct.len(), "one is there twice:\n{text}");
    let listed = METRICS.iter().map(|(name, _)| *name);
    let listed: BTreeSet<_> = listed.filter(|name| name.starts_with("calmirror_")).collect();
    assert_eq!(distinct, listed);
    let version = format!(
        "calmirror_build_info{{version=\"{}\"}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(samples.value(&version), Some(1.0));
    let started = "calmirror_start_time_seconds";
    let start = samples.value(started).expect("it was started");
    assert!((before..=unix_seconds()).contains(&start), "{before} {start}");
    assert_eq!(daemon.samples().await.value(started), Some(start));
    assert_eq!(samples.acme("pass_duration_seconds_count"), Some(1.0));
    assert!(samples.acme("request_duration_seconds_count") >= Some(7.0));
    assert_eq!(samples.acme("rate_limit_blocked"), Some(0.0));

    // Those that never happened are there as well, so that the first time is an increase.
    for outcome in ["applied", "no_change", "held", "partial", "skipped", "failed"] {
        let series = format!("calmirror_passes_total{{client=\"acme\",outcome=\"{outcome}\"}}");
        let expected = f64::from(u8::from(outcome == "applied"));
        assert_eq!(samples.value(&series), Some(expected), "{series}");
    }
    for class in ["2xx", "3xx", "4xx", "429", "5xx", "none"] {
        let series = format!("calmirror_requests_total{{client=\"acme\",class=\"{class}\"}}");
        assert!(samples.value(&series).is_some(), "{series}:\n{text}");
    }
    for kind in ["insert", "update", "removal", "restore", "repair"] {
        let series = format!("calmirror_changes_total{{client=\"acme\",kind=\"{kind}\"}}");
        let expected = if kind == "insert" { 7.0 } else { 0.0 };
        assert_eq!(samples.value(&series), Some(expected), "{series}");
    }
    for table in ["sync_runs", "rejects", "managed_user_changes"] {
        let series = format!("calmirror_retention_deleted_rows_total{{table=\"{table}\"}}");
        assert_eq!(samples.value(&series), Some(0.0), "{series}");
    }
    for result in ["delivered", "failed", "gone"] {
        let series = format!("calmirror_notifications_total{{result=\"{result}\"}}");
        assert_eq!(samples.value(&series), Some(0.0), "{series}");
    }
    check(text);
    daemon.stop().await;
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact")]
fn unix_seconds() -> f64 {
    SystemClock.now().timestamp_millis() as f64 / 1000.0
}

/// As Prometheus's own tool sees it. It has to be installed: see tests/setup.
fn check(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed: tests/setup does it");
    let mut stdin = promtool.stdin.take().expect("it is piped");
    stdin.write_all(text.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.trim().is_empty(),
        "{said}\n{text}"
    );
}

fn requests(samples: &Samples, class: &str) -> Option<f64> {
    samples.value(&format!(
        "calmirror_requests_total{{client=\"acme\",class=\"{class}\"}}"
    ))
}

fn changes(samples: &Samples, kind: &str) -> Option<f64> {
    samples.value(&format!(
        "calmirror_changes_total{{client=\"acme\",kind=\"{kind}\"}}"
    ))
}

#[tokio::test]
async fn each_answer_is_counted_as_what_it_was() {
    let setup = Setup::new(1, 7).await;
    let (simulator, client) = (&setup.simulator, setup.clients[0].clone());
    let too_many = Answer::Respond {
        status: 429,
        headers: vec![("retry-after", "0".to_owned())],
        body: "".into(),
    };
    simulator.script(Target::User(client.users[0]), 1, too_many);
    simulator.script(Target::User(client.users[1]), 1, Answer::text(500, "down"));
    simulator.script(Target::User(client.users[2]), 1, Answer::Close);
    simulator.delete_user(client.users[3]).expect("the user is there");
    let unreadable = format!("{{\"id\": {}, \"email\": 7}}", client.users[4]);
    simulator
        .place_raw(&client.id, client.users[4], unreadable)
        .expect("the user can be placed");
    let mut daemon = Daemon::start(setup, super::truth::EVERY_SECOND).await;
    daemon.program.logged("pass ended").await;
    let report = daemon.get("/api/v1/status").await.json()["clients"][0]["last_report"].clone();
    assert_eq!(report["outcome"], "partial", "{report}");
    let samples = daemon
        .until("what waits", |samples| samples.acme("rejects") == Some(1.0))
        .await;
    assert_eq!(
        (samples.acme("live_users"), samples.acme("removed_users")),
        (Some(5.0), Some(0.0))
    );
    for class in ["429", "5xx", "none"] {
        assert_eq!(requests(&samples, class), Some(1.0), "{class}: {samples:?}");
    }
    // Each pass asks for all of them.
    let gone = requests(&samples, "4xx").expect("one is gone");
    assert!(
        gone >= 1.0 && requests(&samples, "2xx") >= Some(6.0 * gone - 6.0),
        "{samples:?}"
    );
    assert_eq!(requests(&samples, "3xx"), Some(0.0));
    assert!(samples.acme("batch_duration_seconds_count") >= Some(1.0));
    let elsewhere = Answer::Respond {
        status: 302,
        headers: vec![("location", "https://elsewhere.invalid/".to_owned())],
        body: "".into(),
    };
    daemon.setup.simulator.script(Target::Any, 1, elsewhere);
    daemon
        .until("a redirect", |samples| requests(samples, "3xx") == Some(1.0))
        .await;
    daemon.stop().await;
}

#[tokio::test]
async fn changes_are_counted_by_their_kind() {
    let daemon = Daemon::of(10, super::truth::EVERY_SECOND).await;
    let (simulator, client) = (&daemon.setup.simulator, &daemon.setup.clients[0]);
    let is = |kind: &'static str, count: f64| move |samples: &Samples| changes(samples, kind) == Some(count);
    daemon.until("inserts", is("insert", 10.0)).await;
    let user = client.users[0];
    let rename = |name: &str| {
        let renamed = simulator.patch_user(user, json!({ "name": name }));
        renamed.expect("the user is there");
    };
    rename("Second");
    daemon.until("an update", is("update", 1.0)).await;
    let record = simulator.user_json(user).expect("the user is there");
    simulator.delete_user(user).expect("the user is there");
    daemon.until("a removal", is("removal", 1.0)).await;
    let placed = simulator.place_raw(&client.id, user, record);
    placed.expect("the user can come back");
    daemon.until("a restore", is("restore", 1.0)).await;
    sqlx::query("update managed_users set bio = 'edited' where id = $1")
        .bind(user)
        .execute(&daemon.setup.pool().await)
        .await
        .expect("a row can be edited");
    rename("Third");
    daemon.until("a repair", is("repair", 1.0)).await;
    let samples = daemon.until("what was renamed", is("update", 2.0)).await;
    for (kind, count) in [
        ("insert", 10.0),
        ("removal", 1.0),
        ("restore", 1.0),
        ("repair", 1.0),
    ] {
        assert_eq!(changes(&samples, kind), Some(count), "{kind}");
    }
    daemon.stop().await;
}

#[tokio::test]
async fn times_and_limits_are_those_of_the_tables_and_of_cal_com() {
    let mut setup = super::limited().await;
    setup
        .workplace
        .set("CALMIRROR__CALCOM__REQUESTS_PER_MINUTE", "450");
    let mut daemon = Daemon::start(setup, HARDLY_EVER).await;
    daemon.program.logged("pass ended").await;
    let pool = daemon.setup.pool().await;
    let (ended, began): (f64, f64) = sqlx::query_as(
        "update sync_state set last_complete_at = last_complete_at - interval '2 hours',
             last_complete_started_at = last_complete_started_at - interval '3 hours'
         returning extract(epoch from last_complete_at)::float8, extract(epoch from last_complete_started_at)::float8",
    )
    .fetch_one(&pool)
    .await
    .expect("the pass can be dated back");
    let three_hours = Some(3.0 * 3600.0);
    let samples = daemon
        .until("lag", |samples| samples.acme("lag_seconds") >= three_hours)
        .await;
    let now: f64 = daemon
        .setup
        .value("select extract(epoch from clock_timestamp())::float8")
        .await;
    let lag = samples.acme("lag_seconds").expect("a complete pass");
    assert!(lag <= now - began + 1.0, "{lag} {now} {began}");
    let last = samples.acme("last_complete_pass_timestamp_seconds");
    assert!(
        last.is_some_and(|last| (last - ended).abs() < 0.01),
        "{last:?} {ended}"
    );
    let year = SystemClock.now().year();
    let next = samples
        .acme("next_pass_timestamp_seconds")
        .expect("the schedule has one");
    let first = |year| {
        Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0)
            .single()
            .expect("a day")
            .timestamp()
    };
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds")]
    let next = next as i64;
    assert!([first(year), first(year + 1)].contains(&next), "{next}");

    assert_eq!(samples.acme("rate_limit_requests"), Some(450.0));
    // Of 500, less those that were made, and a fiftieth that is left to others.
    let made = requests(&samples, "2xx").expect("users were asked for");
    assert_eq!(samples.acme("rate_limit_remaining"), Some(500.0 - made - 10.0));
    let status = daemon.get("/api/v1/status").await.json()["clients"][0].clone();
    let said = status["next_pass_at"]
        .as_str()
        .and_then(|at| at.parse::<DateTime<Utc>>().ok());
    assert_eq!(said.map(|at| at.timestamp()), Some(next), "{status}");
    let report = &status["last_report"];
    let took = samples.acme("pass_duration_seconds_sum").expect("a pass ended");
    assert!(
        report["duration_s"]
            .as_f64()
            .is_some_and(|known| (known - took).abs() < 0.002),
        "{took} {report}"
    );
    assert_eq!(samples.acme("users_observed_total"), report["observed"].as_f64());
    assert!(samples.acme("batch_duration_seconds_count") >= Some(1.0));
    daemon.stop().await;
}

#[tokio::test]
async fn a_block_is_seen_while_it_lasts() {
    let setup = Setup::new(1, 3).await;
    let blocked = Answer::Respond {
        status: 429,
        headers: vec![("retry-after", "200".to_owned())],
        body: "".into(),
    };
    setup.simulator.script(Target::Any, 1, blocked);
    let daemon = Daemon::start(setup, HARDLY_EVER).await;
    let samples = daemon
        .until("a block", |samples| {
            samples.acme("rate_limit_blocked") == Some(1.0)
        })
        .await;
    assert_eq!(samples.acme("pass_running"), Some(1.0));
    daemon.stop().await;
}

#[tokio::test]
async fn nothing_is_exported_of_a_client_that_a_reload_took_out_until_it_is_back() {
    let mut daemon = Daemon::start(Setup::new(2, 3).await, HARDLY_EVER).await;
    let other = format!(
        "calmirror_live_users{{client=\"{}\"}}",
        daemon.setup.clients[1].name
    );
    daemon
        .until("users of both", |samples| {
            samples.acme("live_users") == Some(3.0) && samples.value(&other) == Some(3.0)
        })
        .await;
    let requests = "calmirror_requests_total{client=\"acme\",class=\"2xx\"}";
    let before = daemon.samples().await.value(requests).expect("it was counted");
    let acme = daemon.setup.clients.remove(0);
    daemon.setup.configure(HARDLY_EVER);
    daemon.program.signal(Signal::SIGHUP);
    daemon.program.logged("configuration reloaded").await;
    let without = daemon.samples().await;
    assert!(!without.0.contains("client=\"acme\""), "{}", without.0);
    assert_eq!(without.value(&other), Some(3.0));
    let status = daemon.get("/api/v1/status").await.json();
    assert_eq!(status["clients"].as_array().map(Vec::len), Some(1), "{status}");
    // A counter never goes back within one process.
    daemon.setup.clients.insert(0, acme);
    daemon.setup.configure(HARDLY_EVER);
    daemon.program.signal(Signal::SIGHUP);
    daemon.program.logged_times("configuration reloaded", 2).await;
    let back = daemon.samples().await;
    assert!(back.value(requests) >= Some(before), "{}", back.0);
    daemon.stop().await;
}
