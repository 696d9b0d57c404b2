//! Answers that hold no data: what each of them means.

use std::borrow::Cow;

use reqwest::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use url::Url;

use super::Answer;
use crate::{
    calcom::error::{Error, Refusal, Said},
    model::UserId,
};

/// The envelope of an error.
#[derive(Deserialize)]
pub(super) struct Failure<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) error: FailureError<'a>,
}

#[derive(Deserialize)]
pub(super) struct FailureError<'a> {
    #[serde(borrow, default)]
    code: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) message: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) details: Option<&'a RawValue>,
}

impl<'a> Failure<'a> {
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let failure: Self = serde_json::from_slice(body).ok()?;
        (failure.status == "error").then_some(failure)
    }

    /// Whether this is the one sentence that means that a user is gone, word for word, of the very user. With status 404 only.
    pub(super) fn is_gone(&self, user: UserId) -> bool {
        self.error.code == "NotFoundException"
            && self.error.message == format!("User with ID {user} is not part of this OAuth client.")
    }
}

/// What an answer means that proves nothing, whatever was asked for.
pub(super) fn error(answer: &Answer<'_>, secret: &SecretString) -> Error {
    let status = answer.status;
    if status == StatusCode::TOO_MANY_REQUESTS {
        let until = answer.blocked_until.unwrap_or_else(Instant::now);
        return Error::RateLimited { until };
    }
    let failure = Failure::read(answer.body);
    let message = failure.as_ref().map_or("", |failure| &failure.error.message);
    let said = Said::new(message, secret);
    let trouble = |said| Error::Trouble {
        status,
        rest: answer.rest,
        said,
    };
    match status {
        StatusCode::NOT_FOUND => not_found(failure.as_ref(), said),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let refusal = refusal(status, message);
            Error::Refused {
                status,
                refusal,
                said,
            }
        }
        StatusCode::BAD_REQUEST => Error::BadRequest(said),
        StatusCode::GONE => Error::Withdrawn(said),
        // Both ask for the request to be sent again.
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => trouble(said),
        _ if status.is_redirection() => Error::Moved {
            status,
            to: destination(answer.location),
        },
        _ if status.is_server_error() => trouble(said),
        // Of what is not known, only that it proves nothing.
        _ => Error::Unforeseen { status, said },
    }
}

fn not_found(failure: Option<&Failure<'_>>, said: Said) -> Error {
    let Some(failure) = failure else {
        return Error::NotCalcom;
    };
    let error = &failure.error;
    match &*error.code {
        "NotFoundException" if error.message.starts_with("Cannot GET") => Error::NoSuchRoute(said),
        "NOT_FOUND" => Error::RecordMissing(said),
        _ => Error::Unforeseen {
            status: StatusCode::NOT_FOUND,
            said,
        },
    }
}

fn refusal(status: StatusCode, message: &str) -> Refusal {
    if status == StatusCode::FORBIDDEN {
        Refusal::Forbidden
    } else if message.contains("Invalid client secret") {
        Refusal::WrongSecret
    } else if message.contains("Client with ID") && message.contains("not found") {
        Refusal::UnknownClient
    } else if message.contains("Only 'x-cal-client-id' header provided") {
        Refusal::SecretNotSeen
    } else {
        Refusal::Unauthorized
    }
}

/// Names where a redirect leads, without path and query, which may hold anything.
pub(super) fn destination(location: Option<&str>) -> String {
    const MAX_CHARS: usize = 200;
    // Stands for the host that answered: what a relative address leads to.
    const HERE: &str = "https://here.invalid/";
    let url = Url::parse(HERE).ok().zip(location);
    let url = url.and_then(|(here, location)| here.join(location).ok());
    match url {
        None => "an address that cannot be read".to_owned(),
        Some(url) if url.host_str() == Some("here.invalid") => "another address of the same host".to_owned(),
        Some(url) if url.has_host() => {
            let origin = url.origin().ascii_serialization();
            origin.chars().take(MAX_CHARS).collect()
        }
        Some(_) => "an address that is not of the web".to_owned(),
    }
}
