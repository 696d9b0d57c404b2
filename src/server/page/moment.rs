//! Times as people read them: how long ago, and when exactly.

use chrono::{DateTime, Datelike as _, NaiveDateTime, SecondsFormat, TimeDelta, Utc};
use maud::{Markup, html};

/// An instant as an address may have it: with a zone, or, as a browser's form sends it, without one, which means UTC.
pub(super) fn instant(text: &str) -> Option<DateTime<Utc>> {
    // Postgres goes less far back than chrono.
    parsed(text).filter(|time| (1..=9999).contains(&time.year()))
}

fn parsed(text: &str) -> Option<DateTime<Utc>> {
    // In an address a plus sign may have become a space.
    let text = text.trim().replace(' ', "+");
    if let Ok(time) = DateTime::parse_from_rfc3339(&text) {
        return Some(time.to_utc());
    }
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];
    let naive = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(&text, format).ok());
    naive.map(|time| time.and_utc())
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
        assert!(instant("2026-01-02T03:04").is_some());
        assert_eq!(
            ["", "now", "2026-01-02", "99999-01-01T00:00:00Z"].map(instant),
            [None; 4]
        );
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
