//! Comparing and, unless the pass only looks, writing: batch by batch, while others are still being fetched.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    BATCH, LARGE_BATCH, Pass,
    batch::{Batch, Compared, Reader},
    beforehand::Beforehand,
    frontier::Frontier,
    plan::Looking,
    queue::{MAX_BATCH_BYTES, Receiver, Sighting},
    report,
};
use crate::{
    calcom::Source,
    compare::{AnnouncedFields, Change, ChangeSet},
    measured,
    model::Observation,
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

/// Takes what comes through the channel until it is closed. While a batch is written, the next one is filled and compared.
pub(super) async fn take_batches<S: Source>(
    pass: &Pass<'_, S>,
    hand: &mut Hand<'_, '_>,
    mut sightings: Receiver<'_>,
    frontier: &Frontier,
    before: &Beforehand,
) -> (Tally, Result<(), Error>) {
    let mut tally = Tally::default();
    let mut announced = before.announced.clone();
    let (run, tables) = match hand {
        Hand::Writing(run) => (Some(*run), true),
        Hand::Looking(looking) => (None, looking.tables),
    };
    let reader = Reader {
        pass,
        run,
        tables,
        renews: before.renews,
    };
    let room = sightings.room();
    let mut most = BATCH;
    let mut ready: Option<Batch> = None;
    loop {
        let next = async {
            let mut filled = Vec::with_capacity(most);
            let is_full = fill(&mut filled, most, &mut sightings).await?;
            Some((reader.read(filled).await, is_full))
        };
        let next = match ready.take() {
            None => next.await,
            Some(mut batch) => {
                let writing = async {
                    let begun = Instant::now();
                    let taken = take_batch(&reader, hand, &mut tally, &mut announced, &mut batch).await;
                    if run.is_some() {
                        measured::batch(&pass.client.name, begun.elapsed());
                    }
                    taken?;
                    for unit in batch.sightings().iter().filter_map(|sighting| sighting.unit) {
                        frontier.done(unit, 1);
                    }
                    // At once, since the next batch may wait for it.
                    room.release(batch.sightings());
                    Ok(())
                };
                // The next one is dropped when this one cannot be written, but never the other way round.
                let (mut next, ()) = match tokio::try_join!(async { Ok(next.await) }, writing) {
                    Ok(both) => both,
                    Err(error) => return (tally, Err(error)),
                };
                if let Some((next, _)) = &mut next
                    && next.shares_users(batch.users())
                {
                    next.compared = None;
                }
                next
            }
        };
        let Some((batch, is_full)) = next else {
            return (tally, Ok(()));
        };
        // New users cost less each, the more there are. Other changes do not, and take more memory.
        most = if is_full && batch.is_of_new_users() {
            LARGE_BATCH
        } else {
            BATCH
        };
        ready = Some(batch);
    }
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
    reader: &Reader<'_, '_, S>,
    hand: &mut Hand<'_, '_>,
    tally: &mut Tally,
    announced: &mut AnnouncedFields,
    batch: &mut Batch,
) -> Result<(), Error> {
    let pass = reader.pass;
    let mut retries = Retries::default();
    let mut attempted: Option<ChangeSet> = None;
    let mut set_back = false;
    let set = loop {
        let compared = match batch.compared.take() {
            Some(compared) => compared,
            None => reader.compare(batch).await,
        };
        let (mut set, inserts) = match compared {
            Ok(Compared { set, inserts }) => (set, inserts),
            Err(error) => {
                retries.wait(pass.store.name_holder(error).await).await?;
                continue;
            }
        };
        set.bookkeeping.new_fields = announced.new_in(batch.observed());
        if let Some(attempted) = &attempted {
            log_what_was_written(pass, attempted, &set);
        }
        let Some(run) = reader.run.filter(|_| !set.writes_nothing()) else {
            break set;
        };
        let error = match bounded(pass.store.apply_with(run, &set, inserts)).await {
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
    tally.observed += (batch.len() - set.forgotten) as u64;
    tally.missing += set.missing as u64;
    tally.rejected += set.rejected as u64;
    tally.present += batch
        .observed()
        .filter(|seen| matches!(seen, Observation::Present(_)))
        .count() as u64;
    let respelled = reader.spelled(batch).respelled(&set);
    tally.respelled += respelled;
    tally.renewed |= reader.renews && respelled > 0;
    Ok(())
}

/// A batch whose commit was not answered may have been written: the changes that are no longer found were.
fn log_what_was_written<S>(pass: &Pass<'_, S>, attempted: &ChangeSet, found: &ChangeSet) {
    let still_due = |change: &Change| found.changes().any(|found| found.user_id() == change.user_id());
    for change in attempted.changes().filter(|change| !still_due(change)) {
        report::log_change(pass, change);
    }
}
