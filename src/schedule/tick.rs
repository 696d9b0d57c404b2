//! What triggers a pass, and the small queue in front of each client's loop.

use chrono::{DateTime, Utc};
use tokio::sync::mpsc::{self, error::TrySendError};

/// The trigger of one pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The instant that the schedule named, which is a little before the pass begins.
    pub due: DateTime<Utc>,
}

/// What became of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Queued,
    /// One tick was waiting already; this one is to be recorded as skipped.
    Skipped,
    /// One tick was waiting, and the record of an earlier skip as well. This one leaves a log line only.
    Dropped,
    /// The client's loop has ended.
    Closed,
}

/// The end that a schedule holds.
#[derive(Clone, Debug)]
pub struct TickSender {
    waiting: mpsc::Sender<Tick>,
    skipped: mpsc::Sender<Tick>,
}

/// The end that a client's loop holds.
#[derive(Debug)]
pub struct TickReceiver {
    /// Ticks that ask for a pass.
    pub waiting: mpsc::Receiver<Tick>,
    /// Ticks that found another one waiting.
    pub skipped: mpsc::Receiver<Tick>,
}

/// One tick may wait behind the pass under way; more would only repeat it.
const WAITING: usize = 1;

/// Skips whose record waits for the database: an outage at one tick a second must not grow without bound.
const SKIPPED: usize = 16;

/// A queue for one client.
pub fn ticks() -> (TickSender, TickReceiver) {
    let (waiting_tx, waiting) = mpsc::channel(WAITING);
    let (skipped_tx, skipped) = mpsc::channel(SKIPPED);
    (
        TickSender {
            waiting: waiting_tx,
            skipped: skipped_tx,
        },
        TickReceiver { waiting, skipped },
    )
}

impl TickSender {
    /// Hands a tick over. Never waits.
    pub fn send(&self, tick: Tick) -> Delivery {
        match self.waiting.try_send(tick) {
            Ok(()) => Delivery::Queued,
            Err(TrySendError::Closed(_)) => Delivery::Closed,
            Err(TrySendError::Full(tick)) => match self.skipped.try_send(tick) {
                Ok(()) => Delivery::Skipped,
                Err(TrySendError::Full(_)) => Delivery::Dropped,
                Err(TrySendError::Closed(_)) => Delivery::Closed,
            },
        }
    }
}
