//! One of the server's windows, as its answers show it.

use std::time::Duration;

use tokio::time::Instant;

use super::{MARGIN, MAX_WAIT};

/// Somebody else may use the client's limit as well, and is seen only by the next answer. So of 500 requests 10 are left.
pub(super) const RESERVE_DIVISOR: u64 = 50;

/// However much somebody else takes at once, no more than this part of the limit is left for the next time.
const MOST_RESERVE_DIVISOR: u64 = 10;

/// The server resets its window by whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// How many requests a window still has room for, at the least.
///
/// An answer says what was left when the server counted its request. Answers overtake each other; but within a window the least
/// of them is the newest, and whatever is not in it yet is still without an answer.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: Option<u64>,
    /// The least that an answer of this window said was left. Before the first answer: the limit.
    lowest: u64,
    /// Our requests that may not be in `lowest` yet.
    uncounted: u64,
    /// `None` before the first answer.
    ends: Option<Ends>,
    lost: Lost,
    /// The most that somebody else has been seen to take between two answers of ours, not long ago.
    stranger: u64,
}

/// When requests of ours ended without an answer that the server may have counted after those that were answered since.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost(Vec<Instant>);

impl Lost {
    pub(super) fn add(&mut self, now: Instant) {
        /// More than are ever under way.
        const MOST: usize = 1000;
        if self.0.len() < MOST {
            self.0.push(now);
        }
    }

    /// How many an answer to a request of this moment need not contain. Those before are forgotten.
    pub(super) fn since(&mut self, granted: Instant) -> u64 {
        self.0.retain(|lost| *lost >= granted);
        self.0.len() as u64
    }
}

/// Between these the window ends, and it was first heard of at `since`.
#[derive(Clone, Copy, Debug)]
struct Ends {
    earliest: Instant,
    latest: Instant,
    since: Instant,
}

/// What an answer shows of a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) limit: Option<u64>,
    pub(super) remaining: u64,
    /// Not zero.
    pub(super) reset: Duration,
    /// When its request was let go.
    pub(super) granted: Instant,
    pub(super) now: Instant,
    /// Other requests that are still without an answer.
    pub(super) others: u64,
}

impl Shown {
    fn ends(&self) -> Ends {
        // Only a 429 is believed that it takes longer than a pass may wait.
        let reset = self.reset.min(MAX_WAIT - MARGIN);
        Ends {
            earliest: self.granted + reset.saturating_sub(SECOND),
            latest: self.now + reset,
            since: self.now,
        }
    }
}

impl Bucket {
    /// A window that is first heard of.
    pub(super) fn shown(shown: &Shown, mut lost: Lost) -> Self {
        Self {
            limit: shown.limit,
            lowest: shown.remaining,
            uncounted: shown.others + lost.since(shown.granted),
            ends: Some(shown.ends()),
            lost,
            stranger: 0,
        }
    }

    /// As another process has left it. The next answer knows better.
    pub(super) fn left_behind(remaining: u64, resets_in: Duration, now: Instant, unanswered: u64) -> Self {
        let latest = now + resets_in.min(MAX_WAIT).saturating_sub(MARGIN);
        Self {
            limit: None,
            lowest: remaining,
            uncounted: unanswered,
            ends: Some(Ends {
                earliest: now,
                latest,
                since: now,
            }),
            lost: Lost::default(),
            stranger: 0,
        }
    }

    pub(super) fn hear(&mut self, shown: &Shown) {
        let seen = shown.ends();
        self.limit = shown.limit.or(self.limit);
        let Some(known) = &mut self.ends else {
            self.begin(shown);
            return;
        };
        if seen.latest < known.earliest && shown.granted < known.since {
            // Of the window before this one: so it is not counted in this one.
            self.uncounted = self.uncounted.saturating_sub(1);
        } else if seen.latest < known.earliest || seen.earliest > known.latest {
            self.begin(shown);
        } else {
            known.earliest = known.earliest.max(seen.earliest);
            known.latest = known.latest.min(seen.latest);
            if shown.remaining > self.lowest {
                self.uncounted = self.uncounted.saturating_sub(1);
                return;
            }
            // Were all of ours counted by now, it would be this.
            let expected = self.left();
            self.stranger = self.stranger.max(expected.saturating_sub(shown.remaining));
            self.lowest = shown.remaining;
            self.uncounted = shown.others + self.lost.since(shown.granted);
        }
    }

    fn begin(&mut self, shown: &Shown) {
        *self = Self {
            limit: self.limit,
            stranger: self.stranger / 2,
            ..Self::shown(shown, std::mem::take(&mut self.lost))
        };
    }

    /// A request was let go.
    pub(super) fn count(&mut self) {
        self.uncounted += 1;
    }

    /// A request ended with an answer that does not speak of this window, or without one.
    pub(super) fn unheard(&mut self, now: Instant) {
        self.lost.add(now);
        // In a window that is known it may have been counted.
        if self.ends.is_none() {
            self.uncounted = self.uncounted.saturating_sub(1);
        }
    }

    /// What is known once the window is over. `None`: nothing.
    pub(super) fn renewed(self, now: Instant, unanswered: u64) -> Option<Self> {
        if self.until().is_none_or(|until| now < until) {
            return Some(self);
        }
        Some(Self {
            lost: Lost::default(),
            lowest: self.limit?,
            uncounted: unanswered,
            ends: None,
            stranger: self.stranger / 2,
            ..self
        })
    }

    /// The window's end, by which it is certainly over. `None` before its first answer.
    pub(super) fn until(&self) -> Option<Instant> {
        Some(self.ends?.latest + MARGIN)
    }

    /// Requests that may still be made in this window.
    pub(super) fn room(&self) -> u64 {
        self.left().saturating_sub(self.reserve())
    }

    /// There is no room for a request, whatever the answers that are under way say.
    pub(super) fn is_used_up(&self) -> bool {
        self.lowest <= self.reserve()
    }

    fn left(&self) -> u64 {
        self.lowest.saturating_sub(self.uncounted)
    }

    /// What is left to somebody else, and at the end of the window to nobody.
    fn reserve(&self) -> u64 {
        let Some(limit) = self.limit else {
            return 0;
        };
        let again = self.stranger.saturating_mul(2).min(limit / MOST_RESERVE_DIVISOR);
        again.max(limit / RESERVE_DIVISOR)
    }
}
