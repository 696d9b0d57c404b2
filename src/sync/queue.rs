//! Observations between the two halves of a pass, bounded by number and by bytes.

use tokio::sync::{Semaphore, mpsc};

use super::frontier::UnitId;
use crate::model::{Fingerprint, Observation};

/// Enough that neither half waits for the other's every step.
const OBSERVATIONS: usize = 64;

/// In which room is counted: a fraction of a small record.
const UNIT_BYTES: usize = 256;

/// What may wait or be in batches, in units: 3 MiB. Each byte of it is held several times over while a batch is written. A record
/// that is larger than all of it goes alone.
const ROOM: u32 = 12 * 1024;

/// A batch is written when it weighs so many bytes. Less than half of the room, so that the next one fills meanwhile, and a batch
/// finds more unless a single record is larger than what is left; then the batch's age ends its wait.
pub(super) const MAX_BATCH_BYTES: usize = ROOM as usize * UNIT_BYTES / 3;

/// A user that has to be compared.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    pub(super) observation: Observation,
    /// Of the record, if it could be read.
    pub(super) fingerprint: Option<Fingerprint>,
    /// The one that was expected.
    pub(super) expected: Option<Fingerprint>,
    /// To be told when the user is dealt with.
    pub(super) unit: Option<UnitId>,
}

/// The bytes that are under way.
#[derive(Debug)]
pub(super) struct Room(Semaphore);

/// The fetching half.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    room: &'a Room,
    observations: mpsc::Sender<Sighting>,
}

/// The writing half. Dropping it ends the other.
#[derive(Debug)]
pub(super) struct Receiver<'a> {
    room: &'a Room,
    observations: mpsc::Receiver<Sighting>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(ROOM as usize))
    }

    pub(super) fn queue(&self) -> (Sender<'_>, Receiver<'_>) {
        let (sender, receiver) = mpsc::channel(OBSERVATIONS);
        (
            Sender {
                room: self,
                observations: sender,
            },
            Receiver {
                room: self,
                observations: receiver,
            },
        )
    }
}

impl Room {
    /// Gives back the room of observations that are dealt with.
    pub(super) fn release(&self, batch: &[Sighting]) {
        let taken: u32 = batch.iter().map(share).sum();
        self.0.add_permits(taken as usize);
    }
}

impl Sender<'_> {
    /// Whether nobody takes observations any more.
    pub(super) fn is_closed(&self) -> bool {
        self.observations.is_closed()
    }

    /// Waits for room. False when nobody takes observations any more.
    pub(super) async fn send(&self, sighting: Sighting) -> bool {
        let Ok(taken) = self.room.0.acquire_many(share(&sighting)).await else {
            return false;
        };
        taken.forget();
        self.observations.send(sighting).await.is_ok()
    }
}

impl<'a> Receiver<'a> {
    pub(super) async fn recv(&mut self) -> Option<Sighting> {
        self.observations.recv().await
    }

    /// Where the room of observations is given back, also while others are received.
    pub(super) fn room(&self) -> &'a Room {
        self.room
    }
}

impl Drop for Receiver<'_> {
    fn drop(&mut self) {
        self.room.0.close();
    }
}

/// In units.
fn share(sighting: &Sighting) -> u32 {
    let units = sighting.observation.weight().div_ceil(UNIT_BYTES);
    u32::try_from(units).unwrap_or(ROOM).clamp(1, ROOM)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{FieldFault, Reject, UserId};

    /// So many eighths of the room, but for what else an observation weighs.
    fn eighths(id: i64, count: u32) -> Sighting {
        let units = (ROOM / 8 * count).saturating_sub(1) as usize;
        let observation = Observation::Unreadable(Reject {
            id: UserId(id),
            faults: vec![FieldFault {
                field: String::new(),
                why: String::new(),
            }],
            record: "x".repeat(units * UNIT_BYTES),
        });
        Sighting {
            observation,
            fingerprint: None,
            expected: None,
            unit: None,
        }
    }

    async fn waits(sender: &Sender<'_>, sighting: Sighting) -> bool {
        tokio::time::timeout(Duration::from_secs(3600), sender.send(sighting))
            .await
            .is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_is_bounded_by_its_bytes() {
        let room = Room::new();
        let (sender, mut receiver) = room.queue();
        for id in 0..7 {
            assert!(!waits(&sender, eighths(id, 1)).await);
        }
        assert!(
            waits(&sender, eighths(7, 2)).await,
            "there is no room for two more"
        );
        let batch = [receiver.recv().await.expect("one was sent")];
        assert!(
            waits(&sender, eighths(7, 2)).await,
            "a batch takes room until it is written"
        );
        room.release(&batch);
        assert!(!waits(&sender, eighths(7, 2)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_larger_than_the_room_goes_alone() {
        let room = Room::new();
        let (sender, mut receiver) = room.queue();
        assert!(!waits(&sender, eighths(0, 20)).await);
        assert!(waits(&sender, eighths(1, 0)).await);
        let batch = [receiver.recv().await.expect("one was sent")];
        room.release(&batch);
        assert!(!waits(&sender, eighths(1, 0)).await);
    }

    #[tokio::test]
    async fn whoever_waits_for_room_is_told_that_nobody_writes_any_more() {
        let room = Room::new();
        let (sender, receiver) = room.queue();
        assert!(sender.send(eighths(0, 20)).await);
        let (sent, ()) = tokio::join!(sender.send(eighths(1, 1)), async { drop(receiver) });
        assert!(!sent);
    }
}
