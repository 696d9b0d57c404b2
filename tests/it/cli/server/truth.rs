//! Whatever happens, health, readiness and metrics say what is.

use calmirror::simulator::{Answer, Refusal, Target};
use chrono::{DateTime, Utc};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{Daemon, HARDLY_EVER, Samples, Setup};
use crate::support::TestDb;

pub(super) const EVERY_SECOND: &str =
    "[schedule]\ncron = \"* * * * * *\"\n[removal]\nconfirmations = 1\nmin_age_s = 0";

fn passes(samples: &Samples, outcome: &str) -> f64 {
    let series = format!("calmirror_passes_total{{client=\"acme\",outcome=\"{outcome}\"}}");
    samples.value(&series).expect("it exists from the start")
}

#[tokio::test]
async fn readiness_and_metrics_tell_the_truth_whatever_happens() {
    let mut setup = Setup::new(1, 20).await;
    let secret = setup.clients[0].secret.clone();
    let mut gate = setup.gate();
    let daemon = Daemon::start(setup, EVERY_SECOND).await;
    let simulator = &daemon.setup.simulator;

    // The database is away from the beginning: nothing is claimed of the mirror.
    let away = daemon.until_ready(503, "database_unavailable", None).await;
    assert!(
        away["error"]
            .as_str()
            .is_some_and(|error| error.contains("database")),
        "{away}"
    );
    let samples = daemon
        .until("a failed pass", |samples| passes(samples, "failed") > 0.0)
        .await;
    let of_the_mirror = [
        "fresh",
        "lag_seconds",
        "live_users",
        "held_users",
        "refused",
        "rejects",
    ];
    assert_eq!(samples.value("calmirror_database_up"), Some(0.0));
    for name in of_the_mirror {
        assert_eq!(samples.acme(name), None, "{name}");
    }
    daemon.program_lives().await;

    gate.open();
    daemon.until_ready(200, "ok", None).await;
    let samples = daemon
        .until("a fresh mirror", |samples| {
            samples.acme("live_users") == Some(20.0) && samples.acme("fresh") == Some(1.0)
        })
        .await;
    assert_eq!(samples.value("calmirror_database_up"), Some(1.0));
    assert_eq!(samples.acme("refused"), Some(0.0));
    assert_eq!(samples.acme("held_users"), Some(0.0));
    assert!(
        samples
            .acme("lag_seconds")
            .is_some_and(|lag| (0.0..60.0).contains(&lag))
    );
    let inserted = "calmirror_changes_total{client=\"acme\",kind=\"insert\"}";
    assert_eq!(samples.value(inserted), Some(20.0));
    assert!(samples.acme("users_observed_total") >= Some(20.0));

    // Cal.com does not take the secret any more.
    simulator.script(Target::Any, 1_000_000, Answer::Refuse(Refusal::WrongSecret));
    let refused = daemon.until_ready(200, "degraded", Some("refused")).await;
    let reason = &refused["clients"][0]["reasons"][0];
    assert_eq!(refused["clients"][0]["condition"], "refused");
    assert!(
        reason["error"]
            .as_str()
            .is_some_and(|error| error.contains("secret")),
        "{refused}"
    );
    assert!(!refused.to_string().contains(&secret));
    let samples = daemon
        .until("a refusal", |samples| samples.acme("refused") == Some(1.0))
        .await;
    let refusals = "calmirror_requests_total{client=\"acme\",class=\"4xx\"}";
    assert!(samples.value(refusals) > Some(0.0));
    daemon.program_lives().await;
    simulator.clear_scripts();
    daemon.until_ready(200, "ok", None).await;

    // Too many users are gone at once.
    let users = daemon.setup.clients[0].users.clone();
    for user in &users[..8] {
        simulator.delete_user(*user).expect("the user is there");
    }
    let held = daemon.until_ready(200, "degraded", Some("held")).await;
    let reasons = held["clients"][0]["reasons"].as_array().expect("a list").clone();
    let reason = reasons
        .iter()
        .find(|reason| reason["reason"] == "held")
        .expect("it is held");
    assert_eq!(reason["users"], 8);
    daemon
        .until("held users", |samples| {
            samples.acme("held_users") == Some(8.0) && samples.acme("missing_users") == Some(8.0)
        })
        .await;
    daemon.approve_what_is_held().await;
    daemon.until_ready(200, "ok", None).await;
    daemon
        .until("removed users", |samples| {
            samples.acme("removed_users") == Some(8.0) && samples.acme("live_users") == Some(12.0)
        })
        .await;

    // A pass that does not come to its end.
    simulator.script(Target::User(users[10]), 1, Answer::Hang);
    let stale = daemon.until_ready(200, "degraded", Some("stale")).await;
    assert_eq!(stale["clients"][0]["condition"], "stale");
    let samples = daemon
        .until("a stale mirror", |samples| samples.acme("fresh") == Some(0.0))
        .await;
    assert_eq!(samples.acme("pass_running"), Some(1.0));
    assert_eq!(
        daemon.get("/api/v1/status").await.json()["clients"][0]["under_way"]["observed"],
        19
    );
    simulator.release();
    daemon.until_ready(200, "ok", None).await;

    // The database stops, and comes back.
    gate.shut();
    daemon.until_ready(503, "database_unavailable", None).await;
    let samples = daemon
        .until("no database", |samples| {
            samples.value("calmirror_database_up") == Some(0.0)
        })
        .await;
    for name in of_the_mirror {
        assert_eq!(samples.acme(name), None, "{name}");
    }
    assert!(samples.acme("next_pass_timestamp_seconds").is_some());
    let status = daemon.get("/api/v1/status").await.json();
    assert_eq!(status["database"]["status"], "database_unavailable");
    assert!(status["clients"][0]["health"].is_null() && status["clients"][0]["users"].is_null());
    daemon.program_lives().await;
    gate.open();
    daemon.until_ready(200, "ok", None).await;
    // A server that accepts and says nothing is as good as away.
    gate.freeze();
    daemon.until_ready(503, "database_unavailable", None).await;
    gate.open();
    daemon.until_ready(200, "ok", None).await;
    let ended = daemon.stop().await;
    assert!(!ended.stderr.contains("panic"), "{ended}");
}

impl Daemon {
    async fn program_lives(&self) {
        assert_eq!(self.get("/healthz").await.status, 200);
    }

    /// Each pass holds the set anew, until one approval comes between two of them.
    async fn approve_what_is_held(&self) {
        loop {
            let (_, held) = self.readiness().await;
            let reasons = held["clients"][0]["reasons"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let Some(held) = reasons.iter().find(|reason| reason["reason"] == "held") else {
                return;
            };
            let run = held["run_id"].to_string();
            if self.setup.run(&["approve", &run]).await.code() == 0 {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_database_without_tables_is_not_ready_and_one_without_a_pass_is_degraded() {
    let mut setup = Setup::new(1, 3).await;
    let empty = TestDb::empty().await;
    setup.database_url = empty.url();
    let daemon = Daemon::start(setup, &format!("{HARDLY_EVER}\nat_start = false")).await;
    let bare = daemon.until_ready(503, "not_migrated", None).await;
    assert!(
        bare["error"]
            .as_str()
            .is_some_and(|error| error.contains("calmirror migrate")),
        "{bare}"
    );
    daemon.setup.run(&["migrate"]).await.expect(0);
    let never = daemon.until_ready(200, "degraded", Some("never")).await;
    assert_eq!(never["clients"][0]["reasons"][0]["reason"], "never");
    daemon.setup.run(&["sync"]).await.expect(0);
    daemon.until_ready(200, "ok", None).await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_configuration_that_was_refused_is_told_and_the_mirror_stays_ready() {
    const OK: &str = "calmirror_config_last_reload_successful";
    const AT: &str = "calmirror_config_last_reload_success_timestamp_seconds";
    const BEAT: &str = "calmirror_scheduler_last_beat_timestamp_seconds";
    let daemon = Daemon::of(3, HARDLY_EVER).await;
    daemon.until_ready(200, "ok", None).await;
    let before = daemon
        .until("users", |samples| samples.acme("live_users") == Some(3.0))
        .await;
    let started = before.value(AT).expect("it was loaded");
    assert_eq!(before.value(OK), Some(1.0));

    daemon.setup.configure("[schedule]\ncron = \"often\"");
    daemon.program.signal(Signal::SIGHUP);
    daemon
        .until("a refusal", |samples| samples.value(OK) == Some(0.0))
        .await;
    // Ready, and not as it should be.
    let degraded = daemon.until_ready(200, "degraded", Some("reload_refused")).await;
    let at = degraded["configuration"]["at"].as_str();
    let at = at.and_then(|at| at.parse::<DateTime<Utc>>().ok());
    assert!(
        at.is_some_and(|at| at.timestamp_millis() as f64 / 1000.0 >= started),
        "{degraded}"
    );
    assert_eq!(degraded["clients"], json!([]), "{degraded}");
    daemon.program_lives().await;
    // Another second, so that the times can be told apart.
    let refused = daemon
        .until("a later beat", |samples| {
            samples.value(BEAT) >= Some(started + 2.0)
        })
        .await;
    assert_eq!(refused.value(AT), Some(started), "the one before stays in force");
    assert_eq!(refused.acme("live_users"), Some(3.0));

    daemon.setup.configure(EVERY_SECOND);
    daemon.program.signal(Signal::SIGHUP);
    let reloaded = daemon
        .until("a reload", |samples| samples.value(OK) == Some(1.0))
        .await;
    assert!(reloaded.value(AT) > Some(started), "{reloaded:?}");
    let well = daemon.until_ready(200, "ok", None).await;
    assert!(well["configuration"].is_null(), "{well}");
    daemon
        .until("passes by the new one", |samples| {
            passes(samples, "no_change") >= 2.0
        })
        .await;
    let address = daemon.address;
    daemon.stop().await;
    assert!(TcpStream::connect(address).await.is_err(), "it has ended");
}

#[tokio::test]
async fn users_are_those_of_the_database_in_force() {
    let mut daemon = Daemon::of(3, HARDLY_EVER).await;
    daemon
        .until("users", |samples| samples.acme("live_users") == Some(3.0))
        .await;
    let other = TestDb::new().await;
    daemon.setup.database_url = other.url();
    daemon.setup.configure(HARDLY_EVER);
    daemon.program.signal(Signal::SIGHUP);
    daemon.program.logged("configuration reloaded").await;
    assert_eq!(daemon.samples().await.acme("live_users"), Some(0.0));
    daemon.stop().await;
}

#[tokio::test]
async fn a_database_that_hangs_does_not_hold_up_the_reload_that_leaves_it() {
    let mut setup = Setup::new(1, 4).await;
    let mut gate = setup.gate();
    gate.open();
    let mut daemon = Daemon::start(setup, HARDLY_EVER).await;
    daemon.until_ready(200, "ok", None).await;
    // Its connections stay, and whoever has asked something hears no more of it.
    gate.freeze();
    daemon.until_ready(503, "database_unavailable", None).await;
    let other = TestDb::new().await;
    daemon.setup.database_url = other.url();
    for reloads in 1..=2 {
        daemon
            .setup
            .configure(if reloads == 1 { EVERY_SECOND } else { HARDLY_EVER });
        daemon.program.signal(Signal::SIGHUP);
        daemon
            .program
            .logged_times("configuration reloaded", reloads)
            .await;
        daemon.until_ready(200, "ok", None).await;
    }
    assert_eq!(daemon.samples().await.acme("live_users"), Some(4.0));
    daemon.stop().await;
}

#[tokio::test]
async fn neither_a_silent_database_nor_a_slow_client_holds_up_the_end() {
    let mut setup = Setup::new(1, 20).await;
    let mut gate = setup.gate();
    gate.open();
    let daemon = Daemon::start(setup, EVERY_SECOND).await;
    daemon.until_ready(200, "ok", None).await;
    // Asks for more than the system keeps for it, and reads nothing.
    let mut slow = TcpStream::connect(daemon.address).await.expect("it listens");
    let requests = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    slow.write_all(requests.as_bytes()).await.expect("it reads");
    gate.freeze();
    daemon
        .until("a pass that hangs", |samples| {
            samples.value("calmirror_database_up") == Some(0.0) && samples.acme("pass_running") == Some(1.0)
        })
        .await;
    let ended = daemon.program.end_in_time(Signal::SIGTERM).await.expect(0);
    assert!(ended.stderr.contains("told to end"), "{ended}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_before_anything_is_started() {
    let daemon = Daemon::of(1, HARDLY_EVER).await;
    let address = daemon.address.to_string();
    let second = daemon
        .setup
        .workplace
        .run_with(&[("CALMIRROR__SERVER__LISTEN", &address)], &["run"])
        .await
        .expect(1);
    let said = format!(
        "error: server.listen: {address} cannot be listened on: Address already in use (os error 98)\n       \
         is another calmirror running? Set another address, or \"off\" for none\n"
    );
    assert!(second.stderr.ends_with(&said), "{second}");
    assert!(!second.stderr.contains("calmirror runs"), "{second}");
    daemon.stop().await;
}
