//! When passes are due, and what says so.
//!
//! tokio-cron-scheduler drives the ticks, and this is the only file that names it. It gives one beat a second; which
//! clients are due on a beat is decided by our own `Cron`, from the clock at that moment. One job for all clients, because
//! jobs of that library cannot be armed and removed in numbers: it passes each over broadcast channels of 200 places,
//! and its listeners end for good, without an error to us, once they lag. A thousand one-shots that re-arm at the same
//! second leave a scheduler that never fires again. Its cron jobs, on the other hand, keep the zone's offset of the moment
//! of their creation.

mod board;
mod cron;
mod tick;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc},
    task::{JoinError, JoinSet},
    time::timeout,
};
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use self::board::Board;
pub use self::{
    cron::{Cron, CronError},
    tick::{Delivery, Tick, TickReceiver, TickSender, ticks},
};
use crate::clock::SharedClock;

/// Every second, in UTC: the finest that a cron can ask for.
const BEAT: &str = "* * * * * *";

/// Ten beats missed. The library waits for a wall time, so a clock set back by an hour would stop it for an hour.
const SILENCE: Duration = Duration::from_secs(10);

/// Called each time that the scheduler's loop has come round, about once a second. Neither blocks nor panics.
pub type OnBeat = Arc<dyn Fn() + Send + Sync>;

/// Whom ticks go to, and when they are due.
type Schedules = Vec<(Cron, TickSender)>;

/// Sends each client its ticks until it is shut down.
///
/// A tick comes up to a second after it is due, never before.
#[derive(Debug)]
pub struct Scheduler {
    stop: CancellationToken,
    schedules: mpsc::UnboundedSender<Schedules>,
    watch: JoinSet<()>,
}

/// The library could not be started, or its task ended by a panic.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    #[error("scheduler cannot be started")]
    Start(#[source] JobSchedulerError),
    #[error("scheduler ended before it was told to")]
    Ended(#[source] JoinError),
}

impl Scheduler {
    /// Starts to send ticks that are due from now on.
    ///
    /// # Errors
    /// When the library refuses to start.
    pub async fn start(
        schedules: Schedules,
        clock: SharedClock,
        on_beat: OnBeat,
    ) -> Result<Self, ScheduleError> {
        let beat = Arc::new(Notify::new());
        let heart = start_heart(&beat).await.map_err(ScheduleError::Start)?;
        let board = Board::new(schedules, clock.now());
        let stop = CancellationToken::new();
        let (schedules, others) = mpsc::unbounded_channel();
        let mut watch = JoinSet::new();
        let beats = Beats {
            beat,
            others,
            clock,
            on_beat,
            silence: SILENCE,
        };
        watch.spawn(watch_beats(heart, beats, board, stop.clone()));
        Ok(Self {
            stop,
            schedules,
            watch,
        })
    }

    /// Goes by other schedules from the next beat on. Where one is the same as before, no tick is lost, and none comes twice.
    pub fn reschedule(&self, schedules: Schedules) {
        // Whoever does not listen has ended, and shutdown() says why.
        self.schedules.send(schedules).ok();
    }

    /// Stops the ticks. None is sent once this has returned.
    ///
    /// Some listeners of the library, all idle, stay until the runtime ends; it offers no way to end them.
    ///
    /// # Errors
    /// When the task that sends them had ended by a panic.
    pub async fn shutdown(mut self) -> Result<(), ScheduleError> {
        self.stop.cancel();
        while let Some(ended) = self.watch.join_next().await {
            ended.map_err(ScheduleError::Ended)?;
        }
        Ok(())
    }
}

/// What the loop hears, and whom it tells.
struct Beats {
    beat: Arc<Notify>,
    others: mpsc::UnboundedReceiver<Schedules>,
    clock: SharedClock,
    on_beat: OnBeat,
    silence: Duration,
}

/// Turns beats into ticks, and starts the library anew when it falls silent.
async fn watch_beats(mut heart: JobScheduler, beats: Beats, mut board: Board, stop: CancellationToken) {
    let Beats {
        beat,
        mut others,
        clock,
        on_beat,
        silence,
    } = beats;
    while let Some(beat_or_silence) = stop.run_until_cancelled(timeout(silence, beat.notified())).await {
        if beat_or_silence.is_err() {
            tracing::warn!("the scheduler has fallen silent, it is started anew");
            stop_heart(&mut heart).await;
            match start_heart(&beat).await {
                Ok(fresh) => heart = fresh,
                Err(error) => tracing::error!(%error, "scheduler cannot be started, will be tried again"),
            }
        }
        while let Ok(schedules) = others.try_recv() {
            board = board.with(schedules);
        }
        board.look(clock.now());
        on_beat();
    }
    stop_heart(&mut heart).await;
}

/// A scheduler with one job, which does nothing that could panic, block or overlap.
async fn start_heart(beat: &Arc<Notify>) -> Result<JobScheduler, JobSchedulerError> {
    let heart = JobScheduler::new().await?;
    let beat = Arc::clone(beat);
    heart.add(Job::new(BEAT, move |_, _| beat.notify_one())?).await?;
    heart.start().await?;
    Ok(heart)
}

async fn stop_heart(heart: &mut JobScheduler) {
    if let Err(error) = heart.shutdown().await {
        tracing::warn!(%error, "scheduler did not stop cleanly");
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::Tz;

    use super::*;
    use crate::clock::{Clock, SystemClock};

    #[tokio::test]
    async fn the_library_gives_a_tick_each_second_until_shut_down() {
        let cron = Cron::parse("* * * * * *", Tz::Europe__Berlin).expect("a cron");
        let (sender, mut receiver) = ticks();
        let scheduler = Scheduler::start(vec![(cron, sender)], Arc::new(SystemClock), Arc::new(|| {}))
            .await
            .expect("starts");
        let first = receiver.waiting.recv().await.expect("a first tick");
        let second = receiver.waiting.recv().await.expect("a second tick");
        assert!(second.due > first.due);
        assert_eq!(second.due.timestamp_subsec_nanos(), 0);
        scheduler.shutdown().await.expect("stops");
        while let Some(tick) = receiver.waiting.recv().await {
            assert!(tick.due > second.due, "a tick that waited since before the end");
        }
    }

    #[tokio::test]
    async fn a_library_that_fell_silent_is_started_anew() {
        let silence = Duration::from_secs(2);
        let cron = Cron::parse("* * * * * *", Tz::UTC).expect("a cron");
        let (sender, mut receiver) = ticks();
        let beat = Arc::new(Notify::new());
        let mut heart = start_heart(&beat).await.expect("starts");
        stop_heart(&mut heart).await;
        let board = Board::new(vec![(cron, sender)], SystemClock.now());
        let stop = CancellationToken::new();
        let (_schedules, others) = mpsc::unbounded_channel();
        let beats = Beats {
            beat,
            others,
            clock: Arc::new(SystemClock),
            on_beat: Arc::new(|| {}),
            silence,
        };
        let watch = tokio::spawn(watch_beats(heart, beats, board, stop.clone()));
        let mut last = receiver.waiting.recv().await.expect("a tick").due;
        // Without a beat, ticks would be as far apart as the looks at the silence.
        let mut apart = silence;
        for _ in 0..3 {
            let due = receiver.waiting.recv().await.expect("a tick").due;
            apart = apart.min((due - last).to_std().expect("later"));
            last = due;
        }
        assert!(apart < silence, "ticks are {apart:?} apart");
        stop.cancel();
        watch.await.expect("no panic");
    }

    #[tokio::test]
    async fn other_schedules_hold_from_the_next_beat_on() {
        let second = Cron::parse("* * * * * *", Tz::UTC).expect("a cron");
        let (before, mut old) = ticks();
        let scheduler = Scheduler::start(
            vec![(second.clone(), before)],
            Arc::new(SystemClock),
            Arc::new(|| {}),
        )
        .await
        .expect("starts");
        old.waiting.recv().await.expect("a tick");
        let (after, mut new) = ticks();
        scheduler.reschedule(vec![(second, after)]);
        new.waiting.recv().await.expect("a tick of the new schedule");
        // At most one was waiting; the sender is gone.
        while old.waiting.recv().await.is_some() {}
        scheduler.shutdown().await.expect("stops");
    }
}
