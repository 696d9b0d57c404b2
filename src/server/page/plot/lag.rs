//! Lag over time: how old the oldest news of a client's users may have been.

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

use super::{BOTTOM, HEIGHT, RIGHT, Scale, WIDTH, Window, bin_width, framed, limit, n, x};
use crate::{server::page::moment, store::PassRecord};

/// The greatest lag in each bin, in seconds; none before the first complete pass.
///
/// Between two complete passes it grows with time; when one ends it falls to the time that this one took.
pub(in crate::server::page) fn series(window: Window, passes: &[PassRecord]) -> Vec<Option<f64>> {
    let mut complete: Vec<(DateTime<Utc>, DateTime<Utc>)> = passes
        .iter()
        .filter(|pass| matches!(pass.outcome.as_deref(), Some("applied" | "no_change")))
        // Neither an approval nor a repair looks at everyone.
        .filter(|pass| matches!(pass.trigger.as_str(), "schedule" | "operator"))
        .filter_map(|pass| Some((pass.finished_at?, pass.began_at)))
        .collect();
    complete.sort_unstable();
    let mut complete = complete.into_iter().peekable();
    let mut last: Option<DateTime<Utc>> = None;
    let lag_at = |began: DateTime<Utc>, at: DateTime<Utc>| (at - began).as_seconds_f64().max(0.0);
    (0..Window::BINS)
        .map(|bin| {
            let end = window.end_of(bin);
            let mut greatest: Option<f64> = None;
            while let Some((finished, began)) = complete.next_if(|(finished, _)| *finished <= end) {
                if finished > end - window.bin() {
                    let before = lag_at(last.unwrap_or(began), finished);
                    greatest = Some(greatest.map_or(before, |greatest: f64| greatest.max(before)));
                }
                last = Some(began);
            }
            let at_end = last.map(|began| lag_at(began, end));
            match (greatest, at_end) {
                (Some(greatest), Some(at_end)) => Some(greatest.max(at_end)),
                (greatest, at_end) => greatest.or(at_end),
            }
        })
        .collect()
}

/// `stale_after`: the lag, in seconds, beyond which the client is stale.
pub(in crate::server::page) fn plot(
    window: Window,
    passes: &[PassRecord],
    stale_after: Option<f64>,
) -> Markup {
    let series = series(window, passes);
    let greatest = series.iter().flatten().copied().fold(0.0, f64::max);
    let newest = series.last().copied().flatten();
    // A limit far away would press the line to the ground.
    let near = stale_after.filter(|limit| *limit <= greatest * 4.0);
    let top = near.map_or(greatest, |limit| greatest.max(limit * 1.15));
    let scale = Scale { top: round_time(top) };
    let label = match newest {
        None => format!("Lag, {}: no complete pass yet", window.name()),
        Some(newest) => format!(
            "Lag, {}: {} now, {} at most",
            window.name(),
            in_words(newest),
            in_words(greatest)
        ),
    };
    let marks = [0.0, scale.top / 2.0, scale.top].map(|value| (value, in_words(value)));
    let drawing = html! {
        @for run in runs(&series) {
            path.area d=(area(scale, &series, &run)) {}
            path.line d=(line(scale, &series, &run)) {}
        }
        @if let Some(seconds) = near { (limit(scale, seconds, "stale")) }
        @for (bin, seconds) in series.iter().enumerate() {
            @if let Some(seconds) = seconds {
                rect.hover x=(n(x(bin))) y="0" width=(n(bin_width())) height=(n(HEIGHT - BOTTOM)) {
                    title { (moment::absolute(window.end_of(bin), window.to)) ": lag up to " (in_words(*seconds)) }
                }
            }
        }
    };
    framed(window, &label, &marks, scale, &drawing)
}

/// Stretches of bins with a value.
fn runs(series: &[Option<f64>]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (bin, _) in series.iter().enumerate().filter(|(_, value)| value.is_some()) {
        match runs.last_mut() {
            Some(run) if run.end == bin => run.end += 1,
            _ => runs.push(bin..bin + 1),
        }
    }
    runs
}

fn line(scale: Scale, series: &[Option<f64>], run: &std::ops::Range<usize>) -> String {
    let mut path = String::new();
    for bin in run.clone() {
        let y = n(scale.y(series[bin].unwrap_or_default()));
        let (command, right) = (if path.is_empty() { "M" } else { "L" }, x(bin) + bin_width());
        path.push_str(&format!(
            "{command}{} {y}L{} {y}",
            n(x(bin)),
            n(right.min(WIDTH - RIGHT))
        ));
    }
    path
}

fn area(scale: Scale, series: &[Option<f64>], run: &std::ops::Range<usize>) -> String {
    let floor = n(scale.y(0.0));
    format!(
        "{}L{} {floor}L{} {floor}Z",
        line(scale, series, run),
        n(x(run.end)),
        n(x(run.start))
    )
}

/// The next round time at or above.
fn round_time(seconds: f64) -> f64 {
    // Their halves are round as well.
    const ROUND: [f64; 17] = [
        2.0, 4.0, 10.0, 20.0, 60.0, 120.0, 240.0, 600.0, 1_200.0, 3_600.0, 7_200.0, 14_400.0, 43_200.0,
        86_400.0, 172_800.0, 345_600.0, 691_200.0,
    ];
    let round = ROUND.into_iter().find(|round| *round >= seconds);
    round.unwrap_or_else(|| (seconds / 691_200.0).ceil() * 691_200.0)
}

fn in_words(seconds: f64) -> String {
    if seconds == 0.0 {
        return "0".to_owned();
    }
    let millis = TimeDelta::milliseconds((seconds * 1_000.0) as i64);
    let words = moment::duration(millis);
    // Of a round time the lesser unit is nothing.
    let round = words
        .strip_suffix(" 0 s")
        .or_else(|| words.strip_suffix(" 0 min"));
    let round = round.or_else(|| words.strip_suffix(" 0 h"));
    round.map(str::to_owned).unwrap_or(words).replace(".0 s", " s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::page::plot::tests::pass;

    #[test]
    fn lag_grows_until_a_complete_pass_ends() {
        let now: DateTime<Utc> = "2026-01-02T12:00:00Z".parse().expect("a time");
        let window = Window::since(Some(now - TimeDelta::minutes(30)), now);
        // In seconds before now: began, finished.
        let passes = [
            pass(now, 1_800, 1_790, "applied", 1),
            pass(now, 900, 880, "failed", 1),
            pass(now, 600, 590, "no_change", 1),
        ];
        let series = series(window, &passes);
        assert_eq!(series[29], None, "no pass was complete yet");
        assert_eq!(series[30], Some(60.0), "a minute after its beginning");
        assert_eq!(series[45], Some(960.0), "a pass that failed shows nothing");
        assert_eq!(series[50], Some(1_210.0), "when the next complete one ended");
        assert_eq!(series[51], Some(120.0));
        assert_eq!(series[59], Some(600.0));
        let runs = runs(&series);
        assert_eq!((runs.len(), runs[0].start, runs[0].end), (1, 30, 60));
    }

    #[test]
    fn round_times_read_as_such() {
        let words = [0.0, 4.0, 60.0, 1_200.0, 3_600.0, 43_200.0, 172_800.0, 90.0].map(in_words);
        assert_eq!(
            words,
            ["0", "4 s", "1 min", "20 min", "1 h", "12 h", "2 d", "1 min 30 s"]
        );
    }

    #[test]
    fn what_is_stale_is_a_line_unless_it_is_far_away() {
        let now: DateTime<Utc> = "2026-01-02T12:00:00Z".parse().expect("a time");
        let window = Window::since(Some(now - TimeDelta::minutes(30)), now);
        let passes = [pass(now, 600, 590, "no_change", 1)];
        let drawn = |stale_after| plot(window, &passes, stale_after).into_string();
        let near = drawn(Some(900.0));
        for part in ["class=\"limit\"", ">stale<", "10 min now, 10 min at most"] {
            assert!(near.contains(part), "no {part} in {near}");
        }
        for stale_after in [None, Some(7_200.0)] {
            assert!(!drawn(stale_after).contains("class=\"limit\""), "{stale_after:?}");
        }
    }
}
