//! The simulator's contract with its callers, over real HTTP.

mod faults;
mod limits;
mod lists;
mod organizations;
mod refusals;
mod users;

use std::sync::Arc;

use calmirror::{
    clock::ManualClock,
    simulator::{ClientInfo, Simulator, SimulatorConfig},
};
use chrono::DateTime;

use crate::support::http::{self, Answer};

/// A simulator, and the caller that is its first client.
struct Fixture {
    simulator: Simulator,
    client: ClientInfo,
    clock: Arc<ManualClock>,
}

impl Fixture {
    /// Time stands still unless the test moves it.
    async fn start(config: SimulatorConfig) -> Self {
        let noon = DateTime::parse_from_rfc3339("2026-03-01T12:00:00Z").expect("a time stamp");
        let clock = Arc::new(ManualClock::at(noon.to_utc()));
        let config = SimulatorConfig {
            clock: clock.clone(),
            ..config
        };
        let simulator = Simulator::start(config).await.expect("the simulator starts");
        let client = simulator.clients().swap_remove(0);
        Self {
            simulator,
            client,
            clock,
        }
    }

    async fn with_users(users: usize) -> Self {
        Self::start(SimulatorConfig {
            users_per_client: users,
            ..SimulatorConfig::default()
        })
        .await
    }

    fn users_path(&self) -> String {
        format!("/v2/oauth-clients/{}/users", self.client.id)
    }

    fn user_path(&self, id: i64) -> String {
        format!("{}/{id}", self.users_path())
    }

    fn credentials(&self) -> [(&str, &str); 2] {
        [
            ("x-cal-client-id", &self.client.id),
            ("x-cal-secret-key", &self.client.secret),
        ]
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.ask_as(method, path, &self.credentials(), body).await
    }

    async fn ask_as(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        http::request(self.simulator.address(), method, path, headers, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }
}
