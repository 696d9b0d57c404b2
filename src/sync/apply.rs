//! Comparing and, unless the pass only looks, writing: batch by batch, while others are still being fetched.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    BATCH, LARGE_BATCH, Pass,
    beforehand::Beforehand,
    frontier::Frontier,
    plan::Looking,
    queue::{MAX_BATCH_BYTES, Receiver, Sighting},
    report,
    spelled::Spelled,
};
use crate::{
    calcom::Source,
    compare::{self, AnnouncedFields, Change, ChangeSet, Known},
    model::{Observation, UserId},
    store::{Error, Run},
};

/// A batch is written at the latest so long after its first observation, so that a slow pass shows its changes.
const MAX_BATCH_AGE: Duration = Duration::from_secs(5);

/// Long enough for a connection that was cut or a lock that was held; a server that is away for longer is left to the
/// next tick.
const RETRY_DELAYS: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// What a pass does with its batches.
pub(super) enum Hand<'a, 'p> {
    /// Writes what differs, as long as the run is not overtaken.
    Writing(&'a Run),
    /// Shows what differs. Has no run, and so is in nobody's way.
    Looking(&'a mut Looking<'p>),
}

/// What the batches came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) observed: u64,
    /// Users that answered and could be read: what shows that the client is still there.
    pub(super) present: u64,
    pub(super) rejected: u64,
    pub(super) missing: u64,
    /// Unchanged, in other bytes than those of the fingerprint.
    pub(super) respelled: u64,
    /// Fingerprints of such users were written.
    pub(super) renewed: bool,
}

/// Longer than the server's own limits on locks and statements of a call: it is heard out if it speaks at all.
const CALL_LIMIT: Duration = Duration::from_secs(90);

/// Calls that took longer than this have waited for the database already: one more try, to see what came of them, is all.
const RETRY_WITHIN: Duration = Duration::from_secs(5);

/// Tries of one call to the database.
#[derive(Debug)]
pub(super) struct Retries {
    made: usize,
    since: Instant,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            made: 0,
            since: Instant::now(),
        }
    }
}

impl Retries {
    /// Waits until the call may be tried again, or gives the error back when that would not help.
    pub(super) async fn wait(&mut self, error: Error) -> Result<(), Error> {
        match RETRY_DELAYS.get(self.made) {
            Some(delay)
                if error.is_transient() && (self.made == 0 || self.since.elapsed() < RETRY_WITHIN) =>
            {
                if let Error::Busy(_) = error {
                    // Who is in the way may want to know, also when it comes to nothing.
                    tracing::warn!(error = %error, "the database is asked again");
                } else {
                    tracing::debug!(error = %error, "the database is asked again");
                }
                self.made += 1;
                tokio::time::sleep(*delay).await;
                Ok(())
            }
            _ => Err(error),
        }
    }
}

/// Calls the database until it answers, as long as another try may help.
pub(crate) async fn with_retries<T, F>(mut call: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut retries = Retries::default();
    loop {
        match bounded(call()).await {
            Ok(value) => return Ok(value),
            Err(error) => retries.wait(error).await?,
        }
    }
}

/// A call with an end, also when the server is gone without a word.
pub(crate) async fn bounded<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(CALL_LIMIT, call).await.unwrap_or_else(|_| {
        Err(Error::Unavailable(
            "the server went silent in the middle of a call".to_owned(),
        ))
    })
}

/// Takes what comes through the channel until it is closed.
pub(super) async fn take_batches<S: Source>(
    pass: &Pass<'_, S>,
    hand: &mut Hand<'_, '_>,
    mut sightings: Receiver<'_>,
    frontier: &Frontier,
    before: &Beforehand,
) -> (Tally, Result<(), Error>) {
    let mut tally = Tally::default();
    let mut announced = before.announced.clone();
    let mut batch = Vec::with_capacity(BATCH);
    let mut most = BATCH;
    while let Some(is_full) = fill(&mut batch, most, &mut sightings).await {
        let taken = take_batch(pass, hand, &mut tally, &mut announced, before.renews, &batch).await;
        if let Err(error) = taken {
            return (tally, Err(error));
        }
        for unit in batch.iter().filter_map(|sighting| sighting.unit) {
            frontier.done(unit, 1);
        }
        // Where there is much to write, larger batches cost less for each user.
        most = if is_full { LARGE_BATCH } else { BATCH };
        sightings.release(&batch);
        batch.clear();
    }
    (tally, Ok(()))
}

/// Waits for a full batch, the end of the channel, or the batch's time. Whether the batch is full; none when there is nothing any more.
async fn fill(batch: &mut Vec<Sighting>, most: usize, sightings: &mut Receiver<'_>) -> Option<bool> {
    let first = sightings.recv().await?;
    let mut weight = first.observation.weight();
    batch.push(first);
    let more = async {
        while batch.len() < most && weight < MAX_BATCH_BYTES {
            let Some(next) = sightings.recv().await else {
                break;
            };
            weight += next.observation.weight();
            batch.push(next);
        }
    };
    // Whether the batch is full or its time is over makes no difference.
    tokio::time::timeout(MAX_BATCH_AGE, more).await.ok();
    Some(batch.len() >= most || weight >= MAX_BATCH_BYTES)
}

async fn take_batch<S: Source>(
    pass: &Pass<'_, S>,
    hand: &mut Hand<'_, '_>,
    tally: &mut Tally,
    announced: &mut AnnouncedFields,
    renews: bool,
    batch: &[Sighting],
) -> Result<(), Error> {
    // Lists of a source may overlap. Of a user that was seen twice, the first counts; the other is seen in the next pass.
    let mut users = HashSet::with_capacity(batch.len());
    let observed: Vec<Observation> = batch
        .iter()
        .map(|sighting| &sighting.observation)
        .filter(|observation| users.insert(observation.user_id()))
        .cloned()
        .collect();
    let ids: Vec<UserId> = observed.iter().map(Observation::user_id).collect();
    let spelled = Spelled {
        client: &pass.client.id,
        batch,
        renews,
    };
    let mut retries = Retries::default();
    let mut attempted: Option<ChangeSet> = None;
    let mut set_back = false;
    let (run, tables) = match hand {
        Hand::Writing(run) => (Some(*run), true),
        Hand::Looking(looking) => (None, looking.tables),
    };
    let set = loop {
        let known = match bounded(known(pass, run, tables, &ids)).await {
            Ok(known) => known,
            Err(error) => {
                retries.wait(pass.store.name_holder(error).await).await?;
                continue;
            }
        };
        let mut set = compare::diff(&pass.client.id, observed.clone(), &known);
        set.bookkeeping.new_fields = announced.new_in(&observed);
        set.bookkeeping.fingerprints = spelled.of(&set, &known);
        if let Some(attempted) = &attempted {
            log_what_was_written(pass, attempted, &set);
        }
        let Some(run) = run.filter(|_| !set.writes_nothing()) else {
            break set;
        };
        let error = match bounded(pass.store.apply(run, &set)).await {
            Ok(()) => break set,
            Err(error) => error,
        };
        if let Error::Edited(users) = &error
            && !set_back
        {
            attempted = None;
            set_back = true;
            pass.set_back(run, users).await?;
            continue;
        }
        // Of a conflict it is known that nothing was written.
        attempted = (error != Error::Conflict).then_some(set);
        retries.wait(pass.store.name_holder(error).await).await?;
    };
    match hand {
        Hand::Writing(_) => {
            set.changes().for_each(|change| report::log_change(pass, change));
            report::log_new_fields(pass, &set.bookkeeping.new_fields);
        }
        Hand::Looking(looking) => looking.see(&set),
    }
    if let Some(progress) = pass.progress {
        progress.changed(set.changes().count() as u64);
    }
    announced.announce(&set.bookkeeping.new_fields);
    tally.observed += (observed.len() - set.forgotten) as u64;
    tally.missing += set.missing as u64;
    tally.rejected += set.rejected as u64;
    tally.present += observed
        .iter()
        .filter(|seen| matches!(seen, Observation::Present(_)))
        .count() as u64;
    let respelled = spelled.respelled(&set);
    tally.respelled += respelled;
    tally.renewed |= renews && respelled > 0;
    Ok(())
}

async fn known<S>(
    pass: &Pass<'_, S>,
    run: Option<&Run>,
    tables: bool,
    ids: &[UserId],
) -> Result<HashMap<UserId, Known>, Error> {
    // Where there are no tables, nobody is known.
    if !tables {
        return Ok(HashMap::new());
    }
    pass.store.known_to(&pass.client.id, run, ids).await
}

/// A batch whose commit was not answered may have been written: the changes that are no longer found were.
fn log_what_was_written<S>(pass: &Pass<'_, S>, attempted: &ChangeSet, found: &ChangeSet) {
    let still_due = |change: &Change| found.changes().any(|found| found.user_id() == change.user_id());
    for change in attempted.changes().filter(|change| !still_due(change)) {
        report::log_change(pass, change);
    }
}
