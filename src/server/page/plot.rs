//! Plots as SVG, made here: no script and no style of their own, so that the page's colours apply.

pub(super) mod days;
pub(super) mod lag;
pub(super) mod passes;
pub(super) mod requests;

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

/// A stretch of time that ends now, cut into equal bins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

/// The sizes of the small plots, in their own units: about pixels.
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 132.0;
/// Room for the names of the axes.
const LEFT: f64 = 46.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 22.0;

impl Window {
    pub(super) const BINS: usize = 60;

    /// The last hour, six hours or day: the shortest that holds everything since `oldest`.
    pub(super) fn since(oldest: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Self {
        let age = oldest.map_or(TimeDelta::zero(), |oldest| now - oldest);
        let hours = [1, 6].into_iter().find(|hours| age <= TimeDelta::hours(*hours));
        Self {
            from: now - TimeDelta::hours(hours.unwrap_or(24)),
            to: now,
        }
    }

    fn bin(self) -> TimeDelta {
        (self.to - self.from) / Self::BINS as i32
    }

    /// Where a bin ends.
    fn end_of(self, bin: usize) -> DateTime<Utc> {
        self.from + self.bin() * (bin as i32 + 1)
    }

    /// What the whole of it is called.
    pub(super) fn name(self) -> &'static str {
        match (self.to - self.from).num_hours() {
            ..=1 => "last hour",
            2..=6 => "last 6 hours",
            _ => "last 24 hours",
        }
    }

    /// The names of its beginning and its middle.
    fn names(self) -> [&'static str; 2] {
        match (self.to - self.from).num_hours() {
            ..=1 => ["1 h ago", "30 min"],
            2..=6 => ["6 h ago", "3 h"],
            _ => ["24 h ago", "12 h"],
        }
    }
}

/// From values to places: zero is at the bottom, `top` at the top.
#[derive(Clone, Copy, Debug)]
struct Scale {
    top: f64,
}

impl Scale {
    fn y(self, value: f64) -> f64 {
        let share = (value / self.top).clamp(0.0, 1.0);
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
    }
}

/// The left edge of a bin.
fn x(bin: usize) -> f64 {
    LEFT + bin as f64 * bin_width()
}

fn bin_width() -> f64 {
    (WIDTH - LEFT - RIGHT) / Window::BINS as f64
}

/// A number for an attribute.
fn n(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// The next round number at or above, of 1, 2 and 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    if value <= 1.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors.into_iter().find(|factor| factor * power >= value);
    factor.unwrap_or(10.0) * power
}

/// A small plot over a window, with what it says in words.
fn framed(window: Window, label: &str, marks: &[(f64, String)], scale: Scale, drawing: &Markup) -> Markup {
    let [begin, middle] = window.names();
    let base = HEIGHT - 6.0;
    html! {
        svg.plot viewBox=(format!("0 0 {} {}", n(WIDTH), n(HEIGHT))) role="img" aria-label=(label) {
            @for (value, name) in marks {
                line.grid x1=(n(LEFT)) x2=(n(WIDTH - RIGHT)) y1=(n(scale.y(*value))) y2=(n(scale.y(*value))) {}
                text.axis x=(n(LEFT - 6.0)) y=(n(scale.y(*value) + 3.5)) text-anchor="end" { (name) }
            }
            (drawing)
            text.axis x=(n(LEFT)) y=(n(base)) { (begin) }
            text.axis x=(n(f64::midpoint(LEFT, WIDTH - RIGHT))) y=(n(base)) text-anchor="middle" { (middle) }
            text.axis x=(n(WIDTH - RIGHT)) y=(n(base)) text-anchor="end" { "now" }
        }
    }
}

/// A dashed line across, with its name at its right end.
fn limit(scale: Scale, value: f64, name: &str) -> Markup {
    let y = scale.y(value);
    // Below the line where there is no room above it.
    let text = if y < TOP + 10.0 { y + 12.0 } else { y - 4.0 };
    html! {
        line.limit x1=(n(LEFT)) x2=(n(WIDTH - RIGHT)) y1=(n(y)) y2=(n(y)) {}
        text.axis.limit-name x=(n(WIDTH - RIGHT)) y=(n(text)) text-anchor="end" { (name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::PassRecord;

    /// A pass that began and ended so many seconds ago.
    pub(super) fn pass(
        now: DateTime<Utc>,
        began: i64,
        finished: i64,
        outcome: &str,
        requests: i64,
    ) -> PassRecord {
        let began = now - TimeDelta::seconds(began);
        PassRecord {
            run_id: 1,
            client_id: "clx0acme".to_owned(),
            trigger: "schedule".to_owned(),
            outcome: Some(outcome.to_owned()),
            began_at: began,
            started_at: began,
            finished_at: Some(now - TimeDelta::seconds(finished)),
            heartbeat_at: None,
            observed: 0,
            inserted: 0,
            updated: 0,
            removed: 0,
            restored: 0,
            repaired: 0,
            unchanged: 0,
            rejected: 0,
            missing: 0,
            requests,
            error: None,
        }
    }

    #[test]
    fn a_window_holds_all_that_is_known_up_to_a_day() {
        let now: DateTime<Utc> = "2026-01-02T12:00:00Z".parse().expect("a time");
        let names = [None, Some(30), Some(90), Some(900), Some(90_000)].map(|minutes| {
            let oldest = minutes.map(|minutes| now - TimeDelta::minutes(minutes));
            Window::since(oldest, now).name()
        });
        let (hour, day) = ("last hour", "last 24 hours");
        assert_eq!(names, [hour, hour, "last 6 hours", day, day]);
        let window = Window::since(None, now);
        assert_eq!(window.end_of(Window::BINS - 1), now);
    }

    #[test]
    fn axes_end_at_round_numbers() {
        let tops = [0.0, 1.0, 1.1, 4.0, 7.0, 10.0, 449.0, 5_001.0].map(round_up);
        assert_eq!(tops, [1.0, 1.0, 2.0, 5.0, 10.0, 10.0, 500.0, 10_000.0]);
    }
}
