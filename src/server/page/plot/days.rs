//! Changes a day by kind, as stacked bars.

use maud::{Markup, html};

use super::{n, round_up};
use crate::store::DayOfChanges;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 190.0;
const LEFT: f64 = 52.0;
/// Half of the last day's name stands over its bar's edge.
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// The kinds, as they are stacked from the ground: name, class.
pub(in crate::server::page) const KINDS: [(&str, &str); 5] = [
    ("inserted", "insert"),
    ("updated", "update"),
    ("removed", "removal"),
    ("restored", "restore"),
    ("repaired", "repair"),
];

pub(in crate::server::page) fn counts(day: &DayOfChanges) -> [i64; 5] {
    [day.inserted, day.updated, day.removed, day.restored, day.repaired]
}

/// `days`: each of them, also those without a change.
pub(in crate::server::page) fn plot(days: &[DayOfChanges]) -> Markup {
    let total = |day: &DayOfChanges| counts(day).iter().sum::<i64>();
    let greatest = days.iter().map(total).max().unwrap_or_default();
    let all: i64 = days.iter().map(total).sum();
    let top = round_up(greatest as f64);
    let floor = HEIGHT - BOTTOM;
    let height = |count: i64| count as f64 / top * (floor - TOP);
    let step = (WIDTH - LEFT - RIGHT) / days.len().max(1) as f64;
    let label = format!(
        "Changes a day, last {} days: {all} in all, {greatest} on the busiest day",
        days.len()
    );
    html! {
        svg.plot.days viewBox=(format!("0 0 {} {}", n(WIDTH), n(HEIGHT))) role="img" aria-label=(label) {
            @for share in [0.0, 0.5, 1.0] {
                @let y = floor - share * (floor - TOP);
                @if share * top == (share * top).round() {
                    line.grid x1=(n(LEFT)) x2=(n(WIDTH - RIGHT)) y1=(n(y)) y2=(n(y)) {}
                    text.axis x=(n(LEFT - 8.0)) y=(n(y + 3.5)) text-anchor="end" { (grouped((share * top) as i64)) }
                }
            }
            @for (place, day) in days.iter().enumerate() {
                @let left = LEFT + place as f64 * step;
                g.stack {
                    title {
                        (day.day) ": "
                        @if total(day) == 0 { "no change" }
                        @else {
                            @for (at, ((name, _), count)) in KINDS.iter().zip(counts(day)).filter(|(_, count)| *count > 0).enumerate() {
                                @if at > 0 { ", " }
                                (grouped(count)) " " (name)
                            }
                        }
                    }
                    rect.hover x=(n(left)) y=(n(TOP)) width=(n(step)) height=(n(floor - TOP)) {}
                    @for (kind, (_, class)) in KINDS.iter().enumerate() {
                        @let count = counts(day)[kind];
                        @let below: i64 = counts(day)[..kind].iter().sum();
                        @if count > 0 {
                            @let tall = height(count).max(1.5);
                            rect class=(class) x=(n(left + step * 0.14)) y=(n(floor - height(below) - tall))
                                width=(n(step * 0.72)) height=(n(tall)) rx="1.5" {}
                        }
                    }
                }
                @if place % 5 == (days.len() - 1) % 5 {
                    text.axis x=(n(left + step / 2.0)) y=(n(HEIGHT - 6.0)) text-anchor="middle" { (day.day.format("%-d %b")) }
                }
            }
        }
    }
}

/// Digits in groups of three.
pub(in crate::server::page) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut grouped = String::new();
    if number < 0 {
        grouped.push('-');
    }
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567, -1_000].map(grouped),
            [
                "0",
                "999",
                "1\u{202f}000",
                "1\u{202f}234\u{202f}567",
                "-1\u{202f}000"
            ]
        );
    }

    #[test]
    fn each_kind_has_its_part_of_its_days_bar() {
        let day = |of: u32, inserted, updated, removed, restored, repaired| DayOfChanges {
            day: chrono::NaiveDate::from_ymd_opt(2026, 1, of).expect("a day"),
            inserted,
            updated,
            removed,
            restored,
            repaired,
        };
        let drawn = plot(&[day(1, 0, 0, 0, 0, 0), day(2, 50, 20, 15, 10, 5)]).into_string();
        let label = "Changes a day, last 2 days: 100 in all, 100 on the busiest day";
        assert!(drawn.contains(label), "{drawn}");
        let [none, busy] = drawn.split("<g class=\"stack\">").skip(1).collect::<Vec<_>>()[..] else {
            panic!("two days: {drawn}");
        };
        assert!(
            none.contains("2026-01-01: no change") && !none.contains("class=\"insert\""),
            "{none}"
        );
        let told = "2026-01-02: 50 inserted, 20 updated, 15 removed, 10 restored, 5 repaired";
        assert!(busy.contains(told), "{busy}");
        // From the ground up, each as tall as its count.
        let whole = HEIGHT - BOTTOM - TOP;
        let mut ground = HEIGHT - BOTTOM;
        for (class, share) in [
            ("insert", 0.5),
            ("update", 0.2),
            ("removal", 0.15),
            ("restore", 0.1),
            ("repair", 0.05),
        ] {
            let bar = busy
                .split(&format!("<rect class=\"{class}\""))
                .nth(1)
                .expect("it is drawn");
            let tall = share * whole;
            ground -= tall;
            for part in [
                format!(" y=\"{}\"", n(ground)),
                format!(" height=\"{}\"", n(tall)),
            ] {
                assert!(
                    bar[..bar.find('>').expect("it ends")].contains(&part),
                    "{class}: no {part} in {bar}"
                );
            }
        }
    }
}
