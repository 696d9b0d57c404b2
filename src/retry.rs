//! When a failed try is worth another one.
//!
//! Two bounds hold together: so many tries of one thing, and so many retries for all things, so that a source in
//! trouble is not asked three times as often as one in health.

use std::time::Duration;

/// How often one thing is tried, and how long to wait in between.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The first one included.
    pub max_tries: u32,
    /// The longest wait before the second try; it doubles with each further one.
    pub first_wait: Duration,
    pub max_wait: Duration,
}

impl Policy {
    /// What is to be done after `tries` failed ones, at least one.
    ///
    /// The wait has full jitter: it is `random`, from 0 up to 1, of the exponential one. Callers that failed together
    /// must not come back together, and jitter that is only added to a fixed wait (what backon has) leaves them close.
    pub fn after(&self, tries: u32, reserve: &mut Reserve, random: f64) -> Next {
        if tries >= self.max_tries {
            return Next::GiveUp(Why::Tries);
        }
        if !reserve.take() {
            return Next::GiveUp(Why::Reserve);
        }
        Next::Wait(self.wait(tries, random))
    }

    /// How long to wait after `tries` failed ones, whatever the bounds on tries.
    pub fn wait(&self, tries: u32, random: f64) -> Duration {
        let doublings = tries.saturating_sub(1).min(16);
        let longest = self.first_wait.saturating_mul(1 << doublings).min(self.max_wait);
        longest.mul_f64(random.clamp(0.0, 1.0))
    }
}

/// What to do about a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Wait(Duration),
    GiveUp(Why),
}

/// The bound that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Tries,
    Reserve,
}

/// Retries that may still be made: each first try earns a fifth of one.
#[derive(Debug)]
pub struct Reserve {
    fifths: u32,
}

impl Reserve {
    /// One retry for five first tries: 20 %.
    const COST: u32 = 5;
    /// Ten retries, so that a small client also gets over a hiccup.
    const START: u32 = 10 * Self::COST;
    /// A hundred retries: what a long time of health earns is no licence for a storm.
    const MAX: u32 = 100 * Self::COST;

    /// To be called once for each thing that is tried, however often that is.
    pub fn earn(&mut self) {
        self.fifths = (self.fifths + 1).min(Self::MAX);
    }

    fn take(&mut self) -> bool {
        match self.fifths.checked_sub(Self::COST) {
            Some(rest) => {
                self.fifths = rest;
                true
            }
            None => false,
        }
    }
}

impl Default for Reserve {
    fn default() -> Self {
        Self { fifths: Self::START }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        max_tries: 3,
        first_wait: Duration::from_millis(500),
        max_wait: Duration::from_secs(8),
    };

    #[test]
    fn a_third_failure_is_the_last() {
        let mut reserve = Reserve::default();
        assert!(matches!(POLICY.after(1, &mut reserve, 0.5), Next::Wait(_)));
        assert!(matches!(POLICY.after(2, &mut reserve, 0.5), Next::Wait(_)));
        assert_eq!(POLICY.after(3, &mut reserve, 0.5), Next::GiveUp(Why::Tries));
    }

    #[test]
    fn waits_reach_from_nothing_to_the_doubled_bound() {
        let wait = |tries, random| {
            let policy = Policy {
                max_tries: u32::MAX,
                ..POLICY
            };
            policy.after(tries, &mut Reserve::default(), random)
        };
        assert_eq!(wait(1, 0.0), Next::Wait(Duration::ZERO));
        assert_eq!(wait(1, 1.0), Next::Wait(Duration::from_millis(500)));
        assert_eq!(wait(2, 1.0), Next::Wait(Duration::from_secs(1)));
        assert_eq!(wait(2, 0.5), Next::Wait(Duration::from_millis(500)));
        assert_eq!(wait(1000, 1.0), Next::Wait(Duration::from_secs(8)));
    }

    #[test]
    fn a_source_that_only_fails_gets_a_fifth_more() {
        let mut reserve = Reserve::default();
        let mut retries = 0;
        for _ in 0..1000 {
            reserve.earn();
            for tries in 1.. {
                match POLICY.after(tries, &mut reserve, 0.0) {
                    Next::Wait(_) => retries += 1,
                    Next::GiveUp(_) => break,
                }
            }
        }
        assert_eq!(retries, 10 + 1000 / 5);
    }

    #[test]
    fn health_is_not_saved_up_without_bound() {
        let mut reserve = Reserve::default();
        for _ in 0..1_000_000 {
            reserve.earn();
        }
        let mut retries = 0;
        while matches!(POLICY.after(1, &mut reserve, 0.0), Next::Wait(_)) {
            retries += 1;
        }
        assert_eq!(retries, 100);
    }
}
