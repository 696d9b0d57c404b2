//! `/metrics` is what Prometheus takes, and has all that alarms and dashboards go by.

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Stdio},
};

use calmirror::measured::METRICS;

use super::{Daemon, HARDLY_EVER};

#[tokio::test]
async fn promtool_finds_nothing_wrong_and_every_metric_is_there() {
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
