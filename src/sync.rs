//! One pass over one client: fetch its users, compare, write what differs, say what happened.

mod apply;
mod approve;
mod asks;
mod batch;
mod beforehand;
mod begin;
pub mod estimate;
mod fetch;
mod finish;
mod foretell;
mod frontier;
mod observe;
mod plan;
mod progress;
mod queue;
mod rate;
mod removal;
mod report;
mod set_back;
mod spelled;
mod targets;
mod watched;

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use apply::Hand;
pub(crate) use apply::{bounded, with_retries};
use frontier::Frontier;
pub use plan::{Fate, Plan, Planned};
pub use progress::{Progress, Snapshot};
pub use report::{Lines, Report};
pub use watched::Watched;

pub use crate::model::Failure;

use crate::{
    calcom::Source,
    compare::Values,
    config,
    model::UserId,
    store::{Run, Store, Trigger},
};

/// Observations that are compared and written together. Large enough that a round trip to the database is cheap for each
/// user, small enough that a batch is a short transaction and a few hundred kilobytes of memory.
const BATCH: usize = 500;

/// As many in a first fill.
const LARGE_BATCH: usize = 2_000;

/// One pass over one client, ready to run.
pub struct Pass<'a, S> {
    pub store: &'a Store,
    pub source: &'a S,
    pub client: &'a config::Client,
    /// Cal.com's base address: the identity of the source.
    pub base_url: &'a str,
    /// Requests under way at once.
    pub concurrency: usize,
    pub removal: config::Removal,
    /// Whether values of personal fields are logged.
    pub values: Values,
    pub lines: Lines,
    pub trigger: Trigger,
    /// A random number of this process. Its passes over one client, as far as they are of the schedule, never overlap.
    pub process: i64,
    /// How often a pass shows that it is alive. Another process takes one that missed three beats for dead.
    pub beat: Duration,
    /// Take on a source other than the recorded one.
    pub accept_source: bool,
    /// A pass that was cut and showed its last sign of life after this is gone on from; none: every pass begins from the start.
    pub resume_since: Option<DateTime<Utc>>,
    /// How long the mirror counts as fresh after a complete pass, on top of what the pass took.
    pub fresh_for: Duration,
    /// Where the pass counts as it goes, for whoever looks on.
    pub progress: Option<&'a Progress>,
    /// How often the log says how far the pass has come; none where a bar shows it.
    pub tell_every: Option<Duration>,
    /// When the client's next pass is due.
    pub next_tick: Option<DateTime<Utc>>,
}

/// What happened while users were fetched and written, before the pass says how it ended.
#[derive(Debug, Default)]
struct Course {
    observed: u64,
    present: u64,
    /// Present in the very bytes of their fingerprints.
    passed_over: u64,
    /// Unchanged, in other bytes.
    respelled: u64,
    /// Fingerprints of such users were written.
    renewed: bool,
    rejected: u64,
    missing: u64,
    unanswered: u64,
    /// The first user about whom nothing was learned, and why.
    first_unanswered: Option<(UserId, crate::calcom::Error)>,
    /// What ended the fetching early.
    stopped: Option<crate::calcom::Error>,
    /// The operator asked for an end.
    cut: bool,
    /// Why there may be users of whom nothing is known, where everyone is watched.
    undiscovered: Option<Undiscovered>,
}

/// What keeps a pass from finding everyone.
#[derive(Debug)]
enum Undiscovered {
    /// The client has more users than Cal.com lists.
    Ceiling,
    /// The list cannot be had.
    Refused(crate::calcom::Error),
}

impl<S: Source> Pass<'_, S> {
    /// Runs the pass. Every way in which it can end is in the report; the run is on record unless the database was away.
    ///
    /// Once `cancel` is cancelled, no further request is made; what was observed is still written.
    pub async fn run(&self, cancel: &CancellationToken) -> Report {
        let started = Instant::now();
        self.source.begin_pass();
        let requests_before = self.source.requests();
        // Boxed, as what follows is large, and callers may have small stacks.
        let mut report = match Box::pin(self.begin_watching(cancel)).await {
            Ok((run, watched)) => {
                let work = Box::pin(self.run_begun(&run, &watched, requests_before, cancel));
                self.while_told(Some(run.id), requests_before, work).await
            }
            Err(report) => report,
        };
        report.duration_s = started.elapsed().as_secs_f64();
        report.log(self.lines);
        report
    }

    async fn begin_watching(&self, cancel: &CancellationToken) -> Result<(Run, Watched), Report> {
        let watched = match Watched::of(self.client, self.store).await {
            Ok(watched) => watched,
            Err(error) => return Err(self.never_begun(error).await),
        };
        let run = self.begin(&watched, cancel).await?;
        Ok((run, watched))
    }

    /// The report of a pass that cannot begin because the database is not ready for it.
    pub async fn refused(&self, error: crate::store::Error, since: Instant) -> Report {
        let mut report = self.never_begun(error).await;
        report.duration_s = since.elapsed().as_secs_f64();
        report.log(self.lines);
        report
    }

    async fn run_begun(
        &self,
        run: &Run,
        watched: &Watched,
        requests_before: u64,
        cancel: &CancellationToken,
    ) -> Report {
        // Ends the fetching when the operator says so, and when another pass has begun.
        let cancel = cancel.child_token();
        let frontier = Frontier::starting_after(run.resumed.as_ref().and_then(|resumed| resumed.done_to));
        let mut hand = Hand::Writing(run);
        let work = Box::pin(async {
            let (course, written) = self.observe(&mut hand, watched, &frontier, &cancel).await;
            let requests = self.source.requests() - requests_before;
            self.finish(run, watched, course, written.err(), requests, &frontier)
                .await
        });
        self.while_alive(run, Some(&frontier), &cancel, work).await
    }
}
