//! A world that goes on: somebody moves to another time zone now and then.

use std::time::Duration;

use serde_json::json;
use tokio::time::{MissedTickBehavior, interval};

use super::{Refusal, Simulator};

const ZONES: [&str; 5] = [
    "Europe/Lisbon",
    "America/Bogota",
    "Asia/Kolkata",
    "Africa/Nairobi",
    "Australia/Brisbane",
];

impl Simulator {
    /// Changes one user after each such time, the clients in turn, for as long as it is awaited.
    ///
    /// # Errors
    ///
    /// When a change is refused, as that of a user placed with a record that is no object is.
    pub async fn live(&self, change_every: Duration) -> Result<(), Refusal> {
        let mut turn = interval(change_every);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // An interval's first tick comes at once.
        turn.tick().await;
        for round in 0_usize.. {
            turn.tick().await;
            let clients = self.clients();
            let Some(client) = clients.get(round % clients.len().max(1)) else {
                continue;
            };
            let place = round / clients.len();
            let Some(user) = client.users.get(place % client.users.len().max(1)) else {
                continue;
            };
            self.patch_user(*user, json!({ "timeZone": ZONES[round % ZONES.len()] }))?;
        }
        Ok(())
    }
}
