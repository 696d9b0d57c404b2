//! One client, the program, and a database behind a gate; and what must be true of its tables afterwards.

use std::time::Duration;

use calmirror::simulator::{Answer, ClientInfo, RateLimit, Simulator, SimulatorConfig, Target};
use sqlx::{AssertSqlSafe, PgPool, Postgres, pool::PoolConnection};

use super::{server::Server, truth::assert_true};
use crate::support::{
    TestDb,
    gate::Gate,
    program::{Ended, Program, Workplace},
    world::LIMIT,
};

/// A schedule under which the next pass is never far.
pub(super) const EVERY_SECOND: &str = "[schedule]\ncron = \"* * * * * *\"";

/// What a pass says of itself when it was complete: the only pass whose line is of that level.
pub(super) const COMPLETE: &str = " INFO pass ended";
pub(super) const FAILED: &str = "run.outcome=failed";

/// Removals need two passes and no time between; everything else is as it comes.
const SECTIONS: &str = "[removal]\nmin_age_s = 0";

/// The lock that a pass runs into where [`Stage::hold_at`] says.
const HELD: i64 = 77;

pub(super) struct Stage {
    pub(super) simulator: Simulator,
    pub(super) client: ClientInfo,
    pub(super) workplace: Workplace,
    pub(super) gate: Gate,
    /// The address through the gate.
    pub(super) url: String,
    /// To the database itself.
    pub(super) pool: PgPool,
    pub(super) db: Option<TestDb>,
}

/// Where a pass stands when the database is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// The transaction that begins it is open.
    AtTheBeginning,
    /// It has begun and written nothing.
    BeforeABatch,
    /// The transaction of a batch is open.
    InABatch,
    /// One batch is committed, and another one will come.
    BetweenBatches,
    /// The transaction of the removals is open.
    InTheRemovals,
    /// All is written, and the transaction that says so is open.
    AtTheEnd,
}

/// Those that any pass comes to.
pub(super) const POINTS: [Point; 5] = [
    Point::AtTheBeginning,
    Point::BeforeABatch,
    Point::InABatch,
    Point::BetweenBatches,
    Point::AtTheEnd,
];

/// What a pass waits for at its point.
pub(super) enum Hold {
    Answer,
    Lock(PoolConnection<Postgres>),
}

impl Point {
    /// One more than a batch where there must be two.
    pub(super) fn users(self) -> usize {
        if self == Self::BetweenBatches { 501 } else { 20 }
    }

    /// What the first complete pass over them leaves in the ledger.
    pub(super) fn changes(self) -> i64 {
        self.users().try_into().expect("there are few")
    }
}

impl Stage {
    /// On a database of the tests' common server.
    pub(super) async fn new(users: usize) -> Self {
        let db = TestDb::new().await;
        let pool = db.pool().await;
        let (gate, url) = Gate::before_database(&db);
        Self::with(users, gate, url, pool, Some(db)).await
    }

    /// On a server of the test's own.
    pub(super) async fn on(server: &Server, users: usize) -> Self {
        let gate = Gate::before_socket(server.socket());
        let url = format!(
            "postgres://calmirror@127.0.0.1:{}/calmirror?sslmode=disable",
            gate.address().port()
        );
        Self::with(users, gate, url, server.pool().await, None).await
    }

    async fn with(users: usize, mut gate: Gate, url: String, pool: PgPool, db: Option<TestDb>) -> Self {
        let simulator = Simulator::start(SimulatorConfig {
            users_per_client: users,
            rate_limit: RateLimit::OFF,
            ..SimulatorConfig::default()
        })
        .await
        .expect("the simulator starts");
        gate.open();
        let client = simulator.clients().swap_remove(0);
        let mut workplace = Workplace::new();
        workplace.set("SECRET", &client.secret);
        let stage = Self {
            simulator,
            client,
            workplace,
            gate,
            url,
            pool,
            db,
        };
        stage.configure("", "");
        stage
    }

    /// Writes the configuration, with these lines of `[database]` and these sections.
    pub(super) fn configure(&self, database: &str, sections: &str) {
        let text = format!(
            "[calcom]\nbase_url = \"{}\"\nfetch = \"get\"\nrequests_per_minute = 0\n[database]\nurl = \"{}\"\n{database}\n\
             {SECTIONS}\n{sections}\n\
             [[clients]]\nname = \"acme\"\nid = \"{}\"\nsecret = {{ env = \"SECRET\" }}\nusers = {:?}\n",
            self.simulator.base_url(),
            self.url,
            self.client.id,
            self.client.users,
        );
        self.workplace.write("config.toml", &text);
    }

    pub(super) fn start_sync(&self) -> Program {
        self.workplace.start(&["--output", "json", "sync"])
    }

    pub(super) async fn sync(&self) -> Ended {
        self.start_sync().end().await
    }

    /// A daemon with a tick each second.
    pub(super) fn start_daemon(&self) -> Program {
        self.configure("", EVERY_SECOND);
        self.workplace.start(&["run"])
    }

    pub(super) fn change(&self, user: usize, time_zone: &str) {
        let id = self.client.users[user];
        self.simulator
            .patch_user(id, serde_json::json!({ "timeZone": time_zone }))
            .expect("the user can be changed");
    }

    pub(super) async fn execute(&self, statements: &str) {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    pub(super) async fn value<T>(&self, query: &'static str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + 'static,
    {
        sqlx::query_scalar(query)
            .fetch_one(&self.pool)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Waits until a query says `true`.
    pub(super) async fn until(&self, query: &'static str) {
        until(&self.pool, query).await;
    }

    /// Makes the next pass stop at a point. It does so once [`Stage::reached`] returns.
    pub(super) async fn hold_at(&self, point: Point) -> Hold {
        let table = match point {
            Point::BeforeABatch | Point::BetweenBatches => {
                let last = *self.client.users.last().expect("the client has users");
                self.simulator.script(Target::User(last), 1, Answer::Hang);
                return Hold::Answer;
            }
            Point::AtTheBeginning => "before insert on sync_runs for each row",
            Point::InABatch => "before insert on managed_users for each row",
            Point::InTheRemovals => {
                "before update on managed_users for each row when (new.removed_at is not null)"
            }
            Point::AtTheEnd => "before update of outcome on sync_runs for each row when (new.error is null)",
        };
        let mut lock = self.pool.acquire().await.expect("the database answers");
        sqlx::query("select pg_advisory_lock($1)")
            .bind(HELD)
            .execute(&mut *lock)
            .await
            .expect("the lock is free");
        self.execute(&format!(
            "create or replace function wait_for_the_test() returns trigger language plpgsql as
                 'begin perform pg_advisory_xact_lock_shared({HELD}); return new; end';
             drop trigger if exists held on managed_users;
             drop trigger if exists held on sync_runs;
             create trigger held {table} execute function wait_for_the_test()"
        ))
        .await;
        Hold::Lock(lock)
    }

    /// Waits until a pass has come to its point.
    pub(super) async fn reached(&self, point: Point) {
        if !matches!(point, Point::BeforeABatch | Point::BetweenBatches) {
            let waiting = "select exists (select from pg_locks as l join pg_database as d on d.oid = l.database
                           where l.locktype = 'advisory' and not l.granted and d.datname = current_database())";
            return self.until(waiting).await;
        }
        self.simulator.wait_until(|counts| counts.hanging == 1).await;
        match point {
            Point::BetweenBatches => {
                self.until("select count(*) >= 500 from managed_user_changes")
                    .await;
            }
            _ => {
                self.until("select exists (select from sync_runs where outcome is null)")
                    .await;
            }
        }
    }

    pub(super) async fn release(&self, hold: Hold) {
        match hold {
            Hold::Answer => self.simulator.release(),
            Hold::Lock(mut lock) => {
                // A server that crashed has let go of it already.
                sqlx::query("select pg_advisory_unlock_all()")
                    .execute(&mut *lock)
                    .await
                    .ok();
                lock.close_on_drop();
            }
        }
    }

    /// Ends the program's sessions as an administrator does.
    pub(super) async fn terminate_sessions(&self) {
        self.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name = 'calmirror'",
        )
        .await;
    }

    /// Whether the mirror has been complete at all, and as of which pass.
    pub(super) async fn fresh_as_of(&self) -> Option<i64> {
        sqlx::query_scalar("select last_complete_run_id from sync_state")
            .fetch_optional(&self.pool)
            .await
            .expect("the state can be read")
            .flatten()
    }

    /// As [`assert_true`].
    pub(super) async fn assert_true(&self, changes: i64) {
        assert_true(&self.pool, &self.simulator, &self.client.users, changes).await;
    }
}

/// How many lines of a log hold a text.
pub(super) fn times(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

/// Waits for a pass that failed for a reason, and gives its line and the log so far.
pub(super) async fn failed_for(program: &mut Program, reason: &str) -> (String, String) {
    let mut failures = 1;
    loop {
        let log = program.logged_times(FAILED, failures).await;
        let found = log
            .lines()
            .rfind(|line| line.contains(FAILED) && line.contains(reason))
            .map(str::to_owned);
        if let Some(line) = found {
            return (line, log);
        }
        failures = times(&log, FAILED) + 1;
    }
}

/// One line, and only one, says how a pass failed.
pub(super) fn the_line(ended: &Ended) -> &str {
    let lines = ended.log_lines("pass ended");
    assert_eq!(lines.len(), 1, "{ended}");
    lines[0]
}

/// Waits until a query says `true`. A database that is not there yet is asked again.
pub(super) async fn until(pool: &PgPool, query: &str) {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let wait = async {
        while !sqlx::query_scalar::<_, bool>(AssertSqlSafe(query.to_owned()))
            .fetch_one(pool)
            .await
            .unwrap_or(false)
        {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, wait)
        .await
        .unwrap_or_else(|_| panic!("never came true: {query}"));
}
