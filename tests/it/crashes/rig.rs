//! The program as a child over one simulated client, and what a crash could spoil in its tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::process::ExitStatusExt as _,
    time::Duration,
};

use axum::body::Bytes;
use calmirror::{
    config::Removal,
    simulator::{ClientInfo, RateLimit, Simulator, SimulatorConfig},
};
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{FromRow, PgPool};

use crate::support::{
    TestDb,
    oracle::{Begun, Oracle},
    program::{Ended, Program, Workplace},
    world::LIMIT,
};

/// As the configuration has it.
const REMOVAL: Removal = Removal {
    confirmations: 2,
    min_age: Duration::ZERO,
    max_count: 5,
    max_percent: 10.0,
};

/// A simulator with one client, and the program's configuration for it.
pub(super) struct Rig {
    pub(super) simulator: Simulator,
    pub(super) client: ClientInfo,
    workplace: Workplace,
    watched: Vec<i64>,
}

impl Rig {
    /// All of the client's users are watched.
    pub(super) async fn new(users: usize) -> Self {
        let simulator = Simulator::start(SimulatorConfig {
            users_per_client: users,
            rate_limit: RateLimit::OFF,
            ..SimulatorConfig::default()
        })
        .await
        .expect("the simulator starts");
        let client = simulator.clients().swap_remove(0);
        let mut workplace = Workplace::new();
        workplace.set("SECRET", &client.secret);
        let mut rig = Self {
            watched: Vec::new(),
            simulator,
            client,
            workplace,
        };
        rig.watch(rig.client.users.clone());
        rig
    }

    /// Writes the configuration: these users, and removal after two confirmations with no time between.
    pub(super) fn watch(&mut self, users: Vec<i64>) {
        let (base_url, id) = (self.simulator.base_url(), &self.client.id);
        let text = format!(
            "[calcom]\nbase_url = \"{base_url}\"\nfetch = \"get\"\nrequests_per_minute = 0\n\
             [removal]\nmin_age_s = 0\n\
             [[clients]]\nname = \"main\"\nid = \"{id}\"\nsecret = {{ env = \"SECRET\" }}\nusers = {users:?}\n"
        );
        self.workplace.write("config.toml", &text);
        self.watched = users;
    }

    /// Keeps account from here on, of a database without any pass.
    pub(super) fn oracle(&self, pool: &PgPool) -> Oracle {
        self.simulator.keep_answers(true);
        Oracle::on(pool.clone(), &self.client.id)
    }

    pub(super) async fn begin(&self, oracle: &mut Oracle) -> Begun {
        oracle.begin_pass(&self.simulator, &self.watched, REMOVAL).await
    }

    pub(super) fn start(&self, db: &TestDb, variables: &[(&str, &str)], arguments: &[&str]) -> Program {
        let url = db.url();
        let mut all = vec![("CALMIRROR__DATABASE__URL", url.as_str())];
        all.extend(variables);
        self.workplace.start_with(&all, arguments)
    }

    /// Starts one pass, with these crash points armed.
    pub(super) fn start_armed(&self, db: &TestDb, points: &str) -> Program {
        self.start(db, &[("FAILPOINTS", points)], &["--output", "json", "sync"])
    }

    /// Makes one pass with these crash points armed. However it ends, the promises hold then.
    pub(super) async fn pass(&self, oracle: &mut Oracle, db: &TestDb, points: &str) -> Ended {
        let begun = self.begin(oracle).await;
        let ended = self.start_armed(db, points).end().await;
        self.end(oracle, begun, &ended).await;
        check(oracle, &ended).await;
        ended
    }

    pub(super) async fn end(&self, oracle: &mut Oracle, begun: Begun, ended: &Ended) {
        let run = ended.json().first().and_then(|report| report["run_id"].as_i64());
        oracle.end_pass(&self.simulator, begun, run).await;
    }

    /// Makes one pass, which ends by itself, and gives its report.
    pub(super) async fn sync(&self, oracle: &mut Oracle, db: &TestDb, code: i32) -> Value {
        self.pass(oracle, db, "").await.expect(code).json().swap_remove(0)
    }

    /// Makes one pass that kills itself when it comes to a point for the `hit`th time.
    pub(super) async fn kill_at(&self, oracle: &mut Oracle, db: &TestDb, point: &str, hit: u32) {
        assert_killed(&self.pass(oracle, db, &armed(point, hit, "return")).await);
    }

    pub(super) fn records(&self, users: &[i64]) -> Vec<(i64, Bytes)> {
        let record = |user: &i64| (*user, self.simulator.user_json(*user).expect("the user is there"));
        users.iter().map(record).collect()
    }

    /// Gives the records, to be placed again.
    pub(super) fn delete(&self, users: &[i64]) -> Vec<(i64, Bytes)> {
        let records = self.records(users);
        for user in users {
            self.simulator
                .delete_user(*user)
                .expect("the user can be deleted");
        }
        records
    }

    pub(super) fn place(&self, records: &[(i64, Bytes)]) {
        for (user, record) in records {
            self.simulator
                .place_raw(&self.client.id, *user, record)
                .expect("the record can be placed");
        }
    }
}

pub(super) async fn check(oracle: &Oracle, ended: &Ended) {
    if let Err(wrong) = oracle.check().await {
        panic!("{wrong}\n{ended}");
    }
}

/// What arms a point for its `hit`th time.
pub(super) fn armed(point: &str, hit: u32, action: &str) -> String {
    // Shown when the test fails.
    println!("{action} at {point}, hit {hit}");
    format!("{point}={}*off->{action}", hit - 1)
}

#[track_caller]
pub(super) fn assert_killed(ended: &Ended) {
    assert_eq!(ended.status.signal(), Some(Signal::SIGKILL as i32), "{ended}");
}

/// A pass on record.
#[derive(Debug, PartialEq, Eq, FromRow)]
pub(super) struct RunRow {
    pub(super) run_id: i64,
    pub(super) outcome: Option<String>,
    pub(super) error: Option<String>,
    /// As the run's own row says.
    pub(super) counted: i64,
    /// Of the ledger.
    pub(super) written: i64,
}

/// What the tables say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tables {
    /// Oldest first.
    pub(super) runs: Vec<RunRow>,
    pub(super) last_complete: Option<i64>,
    /// Of each candidate for removal.
    pub(super) confirmations: BTreeMap<i64, i32>,
    pub(super) removed: BTreeSet<i64>,
    /// How often the ledger has each change, by kind and user.
    pub(super) changes: BTreeMap<(String, i64), i64>,
}

impl Tables {
    /// None where no migration has been committed.
    pub(super) async fn look(pool: &PgPool) -> Option<Self> {
        let tables: Vec<String> = sqlx::query_scalar(
            "select relname::text from pg_class where relnamespace = 'public'::regnamespace",
        )
        .fetch_all(pool)
        .await
        .expect("the catalogue can be read");
        if tables.is_empty() {
            return None;
        }
        let runs = sqlx::query_as(
            "select run_id, outcome, error, inserted + updated + removed + restored as counted,
                (select count(*) from managed_user_changes as change where change.run_id = run.run_id) as written
             from sync_runs as run order by run_id",
        )
        .fetch_all(pool)
        .await
        .expect("passes can be read");
        let last_complete = sqlx::query_scalar("select last_complete_run_id from sync_state")
            .fetch_optional(pool)
            .await
            .expect("the state can be read");
        let confirmations: Vec<(i64, i32)> =
            sqlx::query_as("select user_id, confirmations from missing_users")
                .fetch_all(pool)
                .await
                .expect("candidates can be read");
        let removed: Vec<i64> =
            sqlx::query_scalar("select id from managed_users where removed_at is not null")
                .fetch_all(pool)
                .await
                .expect("users can be read");
        let changes: Vec<(String, i64, i64)> =
            sqlx::query_as("select kind, user_id, count(*) from managed_user_changes group by kind, user_id")
                .fetch_all(pool)
                .await
                .expect("the ledger can be read");
        Some(Self {
            runs,
            last_complete: last_complete.flatten(),
            confirmations: confirmations.into_iter().collect(),
            removed: removed.into_iter().collect(),
            changes: changes
                .into_iter()
                .map(|(kind, user, count)| ((kind, user), count))
                .collect(),
        })
    }

    pub(super) fn open_runs(&self) -> Vec<i64> {
        let open = self.runs.iter().filter(|run| run.outcome.is_none());
        open.map(|run| run.run_id).collect()
    }

    pub(super) fn run(&self, id: i64) -> &RunRow {
        let run = self.runs.iter().find(|run| run.run_id == id);
        run.unwrap_or_else(|| panic!("there is no run {id}: {self:?}"))
    }

    /// What a batch writes is there as a whole or not at all, of any run at any moment.
    pub(super) fn assert_counted(&self) {
        for run in &self.runs {
            assert_eq!(run.counted, run.written, "counts and ledger of {run:?}");
        }
    }
}

/// Waits until somebody waits for a lock.
pub(super) async fn somebody_waits(pool: &PgPool) {
    let waiting = async {
        loop {
            let count: i64 = sqlx::query_scalar(
                "select count(*) from pg_locks as l join pg_stat_activity as a using (pid)
                 where not l.granted and a.datname = current_database()",
            )
            .fetch_one(pool)
            .await
            .expect("locks can be seen");
            if count > 0 {
                break;
            }
        }
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .expect("somebody comes to wait");
}
