//! How often one client of Cal.com is asked.
//!
//! Three things hold requests back: a steady rate of our own, a window that the server says is nearly used up, and a
//! block after a 429, during which nothing is sent at all, for every request during a block counts and lengthens it.

mod window;

use std::{
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use reqwest::{StatusCode, header::HeaderMap};
use tokio::time::{Instant, sleep_until};

use window::Limits;

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
    /// `None`: no limit of our own.
    pace: Option<Pace>,
    clock: Ticks,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Nothing is sent before this moment.
    quiet_until: Option<Instant>,
    /// The end of the latest block, which is the part of the silence that a 429 asked for.
    blocked_until: Option<Instant>,
    /// Blocks with no answer in between that was anything but a 429.
    blocks_in_a_row: u32,
    in_flight: u64,
}

/// Leave to send one request; it is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    budget: &'a Budget,
    granted: Instant,
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
        let pace = NonZeroU32::new(requests_per_minute).map(|rate| {
            let burst = NonZeroU32::new(rate.get() / BURST_DIVISOR).unwrap_or(NonZeroU32::MIN);
            RateLimiter::direct_with_clock(Quota::per_minute(rate).allow_burst(burst), clock.clone())
        });
        Self {
            pace,
            clock,
            state: Mutex::default(),
        }
    }

    /// Waits until a request may be sent. `waits` is told of each silence that it waits for.
    ///
    /// # Errors
    /// The end of a silence that is too long to wait for.
    pub(super) async fn permit(&self, waits: impl Fn(Silence)) -> Result<Permit<'_>, Instant> {
        loop {
            // Silence comes first: a share of the rate that is taken during one would be lost.
            while let Some(silence) = self.quiet() {
                if silence.left() > MAX_WAIT {
                    return Err(silence.until);
                }
                waits(silence);
                sleep_until(silence.until).await;
            }
            if let Some(until) = self.paced() {
                sleep_until(until).await;
                continue;
            }
            let granted = Instant::now();
            let mut state = self.state();
            if state.quiet_until.is_none_or(|until| until <= granted) {
                state.in_flight += 1;
                return Ok(Permit {
                    budget: self,
                    granted,
                });
            }
        }
    }

    fn quiet(&self) -> Option<Silence> {
        let state = self.state();
        let until = state.quiet_until?;
        (until > Instant::now()).then_some(Silence {
            until,
            is_block: state.blocked_until == Some(until),
        })
    }

    /// Takes a share of the rate, or says when there will be one.
    fn paced(&self) -> Option<Instant> {
        let refused = self.pace.as_ref()?.check().err()?;
        // Timers go by milliseconds; a wait that rounds to none would spin.
        let wait = refused
            .wait_time_from(self.clock.now())
            .max(Duration::from_millis(1));
        Some(Instant::now() + wait)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let mut state = self.budget.state();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Heard {
                block: Some(state.block(&limits, self.granted, now)),
                rest: None,
            };
        }
        state.blocks_in_a_row = 0;
        // This request is counted in what remains; the others that are under way may not be yet.
        let others = state.in_flight.saturating_sub(1);
        let used_up = limits.windows.iter().filter_map(|window| {
            let remaining = window.remaining?;
            let reset = window.reset?;
            (remaining <= others && !reset.is_zero()).then_some(reset)
        });
        if let Some(reset) = used_up.max() {
            // Only a 429 is believed that it takes longer than a pass may wait.
            state.quiet_until = state.quiet_until.max(Some(now + (reset + MARGIN).min(MAX_WAIT)));
        }
        let rest = limits
            .retry_after
            .filter(|rest| status.is_server_error() && !rest.is_zero());
        if let Some(rest) = rest.filter(|rest| *rest <= MAX_REST) {
            state.quiet_until = state.quiet_until.max(Some(now + rest));
        }
        Heard { block: None, rest }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state();
        state.in_flight = state.in_flight.saturating_sub(1);
    }
}

impl State {
    fn block(&mut self, limits: &Limits, sent: Instant, now: Instant) -> Block {
        let begins = self.blocked_until.is_none_or(|until| until <= sent);
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
        let until = self.quiet_until.unwrap_or(now);
        Block {
            until,
            begins,
            is_waited_for: until <= now + MAX_WAIT,
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
