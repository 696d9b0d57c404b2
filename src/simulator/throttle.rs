//! The rate limit: a fixed window from the first hit, and a block for whoever goes over.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How many requests the simulator takes from one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Hits a window for one `x-cal-client-id`; 0: no limit at all, for nobody.
    pub per_client: u32,
    /// Hits a window for one IP, for requests without that header; 0: no limit for them.
    pub per_ip: u32,
    pub window: Duration,
    /// How long a caller that went over is refused. Hits meanwhile count, so that hammering blocks again.
    pub block: Duration,
}

impl RateLimit {
    pub const OFF: Self = Self {
        per_client: 0,
        per_ip: 0,
        window: Duration::from_secs(60),
        block: Duration::from_secs(60),
    };
}

impl Default for RateLimit {
    /// The hosted service's.
    fn default() -> Self {
        Self {
            per_client: 500,
            per_ip: 120,
            ..Self::OFF
        }
    }
}

/// Whom a request is counted for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tracker {
    Client(String),
    Ip(IpAddr),
}

/// What the rate limit says to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// Seconds until the window, or the block, ends.
    pub(super) reset: i64,
    pub(super) blocked: bool,
}

/// What is used of a client's rate limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Hits in the window that is open now; 0 when there is none, or no limit.
    pub hits: u32,
    /// Whether a request would be refused now.
    pub blocked: bool,
    /// How often going over has begun a block.
    pub blocks: u64,
    /// Requests that were answered by a 429.
    pub refused: u64,
}

#[derive(Debug)]
pub(super) struct Throttle(Mutex<Buckets>);

#[derive(Debug)]
struct Buckets {
    limit: RateLimit,
    by_tracker: HashMap<Tracker, Bucket>,
}

/// Times are milliseconds since the epoch. The two ends are apart, as in the server's Redis: a window can begin within
/// a block.
#[derive(Debug, Default)]
struct Bucket {
    hits: u32,
    window_ends: i64,
    block_ends: i64,
    blocks: u64,
    refused: u64,
}

impl Bucket {
    fn count(&mut self, hits: u32, limit: u32, times: RateLimit, now: i64) {
        if self.window_ends <= now {
            self.hits = 0;
            self.window_ends = now.saturating_add(millis(times.window));
        }
        self.hits = self.hits.saturating_add(hits);
        if self.block_ends <= now && self.hits > limit {
            self.block_ends = now.saturating_add(millis(times.block));
            self.blocks += 1;
        }
    }
}

impl Buckets {
    /// How many hits a window are let through; `None` where the limit is off.
    fn limit(&self, tracker: &Tracker) -> Option<u32> {
        let limit = match tracker {
            Tracker::Client(_) => self.limit.per_client,
            Tracker::Ip(_) => self.limit.per_ip,
        };
        (self.limit.per_client > 0 && limit > 0).then_some(limit)
    }
}

impl Throttle {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self(Mutex::new(Buckets {
            limit,
            by_tracker: HashMap::new(),
        }))
    }

    /// Replaces the limit and forgets every hit and block.
    pub(super) fn set(&self, limit: RateLimit) {
        *self.lock() = Buckets {
            limit,
            by_tracker: HashMap::new(),
        };
    }

    /// Counts one hit. `None` where the limit is off.
    pub(super) fn hit(&self, tracker: Tracker, now: i64) -> Option<Verdict> {
        let mut buckets = self.lock();
        let (limit, times) = (buckets.limit(&tracker)?, buckets.limit);
        let bucket = buckets.by_tracker.entry(tracker).or_default();
        bucket.count(1, limit, times, now);
        let blocked = bucket.block_ends > now;
        bucket.refused += u64::from(blocked);
        let ends = if blocked {
            bucket.block_ends
        } else {
            bucket.window_ends
        };
        Some(Verdict {
            limit,
            remaining: if blocked { 0 } else { limit - bucket.hits },
            reset: (ends - now + 999) / 1000,
            blocked,
        })
    }

    /// Counts hits that nobody waits for.
    pub(super) fn burn(&self, tracker: Tracker, hits: u32, now: i64) {
        let mut buckets = self.lock();
        if let Some(limit) = buckets.limit(&tracker)
            && hits > 0
        {
            let times = buckets.limit;
            let bucket = buckets.by_tracker.entry(tracker).or_default();
            bucket.count(hits, limit, times, now);
        }
    }

    pub(super) fn budget(&self, tracker: &Tracker, now: i64) -> Budget {
        let buckets = self.lock();
        buckets
            .by_tracker
            .get(tracker)
            .map_or_else(Budget::default, |bucket| Budget {
                hits: if bucket.window_ends > now { bucket.hits } else { 0 },
                blocked: bucket.block_ends > now,
                blocks: bucket.blocks,
                refused: bucket.refused,
            })
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle() -> Throttle {
        Throttle::new(RateLimit {
            per_client: 2,
            per_ip: 1,
            ..RateLimit::OFF
        })
    }

    fn client() -> Tracker {
        Tracker::Client("clx0".to_owned())
    }

    #[test]
    fn the_window_begins_with_the_first_hit() {
        let throttle = throttle();
        let first = throttle.hit(client(), 1_000).expect("the limit is on");
        assert_eq!((first.remaining, first.reset, first.blocked), (1, 60, false));
        let second = throttle.hit(client(), 30_500).expect("the limit is on");
        assert_eq!((second.remaining, second.reset, second.blocked), (0, 31, false));
        let next = throttle.hit(client(), 61_000).expect("the limit is on");
        assert_eq!((next.remaining, next.reset, next.blocked), (1, 60, false));
    }

    #[test]
    fn going_over_blocks_from_that_hit_on() {
        let throttle = throttle();
        for now in [0, 1, 50_000] {
            throttle.hit(client(), now);
        }
        let still = throttle.hit(client(), 70_000).expect("the limit is on");
        assert_eq!((still.remaining, still.reset, still.blocked), (0, 40, true));
        // The hit at 70 s began a window of its own.
        let after = throttle.hit(client(), 110_000).expect("the limit is on");
        assert_eq!((after.remaining, after.reset, after.blocked), (0, 20, false));
    }

    #[test]
    fn hammering_through_a_block_blocks_again() {
        let throttle = throttle();
        for now in [0, 1, 2, 60_001, 60_001, 60_001] {
            throttle.hit(client(), now);
        }
        let again = throttle.hit(client(), 60_002).expect("the limit is on");
        assert_eq!((again.reset, again.blocked), (60, true));
    }

    #[test]
    fn a_budget_tells_what_was_used_and_how_often_it_blocked() {
        let throttle = throttle();
        assert_eq!(throttle.budget(&client(), 0), Budget::default());
        throttle.burn(client(), 2, 0);
        let used = Budget {
            hits: 2,
            ..Budget::default()
        };
        assert_eq!(throttle.budget(&client(), 59_999), used);
        assert_eq!(throttle.budget(&client(), 60_000), Budget::default());
        // A burnt hit begins a window as any other one does.
        let next = throttle.hit(client(), 60_500).expect("the limit is on");
        assert_eq!((next.remaining, next.reset), (1, 60));
        throttle.burn(client(), 2, 60_501);
        assert!(throttle.hit(client(), 60_502).expect("the limit is on").blocked);
        let blocked = Budget {
            hits: 4,
            blocked: true,
            blocks: 1,
            refused: 1,
        };
        assert_eq!(throttle.budget(&client(), 60_502), blocked);
        throttle.burn(client(), 0, 200_000);
        let over = Budget {
            hits: 0,
            blocked: false,
            ..blocked
        };
        assert_eq!(throttle.budget(&client(), 200_000), over);
    }

    #[test]
    fn callers_are_counted_apart_and_the_limit_can_be_off() {
        let throttle = throttle();
        let ip = Tracker::Ip(IpAddr::from([127, 0, 0, 1]));
        assert_eq!(throttle.hit(ip.clone(), 0).expect("the limit is on").limit, 1);
        assert!(throttle.hit(ip.clone(), 0).expect("the limit is on").blocked);
        assert!(!throttle.hit(client(), 0).expect("the limit is on").blocked);
        throttle.set(RateLimit::OFF);
        assert_eq!(throttle.hit(ip, 0), None);
    }
}
