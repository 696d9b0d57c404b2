//! What Cal.com, or whatever stands in its place, may answer: each case through the whole program.
//!
//! Of two clients, acme meets the fault and globex does not. Removal is as easy as can be configured, so that an answer
//! that is taken for a user's end by mistake removes one at once.

mod bodies;
mod case;
mod front;
mod limits;
mod network;
mod refusals;
mod trouble;

use std::fmt::Write as _;

use calmirror::simulator::{Answer, ClientInfo, RateLimit, Simulator, SimulatorConfig, Target};
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::PgPool;

use crate::support::{
    TestDb,
    program::{Ended, Program, Workplace},
};

/// More than are asked for at once.
const USERS: usize = 12;

/// What a fault may cost over a pass without one.
const MAX_MEMORY: u64 = 32 << 20;

/// Removal without a second look.
const EASY_REMOVAL: &str = "confirmations = 1\nmin_age_s = 0\nmax_count = 1000\nmax_percent = 100";

/// A simulator with two clients, a database, and a configuration.
struct Upstream {
    simulator: Simulator,
    /// The client that meets the fault.
    acme: ClientInfo,
    /// The client that does not.
    globex: ClientInfo,
    pool: PgPool,
    workplace: Workplace,
    settings: Settings,
    /// For as long as the pool.
    db: TestDb,
}

/// What tests set in the configuration.
struct Settings {
    base_url: String,
    timeout_s: u32,
    removal: &'static str,
    cron: &'static str,
}

/// What one `sync` came to.
struct Seen {
    ended: Ended,
    /// The most memory that the program held while acme's pass was under way.
    peak: Option<u64>,
}

/// How acme's pass is to end.
#[derive(Clone, Copy, Debug)]
struct Expected {
    code: i32,
    outcome: &'static str,
    /// What the one line of the log says, and the report as well.
    says: &'static [&'static str],
}

/// The tables, and when each client was last complete.
#[derive(Debug, PartialEq)]
struct State {
    rows: Vec<String>,
    acme: String,
    globex: String,
}

/// In bytes, and without the fault.
#[track_caller]
fn check_memory(peak: u64, baseline: u64) {
    assert!(
        peak <= baseline + MAX_MEMORY,
        "{peak} bytes of memory, and {baseline} without the fault"
    );
}

/// As lines of the log name it.
fn named(client: &ClientInfo) -> String {
    format!("\"client.name\":\"{}\"", client.name)
}

/// Values of one query, as text.
async fn texts(pool: &PgPool, query: &'static str) -> Vec<String> {
    sqlx::query_scalar(query)
        .fetch_all(pool)
        .await
        .expect("the tables can be read")
}

impl Upstream {
    async fn new() -> Self {
        let simulator = Simulator::start(SimulatorConfig {
            clients: 2,
            users_per_client: USERS,
            rate_limit: RateLimit::OFF,
            ..SimulatorConfig::default()
        })
        .await
        .expect("the simulator starts");
        let db = TestDb::new().await;
        let [acme, globex]: [ClientInfo; 2] = simulator.clients().try_into().expect("there are two");
        let mut workplace = Workplace::new();
        workplace.set("SECRET_ACME", &acme.secret);
        workplace.set("SECRET_GLOBEX", &globex.secret);
        let upstream = Self {
            settings: Settings {
                base_url: simulator.base_url(),
                // What is held up on purpose is not given up, however busy the machine is.
                timeout_s: 300,
                removal: EASY_REMOVAL,
                // The first of January: no tick but the one at the start.
                cron: "0 0 1 1 *",
            },
            pool: db.pool().await,
            simulator,
            acme,
            globex,
            workplace,
            db,
        };
        upstream.configure();
        upstream
    }

    fn configure(&self) {
        let Settings {
            base_url,
            timeout_s,
            removal,
            cron,
        } = &self.settings;
        let database = self.db.url();
        let mut text = format!(
            "[calcom]\nbase_url = \"{base_url}\"\nfetch = \"get\"\nrequests_per_minute = 0\ntimeout_s = {timeout_s}\n\
             [database]\nurl = \"{database}\"\n[removal]\n{removal}\n[schedule]\ncron = \"{cron}\"\n\
             [log]\nformat = \"json\"\n"
        );
        for client in [&self.acme, &self.globex] {
            let ClientInfo { name, id, users, .. } = client;
            let variable = format!("SECRET_{}", name.to_uppercase());
            write!(
                text,
                "[[clients]]\nname = \"{name}\"\nid = \"{id}\"\nsecret = {{ env = \"{variable}\" }}\nusers = {users:?}\n"
            )
            .expect("writing to a string does not fail");
        }
        self.workplace.write("config.toml", &text);
    }

    async fn state(&self) -> State {
        let complete = async |client: &ClientInfo| {
            sqlx::query_scalar(
                "select last_complete_at::text from managed_users_freshness where client_id = $1",
            )
            .bind(&client.id)
            .fetch_one(&self.pool)
            .await
            .expect("the client has been complete")
        };
        let rows = texts(
            &self.pool,
            "select 'user ' || to_jsonb(u)::text from managed_users u
             union all select 'change ' || to_jsonb(c)::text from managed_user_changes c
             union all select 'missing ' || to_jsonb(m)::text from missing_users m
             order by 1",
        )
        .await;
        State {
            rows,
            acme: complete(&self.acme).await,
            globex: complete(&self.globex).await,
        }
    }

    /// Mirrors everyone, and gives the memory that this takes.
    async fn fill(&self) -> u64 {
        let seen = self.sync().await;
        seen.ended.expect_all_complete();
        let users = texts(&self.pool, "select id::text from managed_users_live").await;
        assert_eq!(users.len(), 2 * USERS);
        seen.peak.expect("the pass was held up")
    }

    /// One pass of each client. That of globex does not end before acme's, so that the program can be looked at.
    async fn sync(&self) -> Seen {
        let last = self.globex.users[USERS - 1];
        self.simulator.script(Target::User(last), 1, Answer::Hang);
        let mut program = self.workplace.start(&["--output", "json", "sync"]);
        self.simulator.wait_until(|counts| counts.hanging == 1).await;
        program.printed("\"client\":\"acme\"").await;
        let peak = Some(program.peak_memory());
        self.simulator.release();
        let ended = program.end().await;
        Seen { ended, peak }
    }

    /// As [`sync`](Self::sync), for faults that nothing else can be held up under.
    async fn sync_freely(&self) -> Seen {
        let ended = self
            .workplace
            .run(&["--output", "json", "sync", "--accept-source"])
            .await;
        Seen { ended, peak: None }
    }

    /// Acme's pass ended as expected and left nothing behind; that of globex is complete.
    async fn check(&self, seen: &Seen, expected: Expected, before: &State) {
        seen.ended.check(&self.acme, expected);
        let other = seen.ended.report("globex");
        assert_eq!(
            (&other["outcome"], &other["observed"]),
            (&"no_change".into(), &USERS.into()),
            "{}",
            seen.ended
        );
        let after = self.state().await;
        assert_eq!(after.rows, before.rows, "the tables are as they were");
        assert_eq!(
            after.acme, before.acme,
            "an answer that proves nothing is no freshness"
        );
        assert!(after.globex > before.globex, "the other client's freshness moves");
    }

    /// The fault is over: the next pass of both clients is complete.
    async fn check_over(&self, before: &State) {
        self.sync_freely().await.ended.expect_all_complete();
        let after = self.state().await;
        assert_eq!(after.rows, before.rows);
        assert!(after.acme > before.acme && after.globex > before.globex);
    }

    /// The daemon, with a pass a second.
    fn daemon(&mut self) -> Program {
        self.settings.cron = "* * * * * *";
        self.configure();
        self.workplace.start(&["run"])
    }

    /// Both clients have complete passes again, in the same process, which then ends in good order.
    async fn recovers(&self, mut program: Program, before: &State) {
        for client in [&self.acme, &self.globex] {
            program
                .logged_with(&[&named(client), "\"run.outcome\":\"no_change\""], 1)
                .await;
        }
        program.signal(Signal::SIGTERM);
        program.end().await.expect(0);
        let after = self.state().await;
        assert_eq!(after.rows, before.rows);
        assert!(after.acme > before.acme && after.globex > before.globex);
    }
}

impl Ended {
    #[track_caller]
    fn report(&self, client: &str) -> Value {
        let mut reports = self.json();
        reports.retain(|report| report["client"] == client);
        assert_eq!(reports.len(), 1, "{client} has one report: {self}");
        reports.remove(0)
    }

    /// The warnings and errors of the log.
    #[track_caller]
    fn alarms(&self) -> Vec<Value> {
        let mut lines = self.log();
        lines.retain(|line| line["level"] == "WARN" || line["level"] == "ERROR");
        lines
    }

    #[track_caller]
    fn expect_all_complete(self) {
        let ended = self.expect(0);
        assert_eq!(ended.alarms(), [] as [Value; 0], "{ended}");
        for client in ["acme", "globex"] {
            assert_eq!(ended.report(client)["observed"], USERS, "{ended}");
        }
    }

    /// The exit code, the report, and the one line of the log.
    #[track_caller]
    fn check(&self, client: &ClientInfo, expected: Expected) {
        assert_eq!(self.code(), expected.code, "{self}");
        let report = self.report(&client.name);
        assert_eq!(report["outcome"], expected.outcome, "{self}");
        for count in ["inserted", "updated", "removed", "restored"] {
            assert_eq!(report[count], 0, "{count}: {self}");
        }
        let mut alarms = self.alarms();
        alarms.retain(|line| line["client.name"] == client.name.as_str());
        let [line] = alarms.as_slice() else {
            panic!("{} lines of {}: {self}", alarms.len(), client.name)
        };
        assert_eq!(line["error"], report["error"], "{self}");
        let error = line["error"]
            .as_str()
            .unwrap_or_else(|| panic!("no error: {self}"));
        for words in expected.says {
            assert!(error.contains(words), "{words:?} is not in {error:?}");
        }
        assert!(!error.contains('\n') && error.chars().count() < 500, "{error}");
        assert!(!format!("{self}").contains(&client.secret), "{self}");
    }
}
