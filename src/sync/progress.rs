//! How far a pass has come, while it runs.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Pass;
use crate::{calcom::Source, store::Beat};

/// What a pass counts as it goes. Clones share the counts, so that others can look on. Of one pass, or of one plan.
#[derive(Clone, Debug)]
pub struct Progress(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    made: Instant,
    /// Nanoseconds from `made` to the beginning of the pass.
    began_after: AtomicU64,
    observed: AtomicU64,
    /// [`u64::MAX`] while it is not known.
    expected: AtomicU64,
    /// Those that the source had made before the pass.
    requests_before: AtomicU64,
    requests: AtomicU64,
    changes: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(Counts {
            made: Instant::now(),
            began_after: AtomicU64::new(0),
            observed: AtomicU64::new(0),
            expected: AtomicU64::new(u64::MAX),
            requests_before: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        }))
    }
}

impl Progress {
    /// Cal.com has said something of so many further users.
    pub fn observed(&self, users: u64) {
        self.0.observed.fetch_add(users, Ordering::Relaxed);
    }

    /// So many users are to be asked for, as far as is known.
    pub fn expects(&self, users: u64) {
        self.0.expected.store(users, Ordering::Relaxed);
    }

    /// The source has made so many requests in all, those before the pass included.
    pub fn asked(&self, requests: u64) {
        let before = self.0.requests_before.load(Ordering::Relaxed);
        self.0
            .requests
            .fetch_max(requests.saturating_sub(before), Ordering::Relaxed);
    }

    /// So many further changes are written; of a plan, found.
    pub fn changed(&self, changes: u64) {
        self.0.changes.fetch_add(changes, Ordering::Relaxed);
    }

    /// The pass begins now, with a source that has made so many requests before it.
    fn begins(&self, requests_before: u64) {
        self.0.requests_before.store(requests_before, Ordering::Relaxed);
        self.0.requests.store(0, Ordering::Relaxed);
        let waited = u64::try_from(self.0.made.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.began_after.store(waited, Ordering::Relaxed);
    }

    /// What goes on record with a sign of life, but for how far everyone is dealt with.
    pub fn beat(&self) -> Beat {
        Beat {
            observed: self.0.observed.load(Ordering::Relaxed),
            requests: self.0.requests.load(Ordering::Relaxed),
            done_to: None,
        }
    }

    /// How things stand now.
    pub fn snapshot(&self) -> Snapshot {
        let expected = self.0.expected.load(Ordering::Relaxed);
        let waited = Duration::from_nanos(self.0.began_after.load(Ordering::Relaxed));
        Snapshot {
            observed: self.0.observed.load(Ordering::Relaxed),
            expected: (expected < u64::MAX).then_some(expected),
            requests: self.0.requests.load(Ordering::Relaxed),
            changes: self.0.changes.load(Ordering::Relaxed),
            elapsed: self.0.made.elapsed().saturating_sub(waited),
        }
    }
}

/// How far a pass had come at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Users that Cal.com has said something about.
    pub observed: u64,
    /// Of so many, as far as is known.
    pub expected: Option<u64>,
    pub requests: u64,
    pub changes: u64,
    /// Since the pass began.
    pub elapsed: Duration,
}

impl Snapshot {
    /// Users a second since the pass began.
    pub fn rate(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let observed = self.observed as f64;
            observed / seconds
        } else {
            0.0
        }
    }

    /// Until all users are observed, should the rate stay. None while either is not known.
    pub fn left(&self) -> Option<Duration> {
        let left = self.expected?.saturating_sub(self.observed);
        if self.observed == 0 {
            return (left == 0).then_some(Duration::ZERO);
        }
        let nanos = self.elapsed.as_nanos() * u128::from(left) / u128::from(self.observed);
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.observed)?;
        if let Some(expected) = self.expected {
            write!(f, "/{expected}")?;
        }
        write!(f, " users, {} requests, {:.1}/s", self.requests, self.rate())?;
        match self.left().map(whole_seconds) {
            None => {}
            Some(seconds @ 0..120) => write!(f, ", {seconds} s left")?,
            Some(seconds @ 120..7_200) => write!(f, ", {} min left", seconds.div_ceil(60))?,
            Some(seconds) => write!(f, ", {} h left", seconds.div_ceil(3_600))?,
        }
        write!(f, ", {} changes", self.changes)
    }
}

/// Rounded up, so that nothing is left only when nothing is.
fn whole_seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

impl<S: Source> Pass<'_, S> {
    /// How often a pass that nobody sees says how far it has come.
    pub const TELL_EVERY: Duration = Duration::from_secs(10);

    /// Does a pass's work, and says now and then how far it has come, unless nobody wants to hear it.
    pub(super) async fn while_told<T>(
        &self,
        run: Option<i64>,
        requests_before: u64,
        work: impl Future<Output = T>,
    ) -> T {
        if let Some(progress) = self.progress {
            progress.begins(requests_before);
        }
        let told = async {
            let Some(every) = self.tell_every else {
                return std::future::pending::<Infallible>().await;
            };
            let mut times = interval_at(Instant::now() + every, every);
            // After a sleep of the whole machine, one line is enough.
            times.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                times.tick().await;
                if let Some(progress) = self.progress_now() {
                    self.tell(run, &progress.snapshot());
                }
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            never = told => match never {},
        }
    }

    /// With the requests that were made so far, also while nobody answers.
    pub(super) fn progress_now(&self) -> Option<&Progress> {
        let progress = self.progress?;
        progress.asked(self.source.requests());
        Some(progress)
    }

    fn tell(&self, run: Option<i64>, so_far: &Snapshot) {
        tracing::info!(
            client.name = self.client.name,
            run.id = run,
            users = so_far.observed,
            of = so_far.expected,
            requests = so_far.requests,
            changes = so_far.changes,
            rate_per_s = (so_far.rate() * 10.0).round() / 10.0,
            left_s = so_far.left().map(whole_seconds),
            "pass under way"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_left_follows_from_the_rate_so_far() {
        let progress = Progress::default();
        let looking_on = progress.clone();
        assert_eq!(
            looking_on.snapshot().to_string(),
            "0 users, 0 requests, 0.0/s, 0 changes"
        );
        tokio::time::advance(Duration::from_secs(5)).await;
        progress.begins(100);
        progress.expects(400);
        assert_eq!(looking_on.snapshot().left(), None, "nothing is known of the rate");
        tokio::time::advance(Duration::from_secs(10)).await;
        progress.observed(90);
        progress.observed(30);
        progress.asked(107);
        progress.changed(3);
        let snapshot = looking_on.snapshot();
        assert_eq!(
            snapshot.to_string(),
            "120/400 users, 7 requests, 12.0/s, 24 s left, 3 changes"
        );
        progress.observed(280);
        assert_eq!(looking_on.snapshot().left(), Some(Duration::ZERO));
        // More than were known of.
        progress.observed(1);
        assert_eq!(looking_on.snapshot().left(), Some(Duration::ZERO));
    }

    #[test]
    fn a_sign_of_life_says_how_far_the_pass_is_done() {
        let progress = Progress::default();
        assert_eq!(progress.beat(), Beat::default());
        progress.observed(2);
        progress.asked(5);
        progress.asked(4);
        assert_eq!(
            progress.beat(),
            Beat {
                observed: 2,
                requests: 5,
                done_to: None
            }
        );
    }
}
