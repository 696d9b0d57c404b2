//! How far a pass has come, in the order of ids.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::model::UserId;

/// So many users in a row are told of together.
pub(super) const UNIT: usize = 250;

/// Runs of users that were asked for and are not all dealt with. The pass can be gone on from where the first of them begins.
///
/// A user about whom nothing was learned stays where it is, so that a pass that goes on asks for it again.
#[derive(Debug, Default)]
pub(super) struct Frontier(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Everyone up to here is dealt with.
    done_to: Option<UserId>,
    /// Ascending.
    units: VecDeque<Unit>,
    /// Units that are over and gone.
    passed: u64,
    /// Stays where it is.
    still: bool,
}

#[derive(Debug)]
struct Unit {
    last: UserId,
    left: usize,
}

/// Users that are told of together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnitId(u64);

impl Frontier {
    pub(super) fn starting_after(done_to: Option<UserId>) -> Self {
        Self(Mutex::new(State {
            done_to,
            ..State::default()
        }))
    }

    /// Opens a unit for the next users, of whom `last` has the highest id, and so many are to be asked for.
    pub(super) fn open(&self, last: UserId, users: usize) -> UnitId {
        let mut state = self.state();
        let id = UnitId(state.passed + state.units.len() as u64);
        state.units.push_back(Unit { last, left: users });
        state.advance();
        id
    }

    /// Users of this unit are dealt with.
    pub(super) fn done(&self, unit: UnitId, users: usize) {
        let mut state = self.state();
        let place = unit
            .0
            .checked_sub(state.passed)
            .and_then(|place| usize::try_from(place).ok());
        if let Some(unit) = place.and_then(|place| state.units.get_mut(place)) {
            unit.left = unit.left.saturating_sub(users);
        }
        state.advance();
    }

    /// Users are dealt with out of order from here on, so that no place is one to go on from but the first.
    pub(super) fn stay(&self) {
        self.state().still = true;
    }

    /// Every user that is to be asked for and has an id up to this one is dealt with.
    pub(super) fn done_to(&self) -> Option<UserId> {
        self.state().done_to
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn advance(&mut self) {
        while let Some(unit) = self.units.pop_front_if(|unit| unit.left == 0) {
            self.passed += 1;
            if !self.still {
                self.done_to = Some(unit.last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_done_before_all_that_comes_before_it() {
        let frontier = Frontier::starting_after(Some(UserId(5)));
        let first = frontier.open(UserId(10), 2);
        let second = frontier.open(UserId(20), 1);
        frontier.done(second, 1);
        assert_eq!(frontier.done_to(), Some(UserId(5)));
        frontier.done(first, 1);
        assert_eq!(frontier.done_to(), Some(UserId(5)));
        frontier.done(first, 1);
        assert_eq!(frontier.done_to(), Some(UserId(20)));
        frontier.open(UserId(30), 0);
        assert_eq!(frontier.done_to(), Some(UserId(30)), "nobody was to be asked for");
    }

    proptest! {
        #[test]
        fn whatever_the_order_the_frontier_is_the_first_gap(
            sizes in proptest::collection::vec(0_usize..4, 1..20),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let frontier = Frontier::default();
            let mut left = sizes.clone();
            let units: Vec<_> = sizes
                .iter()
                .enumerate()
                .map(|(place, users)| frontier.open(UserId(place as i64), *users))
                .collect();
            for index in order {
                let place = index.index(units.len());
                if left[place] > 0 {
                    left[place] -= 1;
                    frontier.done(units[place], 1);
                }
                let gap = left.iter().position(|left| *left > 0).unwrap_or(left.len());
                let expected = gap.checked_sub(1).map(|place| UserId(place as i64));
                prop_assert_eq!(frontier.done_to(), expected);
            }
        }
    }
}
