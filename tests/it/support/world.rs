//! One simulated Cal.com client, one database, and passes between them.

use std::time::Duration;

use calmirror::{
    calcom::{Api, ApiClient},
    compare::Values,
    config::{self, Listed, Watch},
    model::{ClientId, RunOutcome, UserId},
    simulator::{ClientInfo, RateLimit, Simulator, SimulatorConfig},
    store::{BeginRun, Begun, HeldBy, Run, Settings, Store, Trigger},
    sync::{Lines, Pass, Plan, Planned, Report},
};
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::TestDb;

/// For what comes in a moment or never.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A simulator, a database, and what is needed for passes.
pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) db: TestDb,
    pub(crate) store: Store,
    /// For looking, apart from the store's own connections.
    pub(crate) pool: PgPool,
    pub(crate) client: config::Client,
    pub(crate) source: ApiClient,
    pub(crate) removal: config::Removal,
    pub(crate) accept_source: bool,
    pub(crate) trigger: Trigger,
    pub(crate) process: i64,
    pub(crate) beat: Duration,
    pub(crate) resume_since: Option<DateTime<Utc>>,
}

/// Changes the list of a client's users.
pub(crate) fn watch<T>(client: &mut config::Client, change: impl FnOnce(&mut Vec<UserId>) -> T) -> T {
    let mut users = client.watch.listed.iter().collect();
    let result = change(&mut users);
    client.watch.listed = Listed::of(users.into_iter().collect());
    result
}

/// What stood in the mirror's tables, down to the tuple.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tuples(Vec<(String, i64, String, String)>);

impl World {
    /// One client with so many users. Removal needs two confirmations and no time between.
    pub(crate) async fn new(users: usize) -> Self {
        let simulator = Simulator::start(SimulatorConfig {
            users_per_client: users,
            rate_limit: RateLimit::OFF,
            ..SimulatorConfig::default()
        })
        .await
        .expect("the simulator starts");
        Self::with(simulator, TestDb::new().await).await
    }

    /// The simulator's first client.
    pub(crate) async fn with(simulator: Simulator, db: TestDb) -> Self {
        let info = simulator.clients().swap_remove(0);
        let client = client(&info);
        // One connection: what it wrote is in the statistics as soon as it is closed.
        let store = store(&db, 1);
        Self {
            source: source(&simulator.base_url(), &client),
            pool: db.pool().await,
            removal: config::Removal {
                confirmations: 2,
                min_age: Duration::ZERO,
                max_count: 5,
                max_percent: 10.0,
            },
            accept_source: false,
            trigger: Trigger::Operator,
            process: 1,
            beat: Pass::<ApiClient>::BEAT,
            resume_since: None,
            simulator,
            db,
            store,
            client,
        }
    }

    /// Makes one pass and checks that the mirror is the ledger folded.
    pub(crate) async fn pass(&self) -> Report {
        self.pass_until(&CancellationToken::new()).await
    }

    pub(crate) async fn pass_until(&self, cancel: &CancellationToken) -> Report {
        let report = self.unchecked_pass(&self.store, cancel).await;
        self.assert_replay().await;
        report
    }

    /// A pass through another store: other connections to the same database.
    pub(crate) async fn unchecked_pass(&self, store: &Store, cancel: &CancellationToken) -> Report {
        self.pass_by(store, &self.source, cancel).await
    }

    /// A pass that asks another source: the same simulator at a tagged address.
    pub(crate) async fn pass_by(
        &self,
        store: &Store,
        source: &ApiClient,
        cancel: &CancellationToken,
    ) -> Report {
        let base_url = self.simulator.base_url();
        let pass = Pass {
            source,
            ..self.prepare(store, &base_url)
        };
        pass.run(cancel).await
    }

    /// Lets through what a run held, and checks that the mirror is the ledger folded.
    pub(crate) async fn approve(&self, run: i64) -> Report {
        let HeldBy::Waiting { set_hash, .. } = self.store.held_by(run).await.expect("the database answers")
        else {
            panic!("run {run} holds a set");
        };
        let base_url = self.simulator.base_url();
        let pass = Pass {
            trigger: Trigger::Approval(run),
            ..self.prepare(&self.store, &base_url)
        };
        let report = pass.approve(&set_hash, &CancellationToken::new()).await;
        self.assert_replay().await;
        report
    }

    /// What a pass would do now, on connections that cannot write.
    pub(crate) async fn plan(&self, show: &mut (dyn FnMut(Planned<'_>) + Send)) -> Plan {
        let base_url = self.simulator.base_url();
        let store = self.store.read_only();
        let plan = self
            .prepare(&store, &base_url)
            .plan(&CancellationToken::new(), show)
            .await;
        store.close().await;
        plan
    }

    pub(crate) fn prepare<'a>(&'a self, store: &'a Store, base_url: &'a str) -> Pass<'a, ApiClient> {
        Pass {
            store,
            source: &self.source,
            client: &self.client,
            base_url,
            concurrency: 8,
            removal: self.removal,
            values: Values::Masked,
            lines: Lines::All,
            trigger: self.trigger,
            process: self.process,
            beat: self.beat,
            accept_source: self.accept_source,
            resume_since: self.resume_since,
            fresh_for: Duration::from_secs(600),
            progress: None,
            tell_every: None,
            next_tick: None,
        }
    }

    /// A second pass changes nothing: `NoChange`, and every tuple of mirror and ledger where it was.
    pub(crate) async fn assert_quiet(&self) {
        let before = self.tuples().await;
        let report = self.pass().await;
        assert_eq!(report.outcome, RunOutcome::NoChange, "{:?}", report.error);
        assert_eq!(report.changes(), 0);
        assert_eq!(
            self.tuples().await,
            before,
            "an unchanged pass leaves every tuple in place"
        );
    }

    /// Place, writer and locker of each tuple: an update, even to the same values, or a row lock would change one of them.
    pub(crate) async fn tuples(&self) -> Tuples {
        let rows = sqlx::query_as(
            "select 'managed_users', id, ctid::text, xmin::text || '/' || xmax::text from managed_users
             union all
             select 'managed_user_changes', change_id, ctid::text, xmin::text || '/' || xmax::text
             from managed_user_changes
             union all
             select 'missing_users', user_id, ctid::text, xmin::text || '/' || xmax::text from missing_users
             union all
             select 'rejects', user_id, ctid::text, xmin::text || '/' || xmax::text from rejects
             order by 1, 2",
        )
        .fetch_all(&self.pool)
        .await
        .expect("the tables can be read");
        Tuples(rows)
    }

    /// The ledger folded by version is the mirror, value for value, and versions have no gap.
    pub(crate) async fn assert_replay(&self) {
        let differing: i64 = sqlx::query_scalar(
            "select count(*) from (
                 (table managed_users except select * from managed_users_as_of('infinity'))
                 union all
                 (select * from managed_users_as_of('infinity') except table managed_users)
             ) as differing",
        )
        .fetch_one(&self.pool)
        .await
        .expect("mirror and ledger can be compared");
        assert_eq!(differing, 0, "the ledger folded differs from the mirror");
        let gaps: i64 = sqlx::query_scalar(
            "select count(*) from (
                 select user_id from managed_user_changes group by user_id
                 having max(version) - min(version) + 1 <> count(*)
                     or min(version) <> 1 and not bool_or(folded_at is not null)
             ) as gaps",
        )
        .fetch_one(&self.pool)
        .await
        .expect("the ledger can be read");
        assert_eq!(gaps, 0, "versions are 1..n, or begin where they are folded");
    }

    /// Begins a run of the client.
    pub(crate) async fn begin(&self) -> Run {
        let base_url = self.simulator.base_url();
        begin(&self.store, &self.client.id, &self.client.name, &base_url).await
    }

    /// One value of one query.
    pub(crate) async fn value<T>(&self, query: &'static str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + 'static,
    {
        sqlx::query_scalar(query)
            .fetch_one(&self.pool)
            .await
            .expect("the query works")
    }

    /// Waits until a session stands before a lock of a table that another one holds.
    pub(crate) async fn until_somebody_waits_for(&self, table: &str) {
        let waiting =
            "select exists (select from pg_locks where not granted and relation = $1::text::regclass)";
        let seen = async {
            while !sqlx::query_scalar::<_, bool>(waiting)
                .bind(table)
                .fetch_one(&self.pool)
                .await
                .expect("the query works")
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, seen)
            .await
            .unwrap_or_else(|_| panic!("nobody comes to wait for {table}"));
    }

    /// The kinds of a user's versions, in order.
    pub(crate) async fn kinds(&self, user: i64) -> Vec<String> {
        sqlx::query_scalar("select kind from managed_user_changes where user_id = $1 order by version")
            .bind(user)
            .fetch_all(&self.pool)
            .await
            .expect("the ledger can be read")
    }

    pub(crate) fn users(&self) -> Vec<i64> {
        self.client.watch.listed.iter().map(|user| user.0).collect()
    }

    pub(crate) fn client_id(&self) -> &str {
        self.client.id.as_str()
    }
}

pub(crate) fn store(db: &TestDb, max_connections: u32) -> Store {
    let settings = Settings {
        schema: "public".to_owned(),
        max_connections,
        pgbouncer: false,
    };
    Store::open(db.connect_options(), &settings)
}

/// Through a proxy or the like.
pub(crate) fn store_at(url: &str, max_connections: u32) -> Store {
    let settings = Settings {
        schema: "public".to_owned(),
        max_connections,
        pgbouncer: false,
    };
    Store::open_url(&SecretString::from(url), &settings).expect("the address can be parsed")
}

/// Begins a run as an operator does, whom nobody is in the way of.
pub(crate) async fn begin(store: &Store, client_id: &ClientId, client_name: &str, base_url: &str) -> Run {
    let begin = BeginRun {
        client_id,
        client_name,
        base_url,
        trigger: Trigger::Operator,
        accept_source: false,
        process: 1,
        token: fastrand::i64(..),
        silence: Duration::from_secs(30),
        watched: 0,
        resume_since: None,
    };
    match store.begin_run(&begin).await.expect("a run can begin") {
        Begun::Run(run) => run,
        other => panic!("nobody is in the way of an operator: {other:?}"),
    }
}

/// A client of the simulator as the configuration would give it.
pub(crate) fn client(info: &ClientInfo) -> config::Client {
    config::Client {
        name: info.name.clone(),
        id: ClientId(info.id.clone()),
        secret: SecretString::from(info.secret.clone()),
        secret_source: config::SecretSource::Env("SECRET".to_owned()),
        watch: Watch {
            listed: Listed::of(info.users.iter().copied().map(UserId).collect()),
            ..Watch::default()
        },
        fetch: config::FetchPlan::Get,
        requests_per_minute: 0,
        cron: "*/5 * * * *".to_owned(),
    }
}

pub(crate) fn source(base_url: &str, client: &config::Client) -> ApiClient {
    api(base_url).client(client)
}

pub(crate) fn api(base_url: &str) -> Api {
    let calcom = config::Calcom {
        base_url: base_url.parse().expect("the simulator has a base address"),
        fetch: config::FetchPlan::Get,
        requests_per_minute: 0,
        concurrency: 8,
        timeout: Duration::from_secs(10),
        max_answer_bytes: 1024 * 1024,
    };
    Api::new(&calcom).expect("the client can be built")
}
