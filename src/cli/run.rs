//! `calmirror run`: the daemon.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    exit::Exit,
    mirror::{Mirror, Request},
};
use crate::{
    clock::SystemClock,
    config::Config,
    daemon,
    model::{RunOutcome, rfc3339},
    schedule::Tick,
    shutdown::Shutdown,
    store::Trigger,
    sync::bounded,
};

pub(super) async fn run(config: Config) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::install()?;
    let mirror = Arc::new(Mirror::open(config).await?);
    serve(&mirror, &shutdown).await?;
    tracing::info!("stopped");
    if let Some(mirror) = Arc::into_inner(mirror) {
        mirror.close().await;
    }
    Ok(Exit::Success)
}

/// Makes passes on schedule until the shutdown begins.
pub(super) async fn serve(mirror: &Arc<Mirror>, shutdown: &Shutdown) -> anyhow::Result<()> {
    let users: usize = mirror
        .clients
        .iter()
        .map(|watched| watched.client.watch.listed.len())
        .sum();
    tracing::info!(
        clients = mirror.clients.len(),
        users,
        psql = mirror.database.psql_command(),
        version = env!("CARGO_PKG_VERSION"),
        "calmirror runs"
    );
    let clients = mirror
        .clients
        .iter()
        .map(|watched| (watched.client.name.clone(), watched.cron.clone()))
        .collect();
    daemon::serve(
        Arc::new(Passes(Arc::clone(mirror))),
        clients,
        mirror.config.schedule.at_start,
        Arc::new(SystemClock),
        shutdown.token(),
        shutdown.grace(),
    )
    .await?;
    Ok(())
}

/// What the daemon does on ticks.
struct Passes(Arc<Mirror>);

impl daemon::Pass for Passes {
    async fn run(&self, client: usize, tick: Tick, cancel: CancellationToken) {
        let request = Request::of(Trigger::Schedule(tick.due));
        // The report is logged where it is made, and stands in the database.
        self.0.pass(client, request, &cancel).await;
    }

    async fn skipped(&self, client: usize, tick: Tick) {
        let why = "an earlier tick was still waiting for its pass";
        let client = &self.0.clients[client].client;
        tracing::warn!(
            client.name = client.name,
            tick.due = rfc3339(tick.due),
            "tick skipped: {why}"
        );
        let store = &self.0.database.store;
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
        let client = &self.0.clients[client].client;
        let why = format!("a fault in calmirror ended the pass: {message}");
        let store = &self.0.database.store;
        let recorded = match bounded(store.close_open_runs(self.0.process(), Some(&client.id), &why)).await {
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
