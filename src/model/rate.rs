//! What is left of a client's rate limit.

use std::time::Duration;

/// How much one client may still ask, so that another process can go on from there. What is not known is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateState {
    /// Requests that may still be made until the window ends: what the server said is left, less those that it cannot have
    /// counted yet, and less the reserve. Of several windows, the one with the least.
    pub remaining: Option<u64>,
    /// Until the end of that window.
    pub resets_in: Option<Duration>,
    /// Until the end of the block. `None` where there is none, or one too long for a pass to wait for.
    pub blocked_for: Option<Duration>,
}

impl RateState {
    /// Nothing is known that lasts.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// How much a server lets one client ask, as far as it has said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// In each window: less than the server says, by what is left to others.
    pub requests: u64,
    /// The longest time until its end that the server has told of.
    pub window: Duration,
}
