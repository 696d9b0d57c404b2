//! Reading the configuration again while the daemon runs.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use tokio::sync::watch;

use super::{Force, Supervisor, unix_seconds};
use crate::{
    clock::{Clock as _, SystemClock},
    config::{Config, Difference, Environment, Faults, Loaded, Secrets},
    daemon::Scheduled,
    live::Live,
    measured,
    server::View,
    shutdown::Reloads,
    telemetry,
};

/// Where the configuration is from.
pub(in crate::cli) struct Origin {
    pub(in crate::cli) path: PathBuf,
    pub(in crate::cli) environment: Environment,
}

/// Whoever goes by the configuration, beside the passes.
pub(super) struct Channels {
    pub(super) scheduled: watch::Sender<Vec<Scheduled>>,
    pub(super) views: watch::Sender<Arc<View>>,
    pub(super) live: Live,
}

/// Reads the configuration again each time that somebody asks for it. Never ends by itself.
pub(super) async fn reload_on(
    mut reloads: Reloads,
    origin: &Origin,
    force: &Force,
    channels: &Channels,
    supervisor: &Supervisor,
) {
    loop {
        reloads.next().await;
        supervisor.reloading();
        let refused_at = if reload(origin, force, channels).await {
            note_success();
            None
        } else {
            metrics::gauge!(measured::RELOAD_OK).set(0.0);
            Some(SystemClock.now())
        };
        channels.live.reloaded(refused_at);
        supervisor.reloaded();
        // It is in force: nobody waits for the goodbye of a database that is silent.
        force.close_retired().await;
    }
}

/// The configuration in force is the one that the operator wants.
pub(super) fn note_success() {
    metrics::gauge!(measured::RELOAD_OK).set(1.0);
    metrics::gauge!(measured::RELOADED_AT).set(unix_seconds());
}

/// False where the configuration cannot be used. It is then as if nobody had asked, but for the log.
async fn reload(origin: &Origin, force: &Force, channels: &Channels) -> bool {
    const REFUSED: &str = "configuration not reloaded, the one before stays in force";
    let before = force.mirror();
    let Loaded { mut config, warnings } = match load(origin).await {
        Ok(Ok(loaded)) => loaded,
        Ok(Err(faults)) => {
            for fault in faults.iter() {
                tracing::error!("{fault}");
            }
            tracing::error!(faults = faults.iter().count(), "{REFUSED}");
            return false;
        }
        Err(error) => {
            tracing::error!(%error, "{REFUSED}");
            return false;
        }
    };
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    keep_what_cannot_change(&before.config, &mut config);
    let difference = Difference::between(&before.config, &config);
    let shell_before = before.database.psql_command();
    let mirror = match before.after(config).await {
        Ok(mirror) => Arc::new(mirror),
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "{REFUSED}");
            return false;
        }
    };
    drop(before);
    if let Err(error) = telemetry::set_level(&mirror.config.log.level) {
        tracing::warn!(%error, "log.level stays as it was");
    }
    let view = mirror.view();
    let clients = mirror.clients.len();
    let psql = mirror.database.psql_command();
    let configured: BTreeSet<String> = mirror
        .clients
        .iter()
        .map(|watched| watched.client.name.clone())
        .collect();
    force.replace(mirror);
    channels.scheduled.send_replace(force.scheduled());
    channels.views.send_replace(Arc::new(view));
    channels.live.keep(&configured);
    let names = |names: &[String]| (!names.is_empty()).then(|| names.join(", "));
    tracing::info!(
        clients,
        clients.added = names(&difference.added),
        clients.removed = names(&difference.removed),
        clients.changed = names(&difference.changed),
        psql = psql.filter(|psql| shell_before.as_ref() != Some(psql)),
        sections = (!difference.sections.is_empty()).then(|| difference.sections.join(", ")),
        "configuration reloaded"
    );
    true
}

/// Files of a million users take their time, during which the scheduler has to beat.
async fn load(origin: &Origin) -> Result<Result<Loaded, Faults>, tokio::task::JoinError> {
    let (path, environment) = (origin.path.clone(), origin.environment.clone());
    tokio::task::spawn_blocking(move || Config::load(&path, &environment, Secrets::Read)).await
}

/// Says what takes another start, and leaves it as it is.
fn keep_what_cannot_change(before: &Config, config: &mut Config) {
    let (old, new) = (&before.server, &mut config.server);
    if old.listen != new.listen {
        tracing::warn!("server.listen has changed, which takes effect at the next start");
        new.listen = old.listen;
        // The address that others reach keeps its token, although the new one needs none.
        if new.token.is_none() && old.listen.is_some_and(|address| !address.ip().is_loopback()) {
            new.token.clone_from(&old.token);
            new.token_source.clone_from(&old.token_source);
        }
    }
    if before.log.format != config.log.format {
        tracing::warn!("log.format has changed, which takes effect at the next start");
        config.log.format = before.log.format;
    }
}
