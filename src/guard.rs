//! Whether a set of removals may be applied. Pure, and the last line between a broken upstream and an empty table.

use crate::model::HeldReason;

/// How many removals one pass may apply on its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub max_count: u32,
    /// Of the client's live users, 0 to 100.
    pub max_percent: f64,
}

/// What the guard says of a set of removals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Apply,
    Hold(HeldReason),
}

/// Decides over `removals` users of a client that has `live` ones, of whom `present` answered in the same pass.
pub fn decide(removals: u64, live: u64, present: u64, limits: Limits) -> Verdict {
    if removals == 0 {
        Verdict::Apply
    } else if present == 0 {
        Verdict::Hold(HeldReason::NoControl)
    } else if removals >= live {
        Verdict::Hold(HeldReason::Everyone)
    } else if removals > limit(live, limits) {
        Verdict::Hold(HeldReason::Limit)
    } else {
        Verdict::Apply
    }
}

/// The most users of `live` that one pass may remove on its own.
pub fn limit(live: u64, limits: Limits) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of users is far below 2^52, and the percentage is between 0 and 100"
    )]
    let share = (live as f64 * limits.max_percent / 100.0).floor() as u64;
    share.max(u64::from(limits.max_count))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        max_count: 5,
        max_percent: 10.0,
    };

    #[test]
    fn the_larger_of_count_and_share_is_the_limit() {
        assert_eq!(decide(5, 20, 15, LIMITS), Verdict::Apply);
        assert_eq!(decide(6, 20, 14, LIMITS), Verdict::Hold(HeldReason::Limit));
        assert_eq!(decide(100, 1000, 900, LIMITS), Verdict::Apply);
        assert_eq!(decide(101, 1000, 899, LIMITS), Verdict::Hold(HeldReason::Limit));
    }

    #[test]
    fn everyone_is_held_however_few() {
        assert_eq!(decide(1, 1, 1, LIMITS), Verdict::Hold(HeldReason::Everyone));
        assert_eq!(decide(2, 3, 1, LIMITS), Verdict::Apply);
    }

    #[test]
    fn nobody_is_removed_without_a_control() {
        assert_eq!(decide(1, 100, 0, LIMITS), Verdict::Hold(HeldReason::NoControl));
        assert_eq!(decide(0, 100, 0, LIMITS), Verdict::Apply);
    }
}
