//! The parts that a pass needs, put together from the configuration.

mod database;
mod successor;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio_util::sync::CancellationToken;

pub use database::Database;

use crate::{
    calcom::{Api, ApiClient},
    clock::{Clock, SystemClock},
    compare::Values,
    config::{self, Config, LogValues},
    model::RunOutcome,
    schedule::Cron,
    server::{ClientView, View},
    store::Trigger,
    sync::{Lines, Pass, Plan, Planned, Progress, Report, bounded},
};

/// For what is left to say to the database at the end of the process.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(500);

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
    /// Passes that have begun and not returned, and panics of passes that are to be put on record. What was cut never returns; for a pass
    /// a panic counts as a return.
    under_way: Arc<AtomicUsize>,
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

/// A pass under way, or the record of its panic: what [`Mirror::close`] is to close if it never returns.
#[derive(Debug)]
pub(super) struct Counted {
    under_way: Arc<AtomicUsize>,
    has_returned: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        // A panic is put on record at once, which counts for itself. If the pass counted on, the end of its configuration would
        // end the passes of the next one in the records.
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
            under_way: Arc::default(),
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
        let mut counted = self.count();
        let report = pass.run(cancel).await;
        counted.has_returned = true;
        report
    }

    /// Counts one more under way until it returns.
    pub(super) fn count(&self) -> Counted {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        Counted {
            under_way: Arc::clone(&self.under_way),
            has_returned: false,
        }
    }

    /// Puts on record that a pass panicked: as the end of the run that it left open, or as one of its own if it had none yet.
    ///
    /// It has been counted since it was known, so that the run is closed if this is cut, or does not even begin.
    pub(super) async fn record_panic(
        &self,
        client: usize,
        trigger: Trigger,
        message: &str,
        mut counted: Counted,
    ) {
        let client = &self.clients[client].client;
        let why = format!("a fault in calmirror ended the pass: {message}");
        let store = &self.database.store;
        let recorded = match bounded(store.close_open_runs(self.process, Some(&client.id), &why)).await {
            Ok(0) => bounded(store.record_run(&client.id, &client.name, trigger, RunOutcome::Failed, &why))
                .await
                .map(drop),
            other => other.map(drop),
        };
        if let Err(error) = recorded {
            tracing::warn!(client.name = client.name, error = %error, "the failed pass could not be recorded");
        }
        counted.has_returned = true;
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
