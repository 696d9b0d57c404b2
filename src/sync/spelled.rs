//! In which bytes records came, as opposed to what they say.

use std::collections::{HashMap, HashSet};

use super::queue::Sighting;
use crate::{
    compare::{ChangeSet, Known},
    model::{ClientId, Fingerprint, UserId},
};

/// A batch as it was spelled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spelled<'a> {
    pub(super) client: &'a ClientId,
    pub(super) batch: &'a [Sighting],
    /// Fingerprints are also written for users that did not change and came in other bytes.
    pub(super) renews: bool,
}

impl Spelled<'_> {
    /// The fingerprints to be written with a change set: of users that it changes, and of those that have none yet.
    ///
    /// An equal record in other bytes writes nothing otherwise: a server of two spellings would have each pass write all users.
    pub(super) fn of(&self, set: &ChangeSet, known: &HashMap<UserId, Known>) -> Vec<(UserId, Fingerprint)> {
        let changed: HashSet<UserId> = set.changes().map(|change| change.user_id()).collect();
        let is_ours = |user: &UserId| {
            known.get(user).is_some_and(|known| {
                !known.forgotten
                    && known
                        .mirrored
                        .as_ref()
                        .is_some_and(|mirrored| !mirrored.removed && mirrored.client_id == *self.client)
            })
        };
        self.batch
            .iter()
            .filter_map(|sighting| Some((sighting, sighting.fingerprint?)))
            .map(|(sighting, print)| (sighting, sighting.observation.user_id(), print))
            .filter(|(sighting, user, print)| {
                changed.contains(user)
                    || (sighting.expected != Some(*print)
                        && (sighting.expected.is_none() || self.renews)
                        && is_ours(user))
            })
            .map(|(_, user, print)| (user, print))
            .collect()
    }

    /// Users that did not change, and came in other bytes than those of their fingerprint.
    pub(super) fn respelled(&self, set: &ChangeSet) -> u64 {
        let changed: HashSet<UserId> = set.changes().map(|change| change.user_id()).collect();
        let is_respelled = |sighting: &&Sighting| {
            sighting.fingerprint.is_some()
                && sighting.expected.is_some()
                && sighting.expected != sighting.fingerprint
                && !changed.contains(&sighting.observation.user_id())
        };
        self.batch.iter().filter(is_respelled).count() as u64
    }
}
