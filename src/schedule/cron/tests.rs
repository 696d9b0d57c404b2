use std::{collections::BTreeMap, time::Duration};

use chrono::NaiveDate;

use super::*;
use crate::clock::{Clock, ManualClock};

/// Two of the north, three of the south: Sydney, Santiago whose gap is at midnight, Lord Howe whose gap is half an hour.
const ZONES: [Tz; 5] = [
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::Australia__Sydney,
    Tz::America__Santiago,
    Tz::Australia__Lord_Howe,
];

/// Some midnight or noon before each change of 2026 in those zones.
const CHANGES: [(Tz, &str); 10] = [
    (Tz::Europe__Berlin, "2026-03-28T00:00:00Z"),
    (Tz::Europe__Berlin, "2026-10-24T00:00:00Z"),
    (Tz::America__New_York, "2026-03-07T00:00:00Z"),
    (Tz::America__New_York, "2026-10-31T00:00:00Z"),
    (Tz::Australia__Sydney, "2026-04-03T12:00:00Z"),
    (Tz::Australia__Sydney, "2026-10-02T12:00:00Z"),
    (Tz::America__Santiago, "2026-04-04T00:00:00Z"),
    (Tz::America__Santiago, "2026-09-05T00:00:00Z"),
    (Tz::Australia__Lord_Howe, "2026-04-03T12:00:00Z"),
    (Tz::Australia__Lord_Howe, "2026-10-02T12:00:00Z"),
];

fn cron(expression: &str, zone: Tz) -> Cron {
    Cron::parse(expression, zone).expect("a cron")
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time stamp")
}

/// Every tick in a span, as a daemon would meet them: from a clock that stands at the last one.
fn ticks_in(cron: &Cron, from: DateTime<Utc>, length: Duration) -> Vec<DateTime<Utc>> {
    let clock = ManualClock::at(from);
    let mut ticks = Vec::new();
    while let Some(next) = cron.next_after(clock.now()).filter(|next| *next < from + length) {
        clock.advance(
            (next - clock.now())
                .to_std()
                .expect("a tick is later than the clock"),
        );
        ticks.push(next);
    }
    ticks
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The ticks of one local day, as local times with their offsets.
fn day(expression: &str, zone: Tz, date: &str) -> Vec<String> {
    let date: NaiveDate = date.parse().expect("a date");
    let noon_before = (date - chrono::Days::new(1)).and_hms_opt(12, 0, 0).expect("noon");
    let from = zone
        .from_local_datetime(&noon_before)
        .unwrap()
        .with_timezone(&Utc);
    ticks_in(&cron(expression, zone), from, 3 * DAY)
        .into_iter()
        .map(|tick| tick.with_timezone(&zone))
        .filter(|tick| tick.date_naive() == date)
        .map(|tick| tick.format("%H:%M %Z").to_string())
        .collect()
}

#[test]
fn a_daily_cron_ticks_once_on_every_local_day_of_a_year() {
    for zone in ZONES {
        for expression in [
            "30 2 * * *",
            "30 0 * * *",
            "0 0 * * *",
            "15 1 * * *",
            "59 59 23 * * *",
        ] {
            let new_year = NaiveDate::from_ymd_opt(2026, 1, 1).and_then(|day| day.and_hms_opt(0, 0, 0));
            let from = zone
                .from_local_datetime(&new_year.expect("a date"))
                .unwrap()
                .with_timezone(&Utc);
            let mut days: BTreeMap<NaiveDate, u32> = BTreeMap::new();
            for tick in ticks_in(&cron(expression, zone), from - SECOND, 365 * DAY + SECOND) {
                *days.entry(tick.with_timezone(&zone).date_naive()).or_default() += 1;
            }
            assert_eq!(days.len(), 365, "{expression} in {zone}");
            assert!(
                days.values().all(|count| *count == 1),
                "{expression} in {zone}: {days:?}"
            );
        }
    }
}

#[test]
fn a_time_that_is_skipped_is_made_up_for_at_the_end_of_the_gap() {
    assert_eq!(
        day("30 2 * * *", Tz::Europe__Berlin, "2026-03-29"),
        ["03:00 CEST"]
    );
    assert_eq!(
        day("30 2 * * *", Tz::America__New_York, "2026-03-08"),
        ["03:00 EDT"]
    );
    assert_eq!(
        day("30 2 * * *", Tz::Australia__Sydney, "2026-10-04"),
        ["03:00 AEDT"]
    );
    assert_eq!(
        day("15 0 * * *", Tz::America__Santiago, "2026-09-06"),
        ["01:00 -03"]
    );
    assert_eq!(
        day("0,20,40 2 * * *", Tz::Europe__Berlin, "2026-03-29"),
        ["03:00 CEST"]
    );
    assert_eq!(
        day("*/20 2 * * *", Tz::Europe__Berlin, "2026-03-29"),
        ["03:00 CEST"]
    );
    assert_eq!(
        day("0 2,3 * * *", Tz::Europe__Berlin, "2026-03-29"),
        ["03:00 CEST"]
    );
    assert_eq!(
        day("30 2 29 3 *", Tz::Europe__Berlin, "2026-03-29"),
        ["03:00 CEST"]
    );
}

#[test]
fn a_time_of_day_that_comes_twice_counts_the_first_time() {
    assert_eq!(
        day("30 2 * * *", Tz::Europe__Berlin, "2026-10-25"),
        ["02:30 CEST"]
    );
    assert_eq!(
        day("30 1 * * *", Tz::America__New_York, "2026-11-01"),
        ["01:30 EDT"]
    );
    assert_eq!(
        day("30 2 * * *", Tz::Australia__Sydney, "2026-04-05"),
        ["02:30 AEDT"]
    );
    assert_eq!(
        day("0,30 2 * * *", Tz::Europe__Berlin, "2026-10-25"),
        ["02:00 CEST", "02:30 CEST"]
    );
}

#[test]
fn a_star_follows_elapsed_time_through_an_hour_that_comes_twice() {
    let twice = ["02:00 CEST", "02:30 CEST", "02:00 CET", "02:30 CET"];
    assert_eq!(day("*/30 2 * * *", Tz::Europe__Berlin, "2026-10-25"), twice);
}

#[test]
fn five_minutes_stay_five_minutes_through_every_change() {
    for (zone, from) in CHANGES {
        for (expression, minutes) in [
            ("*/5 * * * *", 5),
            ("0-59/10 * * * *", 10),
            ("0 */15 * * * *", 15),
        ] {
            let ticks = ticks_in(&cron(expression, zone), at(from), 3 * DAY);
            let steps = ticks.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(
                steps.into_iter().all(|step| step == TimeDelta::minutes(minutes)),
                "{expression} in {zone}"
            );
            assert_eq!(ticks.len(), 3 * 24 * 60 / usize::try_from(minutes).unwrap() - 1);
        }
    }
}

/// What croner answers for one instant, without any search, is the oracle.
#[test]
fn every_hour_ticks_at_exactly_the_instants_whose_wall_time_matches() {
    for (zone, from) in CHANGES {
        for expression in ["7-59/13 * * * *", "30 * * * *", "*/7 * * * *"] {
            let cron = cron(expression, zone);
            let minutes = (1..3 * 24 * 60).map(|minute| at(from) + TimeDelta::minutes(minute));
            let matching: Vec<_> = minutes
                .filter(|instant| {
                    cron.pattern
                        .is_time_matching(&instant.with_timezone(&zone))
                        .unwrap()
                })
                .collect();
            assert_eq!(
                ticks_in(&cron, at(from), 3 * DAY),
                matching,
                "{expression} in {zone}"
            );
        }
    }
}

#[test]
fn the_next_tick_does_not_depend_on_where_one_asks_from() {
    for (zone, from) in CHANGES {
        for expression in [
            "*/25 * * * *",
            "30 2 * * *",
            "*/20 1,2 * * *",
            "0,45 0-3 * * *",
            "0 */2 * * *",
        ] {
            let cron = cron(expression, zone);
            let ticks = ticks_in(&cron, at(from), 5 * DAY);
            assert!(ticks.is_sorted_by(|a, b| a < b));
            for minute in (0..3 * 24 * 60).step_by(3) {
                let instant = at(from) + TimeDelta::minutes(minute) + TimeDelta::milliseconds(500);
                let expected = ticks.iter().find(|tick| **tick > instant).copied();
                assert_eq!(
                    cron.next_after(instant),
                    expected,
                    "{expression} in {zone} after {instant}"
                );
            }
        }
    }
}

#[test]
fn five_fields_mean_second_zero_and_six_have_seconds_first() {
    let from = at("2026-01-01T00:00:00Z");
    assert_eq!(
        cron("* * * * *", Tz::UTC).next_after(from),
        Some(at("2026-01-01T00:01:00Z"))
    );
    assert_eq!(
        cron("10 * * * * *", Tz::UTC).next_after(from),
        Some(at("2026-01-01T00:00:10Z"))
    );
    assert_eq!(
        cron(" 0  12 * jan-mar MON ", Tz::UTC).next_after(from),
        Some(at("2026-01-05T12:00:00Z"))
    );
}

#[test]
fn day_of_month_and_day_of_week_mean_either() {
    let from = at("2026-01-01T12:00:00Z");
    let ticks = ticks_in(&cron("0 0 4 * mon", Tz::UTC), from, 7 * DAY);
    assert_eq!(ticks, [at("2026-01-04T00:00:00Z"), at("2026-01-05T00:00:00Z")]);
}

#[test]
fn what_is_no_schedule_says_why() {
    let why = |expression| {
        Cron::parse(expression, Tz::UTC)
            .expect_err(expression)
            .to_string()
    };
    let fields = |found| format!("cron has {found} fields, expected five, or six with the seconds first");
    assert_eq!(why(""), fields(0));
    assert_eq!(why("@daily"), fields(1));
    assert_eq!(why("* * * * * * 2030"), fields(7));
    assert_eq!(why("0 0 30 2 *"), "cron names a day that never comes");
    for expression in [
        "60 * * * *",
        "* 24 * * *",
        "*/0 * * * *",
        "a b c d e",
        "* * * * 8",
        "5-1 * * * *",
    ] {
        let why = why(expression);
        assert!(
            why.starts_with("cron cannot be read: ") && !why.ends_with('.'),
            "{expression}: {why}"
        );
    }
}
