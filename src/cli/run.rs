//! `calmirror run`: the daemon.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    exit::Exit,
    mirror::{Mirror, Request},
};
use crate::{
    clock::SystemClock,
    config::Config,
    daemon,
    live::Live,
    measured,
    model::{RunOutcome, rfc3339},
    retention::Upkeep,
    schedule::Tick,
    server::{Context, Server},
    shutdown::Shutdown,
    store::Trigger,
    sync::{Progress, bounded},
};

pub(super) async fn run(config: Config) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::install()?;
    // Before anything is started: whoever cannot have the port had better not begin.
    let server = match config.server.listen {
        Some(address) => Some(Server::bind(address).await?),
        None => None,
    };
    let mirror = Arc::new(Mirror::open(config).await?);
    serve(&mirror, server, &shutdown).await?;
    tracing::info!("stopped");
    if let Some(mirror) = Arc::into_inner(mirror) {
        mirror.close().await;
    }
    Ok(Exit::Success)
}

/// Makes passes on schedule until the shutdown begins, and says meanwhile over HTTP how things are.
pub(super) async fn serve(
    mirror: &Arc<Mirror>,
    server: Option<Server>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let users: usize = mirror
        .clients
        .iter()
        .map(|watched| watched.client.watch.listed.len())
        .sum();
    tracing::info!(
        clients = mirror.clients.len(),
        users,
        psql = mirror.database.psql_command(),
        listen = server.as_ref().map(|server| server.address().to_string()),
        version = env!("CARGO_PKG_VERSION"),
        "calmirror runs"
    );
    let clients = mirror
        .clients
        .iter()
        .map(|watched| (watched.client.name.clone(), watched.cron.clone()))
        .collect();
    let live = Live::default();
    // It lives before its first second is over.
    live.beat();
    let (views, view) = watch::channel(Arc::new(mirror.view()));
    // It answers as long as passes are under way, which is longer than they are begun.
    let closing = CancellationToken::new();
    let context = Context::new(view, live.clone(), closing.clone());
    let passes = Passes {
        mirror: Arc::clone(mirror),
        live: live.clone(),
    };
    let daemon = async {
        let served = daemon::serve(
            Arc::new(passes),
            clients,
            mirror.config.schedule.at_start,
            Arc::new(SystemClock),
            Arc::new(move || live.beat()),
            shutdown.token(),
            shutdown.grace(),
        );
        let served = beside(served, mirror, shutdown.token().child_token()).await;
        closing.cancel();
        served
    };
    let answers = async {
        if let Some(server) = server {
            server.serve(context).await;
        }
    };
    let (served, ()) = tokio::join!(daemon, answers);
    drop(views);
    Ok(served?)
}

/// Deletes what is not kept for as long as passes are made.
async fn beside<T>(passes: impl Future<Output = T>, mirror: &Mirror, cancel: CancellationToken) -> T {
    let upkeep = Upkeep {
        store: mirror.database.store.clone(),
        retention: mirror.config.retention,
        clients: mirror
            .config
            .clients
            .iter()
            .map(|client| client.id.clone())
            .collect(),
    };
    let passes = async {
        let ended = passes.await;
        cancel.cancel();
        ended
    };
    tokio::join!(passes, upkeep.keep(cancel.clone())).0
}

/// What the daemon does on ticks.
struct Passes {
    mirror: Arc<Mirror>,
    live: Live,
}

impl daemon::Pass for Passes {
    async fn run(&self, client: usize, tick: Tick, cancel: CancellationToken) {
        let progress = Progress::default();
        let name = &self.mirror.clients[client].client.name;
        let under_way = self.live.begins(name, progress.clone());
        let request = Request {
            progress: Some(&progress),
            ..Request::of(Trigger::Schedule(tick.due))
        };
        // It is logged where it is made, and stands in the database.
        let report = self.mirror.pass(client, request, &cancel).await;
        drop(under_way);
        self.live.ended(report);
    }

    async fn skipped(&self, client: usize, tick: Tick) {
        let why = "an earlier tick was still waiting for its pass";
        let client = &self.mirror.clients[client].client;
        tracing::warn!(
            client.name = client.name,
            tick.due = rfc3339(tick.due),
            "tick skipped: {why}"
        );
        measured::pass(&client.name, RunOutcome::Skipped);
        let store = &self.mirror.database.store;
        let recorded = bounded(store.record_run(
            &client.id,
            &client.name,
            Trigger::Schedule(tick.due),
            RunOutcome::Skipped,
            why,
        ))
        .await;
        if let Err(error) = recorded {
            tracing::warn!(client.name = client.name, error = %error, "the skipped tick could not be recorded");
        }
    }

    async fn panicked(&self, client: usize, tick: Tick, message: String) {
        let client = &self.mirror.clients[client].client;
        let why = format!("a fault in calmirror ended the pass: {message}");
        measured::pass(&client.name, RunOutcome::Failed);
        let store = &self.mirror.database.store;
        let recorded =
            match bounded(store.close_open_runs(self.mirror.process(), Some(&client.id), &why)).await {
                // It panicked before it began.
                Ok(0) => bounded(store.record_run(
                    &client.id,
                    &client.name,
                    Trigger::Schedule(tick.due),
                    RunOutcome::Failed,
                    &why,
                ))
                .await
                .map(drop),
                other => other.map(drop),
            };
        if let Err(error) = recorded {
            tracing::warn!(client.name = client.name, error = %error, "the failed pass could not be recorded");
        }
    }
}
