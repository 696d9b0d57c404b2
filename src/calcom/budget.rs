//! How often one client of Cal.com is asked.
//!
//! Three things hold requests back: a steady rate of our own, a window that the server says is nearly used up, and a
//! block after a 429, during which nothing is sent at all, for every request during a block counts and lengthens it.

mod bucket;
mod state;
mod window;

use std::{
    num::NonZeroU32,
    pin::pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use reqwest::{StatusCode, header::HeaderMap};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use self::{
    state::{Hold, State},
    window::Limits,
};
use crate::model::{Allowance, RateState};

/// Cal.com blocks for a minute, and does so whether or not it says it.
const DEFAULT_BLOCK: Duration = Duration::from_secs(60);

/// The longest silence that a pass waits out: five windows of Cal.com's limit, and the margin. A longer block ends the pass.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(301);

/// The longest rest that is given to a server in trouble because it asks for one. What asks for more is away.
pub(super) const MAX_REST: Duration = Duration::from_secs(10);

/// Added to what the server says, which it rounds to seconds, and which was true some milliseconds ago.
const MARGIN: Duration = Duration::from_secs(1);

/// The rate is paced at `requests_per_minute`, with a burst of an 18th of that. What any minute can hold is the sum of
/// the two: of the default 450, 475. The 25 that are left of the server's 500 are for requests that are held up on
/// their way and so reach it closer together than they were sent.
pub(crate) const BURST_DIVISOR: u32 = 18;

type Pace = RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Duration>>;

/// What one client may still ask. Lives as long as the client, across passes.
#[derive(Debug)]
pub(super) struct Budget {
    pace: Mutex<Paced>,
    clock: Ticks,
    state: Mutex<State>,
    /// An answer has come, or there will be none: whoever waits looks again.
    answers: Notify,
    /// Something that another process would have to know.
    news: Notify,
    /// Nothing was heard of a window since the pass began.
    silent: AtomicBool,
}

/// The rate of our own.
#[derive(Debug)]
struct Paced {
    /// 0: none.
    requests_per_minute: u32,
    /// `None`: no limit of our own.
    pace: Option<Pace>,
}

/// Leave to send one request; it is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    budget: &'a Budget,
    granted: Instant,
    answered: AtomicBool,
}

/// What an answer says about when to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// For a 429 and for nothing else.
    pub(super) block: Option<Block>,
    /// How long a server in trouble wants to be left alone, if it says so.
    pub(super) rest: Option<Duration>,
}

/// What a 429 did to the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) until: Instant,
    /// The first 429 of a block, rather than one of another request that was on its way.
    pub(super) begins: bool,
    /// Short enough for a pass to wait for its end.
    pub(super) is_waited_for: bool,
}

/// A time in which nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silence {
    pub(super) until: Instant,
    /// A 429 asked for it.
    pub(super) is_block: bool,
}

impl Silence {
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

impl Budget {
    /// `requests_per_minute` of 0 is no limit of our own.
    pub(super) fn new(requests_per_minute: u32) -> Self {
        let clock = Ticks::starting_now();
        Self {
            pace: Mutex::new(Paced::new(requests_per_minute, &clock)),
            clock,
            state: Mutex::default(),
            answers: Notify::new(),
            news: Notify::new(),
            silent: AtomicBool::new(true),
        }
    }

    /// Waits until a request may be sent. `waits` is told of each silence that it waits for.
    ///
    /// # Errors
    /// The end of a silence that is too long to wait for.
    pub(super) async fn permit(&self, waits: impl Fn(Silence)) -> Result<Permit<'_>, Instant> {
        let mut told = None;
        loop {
            let mut answers = pin!(self.answers.notified());
            // From here on, so that none is missed between looking and waiting.
            answers.as_mut().enable();
            // Silence comes first: a share of the rate that is taken during one would be lost.
            match self.hold() {
                Some(Hold::Silence(silence)) => {
                    if silence.left() > MAX_WAIT {
                        return Err(silence.until);
                    }
                    if told.replace(silence) != Some(silence) {
                        waits(silence);
                    }
                    tokio::select! {
                        () = sleep_until(silence.until) => {}
                        () = answers => {}
                    }
                    continue;
                }
                Some(Hold::Answers(Some(until))) => {
                    tokio::select! {
                        () = sleep_until(until) => {}
                        () = answers => {}
                    }
                    continue;
                }
                Some(Hold::Answers(None)) => {
                    answers.await;
                    continue;
                }
                None => {}
            }
            if let Some(until) = self.paced() {
                sleep_until(until).await;
                continue;
            }
            let granted = Instant::now();
            let mut state = self.state();
            if state.hold(granted).is_none() {
                state.grant();
                return Ok(Permit {
                    budget: self,
                    granted,
                    answered: AtomicBool::new(false),
                });
            }
        }
    }

    /// A pass begins, at a rate that may be another than before: what is heard first is news again.
    pub(super) fn begin_pass(&self, requests_per_minute: u32) {
        self.silent.store(true, Ordering::Relaxed);
        // What an earlier pass heard last is no news of this one, which has yet to hear what other processes noted meanwhile.
        self.news.notified().now_or_never();
        let mut paced = self.rate();
        if paced.requests_per_minute != requests_per_minute {
            *paced = Paced::new(requests_per_minute, &self.clock);
            paced.use_up_burst();
        }
    }

    /// What another process would have to know to go on from here.
    pub(super) fn rate_state(&self) -> RateState {
        self.state().rate_state(Instant::now())
    }

    /// What the server was heard to allow, however long ago.
    pub(super) fn allowance(&self) -> Option<Allowance> {
        self.state().allowance()
    }

    /// Until the end of the block, if there is one.
    pub(super) fn blocked_for(&self) -> Option<Duration> {
        self.state().blocked_for(Instant::now())
    }

    /// Takes over what another process knew, as far as it is worse than what is known here.
    pub(super) fn resume(&self, state: RateState) {
        self.state().resume(state, Instant::now());
    }

    /// Waits until a block begins, or until a window is first heard of in a pass.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// The most requests that our own rate lets go in so much time.
    pub(super) fn most_within(&self, time: Duration) -> u64 {
        let rate = self.rate().requests_per_minute;
        if rate == 0 {
            return u64::MAX;
        }
        let rate = u128::from(rate);
        let paced = (time.as_millis() * rate).div_ceil(60_000) + (rate / u128::from(BURST_DIVISOR)).max(1);
        u64::try_from(paced).unwrap_or(u64::MAX)
    }

    fn hold(&self) -> Option<Hold> {
        self.state().hold(Instant::now())
    }

    /// Takes a share of the rate, or says when there will be one.
    fn paced(&self) -> Option<Instant> {
        let refused = self.rate().pace.as_ref()?.check().err()?;
        // Timers go by milliseconds; a wait that rounds to none would spin.
        let wait = refused
            .wait_time_from(self.clock.now())
            .max(Duration::from_millis(1));
        Some(Instant::now() + wait)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rate(&self) -> MutexGuard<'_, Paced> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Paced {
    fn new(requests_per_minute: u32, clock: &Ticks) -> Self {
        let pace = NonZeroU32::new(requests_per_minute).map(|rate| {
            let quota = Quota::per_minute(rate).allow_burst(burst(rate));
            RateLimiter::direct_with_clock(quota, clock.clone())
        });
        Self {
            requests_per_minute,
            pace,
        }
    }

    /// The burst of the rate before may have been used a moment ago.
    fn use_up_burst(&self) {
        let (Some(pace), Some(rate)) = (&self.pace, NonZeroU32::new(self.requests_per_minute)) else {
            return;
        };
        if !matches!(pace.check_n(burst(rate)), Ok(Ok(()))) {
            tracing::debug!("a new rate began with less than its burst");
        }
    }
}

fn burst(rate: NonZeroU32) -> NonZeroU32 {
    NonZeroU32::new(rate.get() / BURST_DIVISOR).unwrap_or(NonZeroU32::MIN)
}

impl Permit<'_> {
    /// Corrects the budget by an answer's status and headers.
    pub(super) fn answered(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        wall_clock: DateTime<Utc>,
    ) -> Heard {
        let limits = Limits::read(headers, wall_clock);
        let now = Instant::now();
        let budget = self.budget;
        let mut state = budget.state();
        if !self.answered.swap(true, Ordering::Relaxed) {
            state.answered();
        }
        let heard = if status == StatusCode::TOO_MANY_REQUESTS {
            let block = state.block(&limits, self.granted, now);
            if block.begins {
                budget.news.notify_one();
            }
            Heard {
                block: Some(block),
                rest: None,
            }
        } else {
            if state.hear(&limits, self.granted, now) && budget.silent.swap(false, Ordering::Relaxed) {
                budget.news.notify_one();
            }
            let rest = limits
                .retry_after
                .filter(|rest| status.is_server_error() && !rest.is_zero());
            if let Some(rest) = rest.filter(|rest| *rest <= MAX_REST) {
                state.rest(now, rest);
            }
            Heard { block: None, rest }
        };
        drop(state);
        budget.answers.notify_waiters();
        heard
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !*self.answered.get_mut() {
            self.budget.state().lost();
            self.budget.answers.notify_waiters();
        }
    }
}

/// tokio's clock, which tests can hold still, as governor wants it.
#[derive(Clone, Debug)]
struct Ticks {
    start: Instant,
}

impl Ticks {
    fn starting_now() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests;
