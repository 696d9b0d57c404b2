//! What an answer proves: from bytes to an [`Observation`] or an [`Error`], for any bytes.

mod record;
mod value;

use std::{borrow::Cow, time::Duration};

use reqwest::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use url::Url;

use super::error::{Error, Refusal, Said};
use crate::model::{Observation, UserId};

/// One answer of HTTP, its body decompressed.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub status: StatusCode,
    /// Where a redirect leads to.
    pub location: Option<&'a str>,
    /// The end of the block, if this is a 429.
    pub blocked_until: Option<Instant>,
    /// How long a server in trouble wants to be left alone, if it says so.
    pub rest: Option<Duration>,
    pub body: &'a [u8],
}

/// The envelope of an answer that holds data.
#[derive(Deserialize)]
struct Success<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// The envelope of an error.
#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    error: FailureError<'a>,
}

#[derive(Deserialize)]
struct FailureError<'a> {
    #[serde(borrow, default)]
    code: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

/// Decides what an answer to the request for the user `asked` proves.
///
/// Pure and total: no bytes make it panic. `secret` is what must not be shown should the server repeat it.
///
/// # Errors
/// Whatever proves nothing: every answer but a record, and the one 404 that means that the user is gone.
pub fn decode_answer(
    answer: &Answer<'_>,
    asked: UserId,
    secret: &SecretString,
) -> Result<Observation, Error> {
    let status = answer.status;
    if status == StatusCode::OK {
        return success(answer.body, asked);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        let until = answer.blocked_until.unwrap_or_else(Instant::now);
        return Err(Error::RateLimited { until });
    }
    let failure = Failure::read(answer.body);
    let message = failure.as_ref().map_or("", |failure| &failure.error.message);
    let said = Said::new(message, secret);
    let trouble = |said| Error::Trouble {
        status,
        rest: answer.rest,
        said,
    };
    Err(match status {
        StatusCode::NOT_FOUND => return not_found(failure.as_ref(), asked, said),
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
        // Of what is not known, only that it proves nothing of this user.
        _ => Error::Unforeseen { status, said },
    })
}

fn success(body: &[u8], asked: UserId) -> Result<Observation, Error> {
    let text = str::from_utf8(body).map_err(|_| Error::Garbled("it is not UTF-8"))?;
    let envelope: Success<'_> = serde_json::from_str(text).map_err(|error| {
        // The error itself may quote a user's values.
        Error::Garbled(match error.classify() {
            // A connection that just ends may look like the end of an answer.
            serde_json::error::Category::Eof if text.trim_start().starts_with('{') => {
                return Error::CutOff(None);
            }
            serde_json::error::Category::Eof => "it is empty",
            serde_json::error::Category::Data => "its JSON has another shape",
            serde_json::error::Category::Syntax if text.trim_start().starts_with('<') => {
                "it is a page of HTML"
            }
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "it is not JSON",
        })
    })?;
    if envelope.status != "success" {
        return Err(Error::Garbled("it has status 200 but does not say success"));
    }
    let data = envelope.data.ok_or(Error::Garbled("it holds no data"))?;
    if !data.get().starts_with('{') {
        return Err(Error::Garbled("its data is not an object"));
    }
    Ok(record::decode(data, asked))
}

fn not_found(failure: Option<&Failure<'_>>, asked: UserId, said: Said) -> Result<Observation, Error> {
    let Some(failure) = failure else {
        return Err(Error::NotCalcom);
    };
    let error = &failure.error;
    match &*error.code {
        // The one sentence that means that a user is gone, word for word, of the very user.
        "NotFoundException" if error.message == gone_message(asked) => Ok(Observation::Gone(asked)),
        "NotFoundException" if error.message.starts_with("Cannot GET") => Err(Error::NoSuchRoute(said)),
        "NOT_FOUND" => Err(Error::RecordMissing(said)),
        _ => Err(Error::Unforeseen {
            status: StatusCode::NOT_FOUND,
            said,
        }),
    }
}

fn gone_message(user: UserId) -> String {
    format!("User with ID {user} is not part of this OAuth client.")
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
fn destination(location: Option<&str>) -> String {
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

impl<'a> Failure<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let failure: Self = serde_json::from_slice(body).ok()?;
        (failure.status == "error").then_some(failure)
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
