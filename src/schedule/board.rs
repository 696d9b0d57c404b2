//! Which ticks are due when the clock is looked at.

use chrono::{DateTime, TimeDelta, Utc};

use super::{
    cron::Cron,
    tick::{Delivery, Tick, TickSender},
};
use crate::model::rfc3339;

/// Every schedule with its next tick.
///
/// The clock is looked at anew each time, so a machine that slept, or whose clock was set, goes on from where the clock
/// is now.
#[derive(Debug)]
pub(super) struct Board {
    entries: Vec<Entry>,
    seen: DateTime<Utc>,
}

#[derive(Debug)]
struct Entry {
    cron: Cron,
    ticks: TickSender,
    next: Option<DateTime<Utc>>,
}

/// A clock that goes back by less is being corrected, and the ticks just given must not come again.
const SET_BACK: TimeDelta = TimeDelta::minutes(1);

impl Board {
    pub(super) fn new(schedules: Vec<(Cron, TickSender)>, now: DateTime<Utc>) -> Self {
        let entry = |(cron, ticks): (Cron, TickSender)| {
            let next = cron.next_after(now);
            Entry { cron, ticks, next }
        };
        Self {
            entries: schedules.into_iter().map(entry).collect(),
            seen: now,
        }
    }

    /// Other schedules from here on. Their ticks are those after the last look, so that one that stays the same misses none.
    pub(super) fn with(&self, schedules: Vec<(Cron, TickSender)>) -> Self {
        Self::new(schedules, self.seen)
    }

    /// Sends what is due. Of the ticks missed since the last look, each schedule gives the first only.
    pub(super) fn look(&mut self, now: DateTime<Utc>) {
        if now + SET_BACK < self.seen {
            tracing::warn!(
                clock.before = rfc3339(self.seen),
                clock.now = rfc3339(now),
                "the clock was set back, schedules start anew"
            );
            for entry in &mut self.entries {
                entry.next = entry.cron.next_after(now);
            }
        }
        self.seen = now;
        for entry in &mut self.entries {
            let Some(due) = entry.next.filter(|due| *due <= now) else {
                continue;
            };
            if entry.ticks.send(Tick { due }) == Delivery::Dropped {
                tracing::warn!(
                    tick.due = rfc3339(due),
                    "tick dropped: earlier skips are not recorded yet"
                );
            }
            entry.next = entry.cron.next_after(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono_tz::Tz;

    use super::*;
    use crate::{
        clock::{Clock, ManualClock},
        schedule::tick::{TickReceiver, ticks},
    };

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time stamp")
    }

    fn board(expression: &str, clock: &ManualClock) -> (Board, TickReceiver) {
        let cron = Cron::parse(expression, Tz::UTC).expect("a cron");
        let (sender, receiver) = ticks();
        (Board::new(vec![(cron, sender)], clock.now()), receiver)
    }

    fn drain(receiver: &mut TickReceiver) -> Vec<DateTime<Utc>> {
        std::iter::from_fn(|| receiver.waiting.try_recv().ok())
            .map(|tick| tick.due)
            .collect()
    }

    #[test]
    fn each_tick_is_given_once_and_never_early() {
        let clock = ManualClock::at(at("2026-01-01T00:00:00.400Z"));
        let (mut board, mut receiver) = board("*/2 * * * * *", &clock);
        let mut given = Vec::new();
        for _ in 0..12 {
            board.look(clock.now());
            let ticks = drain(&mut receiver);
            assert!(ticks.iter().all(|due| *due <= clock.now()));
            given.extend(ticks);
            clock.advance(Duration::from_millis(500));
        }
        assert_eq!(given, [at("2026-01-01T00:00:02Z"), at("2026-01-01T00:00:04Z")]);
    }

    #[test]
    fn ticks_missed_asleep_are_given_as_one() {
        let clock = ManualClock::at(at("2026-01-01T00:00:00Z"));
        let (mut board, mut receiver) = board("*/5 * * * *", &clock);
        clock.advance(Duration::from_secs(8 * 3600 + 60));
        board.look(clock.now());
        board.look(clock.now());
        assert_eq!(drain(&mut receiver), [at("2026-01-01T00:05:00Z")]);
        assert!(receiver.skipped.try_recv().is_err());
        clock.advance(Duration::from_secs(4 * 60));
        board.look(clock.now());
        assert_eq!(drain(&mut receiver), [at("2026-01-01T08:05:00Z")]);
    }

    #[test]
    fn a_clock_set_back_does_not_silence_a_schedule() {
        let clock = ManualClock::at(at("2026-01-01T12:00:00Z"));
        let (mut board, mut receiver) = board("*/5 * * * *", &clock);
        board.look(at("2026-01-01T10:02:00Z"));
        board.look(at("2026-01-01T10:05:00Z"));
        assert_eq!(drain(&mut receiver), [at("2026-01-01T10:05:00Z")]);
    }

    #[test]
    fn a_clock_corrected_by_seconds_gives_no_tick_twice() {
        let clock = ManualClock::at(at("2026-01-01T00:04:59Z"));
        let (mut board, mut receiver) = board("*/5 * * * *", &clock);
        for look in ["00:05:00Z", "00:04:58Z", "00:05:00Z"] {
            board.look(at(&format!("2026-01-01T{look}")));
        }
        assert_eq!(drain(&mut receiver), [at("2026-01-01T00:05:00Z")]);
    }

    #[test]
    fn a_schedule_that_stays_misses_no_tick_and_gives_none_twice() {
        let clock = ManualClock::at(at("2026-01-01T00:04:59Z"));
        let (mut board, mut receiver) = board("*/5 * * * *", &clock);
        let again = |board: &Board| {
            let entry = &board.entries[0];
            board.with(vec![(entry.cron.clone(), entry.ticks.clone())])
        };
        board = again(&board);
        // Due between the look and the change.
        board.look(at("2026-01-01T00:05:00.300Z"));
        board = again(&board);
        board.look(at("2026-01-01T00:05:01Z"));
        assert_eq!(drain(&mut receiver), [at("2026-01-01T00:05:00Z")]);
    }

    #[test]
    fn a_tick_that_finds_one_waiting_is_skipped() {
        let clock = ManualClock::at(at("2026-01-01T00:00:00Z"));
        let (mut board, mut receiver) = board("* * * * *", &clock);
        for _ in 0..2 {
            clock.advance(Duration::from_secs(60));
            board.look(clock.now());
        }
        assert_eq!(drain(&mut receiver), [at("2026-01-01T00:01:00Z")]);
        let skipped = receiver.skipped.try_recv().map(|tick| tick.due);
        assert_eq!(skipped, Ok(at("2026-01-01T00:02:00Z")));
    }
}
