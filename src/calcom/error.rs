//! Why Cal.com gave no observation, named by what can be done about it.

mod said;

use std::{error::Error as _, fmt, io};

use reqwest::StatusCode;
use tokio::time::Instant;

pub use said::Said;

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
    #[error("cal.com's rate limit is used up for {} s", .until.saturating_duration_since(Instant::now()).as_secs())]
    RateLimited { until: Instant },
    #[error("cal.com is in trouble ({status}){said}")]
    Trouble { status: StatusCode, said: Said },
    #[error("cal.com cannot be reached: {0}")]
    Unreachable(Obstacle, #[source] reqwest::Error),
    #[error("the answer was cut off")]
    CutOff(#[source] reqwest::Error),
    #[error("the answer is not one of cal.com's: {0}")]
    Garbled(&'static str),
    #[error("the answer has more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("cal.com lacks a record that belongs to the user (404){0}")]
    RecordMissing(Said),
    #[error("the answer has the unforeseen status {status}{said}")]
    Unforeseen { status: StatusCode, said: Said },
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

/// What kept a request from its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    TimeOut,
    Name,
    Tls,
    Connection,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimeOut => "no whole answer came in time",
            Self::Name => "the host's name cannot be resolved",
            Self::Tls => "no secure connection can be made",
            Self::Connection => "the connection fails",
        })
    }
}

impl Obstacle {
    fn of(error: &reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::TimeOut;
        }
        let mut obstacle = Self::Connection;
        let mut cause = error.source();
        while let Some(error) = cause {
            if error.is::<rustls::Error>() {
                return Self::Tls;
            }
            // The resolver's error has no public type.
            if error.to_string() == "dns error" {
                obstacle = Self::Name;
            }
            // An I/O error names as its source that of the error in it, and so passes over that one.
            let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            cause = match inner {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        obstacle
    }
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
            | Self::BadRequest(_) => Disposition::StopClient,
            Self::RateLimited { until } => Disposition::WaitUntil(*until),
            Self::Trouble { .. } | Self::Unreachable(..) | Self::CutOff(_) | Self::Garbled(_) => {
                Disposition::Retry
            }
            Self::TooLarge { .. } | Self::RecordMissing(_) | Self::Unforeseen { .. } => Disposition::Skip,
        }
    }

    /// Whether Cal.com is away for now, rather than anything wrong with what it is asked.
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. } | Self::Trouble { .. } | Self::Unreachable(..) | Self::CutOff(_)
        )
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
            Self::Unreachable(Obstacle::Name, _) => {
                "check the host in `calcom.base_url`, and this host's DNS"
            }
            Self::Unreachable(Obstacle::Tls, _) => {
                "check that `calcom.base_url` names the host that the certificate is for, and that this host's \
                 clock and certificates (ca-certificates) are right"
            }
            Self::Garbled(_) => "check that `calcom.base_url` is Cal.com's API and no other page",
            Self::TooLarge { .. } => "raise `calcom.max_answer_bytes` if the user is that large",
            Self::RateLimited { .. } => {
                "lower `requests_per_minute`: something else uses up the same client's limit"
            }
            Self::Trouble { .. }
            | Self::Unreachable(Obstacle::TimeOut | Obstacle::Connection, _)
            | Self::CutOff(_)
            | Self::RecordMissing(_)
            | Self::Unforeseen { .. } => return None,
        };
        Some(remedy.to_owned())
    }

    /// A request that got no answer.
    pub(super) fn unreachable(error: reqwest::Error) -> Self {
        let error = error.without_url();
        Self::Unreachable(Obstacle::of(&error), error)
    }

    /// An answer whose body did not come whole.
    pub(super) fn cut_off(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::unreachable(error);
        }
        Self::CutOff(error.without_url())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_never_taken_for_a_user_that_is_gone() {
        let status = StatusCode::NOT_FOUND;
        let said = || Said::nothing();
        for error in [
            Error::Unsendable("secret"),
            Error::Refused {
                status,
                refusal: Refusal::Forbidden,
                said: said(),
            },
            Error::Moved {
                status,
                to: String::new(),
            },
            Error::NoSuchRoute(said()),
            Error::Withdrawn(said()),
            Error::NotCalcom,
            Error::BadRequest(said()),
            Error::RateLimited {
                until: Instant::now(),
            },
            Error::Trouble { status, said: said() },
            Error::Garbled("x"),
            Error::TooLarge { limit: 1 },
            Error::RecordMissing(said()),
            Error::Unforeseen { status, said: said() },
        ] {
            assert_ne!(error.disposition(), Disposition::Gone, "{error}");
        }
    }
}
