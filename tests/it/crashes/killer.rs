//! The program killed from outside, when nobody can know where it is.

use std::collections::BTreeSet;

use axum::body::Bytes;
use fastrand::Rng;
use nix::sys::signal::Signal;
use serde_json::json;

use super::rig::{Rig, Tables, check};
use crate::support::{TestDb, oracle::Oracle, program::Ended};

/// Of which each round takes a moment, and changes at the source.
const SEED: u64 = 20_261_123;

const ROUNDS: usize = 20;

/// Two batches.
const USERS: usize = 620;

struct Killer {
    rig: Rig,
    db: TestDb,
    oracle: Oracle,
    rng: Rng,
    /// Deleted at the source, with what they were.
    away: Vec<(i64, Bytes)>,
}

impl Killer {
    /// A few users change, a few go, some come back.
    fn change_the_source(&mut self) {
        for round in 0..self.rng.usize(..4) {
            let user = self.rig.client.users[self.rng.usize(..USERS)];
            let name = format!("Name {round} {}", self.rng.u32(..));
            if self.away.iter().all(|(away, _)| *away != user) {
                let change = json!({ "name": name });
                self.rig
                    .simulator
                    .patch_user(user, change)
                    .expect("the user can be changed");
            }
        }
        if self.rng.bool() {
            let user = self.rig.client.users[self.rng.usize(..USERS)];
            if self.away.iter().all(|(away, _)| *away != user) {
                self.away.extend(self.rig.delete(&[user]));
            }
        }
        if self.away.len() > 3 {
            let back = self.away.swap_remove(self.rng.usize(..self.away.len()));
            self.rig.place(&[back]);
        }
    }

    /// Kills a pass after a random number of requests, or, for the ends of passes have none, after a random line of the log.
    async fn kill(&mut self) -> Ended {
        let begun = self.rig.begin(&mut self.oracle).await;
        let asked = self.rig.simulator.requests().total;
        let variables = [("CALMIRROR__LOG__LEVEL", "debug")];
        let mut program = self
            .rig
            .start(&self.db, &variables, &["--output", "json", "sync"]);
        let after = self.rng.u64(1..=USERS as u64);
        if self.rng.bool() {
            println!("killed after {after} requests");
            self.rig.simulator.wait_for_requests(asked + after).await;
        } else {
            let lines = USERS - self.rng.usize(..4);
            println!("killed after {lines} answers");
            program.logged_times("asked for a user", lines).await;
        }
        program.signal(Signal::SIGKILL);
        let ended = program.end().await;
        self.rig.end(&mut self.oracle, begun, &ended).await;
        check(&self.oracle, &ended).await;
        ended
    }
}

#[tokio::test]
async fn passes_that_are_killed_at_random_moments_converge_once_left_alone() {
    let rig = Rig::new(USERS).await;
    let db = TestDb::new().await;
    let pool = db.pool().await;
    let mut killer = Killer {
        oracle: rig.oracle(&pool),
        rig,
        db,
        rng: Rng::with_seed(SEED),
        away: Vec::new(),
    };
    let mut killed = 0;
    for round in 0..ROUNDS {
        println!("round {round} of seed {SEED}");
        let ended = killer.kill().await;
        killed += usize::from(ended.status.code().is_none());
        let tables = Tables::look(&pool).await.expect("there are tables");
        tables.assert_counted();
        assert!(tables.open_runs().len() <= 1, "{tables:?}");
        killer.change_the_source();
    }
    // At the end of a pass it may get away.
    assert!(killed > ROUNDS / 2, "only {killed} of {ROUNDS} were killed");

    // Whoever is gone needs two passes to be removed.
    for _ in 0..2 {
        killer.rig.sync(&mut killer.oracle, &killer.db, 0).await;
    }
    let report = killer.rig.sync(&mut killer.oracle, &killer.db, 0).await;
    assert_eq!(report["outcome"], "no_change");
    let tables = Tables::look(&pool).await.expect("there are tables");
    let away: BTreeSet<i64> = killer.away.iter().map(|(user, _)| *user).collect();
    assert!(tables.removed.is_subset(&away), "{tables:?}");
    // Who went before ever being mirrored has no row.
    let known = |user: &&i64| tables.changes.contains_key(&("insert".to_owned(), **user));
    assert_eq!(tables.removed, away.iter().filter(known).copied().collect());
    assert_eq!(tables.open_runs(), [0; 0]);
    pool.close().await;
}
