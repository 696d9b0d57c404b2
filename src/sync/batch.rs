//! Users that are compared and written together.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Pass, apply::bounded, queue::Sighting, spelled::Spelled};
use crate::{
    calcom::Source,
    compare::{self, ChangeSet, Known},
    model::{ClientId, Observation, UserId},
    store::{Error, Inserts, Run},
};

/// A batch, and what it comes to if the mirror is still as it was when the batch was compared.
#[derive(Debug)]
pub(super) struct Batch {
    /// Of a user that was seen twice, the second time is of no account: lists of a source may overlap. The other is seen in the
    /// next pass.
    sightings: Arc<Vec<Sighting>>,
    users: HashSet<UserId>,
    /// Taken by the first attempt to write it.
    pub(super) compared: Option<Result<Compared, Error>>,
}

/// What a batch comes to.
#[derive(Debug)]
pub(super) struct Compared {
    pub(super) set: ChangeSet,
    /// Of a set that inserts many users, as the database takes them.
    pub(super) inserts: Option<Inserts>,
}

impl Batch {
    /// Each user once.
    pub(super) fn observed(&self) -> impl Iterator<Item = &Observation> + Clone {
        self.only_once().iter().map(|sighting| &sighting.observation)
    }

    fn only_once(&self) -> &[Sighting] {
        &self.sightings[..self.users.len()]
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

    /// Whether most of its users are new.
    pub(super) fn is_of_new_users(&self) -> bool {
        matches!(&self.compared, Some(Ok(compared)) if compared.set.inserts.len() * 2 > self.len())
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
        let compared = self.compare(&batch).await;
        batch.compared = Some(compared);
        batch
    }

    /// What the batch comes to now. New fields are left out: they depend on the batches before.
    pub(super) async fn compare(&self, batch: &Batch) -> Result<Compared, Error> {
        let ids: Vec<UserId> = batch.observed().map(Observation::user_id).collect();
        // Where there are no tables, nobody is known.
        let known = if self.tables {
            let store = self.pass.store;
            bounded(store.known_to(&self.pass.client.id, self.run, &ids)).await?
        } else {
            HashMap::new()
        };
        let comparison = Comparison {
            client: self.pass.client.id.clone(),
            sightings: Arc::clone(&batch.sightings),
            once: batch.len(),
            known,
            renews: self.renews,
            writes: self.run.is_some(),
        };
        // Thousands of users take milliseconds, in which nothing else of the pass would go on.
        match tokio::task::spawn_blocking(move || comparison.made()).await {
            Ok(compared) => compared,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::Unavailable("the program ends".to_owned())),
            },
        }
    }

    pub(super) fn spelled<'b>(&'b self, batch: &'b Batch) -> Spelled<'b> {
        Spelled {
            client: &self.pass.client.id,
            batch: batch.only_once(),
            renews: self.renews,
        }
    }
}

/// A batch and what the mirror knows of it, to be compared.
struct Comparison {
    client: ClientId,
    sightings: Arc<Vec<Sighting>>,
    /// So many of them, the first, are of one user each.
    once: usize,
    known: HashMap<UserId, Known>,
    renews: bool,
    writes: bool,
}

impl Comparison {
    fn made(self) -> Result<Compared, Error> {
        let spelled = Spelled {
            client: &self.client,
            batch: &self.sightings[..self.once],
            renews: self.renews,
        };
        let observed = spelled.batch.iter().map(|sighting| sighting.observation.clone());
        let mut set = compare::diff(&self.client, observed.collect(), &self.known);
        set.bookkeeping.fingerprints = spelled.of(&set, &self.known);
        let inserts = if self.writes {
            Inserts::of(&self.client, &set)?
        } else {
            None
        };
        Ok(Compared { set, inserts })
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
        sightings: Arc::new(sightings),
        users,
        compared: None,
    }
}
