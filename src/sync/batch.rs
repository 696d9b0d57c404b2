//! Users that are compared and written together.

use std::collections::{HashMap, HashSet};

use super::{Pass, apply::bounded, queue::Sighting, spelled::Spelled};
use crate::{
    calcom::Source,
    compare::{self, ChangeSet},
    model::{Observation, UserId},
    store::{Error, Run},
};

/// A batch, and what it comes to if the mirror is still as it was when the batch was compared.
#[derive(Debug)]
pub(super) struct Batch {
    /// Of a user that was seen twice, the second time is of no account: lists of a source may overlap. The other is seen in the
    /// next pass.
    sightings: Vec<Sighting>,
    users: HashSet<UserId>,
    /// Taken by the first attempt to write it.
    pub(super) compared: Option<Result<ChangeSet, Error>>,
}

impl Batch {
    /// Each user once.
    pub(super) fn observed(&self) -> impl Iterator<Item = &Observation> + Clone {
        self.sightings[..self.users.len()]
            .iter()
            .map(|sighting| &sighting.observation)
    }

    /// All of them, for giving back what they take.
    pub(super) fn sightings(&self) -> &[Sighting] {
        &self.sightings
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// Was it compared before the users of another batch were written, some of whom are its own?
    pub(super) fn shares_users(&self, other: &HashSet<UserId>) -> bool {
        !self.users.is_disjoint(other)
    }

    pub(super) fn users(&self) -> &HashSet<UserId> {
        &self.users
    }
}

/// Holds batches against what the mirror knows.
pub(super) struct Reader<'a, 'p, S> {
    pub(super) pass: &'a Pass<'p, S>,
    /// None for a pass that only looks.
    pub(super) run: Option<&'a Run>,
    /// The database has tables.
    pub(super) tables: bool,
    /// Fingerprints are also written for users that did not change and came in other bytes.
    pub(super) renews: bool,
}

impl<S: Source> Reader<'_, '_, S> {
    pub(super) async fn read(&self, sightings: Vec<Sighting>) -> Batch {
        let mut batch = only_once(sightings);
        batch.compared = Some(self.compare(&batch).await);
        batch
    }

    /// What the batch comes to now. New fields are left out: they depend on the batches before.
    pub(super) async fn compare(&self, batch: &Batch) -> Result<ChangeSet, Error> {
        let ids: Vec<UserId> = batch.observed().map(Observation::user_id).collect();
        // Where there are no tables, nobody is known.
        let known = if self.tables {
            let store = self.pass.store;
            bounded(store.known_to(&self.pass.client.id, self.run, &ids)).await?
        } else {
            HashMap::new()
        };
        let observed: Vec<Observation> = batch.observed().cloned().collect();
        let mut set = compare::diff(&self.pass.client.id, observed, &known);
        set.bookkeeping.fingerprints = self.spelled(batch).of(&set, &known);
        Ok(set)
    }

    pub(super) fn spelled<'b>(&'b self, batch: &'b Batch) -> Spelled<'b> {
        Spelled {
            client: &self.pass.client.id,
            batch: &batch.sightings[..batch.users.len()],
            renews: self.renews,
        }
    }
}

/// Those who were seen twice come last.
fn only_once(sightings: Vec<Sighting>) -> Batch {
    let mut users = HashSet::with_capacity(sightings.len());
    let (mut sightings, again): (Vec<_>, Vec<_>) = sightings
        .into_iter()
        .partition(|sighting| users.insert(sighting.observation.user_id()));
    sightings.extend(again);
    Batch {
        sightings,
        users,
        compared: None,
    }
}
