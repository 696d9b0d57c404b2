//! `calmirror run` under systemd, or whatever speaks the protocol of sd_notify(3) in its place.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::{net::UnixDatagram, time::timeout};

use super::Setup;
use crate::support::http;

/// A wait that takes so long will not end at all.
const LIMIT: Duration = Duration::from_secs(60);

/// Where systemd would listen.
struct Supervisor {
    socket: UnixDatagram,
    name: String,
    heard: Vec<String>,
}

impl Supervisor {
    fn of(setup: &Setup) -> Self {
        let path = setup.workplace.path().join("notify");
        Self {
            socket: UnixDatagram::bind(&path).expect("the directory takes a socket"),
            name: path.to_str().expect("it is text").to_owned(),
            heard: Vec::new(),
        }
    }

    /// Waits for a message that begins so, and gives it.
    async fn hears(&mut self, beginning: &str) -> String {
        let hearing = async {
            let mut bytes = [0; 4096];
            loop {
                let length = self.socket.recv(&mut bytes).await.expect("the socket is ours");
                let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
                self.heard.push(message.clone());
                if message.starts_with(beginning) {
                    return message;
                }
            }
        };
        match timeout(LIMIT, hearing).await {
            Ok(message) => message,
            Err(_) => panic!("{beginning:?} never came: {:?}", self.heard),
        }
    }
}

#[tokio::test]
async fn systemd_hears_of_readiness_life_reloads_and_the_end() {
    let setup = Setup::new(1, 3).await;
    setup.configure("[schedule]\ncron = \"0 0 1 1 *\"");
    let mut supervisor = Supervisor::of(&setup);
    let variables = [("NOTIFY_SOCKET", &*supervisor.name), ("WATCHDOG_USEC", "2000000")];
    let mut program = setup.workplace.start_with(&variables, &["run"]);
    supervisor.hears("READY=1\nSTATUS=").await;
    for _ in 0..3 {
        supervisor.hears("WATCHDOG=1").await;
    }
    program.logged("pass ended").await;
    assert!(
        !supervisor
            .heard
            .iter()
            .any(|heard| heard.starts_with("RELOADING")),
        "{:?}",
        supervisor.heard
    );
    // Whatever becomes of a reload, systemd waits for its end.
    for (text, logged) in [("nonsense", "not reloaded"), ("", "configuration reloaded")] {
        match text {
            "" => setup.configure("[schedule]\ncron = \"* * * * * *\""),
            text => drop(setup.workplace.write("config.toml", text)),
        }
        program.signal(Signal::SIGHUP);
        let reloading = supervisor.hears("RELOADING=1\nMONOTONIC_USEC=").await;
        let usec = reloading.rsplit_once('=').map(|(_, usec)| usec.parse::<u64>());
        assert!(matches!(usec, Some(Ok(1..))), "{reloading}");
        supervisor.hears("READY=1").await;
        program.logged(logged).await;
    }
    supervisor.hears("STATUS=passes under way: acme").await;
    supervisor.hears("STATUS=last passes: acme no_change").await;
    supervisor.hears("WATCHDOG=1").await;
    program.signal(Signal::SIGTERM);
    supervisor.hears("STOPPING=1").await;
    program.end().await.expect(0);
}

#[tokio::test]
async fn a_daemon_that_is_stopped_feeds_no_watchdog_and_one_that_nobody_supervises_runs() {
    let setup = Setup::new(1, 3).await;
    setup.configure("[schedule]\ncron = \"* * * * * *\"");
    let mut supervisor = Supervisor::of(&setup);
    let variables = [("NOTIFY_SOCKET", &*supervisor.name), ("WATCHDOG_USEC", "2000000")];
    let program = setup.workplace.start_with(&variables, &["run"]);
    supervisor.hears("WATCHDOG=1").await;
    program.signal(Signal::SIGSTOP);
    program.stopped().await;
    let mut bytes = [0; 4096];
    while supervisor.socket.try_recv(&mut bytes).is_ok() {}
    // Another one shows that time goes on.
    let mut other = setup.workplace.start(&["run"]);
    other.logged_times("pass ended", 3).await;
    assert!(supervisor.socket.try_recv(&mut bytes).is_err(), "it is stopped");
    program.signal(Signal::SIGCONT);
    supervisor.hears("WATCHDOG=1").await;
    for program in [program, other] {
        program.signal(Signal::SIGTERM);
        program.end().await.expect(0);
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "failpoints"), ignore = "needs --features failpoints")]
async fn a_scheduler_that_stands_still_feeds_no_watchdog_whatever_else_goes_on() {
    let setup = Setup::new(1, 3).await;
    setup.configure("[schedule]\ncron = \"* * * * * *\"");
    let mut supervisor = Supervisor::of(&setup);
    let variables = [
        ("NOTIFY_SOCKET", &*supervisor.name),
        ("WATCHDOG_USEC", "2000000"),
        ("FAILPOINTS", "scheduler::round=3*off->pause"),
        // The thread that stands still is one of them.
        ("TOKIO_WORKER_THREADS", "4"),
        ("CALMIRROR__SERVER__LISTEN", "127.0.0.1:0"),
    ];
    let mut program = setup.workplace.start_with(&variables, &["run"]);
    let log = program.logged("calmirror runs").await;
    let address = log
        .split_whitespace()
        .find_map(|word| word.strip_prefix("listen=")?.trim_matches('"').parse().ok())
        .expect("it says where it listens");
    supervisor.hears("WATCHDOG=1").await;
    // Another one shows that time goes on: more than enough for what was to come until the loop stood still.
    let mut other = setup.workplace.start(&["run"]);
    other.logged_times("pass ended", 6).await;
    let mut bytes = [0; 4096];
    while supervisor.socket.try_recv(&mut bytes).is_ok() {}
    other.logged_times("pass ended", 9).await;
    // Everything else is there: it answers, and it takes another configuration.
    let answer = http::request(address, "GET", "/healthz", &[], "").await;
    assert_eq!(answer.status, 200, "for a minute a beat may be missing");
    program.signal(Signal::SIGHUP);
    supervisor.heard.clear();
    supervisor.hears("RELOADING=1").await;
    supervisor.hears("READY=1").await;
    other.logged_times("pass ended", 11).await;
    let answer = http::request(address, "GET", "/metrics", &[], "").await;
    assert_eq!(answer.status, 200);
    while let Ok(length) = supervisor.socket.try_recv(&mut bytes) {
        let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
        supervisor.heard.push(message);
    }
    let fed = supervisor.heard.iter().any(|heard| heard == "WATCHDOG=1");
    assert!(!fed, "the loop stands still: {:?}", supervisor.heard);
    // A thread that hangs does not hold up the end.
    for program in [program, other] {
        program.signal(Signal::SIGTERM);
        program.end().await.expect(0);
    }
}
