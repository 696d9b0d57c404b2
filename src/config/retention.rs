//! `[retention]`.

use super::{Retention, reading::Reading, section::Section, tree::Table};

pub(super) const KEYS: [&str; 3] = ["no_change_runs_days", "rejects_days", "ledger_days"];

/// A hundred years.
const MAX_DAYS: u32 = 36_500;

impl Default for Retention {
    fn default() -> Self {
        Self {
            no_change_runs_days: 90,
            rejects_days: 90,
            ledger_days: 0,
        }
    }
}

pub(super) fn read(root: &Table, reading: &mut Reading<'_>) -> Retention {
    let section = Section::of(root, "retention", &KEYS, reading);
    let default = Retention::default();
    let mut days = |key, default| section.whole(key, 0..=MAX_DAYS, default, reading);
    Retention {
        no_change_runs_days: days("no_change_runs_days", default.no_change_runs_days),
        rejects_days: days("rejects_days", default.rejects_days),
        ledger_days: days("ledger_days", default.ledger_days),
    }
}

impl Retention {
    /// Whether nothing is ever deleted.
    pub fn keeps_everything(&self) -> bool {
        let Self {
            no_change_runs_days,
            rejects_days,
            ledger_days,
        } = *self;
        [no_change_runs_days, rejects_days, ledger_days] == [0; 3]
    }
}
