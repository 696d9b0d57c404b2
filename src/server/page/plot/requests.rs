//! Requests a minute against the limit.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::{BOTTOM, HEIGHT, Scale, Window, bin_width, framed, limit, n, round_up, x};
use crate::{server::page::moment, store::PassRecord};

/// The most requests in a minute of each bin, those of all passes of the minute together.
///
/// Those of a pass are spread evenly over its time; those of one that took less than a minute belong to the minute in which it began.
pub(in crate::server::page) fn series(window: Window, passes: &[PassRecord]) -> Vec<f64> {
    let minutes = (window.to - window.from).num_minutes().max(1);
    let minutes = usize::try_from(minutes).unwrap_or(Window::BINS);
    let mut counts = vec![0.0_f64; minutes];
    for pass in passes {
        let end = pass.finished_at.or(pass.heartbeat_at).unwrap_or(window.to);
        let minute_of = |time: DateTime<Utc>| (time - window.from).as_seconds_f64() / 60.0;
        let (from, to) = (minute_of(pass.started_at), minute_of(end));
        let requests = pass.requests as f64;
        if to - from < 1.0 {
            if from >= 0.0
                && let Some(count) = counts.get_mut(from as usize)
            {
                *count += requests;
            }
            continue;
        }
        let first = (from.max(0.0) as usize).min(minutes);
        let last = (to.max(0.0).ceil() as usize).min(minutes);
        for (minute, count) in counts.iter_mut().enumerate().take(last).skip(first) {
            let begins = minute as f64;
            let shared = to.min(begins + 1.0) - from.max(begins);
            *count += requests * shared / (to - from);
        }
    }
    // Bins are whole minutes, as windows are.
    let bins = counts.chunks(minutes.div_ceil(Window::BINS));
    bins.map(|counts| counts.iter().copied().fold(0.0, f64::max))
        .collect()
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
        assert_eq!(series.len(), Window::BINS);
        assert_eq!(series[30], 40.0, "within one minute");
        assert_eq!(series[31], 0.0);
        let rounded: Vec<_> = series[49..=55].iter().map(|rate| rate.round()).collect();
        assert_eq!(rounded, [0.0, 83.0, 100.0, 100.0, 100.0, 17.0, 0.0]);
    }

    #[test]
    fn requests_of_several_passes_in_a_minute_are_added() {
        let now: DateTime<Utc> = "2026-01-02T12:00:00Z".parse().expect("a time");
        // Every ten seconds for six minutes, beside one that takes all of this time, and is cut by the window's end.
        let mut passes: Vec<_> = (1..=36)
            .map(|tenth| pass(now, tenth * 10, tenth * 10 - 2, "no_change", 5))
            .collect();
        passes.push(pass(now, 360, -360, "applied", 120));
        let hour = Window::since(Some(now - TimeDelta::minutes(30)), now);
        let series_of_hour = series(hour, &passes);
        assert_eq!(&series_of_hour[53..], [0.0, 40.0, 40.0, 40.0, 40.0, 40.0, 40.0]);
        // A bin of many minutes has the greatest of them, and not their sum.
        for hours in [6, 24] {
            let window = Window::since(Some(now - TimeDelta::hours(hours)), now);
            let series = series(window, &passes);
            assert_eq!((series.len(), series[Window::BINS - 1]), (Window::BINS, 40.0));
        }
    }

    #[test]
    fn what_is_outside_of_the_window_counts_in_its_part_or_not_at_all() {
        let now: DateTime<Utc> = "2026-01-02T12:00:00Z".parse().expect("a time");
        let window = Window::since(Some(now - TimeDelta::minutes(30)), now);
        let passes = [
            pass(now, 3_660, 3_601, "applied", 7),
            pass(now, 3_720, 3_480, "applied", 40),
            pass(now, -10, -20, "applied", 7),
            pass(now, -10, -200, "applied", 7),
        ];
        let series = series(window, &passes);
        assert_eq!(&series[..3], [10.0, 10.0, 0.0]);
        assert!(series[3..].iter().all(|rate| *rate == 0.0), "{series:?}");
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
