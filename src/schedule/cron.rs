//! Cron on the wall clock of a zone, right across changes of its offset.

use chrono::{DateTime, NaiveDateTime, Offset, SubsecRound, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

/// When passes are due: a cron expression in a zone.
///
/// Five fields, or six with the seconds first; five mean second 0. Day of month and day of week, when both are given,
/// mean either, as in cron(5).
///
/// Where the zone's offset changes, an expression is one of two kinds, told apart much as cron(8) does:
///
/// - With a `*` in its seconds, minutes or hours, or with every hour listed, it follows elapsed time. `*/5 * * * *`
///   ticks every five real minutes, also through an hour that comes twice.
/// - Otherwise it names times of day. `30 2 * * *` ticks once on each local day. A time that comes twice counts the
///   first time.
///
/// A time that the clock skips is made up for at the first instant after the gap, once however many times were skipped,
/// unless the expression has every hour listed and so ticks soon anyway. In Europe/Berlin, where 02:00 becomes 03:00 in
/// spring, `30 2 * * *` ticks at 03:00 on that day.
#[derive(Clone, Debug)]
pub struct Cron {
    pattern: croner::Cron,
    zone: Tz,
    every_hour: bool,
    elapsed: bool,
}

/// Why an expression cannot be a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    #[error("cron has {found} fields, expected five, or six with the seconds first")]
    Fields { found: usize },
    #[error("cron cannot be read: {why}")]
    Pattern { why: String },
    #[error("cron names a day that never comes")]
    Never,
}

/// An hour that comes twice is found by looking this far ahead; no offset change of any zone is longer.
const LONGEST_OVERLAP: TimeDelta = TimeDelta::hours(24);

impl Cron {
    /// Reads an expression.
    ///
    /// # Errors
    /// When it has another number of fields, cannot be read, or matches no day of the calendar.
    pub fn parse(expression: &str, zone: Tz) -> Result<Self, CronError> {
        let fields: Vec<&str> = expression.split_whitespace().collect();
        // The day fields have no say in which kind it is.
        let time_of_day = match fields.len() {
            5 => &fields[..2],
            6 => &fields[..3],
            found => return Err(CronError::Fields { found }),
        };
        let pattern = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build()
            .parse(&fields.join(" "))
            .map_err(|error| CronError::Pattern {
                why: fragment(&error),
            })?;
        let every_hour = (0..24).all(|hour| pattern.pattern.hour_match(hour).unwrap_or(false));
        let elapsed = every_hour || time_of_day.iter().any(|field| field.contains('*'));
        let cron = Self {
            pattern,
            zone,
            every_hour,
            elapsed,
        };
        if cron.next_wall(DateTime::UNIX_EPOCH.naive_utc(), true).is_none() {
            return Err(CronError::Never);
        }
        Ok(cron)
    }

    /// The first tick later than `instant`.
    ///
    /// None when there is none in the years that the calendar of the cron library spans.
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let instant = instant.trunc_subsecs(0);
        // Wall times already past come again before the clock is set back, and those must be looked at too.
        let ahead = instant.checked_add_signed(LONGEST_OVERLAP)?;
        let offset = self.offset_at(instant).min(self.offset_at(ahead));
        let mut wall = instant.naive_utc().checked_add_signed(offset)?;
        let mut inclusive = true;
        let mut best: Option<DateTime<Utc>> = None;
        while let Some(next) = self.next_wall(wall, inclusive) {
            let instants = self.instants_of(next);
            best = instants
                .into_iter()
                .flatten()
                .filter(|tick| *tick > instant)
                .chain(best)
                .min();
            // The first instant of a wall time never runs backwards, so no later wall time can come earlier.
            let settled = best.zip(instants[0]).is_some_and(|(best, first)| best <= first);
            if settled {
                break;
            }
            (wall, inclusive) = (next, false);
        }
        best
    }

    /// The newest time of the schedule that is not after this one; none if there was none for years.
    pub fn last_until(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        const FARTHEST: TimeDelta = TimeDelta::days(3000);
        let mut back = TimeDelta::minutes(1);
        while back < FARTHEST {
            let mut last = None;
            let mut time = instant - back;
            while let Some(next) = self.next_after(time).filter(|next| *next <= instant) {
                last = Some(next);
                time = next;
            }
            if last.is_some() {
                return last;
            }
            back = back * 2;
        }
        None
    }

    /// The zone on whose wall clock it ticks.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// When a matching wall time counts: at most twice, the earlier first.
    fn instants_of(&self, wall: NaiveDateTime) -> [Option<DateTime<Utc>>; 2] {
        let utc = |at: DateTime<Tz>| at.with_timezone(&Utc);
        match self.zone.from_local_datetime(&wall) {
            chrono::LocalResult::Single(at) => [Some(utc(at)), None],
            chrono::LocalResult::Ambiguous(first, second) => {
                [Some(utc(first)), self.elapsed.then(|| utc(second))]
            }
            chrono::LocalResult::None if self.every_hour => [None, None],
            chrono::LocalResult::None => [self.end_of_gap(wall), None],
        }
    }

    /// The instant at which the clock is set forward over `wall`.
    fn end_of_gap(&self, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
        chrono_tz::GapInfo::new(&wall, &self.zone)?
            .end
            .map(|end| end.with_timezone(&Utc))
    }

    fn offset_at(&self, instant: DateTime<Utc>) -> TimeDelta {
        let offset = self.zone.offset_from_utc_datetime(&instant.naive_utc()).fix();
        TimeDelta::seconds(offset.local_minus_utc().into())
    }

    /// The next wall time that matches, on a clock that is never set.
    ///
    /// Asked in a zone, croner loses the second pass of an hour that comes twice, and leaves out a day whose only times
    /// (`0,30 2 * * *`) fall into a gap. On a clock without changes it is exact; what changes mean is decided here.
    fn next_wall(&self, wall: NaiveDateTime, inclusive: bool) -> Option<NaiveDateTime> {
        self.pattern
            .find_next_occurrence(&wall.and_utc(), inclusive)
            .ok()
            .map(|at| at.naive_utc())
    }
}

/// The library's message as the tail of ours.
fn fragment(error: &croner::errors::CronError) -> String {
    use croner::errors::CronError as Croner;
    let text = match error {
        Croner::InvalidPattern(why) | Croner::IllegalCharacters(why) | Croner::ComponentError(why) => {
            why.clone()
        }
        other => other.to_string(),
    };
    let mut letters = text.trim_end_matches('.').chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
