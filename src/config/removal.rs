//! `[removal]`.

use std::time::Duration;

use super::{Removal, reading::Reading, section::Section, tree::Table};

pub(super) const KEYS: [&str; 4] = ["confirmations", "min_age_s", "max_count", "max_percent"];

/// Thirty days: a user who answers 404 for longer is gone by any measure.
const MAX_MIN_AGE_S: u64 = 30 * 24 * 60 * 60;

impl Default for Removal {
    fn default() -> Self {
        Self {
            confirmations: 2,
            min_age: Duration::from_secs(60),
            max_count: 5,
            max_percent: 10.0,
        }
    }
}

pub(super) fn read(root: &Table, reading: &mut Reading<'_>) -> Removal {
    let section = Section::of(root, "removal", &KEYS, reading);
    let default = Removal::default();
    let min_age_s = section.whole("min_age_s", 0..=MAX_MIN_AGE_S, default.min_age.as_secs(), reading);
    Removal {
        confirmations: section.whole("confirmations", 1..=100, default.confirmations, reading),
        min_age: Duration::from_secs(min_age_s),
        max_count: section.whole("max_count", 0..=1_000_000, default.max_count, reading),
        max_percent: section.number("max_percent", 0.0..=100.0, default.max_percent, reading),
    }
}
