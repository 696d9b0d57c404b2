//! What is asked for, one request each.

use crate::{
    calcom::{Reach, address_bytes},
    model::{ClientId, Target, UserId},
};

use super::frontier::UnitId;

/// A user to be asked for by its id.
#[derive(Clone, Debug)]
pub(super) struct One {
    pub(super) target: Target,
    pub(super) unit: Option<UnitId>,
    /// An answer to a request by addresses did not contain the user.
    pub(super) missed: bool,
}

/// Users to be asked for by their addresses, ids ascending.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    pub(super) targets: Vec<Target>,
    pub(super) units: Vec<Option<UnitId>>,
    /// They were missing from an answer that had so many other users, and may have been cut off.
    pub(super) cut_at: Option<usize>,
    /// A request for them was refused, and one of them was found by its id since then.
    pub(super) on_trial: bool,
    bytes: usize,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    One(One),
    Many(Batch),
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.targets.len()
    }

    pub(super) fn push(&mut self, target: Target, unit: Option<UnitId>, bytes: usize) {
        self.targets.push(target);
        self.units.push(unit);
        self.bytes += bytes;
    }

    /// Whether one more user of so many bytes is within what a request may ask for.
    pub(super) fn has_room(&self, bytes: usize, reach: &Reach) -> bool {
        self.len() < reach.users && self.bytes + bytes <= reach.address_bytes
    }

    pub(super) fn place_of(&self, user: UserId) -> Option<usize> {
        self.targets.binary_search_by_key(&user, |target| target.id).ok()
    }

    pub(super) fn take_first(&mut self) -> Option<(Target, Option<UnitId>)> {
        let target = (!self.targets.is_empty()).then(|| self.targets.remove(0))?;
        Some((target, self.units.remove(0)))
    }

    /// Those of whom nothing was seen.
    pub(super) fn without(self, is_seen: &[bool]) -> Self {
        let mut left = Self {
            cut_at: self.cut_at,
            ..Self::default()
        };
        let users = self.targets.into_iter().zip(self.units).zip(is_seen);
        for ((target, unit), _) in users.filter(|(_, is_seen)| !**is_seen) {
            left.push(target, unit, 0);
        }
        left
    }

    /// After an answer that had so many other users.
    pub(super) fn cut_at(self, records: usize) -> Self {
        Self {
            cut_at: Some(records),
            ..self
        }
    }

    /// Each user by its id.
    pub(super) fn one_by_one(self, missed: bool) -> impl DoubleEndedIterator<Item = Ask> {
        self.targets
            .into_iter()
            .zip(self.units)
            .map(move |(target, unit)| Ask::One(One { target, unit, missed }))
    }

    /// Both halves as they are, also where that is one user.
    pub(super) fn split(mut self) -> [Self; 2] {
        let middle = self.len() / 2;
        let second = Self {
            targets: self.targets.split_off(middle),
            units: self.units.split_off(middle),
            cut_at: self.cut_at,
            ..Self::default()
        };
        self.on_trial = false;
        [self, second]
    }

    /// The same users in requests that are within this reach, and in half of this one at most.
    pub(super) fn halves(self, client: &ClientId, reach: &Reach) -> Vec<Ask> {
        let half = Reach {
            users: reach.users.min(self.len().div_ceil(2)),
            ..*reach
        };
        self.cut(client, &half)
    }

    /// The same users in requests that are within this reach.
    pub(super) fn cut(self, client: &ClientId, reach: &Reach) -> Vec<Ask> {
        let mut batches = Batches::new(client, self.cut_at);
        let mut asks = Vec::new();
        for (target, unit) in self.targets.into_iter().zip(self.units) {
            batches.add(target, unit, reach, &mut asks);
        }
        asks.extend(batches.rest());
        asks
    }
}

/// Collects users until a request is full.
#[derive(Debug)]
pub(super) struct Batches<'a> {
    client: &'a ClientId,
    cut_at: Option<usize>,
    open: Batch,
}

impl<'a> Batches<'a> {
    pub(super) fn new(client: &'a ClientId, cut_at: Option<usize>) -> Self {
        Self {
            client,
            cut_at,
            open: Batch::default(),
        }
    }

    /// Adds a user, and gives the requests that are full by that to `asks`. Whoever cannot be asked for by address is asked for by id.
    pub(super) fn add(&mut self, target: Target, unit: Option<UnitId>, reach: &Reach, asks: &mut Vec<Ask>) {
        let bytes = target
            .email
            .as_deref()
            .filter(|_| reach.by_addresses)
            .and_then(|email| address_bytes(email, self.client))
            .filter(|bytes| *bytes <= reach.address_bytes);
        let Some(bytes) = bytes else {
            asks.push(Ask::One(One {
                target,
                unit,
                missed: false,
            }));
            return;
        };
        if !self.open.has_room(bytes, reach) {
            asks.extend(self.rest());
        }
        self.open.push(target, unit, bytes);
        if self.open.len() >= reach.users {
            asks.extend(self.rest());
        }
    }

    /// What is not full yet. A single user is asked for by its id, which costs the same and proves more.
    pub(super) fn rest(&mut self) -> Option<Ask> {
        let batch = Batch {
            cut_at: self.cut_at,
            ..std::mem::take(&mut self.open)
        };
        match batch.len() {
            0 => None,
            1 => batch.one_by_one(false).next(),
            _ => Some(Ask::Many(batch)),
        }
    }
}
