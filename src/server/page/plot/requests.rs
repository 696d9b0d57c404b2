//! Requests a minute against the limit.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{BOTTOM, HEIGHT, Scale, Window, bin_width, framed, limit, n, round_up, x};
use crate::{server::page::moment, store::PassRecord};

/// The most requests a minute in each bin. Those of a pass are spread evenly over its time, and over a minute at least.
pub(in crate::server::page) fn series(window: Window, passes: &[PassRecord]) -> Vec<f64> {
    let mut series = vec![0.0_f64; Window::BINS];
    for pass in passes {
        let end = pass
            .finished_at
            .or(pass.heartbeat_at)
            .unwrap_or(window.to)
            .min(window.to);
        let minutes = (end - pass.started_at).as_seconds_f64() / 60.0;
        let rate = pass.requests as f64 / minutes.max(1.0);
        let start: DateTime<Utc> = pass.started_at.max(window.from);
        if let (Some(first), Some(last)) = (window.bin_of(start), window.bin_of(end)) {
            for bin in &mut series[first..=last.max(first)] {
                *bin = bin.max(rate);
            }
        }
    }
    series
}

/// `per_minute`: what the configuration allows; 0 for no limit of our own.
pub(in crate::server::page) fn plot(window: Window, passes: &[PassRecord], per_minute: u32) -> Markup {
    let series = series(window, passes);
    let greatest = series.iter().copied().fold(0.0, f64::max);
    let allowed = f64::from(per_minute);
    let scale = Scale {
        top: round_up(greatest.max(allowed * 1.05)),
    };
    let against = match per_minute {
        0 => "no limit set".to_owned(),
        limit => format!("{limit} allowed"),
    };
    let label = format!(
        "Requests a minute, {}: {} at most, {against}",
        window.name(),
        whole(greatest)
    );
    let marks = [0.0, scale.top / 2.0, scale.top].map(|value| (value, n(value)));
    let floor = HEIGHT - BOTTOM;
    let drawing = html! {
        @for (bin, rate) in series.iter().enumerate().filter(|(_, rate)| **rate > 0.0) {
            // What is there is seen.
            @let y = scale.y(*rate).min(floor - 1.5);
            rect.bar x=(n(x(bin) + 0.75)) y=(n(y)) width=(n(bin_width() - 1.5)) height=(n(floor - y)) rx="1" {
                title {
                    (moment::absolute(window.end_of(bin) - window.bin(), window.to)) ": "
                    (whole(*rate)) " requests a minute"
                }
            }
        }
        @if per_minute > 0 { (limit(scale, allowed, &format!("limit {per_minute}"))) }
    };
    framed(window, &label, &marks, scale, &drawing)
}

fn whole(rate: f64) -> String {
    format!("{:.0}", rate.ceil())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::server::page::plot::tests::pass;

    #[test]
    fn requests_are_spread_over_the_time_of_their_pass() {
        let now: DateTime<Utc> = "2026-01-02T12:00:00Z".parse().expect("a time");
        let window = Window::since(Some(now - TimeDelta::minutes(30)), now);
        let passes = [
            pass(now, 1_790, 1_789, "applied", 40),
            pass(now, 590, 350, "applied", 400),
        ];
        let series = series(window, &passes);
        assert_eq!(series[30], 40.0, "within one minute");
        assert_eq!(series[31], 0.0);
        assert_eq!(&series[50..=54], [100.0; 5]);
        assert_eq!(series[55], 0.0);
    }

    #[test]
    fn the_limit_is_a_line_where_there_is_one() {
        let now: DateTime<Utc> = "2026-01-02T12:00:00Z".parse().expect("a time");
        let window = Window::since(Some(now - TimeDelta::minutes(30)), now);
        let passes = [pass(now, 590, 350, "applied", 400)];
        let drawn = plot(window, &passes, 450).into_string();
        for part in [
            "class=\"limit\"",
            ">limit 450<",
            "100 at most, 450 allowed",
            "100 requests a minute",
        ] {
            assert!(drawn.contains(part), "no {part} in {drawn}");
        }
        let without = plot(window, &passes, 0).into_string();
        assert!(
            !without.contains("class=\"limit\"") && without.contains("no limit set"),
            "{without}"
        );
    }
}
