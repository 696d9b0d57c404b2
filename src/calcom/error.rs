//! Why Cal.com gave no observation, named by what can be done about it.

mod obstacle;
mod said;

use std::{fmt, time::Duration};

use chrono::SecondsFormat;
use reqwest::StatusCode;
use tokio::time::Instant;

pub use obstacle::{Flaw, Obstacle};
pub use said::Said;

use super::budget::{MAX_REST, MAX_WAIT};
use crate::clock::{Clock, SystemClock};

/// Why an answer, or the want of one, proves nothing of the user that was asked for.
///
/// Neither `Display` nor `Debug` holds the secret or values of a user, and no more than a line of what the server said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] reqwest::Error),
    #[error("the client's {0} cannot be sent in a request")]
    Unsendable(&'static str),
    #[error("cal.com refuses the client with {status}: {refusal}{said}")]
    Refused {
        status: StatusCode,
        refusal: Refusal,
        said: Said,
    },
    #[error("the answer is a redirect ({status}) to {to}, which is not followed")]
    Moved { status: StatusCode, to: String },
    #[error("cal.com does not know the address of its managed users{0}")]
    NoSuchRoute(Said),
    #[error("cal.com has withdrawn the address of its managed users (410){0}")]
    Withdrawn(Said),
    #[error("the answer is a 404 that is not cal.com's")]
    NotCalcom,
    #[error("cal.com finds the request itself at fault (400){0}")]
    BadRequest(Said),
    #[error("cal.com takes one of the addresses for none (400){0}")]
    InvalidAddress(Said),
    #[error("cal.com does not give so many users at once{}", at_most(*.max))]
    LimitRefused {
        /// As many as it would give, if it says so.
        max: Option<usize>,
    },
    #[error("the request is too long: its addresses have {bytes} bytes")]
    TooLong {
        /// Of the value of `emails=`.
        bytes: usize,
    },
    #[error("cal.com's rate limit is used up; nothing is asked before {}", wall_clock(*.until))]
    RateLimited { until: Instant },
    #[error("cal.com is in trouble ({status}){}{said}", wish(*.rest))]
    Trouble {
        status: StatusCode,
        /// How long it wants to be left alone, if it says so.
        rest: Option<Duration>,
        said: Said,
    },
    #[error("cal.com cannot be reached: {0}")]
    Unreachable(Obstacle, #[source] Option<reqwest::Error>),
    #[error("the answer was cut off")]
    CutOff(#[source] Option<reqwest::Error>),
    #[error("the answer is not one of cal.com's: {0}")]
    Garbled(&'static str),
    #[error("the answer has more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("cal.com lacks a record that belongs to the user (404){0}")]
    RecordMissing(Said),
    #[error("the answer has the unforeseen status {status}{said}")]
    Unforeseen { status: StatusCode, said: Said },
}

/// A moment as people and their other clocks have it.
fn wall_clock(moment: Instant) -> String {
    let now = SystemClock.now();
    let left = chrono::TimeDelta::from_std(moment.saturating_duration_since(Instant::now()));
    let moment = left.ok().and_then(|left| now.checked_add_signed(left));
    moment.unwrap_or(now).to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn at_most(max: Option<usize>) -> String {
    max.map_or_else(String::new, |max| format!(", but {max} at most"))
}

fn wish(rest: Option<Duration>) -> String {
    rest.map_or_else(String::new, |rest| {
        format!(" and wants to be left alone for {} s", rest.as_secs())
    })
}

/// What Cal.com has against a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    WrongSecret,
    UnknownClient,
    SecretNotSeen,
    /// A 401 for another reason.
    Unauthorized,
    Forbidden,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongSecret => "the secret is wrong",
            Self::UnknownClient => "there is no client of this id",
            Self::SecretNotSeen => "the secret did not arrive",
            Self::Unauthorized => "it is not authorized",
            Self::Forbidden => "it may not read these users",
        })
    }
}

/// What it is that a request for several users failed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One of the users or the size of the request: each half may fare better.
    Size,
    /// Asking for several at once: each user may be asked for by its id.
    Route,
    /// The client or the server: whatever is asked fails so.
    Client,
}

/// What is to be done after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Another try may well succeed.
    Retry,
    /// Nothing may be asked of this client before then.
    WaitUntil(Instant),
    /// Every other user of the client would get the same.
    StopClient,
    /// The user counts as gone. No error says so: the one answer that does is an
    /// [`Observation::Gone`](crate::model::Observation::Gone).
    Gone,
    /// Nothing is known of this one user; the others can be asked.
    Skip,
}

impl Error {
    /// What is to be done, for every error there is.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Setup(_)
            | Self::Unsendable(_)
            | Self::Refused { .. }
            | Self::Moved { .. }
            | Self::NoSuchRoute(_)
            | Self::Withdrawn(_)
            | Self::NotCalcom
            | Self::BadRequest(_)
            | Self::Unreachable(Obstacle::Certificate(_), _) => Disposition::StopClient,
            // Too long for a pass to wait.
            Self::RateLimited { until } if until.saturating_duration_since(Instant::now()) > MAX_WAIT => {
                Disposition::StopClient
            }
            Self::RateLimited { until } => Disposition::WaitUntil(*until),
            Self::Trouble { rest: Some(rest), .. } if *rest > MAX_REST => Disposition::Skip,
            Self::Trouble { .. } | Self::Unreachable(..) | Self::CutOff(_) | Self::Garbled(_) => {
                Disposition::Retry
            }
            Self::InvalidAddress(_)
            | Self::LimitRefused { .. }
            | Self::TooLong { .. }
            | Self::TooLarge { .. }
            | Self::RecordMissing(_)
            | Self::Unforeseen { .. } => Disposition::Skip,
        }
    }

    /// Whether Cal.com is away for now, rather than anything wrong with what it is asked.
    pub fn is_unavailable(&self) -> bool {
        match self {
            // It does not come right by itself, and may be somebody in between.
            Self::Unreachable(Obstacle::Certificate(_), _) => false,
            Self::RateLimited { .. } | Self::Trouble { .. } | Self::Unreachable(..) | Self::CutOff(_) => true,
            _ => false,
        }
    }

    /// What a failed request for several users says of a smaller one.
    pub fn scope(&self) -> Scope {
        match self {
            // It wants to be left alone.
            Self::Trouble { rest: Some(rest), .. } if *rest > MAX_REST => Scope::Client,
            Self::InvalidAddress(_)
            | Self::TooLong { .. }
            | Self::TooLarge { .. }
            | Self::Trouble { .. }
            | Self::CutOff(_)
            | Self::Garbled(_)
            | Self::Unreachable(Obstacle::TimeOut, _) => Scope::Size,
            Self::LimitRefused { .. }
            | Self::BadRequest(_)
            | Self::NoSuchRoute(_)
            | Self::NotCalcom
            | Self::Refused {
                refusal: Refusal::Forbidden,
                ..
            }
            | Self::RecordMissing(_)
            | Self::Unforeseen { .. } => Scope::Route,
            Self::Setup(_)
            | Self::Unsendable(_)
            | Self::Refused { .. }
            | Self::Moved { .. }
            | Self::Withdrawn(_)
            | Self::RateLimited { .. }
            | Self::Unreachable(..) => Scope::Client,
        }
    }

    /// What the operator can do, where there is something.
    pub fn remedy(&self) -> Option<String> {
        let remedy = match self {
            Self::Setup(_) => {
                "install the system's certificates (the package is often called ca-certificates)"
            }
            Self::Unsendable(_) => "look for line breaks or other control characters in it",
            Self::Refused { refusal, .. } => match refusal {
                Refusal::WrongSecret => {
                    "compare the client's `secret` with the one in Cal.com's settings, under OAuth clients"
                }
                Refusal::UnknownClient => {
                    "check the client's `id`, and that `calcom.base_url` is the instance that it was made on"
                }
                Refusal::SecretNotSeen => {
                    "check that the client's `secret` is not empty, and that no proxy in front of \
                     `calcom.base_url` drops the header x-cal-secret-key"
                }
                Refusal::Unauthorized => "check the client's `id` and `secret`",
                Refusal::Forbidden => {
                    "check that the client belongs to the organisation whose users it asks for"
                }
            },
            Self::Moved { .. } => {
                "set `calcom.base_url` to where Cal.com's API answers itself; redirects are not followed, for \
                 they would carry the secret along"
            }
            Self::NoSuchRoute(_) => {
                "check `calcom.base_url`; if it is right, Cal.com has ended its API for managed users"
            }
            Self::NotCalcom => "check `calcom.base_url`: what answers there is not Cal.com's API",
            Self::Withdrawn(_) => {
                "Cal.com has ended its API for managed users: nothing more can be mirrored from it"
            }
            Self::BadRequest(_) => "check the client's `id` and `calcom.base_url`",
            Self::Unreachable(obstacle, _) => obstacle.remedy(),
            Self::Garbled(_) => "check that `calcom.base_url` is Cal.com's API and no other page",
            Self::TooLarge { .. } => "raise `calcom.max_answer_bytes` if the user is that large",
            Self::RateLimited { .. } => {
                "lower `requests_per_minute`: something else uses up the same client's limit"
            }
            // Of the first three, other requests are the remedy, and nobody has to see to it.
            Self::InvalidAddress(_)
            | Self::LimitRefused { .. }
            | Self::TooLong { .. }
            | Self::Trouble { .. }
            | Self::CutOff(_)
            | Self::RecordMissing(_)
            | Self::Unforeseen { .. } => {
                return None;
            }
        };
        Some(remedy.to_owned())
    }

    /// A request that got no answer.
    pub(super) fn unreachable(error: reqwest::Error) -> Self {
        let error = error.without_url();
        Self::Unreachable(Obstacle::of(&error), Some(error))
    }

    /// An answer whose body did not come whole.
    pub(super) fn cut_off(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::unreachable(error);
        }
        Self::CutOff(Some(error.without_url()))
    }
}

#[cfg(test)]
mod tests;
