//! What an answer says about its rate limit.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use reqwest::header::{self, HeaderMap};

/// The farthest that an answer can put off the next request. What asks for more is believed so far, and asked again then.
pub(super) const FARTHEST: Duration = Duration::from_secs(60 * 60);

/// Seconds counted from 1970 are past this; seconds left until something are not.
const UNIX_TIMES_FROM: i64 = 1_000_000_000;

/// One limit of the answer's, of which a server may have several (`-Default`, `-Short`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) limit: Option<u64>,
    pub(super) remaining: Option<u64>,
    /// Until the window ends, or the block when there is one.
    pub(super) reset: Option<Duration>,
}

/// What an answer's headers say about how often we may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// By the suffix, which may be empty.
    pub(super) windows: BTreeMap<String, Window>,
    pub(super) retry_after: Option<Duration>,
}

impl Limits {
    /// Reads `X-RateLimit-{Limit,Remaining,Reset}`, with any suffix, and `Retry-After`. What cannot be read is left out.
    ///
    /// `now` is used where the answer has no date of its own.
    pub(super) fn read(headers: &HeaderMap, now: DateTime<Utc>) -> Self {
        // Times are the server's: its own date makes them right however wrong our clock is.
        let now = text(headers, header::DATE.as_str())
            .and_then(http_date)
            .unwrap_or(now);
        let mut windows: BTreeMap<String, Window> = BTreeMap::new();
        for (name, value) in headers {
            let Some(name) = name.as_str().strip_prefix("x-ratelimit-") else {
                continue;
            };
            let Some(value) = value.to_str().ok().map(str::trim) else {
                continue;
            };
            if let Some(suffix) = name.strip_prefix("limit") {
                windows.entry(suffix.to_owned()).or_default().limit =
                    value.parse().ok().filter(|limit| *limit > 0);
            } else if let Some(suffix) = name.strip_prefix("remaining") {
                windows.entry(suffix.to_owned()).or_default().remaining = value.parse().ok();
            } else if let Some(suffix) = name.strip_prefix("reset") {
                windows.entry(suffix.to_owned()).or_default().reset = seconds(value, now);
            }
        }
        let retry_after = text(headers, header::RETRY_AFTER.as_str()).and_then(|value| {
            seconds(value, now).or_else(|| http_date(value).and_then(|at| (at - now).to_std().ok()))
        });
        Self {
            windows,
            retry_after: retry_after.map(|wait| wait.min(FARTHEST)),
        }
    }

    /// The longest wait that the answer names.
    pub(super) fn longest_wait(&self) -> Option<Duration> {
        let resets = self.windows.values().filter_map(|window| window.reset);
        resets.chain(self.retry_after).max()
    }
}

/// Seconds from now, or a Unix time, as a wait.
fn seconds(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let number: i64 = value.parse().ok()?;
    let left = if number < UNIX_TIMES_FROM {
        number
    } else {
        number.checked_sub(now.timestamp())?
    };
    // A moment that is past names no wait; one far off is a fault, and believed only as far as the bound.
    let left = u64::try_from(left).ok()?;
    Some(Duration::from_secs(left).min(FARTHEST))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn http_date(value: &str) -> Option<DateTime<Utc>> {
    let date = DateTime::parse_from_rfc2822(value).ok()?;
    Some(date.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::{HeaderName, HeaderValue};

    /// 2024-04-01T00:00:00Z.
    const NOW: i64 = 1_711_929_600;

    fn read(lines: &[(&str, &str)]) -> Limits {
        let headers = lines.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().expect("the test's header name is valid");
            let value: HeaderValue = value.parse().expect("the test's header value is valid");
            (name, value)
        });
        let now = DateTime::from_timestamp(NOW, 0).expect("the test's time is valid");
        Limits::read(&headers.collect(), now)
    }

    fn wait(lines: &[(&str, &str)]) -> Option<u64> {
        read(lines).longest_wait().map(|wait| wait.as_secs())
    }

    #[test]
    fn each_suffix_is_a_window_of_its_own() {
        let limits = read(&[
            ("X-RateLimit-Limit-Default", "500"),
            ("X-RateLimit-Remaining-Default", "499"),
            ("X-RateLimit-Reset-Default", "60"),
            ("X-RateLimit-Remaining-Short", "1"),
            ("X-RateLimit-Reset-Short", "2"),
            ("X-RateLimit-Remaining", "7"),
        ]);
        let window = |suffix: &str, limit, remaining, reset: Option<u64>| {
            let window = Window {
                limit,
                remaining: Some(remaining),
                reset: reset.map(Duration::from_secs),
            };
            (suffix.to_owned(), window)
        };
        assert_eq!(
            limits.windows.into_iter().collect::<Vec<_>>(),
            [
                window("", None, 7, None),
                window("-default", Some(500), 499, Some(60)),
                window("-short", None, 1, Some(2))
            ]
        );
    }

    #[test]
    fn a_reset_is_seconds_or_a_unix_time() {
        let reset = "x-ratelimit-reset-default";
        assert_eq!(wait(&[(reset, "42")]), Some(42));
        assert_eq!(wait(&[(reset, "1711929630")]), Some(30));
        assert_eq!(wait(&[(reset, "1711929500")]), None, "that moment is past");
        let date = ("date", "Mon, 01 Apr 2024 01:00:00 GMT");
        assert_eq!(
            wait(&[(reset, "1711933205"), date]),
            Some(5),
            "the server's own date counts"
        );
    }

    #[test]
    fn garbage_is_nothing_and_the_huge_is_bounded() {
        for value in ["", "soon", "-5", "1e3", "99999999999999999999999", "NaN"] {
            assert_eq!(wait(&[("x-ratelimit-reset-default", value)]), None, "{value}");
            assert_eq!(wait(&[("retry-after", value)]), None, "{value}");
        }
        for value in ["86400", "1711999999", "9223372036854775807"] {
            assert_eq!(wait(&[("x-ratelimit-reset", value)]), Some(3600), "{value}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(wait(&[("retry-after", "7")]), Some(7));
        assert_eq!(wait(&[("retry-after", "Mon, 01 Apr 2024 00:00:09 GMT")]), Some(9));
        assert_eq!(
            wait(&[("retry-after", "Mon, 01 Apr 2030 00:00:09 GMT")]),
            Some(3600)
        );
        assert_eq!(wait(&[("retry-after", "Sun, 31 Mar 2024 00:00:09 GMT")]), None);
        assert_eq!(
            wait(&[("retry-after", "7"), ("x-ratelimit-reset-default", "30")]),
            Some(30)
        );
    }
}
