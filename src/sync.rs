//! One pass over one client: fetch its users, compare, write what differs, say what happened.

mod apply;
mod approve;
mod beforehand;
mod begin;
mod fetch;
mod finish;
mod plan;
mod queue;
mod removal;
mod report;
mod set_back;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use apply::Hand;
pub(crate) use apply::{bounded, with_retries};
use beforehand::Beforehand;
pub use plan::{Fate, Plan, Planned};
use queue::Room;
pub use report::{Failure, Lines, Report};

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
    /// How long the mirror counts as fresh after a complete pass, on top of what the pass took.
    pub fresh_for: Duration,
    /// Told how many users have been observed, as it goes.
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
}

/// What happened while users were fetched and written, before the pass says how it ended.
#[derive(Debug, Default)]
struct Course {
    observed: u64,
    present: u64,
    rejected: u64,
    missing: u64,
    unanswered: u64,
    /// The first user about whom nothing was learned, and why.
    first_unanswered: Option<(UserId, crate::calcom::Error)>,
    /// What ended the fetching early.
    stopped: Option<crate::calcom::Error>,
    /// The operator asked for an end.
    cut: bool,
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
        let mut report = match Box::pin(self.begin(cancel)).await {
            Ok(run) => Box::pin(self.run_begun(&run, requests_before, cancel)).await,
            Err(report) => report,
        };
        report.duration_s = started.elapsed().as_secs_f64();
        report.log(self.lines);
        report
    }

    /// The report of a pass that cannot begin because the database is not ready for it.
    pub async fn refused(&self, error: crate::store::Error, since: Instant) -> Report {
        let mut report = self.never_begun(error).await;
        report.duration_s = since.elapsed().as_secs_f64();
        report.log(self.lines);
        report
    }

    async fn run_begun(&self, run: &Run, requests_before: u64, cancel: &CancellationToken) -> Report {
        // Ends the fetching when the operator says so, and when another pass has begun.
        let cancel = cancel.child_token();
        let mut hand = Hand::Writing(run);
        let work = Box::pin(async {
            let (course, written) = self.observe(&mut hand, &cancel).await;
            let requests = self.source.requests() - requests_before;
            self.finish(run, course, written.err(), requests).await
        });
        self.while_alive(run, &cancel, work).await
    }

    /// Fetching and writing overlap: one half of the channel each.
    async fn observe(
        &self,
        hand: &mut Hand<'_, '_>,
        cancel: &CancellationToken,
    ) -> (Course, Result<(), crate::store::Error>) {
        let before = match hand {
            Hand::Looking(looking) if !looking.tables => Ok(Beforehand::without_tables(self)),
            _ => Beforehand::of(self).await,
        };
        let before = match before {
            Ok(before) => before,
            Err(error) => return (Course::default(), Err(error)),
        };
        let room = Room::new();
        let (sender, receiver) = room.queue();
        let observed = AtomicU64::new(0);
        let told = |count: u64| {
            let observed = observed.fetch_add(count, Ordering::Relaxed) + count;
            if let Some(progress) = self.progress {
                progress(observed);
            }
        };
        // The writer's failure ends the fetching: it drops its half of the channel.
        let (mut course, (tally, written)) = tokio::join!(
            fetch::fetch(self.source, &before.users, self.concurrency, cancel, sender, told),
            apply::take_batches(self, hand, receiver, before.announced),
        );
        course.present = tally.present;
        course.observed = tally.observed;
        course.rejected = tally.rejected;
        course.missing = tally.missing;
        (course, written)
    }
}
