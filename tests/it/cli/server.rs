//! What the daemon says over HTTP.

mod fuzzed;
mod guard;
mod metrics;
mod notified;
mod shown;
mod starting;
mod truth;

use std::{net::SocketAddr, time::Duration};

use calmirror::simulator::{Simulator, SimulatorConfig};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::Setup;
use crate::support::{
    http::{self, Answer},
    program::{Ended, Program},
    world::LIMIT,
};

/// The first of January: no tick but the one at the start.
const HARDLY_EVER: &str = "[schedule]\ncron = \"0 0 1 1 *\"";

/// A daemon that listens on a port of its own.
struct Daemon {
    setup: Setup,
    program: Program,
    address: SocketAddr,
}

impl Daemon {
    /// Over so many users of one client.
    async fn of(users: usize, sections: &str) -> Self {
        Self::start(Setup::new(1, users).await, sections).await
    }

    async fn start(mut setup: Setup, sections: &str) -> Self {
        setup.workplace.set("CALMIRROR__SERVER__LISTEN", "127.0.0.1:0");
        Self::run(setup, sections).await
    }

    /// As the configuration says, so that a reload can say otherwise. `sections` ends with that of the server.
    async fn listening(on: &str, sections: &str) -> Self {
        let sections = format!("{sections}\nlisten = \"{on}\"");
        let mut setup = Setup::new(1, 3).await;
        setup.workplace.unset("CALMIRROR__SERVER__LISTEN");
        Self::run(setup, &sections).await
    }

    async fn run(mut setup: Setup, sections: &str) -> Self {
        setup.configure(sections);
        setup.workplace.set("TOKEN", "s3cr3t-t0ken");
        let mut program = setup.workplace.start(&["run"]);
        let log = program.logged("calmirror runs").await;
        let address = log
            .split_whitespace()
            .find_map(|word| word.strip_prefix("listen="))
            .and_then(|address| address.trim_matches('"').parse().ok())
            .unwrap_or_else(|| panic!("no address in {log}"));
        Self {
            setup,
            program,
            address,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        http::request(self.address, "GET", path, headers, "").await
    }

    /// What is answered to these lines, with none added.
    async fn raw(&self, lines: &[&str]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        let request = format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n"));
        stream.write_all(request.as_bytes()).await.expect("it reads");
        http::receive(stream).await.expect("it answers")
    }

    async fn readiness(&self) -> (u16, Value) {
        let answer = self.get("/readyz").await;
        (answer.status, answer.json())
    }

    async fn samples(&self) -> Samples {
        let answer = self.get("/metrics").await;
        assert_eq!(answer.status, 200);
        Samples(String::from_utf8(answer.body).expect("metrics are UTF-8"))
    }

    /// Waits until the metrics say so.
    async fn until(&self, what: &str, is_so: impl Fn(&Samples) -> bool) -> Samples {
        let mut last = Samples(String::new());
        let waiting = async {
            loop {
                last = self.samples().await;
                if is_so(&last) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(LIMIT, waiting).await;
        assert!(waited.is_ok(), "{what} never came:\n{}", last.0);
        last
    }

    /// Waits until readiness has this status and, among its reasons, this one.
    async fn until_ready(&self, code: u16, status: &str, reason: Option<&str>) -> Value {
        let mut last = (0, Value::Null);
        let waiting = async {
            loop {
                last = self.readiness().await;
                let reasons = last.1["reasons"].as_array().cloned().unwrap_or_default();
                if last.0 == code
                    && last.1["status"] == status
                    && reason.is_none_or(|reason| reasons.iter().any(|given| given == reason))
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(LIMIT, waiting).await;
        assert!(waited.is_ok(), "{code} {status} {reason:?} never came: {last:?}");
        last.1
    }

    async fn stop(self) -> Ended {
        self.program.signal(Signal::SIGTERM);
        self.program.end().await.expect(0)
    }
}

/// An answer of `/metrics`.
#[derive(Debug)]
struct Samples(String);

impl Samples {
    /// The value of the series that is spelled so; none where there is no such line.
    fn value(&self, series: &str) -> Option<f64> {
        self.0.lines().find_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            (name == series).then(|| value.parse().expect("a sample is a number"))
        })
    }

    /// Of the gauge or counter of the one client.
    fn acme(&self, name: &str) -> Option<f64> {
        self.value(&format!("calmirror_{name}{{client=\"acme\"}}"))
    }
}

/// Seven users of a client whose Cal.com tells of its rate limit.
async fn limited() -> Setup {
    let simulator = Simulator::start(SimulatorConfig {
        users_per_client: 7,
        ..SimulatorConfig::default()
    });
    Setup::with(simulator.await.expect("the simulator starts")).await
}
