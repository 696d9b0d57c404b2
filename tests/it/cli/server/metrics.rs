//! `/metrics` is what Prometheus takes, and has all that alarms and dashboards go by.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::{Daemon, HARDLY_EVER};

/// Every metric with its kind: rules and dashboards rest on these names.
const METRICS: &[(&str, &str)] = &[
    ("calmirror_passes_total", "counter"),
    ("calmirror_users_observed_total", "counter"),
    ("calmirror_changes_total", "counter"),
    ("calmirror_requests_total", "counter"),
    ("calmirror_notifications_total", "counter"),
    ("calmirror_pass_duration_seconds", "histogram"),
    ("calmirror_request_duration_seconds", "histogram"),
    ("calmirror_batch_duration_seconds", "histogram"),
    ("calmirror_build_info", "gauge"),
    ("calmirror_database_up", "gauge"),
    ("calmirror_fresh", "gauge"),
    ("calmirror_lag_seconds", "gauge"),
    ("calmirror_last_complete_pass_timestamp_seconds", "gauge"),
    ("calmirror_next_pass_timestamp_seconds", "gauge"),
    ("calmirror_pass_running", "gauge"),
    ("calmirror_live_users", "gauge"),
    ("calmirror_removed_users", "gauge"),
    ("calmirror_rejects", "gauge"),
    ("calmirror_missing_users", "gauge"),
    ("calmirror_held_users", "gauge"),
    ("calmirror_refused", "gauge"),
    ("calmirror_rate_limit_requests", "gauge"),
    ("calmirror_rate_limit_remaining", "gauge"),
    ("calmirror_rate_limit_blocked", "gauge"),
    ("calmirror_scheduler_last_beat_timestamp_seconds", "gauge"),
    ("calmirror_config_last_reload_successful", "gauge"),
    ("calmirror_config_last_reload_success_timestamp_seconds", "gauge"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_start_time_seconds", "gauge"),
    ("process_open_fds", "gauge"),
];

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
