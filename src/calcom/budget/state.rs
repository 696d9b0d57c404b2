//! What a client knows of its limit: its silence, and the server's windows.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{
    Block, DEFAULT_BLOCK, MARGIN, MAX_WAIT, Silence,
    bucket::{Bucket, Lost, RESERVE_DIVISOR, Shown},
    window::Limits,
};
use crate::model::{Allowance, RateState};

/// Cal.com names one window, or a few. Whoever names more is not listened to about the others.
const MAX_BUCKETS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct State {
    /// Nothing is sent before this moment.
    quiet_until: Option<Instant>,
    /// The end of the latest block, which is the part of the silence that a 429 asked for.
    blocked_until: Option<Instant>,
    /// Blocks with no answer in between that was anything but a 429.
    blocks_in_a_row: u32,
    /// Requests under way that nothing was heard of yet.
    unanswered: u64,
    /// When requests ended without an answer, for windows that are first heard of after that: the server may have counted them.
    lost: Lost,
    /// By the suffix of their headers.
    buckets: BTreeMap<String, Bucket>,
    /// What another process has left of a window, until the server says it itself.
    left_behind: Option<Bucket>,
    /// What was said last of each window, by the suffix: the limit, and the longest time until its end.
    limits: BTreeMap<String, (u64, Duration)>,
}

/// Why no request may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    Silence(Silence),
    /// A window may be used up: the requests under way will show. If nothing else, its end.
    Answers(Option<Instant>),
}

impl State {
    pub(super) fn hold(&mut self, now: Instant) -> Option<Hold> {
        self.renew(now);
        let quiet = self.quiet_until.filter(|until| *until > now);
        let full = || self.known().filter(|bucket| bucket.room() == 0);
        let used_up = full().filter(|bucket| bucket.is_used_up());
        let silence = used_up.filter_map(Bucket::until).chain(quiet).max();
        if let Some(until) = silence {
            return Some(Hold::Silence(Silence {
                until,
                is_block: self.blocked_until == Some(until),
            }));
        }
        full().next()?;
        Some(Hold::Answers(full().filter_map(Bucket::until).max()))
    }

    fn known(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.values().chain(&self.left_behind)
    }

    fn known_mut(&mut self) -> impl Iterator<Item = &mut Bucket> {
        self.buckets.values_mut().chain(&mut self.left_behind)
    }

    /// Forgets what is over.
    fn renew(&mut self, now: Instant) {
        let unanswered = self.unanswered;
        let renewed = std::mem::take(&mut self.buckets)
            .into_iter()
            .filter_map(|(suffix, bucket)| Some((suffix, bucket.renewed(now, unanswered)?)));
        self.buckets = renewed.collect();
        self.left_behind = self
            .left_behind
            .take()
            .and_then(|bucket| bucket.renewed(now, unanswered));
    }

    /// A request is let go.
    pub(super) fn grant(&mut self) {
        self.unanswered += 1;
        self.known_mut().for_each(Bucket::count);
    }

    /// The head of a request's answer has come.
    pub(super) fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
    }

    /// A request has ended without an answer.
    pub(super) fn lost(&mut self) {
        self.answered();
        let now = Instant::now();
        self.lost.add(now);
        self.known_mut().for_each(|bucket| bucket.unheard(now));
    }

    /// An answer that is not a 429. True where it says what is left of a window.
    pub(super) fn hear(&mut self, limits: &Limits, granted: Instant, now: Instant) -> bool {
        self.blocks_in_a_row = 0;
        self.renew(now);
        self.note_limits(limits);
        let others = self.unanswered;
        let shown = limits.windows.iter().filter_map(|(suffix, window)| {
            let shown = Shown {
                limit: window.limit,
                remaining: window.remaining?,
                reset: window.reset.filter(|reset| !reset.is_zero())?,
                granted,
                now,
                others,
            };
            Some((suffix, shown))
        });
        let mut named = Vec::new();
        for (suffix, shown) in shown.take(MAX_BUCKETS) {
            named.push(suffix);
            if let Some(bucket) = self.buckets.get_mut(suffix) {
                bucket.hear(&shown);
            } else if self.buckets.len() < MAX_BUCKETS {
                let bucket = Bucket::shown(&shown, self.lost.clone());
                self.buckets.insert(suffix.clone(), bucket);
            }
        }
        // Those before are in what the answer shows.
        if !named.is_empty() {
            self.lost.since(granted);
        }
        let unnamed = self
            .buckets
            .iter_mut()
            .filter(|(suffix, _)| !named.contains(suffix));
        unnamed.for_each(|(_, bucket)| bucket.unheard(now));
        if !named.is_empty() {
            self.left_behind = None;
        }
        !named.is_empty()
    }

    fn note_limits(&mut self, limits: &Limits) {
        for (suffix, window) in &limits.windows {
            let (Some(limit), Some(reset)) = (window.limit, window.reset) else {
                continue;
            };
            if let Some(known) = self.limits.get_mut(suffix) {
                *known = (limit, known.1.max(reset));
            } else if self.limits.len() < MAX_BUCKETS && !reset.is_zero() {
                self.limits.insert(suffix.clone(), (limit, reset));
            }
        }
    }

    /// Of the server's windows, the one that allows the least.
    pub(super) fn allowance(&self) -> Option<Allowance> {
        let allowances = self.limits.values().map(|(limit, window)| Allowance {
            requests: limit - limit / RESERVE_DIVISOR,
            window: *window,
        });
        // By requests a time, without dividing: a/b < c/d where ad < cb.
        allowances.min_by(|one, other| {
            let rate =
                |of: &Allowance, others: &Allowance| u128::from(of.requests) * others.window.as_millis();
            rate(one, other).cmp(&rate(other, one))
        })
    }

    /// Nothing is sent for so long.
    pub(super) fn rest(&mut self, now: Instant, rest: Duration) {
        self.quiet_until = self.quiet_until.max(Some(now + rest));
    }

    /// A 429 to a request that was let go at `granted`.
    pub(super) fn block(&mut self, limits: &Limits, granted: Instant, now: Instant) -> Block {
        let begins = self.blocked_until.is_none_or(|until| until <= granted);
        if begins {
            self.blocks_in_a_row = self.blocks_in_a_row.saturating_add(1);
        }
        let named = limits.longest_wait().unwrap_or(DEFAULT_BLOCK).max(MARGIN);
        // A second block with no answer in between: what the first one said was too short.
        let wait = if self.blocks_in_a_row > 1 {
            named.max(DEFAULT_BLOCK)
        } else {
            named
        };
        let until = self.blocked_until.max(Some(now + wait + MARGIN));
        self.blocked_until = until;
        self.quiet_until = self.quiet_until.max(until);
        // What was left is no longer true, and what will be left nobody knows.
        self.buckets.clear();
        self.left_behind = None;
        let until = self.quiet_until.unwrap_or(now);
        Block {
            until,
            begins,
            is_waited_for: until <= now + MAX_WAIT,
        }
    }

    pub(super) fn rate_state(&mut self, now: Instant) -> RateState {
        self.renew(now);
        let windows = self
            .known()
            .filter_map(|bucket| Some((bucket.room(), bucket.until()?)));
        // Of those with as little room, the one that ends last.
        let tightest = windows.min_by_key(|(room, until)| (*room, std::cmp::Reverse(*until)));
        let blocked_for = self.blocked_for(now);
        RateState {
            remaining: tightest.map(|(room, _)| room),
            resets_in: tightest.map(|(_, until)| until.saturating_duration_since(now)),
            // What takes hours may be a fault of what stands in front of Cal.com: starting anew is how one asks again.
            blocked_for: blocked_for.filter(|left| *left <= MAX_WAIT),
        }
    }

    /// Until the end of the block, if there is one.
    pub(super) fn blocked_for(&self, now: Instant) -> Option<Duration> {
        let left = self.blocked_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Takes over what was known elsewhere, as far as it is worse than what is known here.
    pub(super) fn resume(&mut self, state: RateState, now: Instant) {
        self.renew(now);
        if let Some(left) = state.blocked_for.filter(|left| !left.is_zero()) {
            let until = Some(now + left.min(MAX_WAIT));
            self.blocked_until = self.blocked_until.max(until);
            self.quiet_until = self.quiet_until.max(until);
        }
        let (Some(remaining), Some(resets_in)) = (state.remaining, state.resets_in) else {
            return;
        };
        let ours = self.known().filter(|bucket| bucket.until().is_some());
        if ours.map(Bucket::room).min().is_none_or(|room| remaining < room) {
            self.left_behind = Some(Bucket::left_behind(remaining, resets_in, now, self.unanswered));
        }
    }
}
