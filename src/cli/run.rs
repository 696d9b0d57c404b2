//! `calmirror run`: the daemon.

mod force;
mod reload;

use std::{pin::pin, sync::Arc};

use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{
    force::Force,
    reload::{Channels, reload_on},
};
use super::{
    exit::Exit,
    mirror::{Mirror, Request},
};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    crash_point::hold_point,
    daemon,
    live::Live,
    measured,
    model::{RunOutcome, rfc3339},
    notify,
    retention::Upkeep,
    schedule::{ScheduleError, Tick},
    server::{Context, Server, View},
    shutdown::{Reloads, Shutdown},
    store::Trigger,
    sync::{Progress, bounded},
    systemd::Supervisor,
};

pub(super) use self::reload::Origin;

pub(super) async fn run(config: Config, origin: Origin) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::install()?;
    let reloads = Reloads::install()?;
    let supervisor = Arc::new(Supervisor::of(&origin.environment));
    // Before anything is started: whoever cannot have the port had better not begin.
    let server = match config.server.listen {
        Some(address) => Some(Server::bind(address).await?),
        None => None,
    };
    let door = config.server.clone();
    // An embedded Postgres may take its time, or have to wait for another process.
    let opening = Mirror::open(config);
    let opening = async {
        match &server {
            Some(server) => server.until(door, opening).await,
            None => opening.await,
        }
    };
    let Some(opened) = shutdown.by_the_end(opening).await else {
        tracing::warn!("told to end before the database was there");
        return Ok(Exit::Success);
    };
    let mirror = Arc::new(opened?);
    let outside = Outside {
        supervisor,
        reloads: Some((reloads, origin)),
    };
    serve(mirror, server, &shutdown, outside).await?;
    Ok(Exit::Success)
}

/// Whom the daemon tells how it is, and who may tell it to read its configuration again.
#[derive(Default)]
pub(super) struct Outside {
    supervisor: Arc<Supervisor>,
    reloads: Option<(Reloads, Origin)>,
}

/// Makes passes on schedule until the shutdown begins, and says meanwhile over HTTP how things are. Closes the mirror unless
/// somebody else has it. Ends when [`shutdown::END`] says so, whatever hangs.
pub(super) async fn serve(
    mirror: Arc<Mirror>,
    server: Option<Server>,
    shutdown: &Shutdown,
    outside: Outside,
) -> anyhow::Result<()> {
    match shutdown
        .by_the_end(serve_and_close(mirror, server, shutdown, outside))
        .await
    {
        Some(served) => Ok(served?),
        None => {
            tracing::warn!("not everything ended in time after the signal, and the rest was left");
            Ok(())
        }
    }
}

async fn serve_and_close(
    mirror: Arc<Mirror>,
    server: Option<Server>,
    shutdown: &Shutdown,
    outside: Outside,
) -> Result<(), ScheduleError> {
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
    let live = Live::default();
    let (views, view) = watch::channel(Arc::new(mirror.view()));
    // It answers as long as passes are under way, which is longer than they are begun.
    let closing = CancellationToken::new();
    // A task of its own, so that no pass waits for it, and a panic of it ends nothing else.
    let mut messages = JoinSet::new();
    let silence = shutdown.token().child_token();
    messages.spawn(notify::run(view.clone(), live.clone(), silence.clone()));
    let force = Arc::new(Force::new(mirror));
    let (scheduled, clients) = watch::channel(force.scheduled());
    let passes = Passes {
        force: Arc::clone(&force),
        live: live.clone(),
    };
    let channels = Channels {
        scheduled,
        views,
        live: live.clone(),
    };
    let Outside { supervisor, reloads } = outside;
    reload::note_success();
    let on_beat = {
        let (live, supervisor) = (live.clone(), Arc::clone(&supervisor));
        move || {
            hold_point!("scheduler::round");
            live.beat();
            // By this loop alone, so that a loop that hangs is noticed.
            supervisor.beat();
        }
    };
    let shown = view.clone();
    let daemon = async {
        let served = daemon::serve(
            Arc::new(passes),
            clients,
            Arc::new(SystemClock),
            Arc::new(on_beat),
            shutdown.token(),
            shutdown.grace(),
        );
        let upkeep = keep_up(&force, view, shutdown.token());
        let served = beside(served, upkeep, &shutdown.token()).await;
        closing.cancel();
        served
    };
    let answers = async {
        if let Some(server) = server {
            // Without a server nothing is counted: it would pile up where nobody scrapes.
            let context = Context::new(shown, live.clone(), closing.clone());
            server.serve(context).await;
        }
    };
    let token = shutdown.token();
    let reloading = closing.run_until_cancelled(async {
        match reloads {
            Some((reloads, origin)) => {
                let reloading = reload_on(reloads, &origin, &force, &channels, &supervisor);
                token.run_until_cancelled(reloading).await;
            }
            None => std::future::pending().await,
        }
    });
    let telling = closing.run_until_cancelled(tell(&supervisor, &live, &token));
    let (served, ..) = tokio::join!(daemon, answers, reloading, telling);
    silence.cancel();
    if let Some(Err(error)) = messages.join_next().await {
        tracing::error!(%error, "telling the webhook ended early");
    }
    tracing::info!("stopped");
    drop(channels);
    if let Some(force) = Arc::into_inner(force) {
        force.close().await;
    }
    served
}

/// Deletes what is not kept, as the configuration in force says.
async fn keep_up(force: &Force, mut reloaded: watch::Receiver<Arc<View>>, cancel: CancellationToken) {
    while !cancel.is_cancelled() {
        reloaded.mark_unchanged();
        let upkeep = upkeep(&force.mirror());
        let until = cancel.child_token();
        let watching = async {
            until.run_until_cancelled(reloaded.changed()).await;
            until.cancel();
        };
        tokio::join!(upkeep.keep(until.clone()), watching);
    }
}

fn upkeep(mirror: &Mirror) -> Upkeep {
    let clients = mirror.config.clients.iter().map(|client| client.id.clone());
    Upkeep {
        store: mirror.database.store.clone(),
        retention: mirror.config.retention,
        clients: clients.collect(),
    }
}

/// Does something else for as long as passes are made, and ends it with them.
async fn beside<T>(
    passes: impl Future<Output = T>,
    other: impl Future<Output = ()>,
    cancel: &CancellationToken,
) -> T {
    let mut other = pin!(other);
    let mut passes = pin!(passes);
    tokio::select! {
        ended = &mut passes => {
            cancel.cancel();
            other.await;
            ended
        }
        () = &mut other => passes.await,
    }
}

/// Tells the supervisor in a line what goes on, and of the end.
async fn tell(supervisor: &Supervisor, live: &Live, cancel: &CancellationToken) {
    let mut news = live.news();
    while let Some(Ok(())) = cancel.run_until_cancelled(news.changed()).await {
        supervisor.status(&live.to_string());
    }
    cancel.cancelled().await;
    supervisor.stopping();
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds of some thousand years are exact"
)]
fn unix_seconds() -> f64 {
    SystemClock.now().timestamp_millis() as f64 / 1000.0
}

/// What the daemon does on ticks.
struct Passes {
    force: Arc<Force>,
    live: Live,
}

impl daemon::Pass for Passes {
    async fn run(&self, client: usize, tick: Tick, cancel: CancellationToken) {
        // A tick may have waited while the client was taken out of the configuration.
        let Some((mirror, place)) = self.force.mirror_of(client) else {
            return;
        };
        let progress = Progress::default();
        let name = &mirror.clients[place].client.name;
        let under_way = self.live.begins(name, progress.clone());
        let request = Request {
            progress: Some(&progress),
            ..Request::of(Trigger::Schedule(tick.due))
        };
        // It is logged where it is made, and stands in the database.
        let report = mirror.pass(place, request, &cancel).await;
        drop(under_way);
        // Of a client that was taken out meanwhile nobody wants to know.
        if self.force.has(client, &report.client) {
            self.live.ended(report);
        }
        drop(mirror);
        self.force.close_retired().await;
    }

    async fn skipped(&self, client: usize, tick: Tick) {
        let why = "an earlier tick was still waiting for its pass";
        let Some((mirror, client)) = self.force.mirror_of(client) else {
            return;
        };
        let client = &mirror.clients[client].client;
        tracing::warn!(
            client.name = client.name,
            tick.due = rfc3339(tick.due),
            "tick skipped: {why}"
        );
        measured::pass(&client.name, RunOutcome::Skipped);
        let store = &mirror.database.store;
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
        let Some((mirror, client)) = self.force.mirror_of(client) else {
            return;
        };
        measured::pass(&mirror.clients[client].client.name, RunOutcome::Failed);
        mirror
            .record_panic(client, Trigger::Schedule(tick.due), &message, mirror.count())
            .await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::mirror::LAST_WORDS;
    use crate::{
        server::LAST_ANSWERS,
        shutdown::{END, GRACE, LAST_THREADS},
        store::CLOSE_TIMEOUT,
    };

    #[test]
    fn what_comes_after_the_passes_fits_into_what_is_left_of_ten_seconds() {
        let after = LAST_ANSWERS + LAST_WORDS + CLOSE_TIMEOUT;
        assert!(GRACE + after <= END, "{after:?}");
        assert!(END + LAST_THREADS + Duration::from_millis(500) < Duration::from_secs(10));
    }
}
