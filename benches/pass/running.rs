//! Passes of a process that has just made one: what they need is open and planned already, as it is for the floors.
//!
//! They are made by the very code of the daemon, in this process. Their log lines are made, and go nowhere.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use calmirror::{
    cli::mirror::{Mirror, Request},
    clock::{Clock, SystemClock},
    config::{Config, Environment, Secrets},
    store::Trigger,
};
use tokio_util::sync::CancellationToken;

use crate::program::{Expected, Program};

/// What lives from one pass to the next.
#[derive(Debug)]
pub(crate) struct Running(Arc<Mirror>);

impl Running {
    /// Opens everything, and makes a pass that is not counted.
    pub(crate) async fn start(program: &Program<'_>, users: usize) -> anyhow::Result<Self> {
        let nothing = Environment::from_pairs([] as [(&str, &str); 0]);
        let loaded = Config::load(program.config(), &nothing, Secrets::Read)?;
        let running = Self(Arc::new(Mirror::open(loaded.config).await?));
        running.pass(Expected::unchanged(users)).await?;
        Ok(running)
    }

    /// Makes a pass, and holds it against what it is to find. Seconds.
    pub(crate) async fn pass(&self, expected: Expected) -> anyhow::Result<f64> {
        let mirror = Arc::clone(&self.0);
        // In a task of its own, as there.
        let pass = tokio::spawn(async move {
            let request = Request::of(Trigger::Schedule(SystemClock.now()));
            mirror.pass(0, request, &CancellationToken::new()).await
        });
        let report = pass.await?;
        ensure!(report.error.is_none(), "a pass failed: {report:?}");
        let count = |number: u64| usize::try_from(number).context("more users than there are");
        expected.holds(
            count(report.inserted)?,
            count(report.updated)?,
            count(report.unchanged)?,
        )?;
        Ok(report.duration_s)
    }

    pub(crate) async fn stop(self) {
        if let Some(mirror) = Arc::into_inner(self.0) {
            mirror.close().await;
        }
    }
}
