//! The parts that a pass needs, put together from the configuration.

mod successor;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    calcom::{Api, ApiClient},
    clock::{Clock, SystemClock},
    compare::Values,
    config::{self, Config, DatabaseUrl, LogValues},
    embedded::{self, Embedded},
    schedule::Cron,
    server::{ClientView, View},
    store::{self, Settings, Store, Trigger},
    sync::{Lines, Pass, Plan, Planned, Progress, Report, with_retries},
};

/// For what is left to say to the database at the end of the process.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(500);

/// The database of a configuration, with the embedded server if it is one.
#[derive(Debug)]
pub struct Database {
    pub store: Store,
    /// For the HTTP server.
    looking_on: Store,
    /// Two configurations may share it, for as long as a pass of the first is under way.
    embedded: Option<Arc<Local>>,
}

/// An embedded server.
#[derive(Debug)]
struct Local {
    server: Mutex<Embedded>,
    psql: String,
}

impl Database {
    /// Opens the database. An embedded server is started, or joined; any other is connected to when it is first used.
    ///
    /// # Errors
    ///
    /// When the embedded server cannot be started or the address cannot be parsed.
    pub async fn open(config: &config::Database) -> anyhow::Result<Self> {
        let settings = settings(config);
        match &config.url {
            DatabaseUrl::Postgres(url) => {
                let store = Store::open_url(url, &settings)?;
                Ok(Self {
                    looking_on: store.looking_on(),
                    store,
                    embedded: None,
                })
            }
            DatabaseUrl::Embedded { data_dir } => {
                let server = Embedded::start(embedded::Options::durable(data_dir))
                    .await
                    .context("the embedded Postgres does not start")?;
                let store = Store::open(server.connect_options(), &settings);
                Ok(Self {
                    looking_on: store.looking_on(),
                    store,
                    embedded: Some(Arc::new(Local {
                        psql: server.psql_command(),
                        server: Mutex::new(server),
                    })),
                })
            }
        }
    }

    /// The same, on which Postgres refuses whatever would write.
    #[must_use]
    pub fn read_only(&self) -> Self {
        Self {
            store: self.store.read_only(),
            looking_on: self.looking_on.clone(),
            embedded: self.embedded.clone(),
        }
    }

    /// Tells nobody on a channel of Postgres what is written, from now on, unless the configuration has it so.
    pub fn tell_as(&mut self, notify: &config::Notify) {
        if !notify.postgres {
            self.store = self.store.clone().silent();
        }
    }

    /// The line that opens a shell on an embedded database.
    pub fn psql_command(&self) -> Option<String> {
        self.embedded.as_ref().map(|local| local.psql.clone())
    }

    /// Whether the server is our own.
    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Makes the database ready for a pass: an embedded server that ended by itself is started again, and tables that are
    /// missing are made. Asked before each pass, since either can be lost while the daemon runs.
    async fn prepare(&self) -> Result<(), store::Error> {
        self.revive().await?;
        with_retries(|| self.store.migrate()).await.map(drop)
    }

    /// Starts an embedded server again that ended by itself.
    pub(super) async fn revive(&self) -> Result<(), store::Error> {
        if let Some(local) = &self.embedded {
            let mut server = local.server.lock().await;
            match server.revive().await {
                Ok(false) => {}
                Ok(true) => {
                    tracing::warn!("the embedded Postgres had ended and was started again");
                    self.store.reconnect(server.connect_options());
                    self.looking_on.reconnect(server.connect_options());
                }
                Err(error) => {
                    let text = format!("{:#}", anyhow::Error::from(error));
                    return Err(store::Error::Unavailable(format!(
                        "the embedded Postgres does not start: {}",
                        text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
                    )));
                }
            }
        }
        Ok(())
    }

    /// Closes the connections, and stops the embedded server unless somebody else uses it.
    pub async fn close(self) {
        tokio::join!(self.store.close(), self.looking_on.close());
        if let Some(local) = self.embedded.and_then(Arc::into_inner)
            && let Err(error) = local.server.into_inner().stop().await
        {
            tracing::warn!(error = %error, "the embedded Postgres did not stop");
        }
    }
}

fn settings(config: &config::Database) -> Settings {
    Settings {
        schema: config.schema.clone(),
        max_connections: config.max_connections,
        pgbouncer: config.pgbouncer,
    }
}

/// A client with all that lives longer than one of its passes.
#[derive(Debug)]
pub struct Watched {
    pub client: config::Client,
    pub source: ApiClient,
    pub cron: Cron,
}

impl Watched {
    /// From the next tick to the one after it.
    pub fn time_between_ticks(&self) -> Option<Duration> {
        let first = self.cron.next_after(SystemClock.now())?;
        let second = self.cron.next_after(first)?;
        (second - first).to_std().ok()
    }

    /// How long a complete pass leaves the mirror fresh: until the second tick from now, so that one late pass is no alarm.
    fn fresh_for(&self) -> Duration {
        let now = SystemClock.now();
        let second = self
            .cron
            .next_after(now)
            .and_then(|first| self.cron.next_after(first));
        second
            .and_then(|second| (second - now).to_std().ok())
            .unwrap_or(Duration::MAX / 1_000_000_000)
    }
}

/// Everything that passes need.
#[derive(Debug)]
pub struct Mirror {
    pub config: Config,
    pub database: Arc<Database>,
    pub clients: Vec<Watched>,
    api: Api,
    /// A random number, by which passes of this process are told from those of others.
    process: i64,
    /// Passes that have begun and not returned. One that was cut never does; a panic counts as a return.
    under_way: AtomicUsize,
}

/// What one pass is asked for beyond the configuration.
pub struct Request<'a> {
    pub trigger: Trigger,
    pub accept_source: bool,
    /// A pass that was cut since the last tick is gone on from.
    pub resumes: bool,
    /// Where the pass counts as it goes; in one of its own if nobody looks on.
    pub progress: Option<&'a Progress>,
    /// How often the log says how far the pass has come.
    pub tell_every: Option<Duration>,
    pub lines: Lines,
}

impl Request<'_> {
    /// With nothing beyond it.
    pub fn of(trigger: Trigger) -> Self {
        Self {
            trigger,
            accept_source: false,
            resumes: true,
            progress: None,
            tell_every: Some(Pass::<ApiClient>::TELL_EVERY),
            lines: Lines::All,
        }
    }
}

/// A pass under way.
struct Counted<'a> {
    under_way: &'a AtomicUsize,
    has_returned: bool,
}

impl<'a> Counted<'a> {
    fn of(under_way: &'a AtomicUsize) -> Self {
        under_way.fetch_add(1, Ordering::AcqRel);
        Self {
            under_way,
            has_returned: false,
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        // Of one that panicked the end is put on record at once. If it counted on, the end of its configuration would end the
        // passes of the next one in the records.
        if self.has_returned || std::thread::panicking() {
            self.under_way.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn clients(config: &Config, source: impl Fn(&config::Client) -> ApiClient) -> anyhow::Result<Vec<Watched>> {
    let watched = config.clients.iter().map(|client| {
        Ok(Watched {
            client: client.clone(),
            source: source(client),
            cron: Cron::parse(&client.cron, config.schedule.timezone)?,
        })
    });
    watched.collect()
}

impl Mirror {
    /// # Errors
    ///
    /// When the embedded server cannot be started, or the HTTP client cannot be built.
    pub async fn open(config: Config) -> anyhow::Result<Self> {
        let api = Api::new(&config.calcom)?;
        let clients = clients(&config, |client| api.client(client))?;
        let mut database = Database::open(&config.database).await?;
        database.tell_as(&config.notify);
        Ok(Self {
            config,
            database: Arc::new(database),
            clients,
            api,
            process: fastrand::i64(..),
            under_way: AtomicUsize::new(0),
        })
    }

    /// Looks only, from now on: Postgres refuses whatever would write.
    pub fn read_only(&mut self) {
        self.database = Arc::new(self.database.read_only());
    }

    /// What the HTTP server shows of it.
    pub fn view(&self) -> View {
        let clients = self.clients.iter().map(|watched| ClientView {
            client: watched.client.clone(),
            source: watched.source.clone(),
            cron: watched.cron.clone(),
        });
        View {
            config: self.config.clone(),
            own_store: self.database.store.clone(),
            store: self.database.looking_on.clone(),
            clients: clients.collect(),
        }
    }

    /// Makes one pass over a client. A database that lacks tables gets them first.
    pub async fn pass(&self, client: usize, request: Request<'_>, cancel: &CancellationToken) -> Report {
        let own = Progress::default();
        let request = Request {
            progress: request.progress.or(Some(&own)),
            ..request
        };
        let pass = self.prepare(client, request);
        let started = tokio::time::Instant::now();
        if let Err(error) = self.database.prepare().await {
            return pass.refused(error, started).await;
        }
        let mut counted = Counted::of(&self.under_way);
        let report = pass.run(cancel).await;
        counted.has_returned = true;
        report
    }

    /// The random number by which passes of this process are told from those of others.
    pub fn process(&self) -> i64 {
        self.process
    }

    /// Lets the held set of this hash through, as `request.trigger` says.
    pub async fn approve(
        &self,
        client: usize,
        set_hash: &str,
        request: Request<'_>,
        cancel: &CancellationToken,
    ) -> Report {
        self.prepare(client, request).approve(set_hash, cancel).await
    }

    /// Finds out what a pass over a client would do, and shows it as it goes.
    pub async fn plan(
        &self,
        client: usize,
        request: Request<'_>,
        cancel: &CancellationToken,
        show: &mut (dyn FnMut(Planned<'_>) + Send),
    ) -> Plan {
        self.prepare(client, request).plan(cancel, show).await
    }

    fn prepare<'a>(&'a self, client: usize, request: Request<'a>) -> Pass<'a, ApiClient> {
        let watched = &self.clients[client];
        Pass {
            store: &self.database.store,
            source: &watched.source,
            client: &watched.client,
            base_url: self.config.calcom.base_url.as_str().trim_end_matches('/'),
            concurrency: self.config.calcom.concurrency,
            removal: self.config.removal,
            values: match self.config.log.values {
                LogValues::Masked => Values::Masked,
                LogValues::Full => Values::Full,
            },
            lines: request.lines,
            trigger: request.trigger,
            process: self.process,
            beat: Pass::<ApiClient>::BEAT,
            accept_source: request.accept_source,
            resume_since: request
                .resumes
                .then(|| watched.cron.last_until(SystemClock.now()))
                .flatten(),
            fresh_for: watched.fresh_for(),
            progress: request.progress,
            tell_every: request.tell_every,
            next_tick: match request.trigger {
                Trigger::Schedule(_) => watched.cron.next_after(SystemClock.now()),
                _ => None,
            },
        }
    }

    /// Closes what no other configuration shares.
    pub async fn close(self) {
        if self.under_way.load(Ordering::Acquire) > 0 {
            self.close_cut_passes().await;
        }
        if let Some(database) = Arc::into_inner(self.database) {
            database.close().await;
        }
    }

    /// Says on behalf of passes that were cut that they are over, so that nobody waits for a sign of life.
    async fn close_cut_passes(&self) {
        let why = "the pass was cut, because calmirror had to end";
        let store = &self.database.store;
        let closing = store.close_open_runs(self.process, None, why);
        match tokio::time::timeout(LAST_WORDS, closing).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(error = %error, "the cut passes could not be closed"),
            Err(_) => tracing::debug!("the cut passes could not be closed in time"),
        }
    }
}
