//! Times as people read them: how long ago, and when exactly.

use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveTime, SecondsFormat, TimeDelta, Utc};
use maud::{Markup, html};

/// How an instant is written.
pub(super) const FORMS: &str = "Write it as 2026-11-23, 2026-11-23 20:01 or 2026-11-23T20:01:34+01:00. Without a zone it is UTC, \
     and a day alone is its beginning.";

/// An instant as people type it and links have it: a day, perhaps with a time, perhaps with a zone. Without one it is UTC.
pub(super) fn instant(text: &str) -> Option<DateTime<Utc>> {
    // Postgres goes less far back than chrono.
    parsed(text.trim()).filter(|time| (1..=9999).contains(&time.year()))
}

fn parsed(text: &str) -> Option<DateTime<Utc>> {
    let (date, rest) = text.split_at_checked("2026-11-23".len())?;
    let is_date = date.bytes().enumerate().all(|(place, byte)| match place {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d")
        .ok()
        .filter(|_| is_date)?;
    if rest.is_empty() {
        return Some(date.and_time(NaiveTime::MIN).and_utc());
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.');
    let (time, zone) = rest.split_at(end.unwrap_or(rest.len()));
    let time = ["%H:%M:%S%.f", "%H:%M"]
        .iter()
        .find_map(|format| NaiveTime::parse_from_str(time, format).ok())?;
    let local = date.and_time(time).and_local_timezone(offset(zone.trim())?);
    local.single().map(|time| time.to_utc())
}

/// What a zone is ahead of UTC.
fn offset(zone: &str) -> Option<FixedOffset> {
    if zone.is_empty()
        || ["z", "utc", "gmt"]
            .iter()
            .any(|utc| zone.eq_ignore_ascii_case(utc))
    {
        return FixedOffset::east_opt(0);
    }
    let (sign, digits) = match zone.strip_prefix('-') {
        Some(digits) => (-1, digits),
        // In an address a plus sign may have become a space.
        None => (1, zone.strip_prefix('+').unwrap_or(zone)),
    };
    let (hours, minutes) = match digits.len() {
        2 => (digits, "00"),
        4 => digits.split_at_checked(2)?,
        _ => digits.split_once(':')?,
    };
    let number = |text: &str, below: i32| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i32>()
            .ok()
            .filter(|number| is_number && *number < below)
    };
    FixedOffset::east_opt(sign * (number(hours, 24)? * 60 + number(minutes, 60)?) * 60)
}

/// `3 min ago`, `in 12 s`: one unit, the largest.
pub(super) fn relative(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let distance = (time - now).num_seconds();
    match distance {
        -1..=1 => "now".to_owned(),
        2.. => format!("in {}", span(distance)),
        _ => format!("{} ago", span(-distance)),
    }
}

/// A duration in its largest unit, rounded down: `12 s`, `3 min`, `5 h`, `2 d`.
fn span(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A duration in its two largest units.
pub(super) fn duration(duration: TimeDelta) -> String {
    let millis = duration.num_milliseconds().max(0);
    let seconds = millis / 1_000;
    match seconds {
        0 => format!("{millis} ms"),
        1..10 => format!("{seconds}.{} s", millis % 1_000 / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// For `datetime` and addresses: nothing of the time is lost.
pub(super) fn exact(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// `2026-11-23 20:01:34 UTC`; of this day the time only.
pub(super) fn absolute(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let format = if time.date_naive() == now.date_naive() {
        "%H:%M:%S UTC"
    } else {
        "%Y-%m-%d %H:%M:%S UTC"
    };
    time.format(format).to_string()
}

/// How long ago; the script keeps it so.
pub(super) fn ago(time: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    html! {
        time datetime=(exact(time)) data-relative title=(absolute_whole(time)) { (relative(time, now)) }
    }
}

/// How long ago, and when.
pub(super) fn ago_and_at(time: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    html! {
        (ago(time, now)) " " span.at { (absolute(time, now)) }
    }
}

/// When, and how long ago or ahead that is.
pub(super) fn at_and_ago(time: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    html! {
        span.moment { (absolute(time, now)) } span.at { " (" (ago(time, now)) ")" }
    }
}

/// When exactly, with the day.
pub(super) fn at(time: DateTime<Utc>) -> Markup {
    html! { time datetime=(exact(time)) { (absolute_whole(time)) } }
}

pub(super) fn absolute_whole(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_as_links_and_forms_write_them() {
        let exact = "2026-01-02T03:04:05.123456Z";
        let time = instant(exact).expect("an instant");
        assert_eq!(super::exact(time), exact);
        let same = [
            "2026-01-02T05:04:05.123456+02:00",
            "2026-01-02T05:04:05.123456 02:00",
            "2026-01-02T03:04:05.123456",
        ];
        assert_eq!(same.map(instant), [Some(time); 3]);
    }

    #[test]
    fn instants_are_read_as_people_type_them() {
        let read = |text| instant(text).map(super::exact);
        for (text, utc) in [
            ("2026-11-23", "2026-11-23T00:00:00Z"),
            (" 2026-11-23 10:00 ", "2026-11-23T10:00:00Z"),
            ("2026-11-23 9:05", "2026-11-23T09:05:00Z"),
            ("2026-11-23  10:00:30", "2026-11-23T10:00:30Z"),
            ("2026-11-23 10:00:30.25", "2026-11-23T10:00:30.250Z"),
            ("2026-11-23 10:00:30 UTC", "2026-11-23T10:00:30Z"),
            ("2026-11-23t10:00z", "2026-11-23T10:00:00Z"),
            ("2026-11-23T10:00", "2026-11-23T10:00:00Z"),
            ("2026-11-23 10:00 +02:00", "2026-11-23T08:00:00Z"),
            ("2026-11-23 10:00+0200", "2026-11-23T08:00:00Z"),
            ("2026-11-23 10:00-08", "2026-11-23T18:00:00Z"),
            ("2026-11-23 00:30+05:45", "2026-11-22T18:45:00Z"),
            ("2026-11-23 10:00 02:00", "2026-11-23T08:00:00Z"),
        ] {
            assert_eq!(read(text).as_deref(), Some(utc), "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "now",
            "yesterday",
            "2026",
            "2026-11",
            "26-11-23",
            "2026-1-2",
            "2026-13-01",
            "2026-02-30",
            "99999-01-01T00:00:00Z",
            "+2026-11-23",
            "0000-01-01",
            "9999-12-31T23:59-01:00",
            "2026/11/23",
            "23.11.2026",
            "11/23/2026 10:00",
            "2026-11-23T",
            "2026-11-23 10",
            "2026-11-23 25:00",
            "2026-11-23 10:61",
            "2026-11-23 10:00 pm",
            "2026-11-23 10:00 CET",
            "2026-11-23 10:00+25",
            "2026-11-23 10:00+2",
            "2026-11-23 10:00+02:00 x",
            "2026-11-23 10:00+\u{e9}\u{e9}",
            "2026-11-2\u{e9}",
            "2026-11-23\u{a0}10:00",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn times_read_well() {
        let now: DateTime<Utc> = "2026-01-02T00:00:30Z".parse().expect("a time");
        let at = |seconds| now + TimeDelta::seconds(seconds);
        assert_eq!(relative(now, now), "now");
        assert_eq!(relative(at(-12), now), "12 s ago");
        assert_eq!(relative(at(-200), now), "3 min ago");
        assert_eq!(relative(at(7_300), now), "in 2 h");
        assert_eq!(relative(at(-500_000), now), "5 d ago");
        assert_eq!(absolute(at(-12), now), "00:00:18 UTC");
        assert_eq!(absolute(at(-31), now), "2026-01-01 23:59:59 UTC");
        assert_eq!(duration(TimeDelta::milliseconds(1_250)), "1.2 s");
        assert_eq!(duration(TimeDelta::seconds(61)), "1 min 1 s");
        assert_eq!(duration(TimeDelta::seconds(90_000)), "1 d 1 h");
    }
}
