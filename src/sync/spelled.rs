//! In which bytes records came, as opposed to what they say.

use std::collections::{HashMap, HashSet};

use super::queue::Sighting;
use crate::{
    compare::{ChangeSet, Known, VersionFingerprint},
    model::{ClientId, UserId},
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
    pub(super) fn of(&self, set: &ChangeSet, known: &HashMap<UserId, Known>) -> Vec<VersionFingerprint> {
        let changed: HashMap<UserId, i32> = set
            .changes()
            .map(|change| (change.user_id(), change.version))
            .collect();
        let unchanged = |user: &UserId| {
            let known = known.get(user).filter(|known| !known.forgotten)?;
            let mirrored = known.mirrored.as_ref()?;
            (!mirrored.removed && mirrored.client_id == *self.client).then_some(mirrored.version)
        };
        self.batch
            .iter()
            .filter_map(|sighting| {
                let user_id = sighting.observation.user_id();
                let fingerprint = sighting.fingerprint?;
                let version = match changed.get(&user_id) {
                    Some(version) => *version,
                    None if sighting.expected == Some(fingerprint) => return None,
                    None if sighting.expected.is_some() && !self.renews => return None,
                    None => unchanged(&user_id)?,
                };
                Some(VersionFingerprint {
                    user_id,
                    version,
                    fingerprint,
                })
            })
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
