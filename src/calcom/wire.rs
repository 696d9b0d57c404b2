//! What an answer proves: from bytes to an [`Observation`], a [`Roll`](super::Roll) or an [`Error`], for any bytes.

mod failure;
mod organization;
mod recognised;
mod record;
mod records;
mod roll;
mod value;

use std::{borrow::Cow, time::Duration};

use reqwest::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::error::Error;
use crate::model::{Fingerprint, Observation, Seen, Target, UserId};

use failure::Failure;
pub(super) use organization::decode_organization_page;
pub use roll::{decode_page, decode_roll};

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
struct Success<'a, T> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    data: Option<T>,
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
    match proof(answer, asked, secret)? {
        Proof::Record(data) => Ok(record::decode(data, asked)),
        Proof::Gone => Ok(Observation::Gone(asked)),
    }
}

/// As [`decode_answer`], but a record that came in the very bytes of the target's fingerprint is not read at all.
///
/// # Errors
/// As [`decode_answer`].
pub fn decode_seen(answer: &Answer<'_>, target: &Target, secret: &SecretString) -> Result<Seen, Error> {
    if answer.status == StatusCode::OK
        && let Some(expected) = target.fingerprint
        && recognised::usual_data(answer.body).is_some_and(|data| Fingerprint::of(data) == expected)
    {
        return Ok(Seen::Unchanged(target.id));
    }
    let data = match proof(answer, target.id, secret)? {
        Proof::Record(data) => data,
        Proof::Gone => {
            return Ok(Seen::Observed {
                observation: Observation::Gone(target.id),
                fingerprint: None,
            });
        }
    };
    let fingerprint = Fingerprint::of(data.get().as_bytes());
    if target.fingerprint == Some(fingerprint) {
        return Ok(Seen::Unchanged(target.id));
    }
    Ok(seen(record::decode(data, target.id), fingerprint))
}

/// An observation with the fingerprint of its record, if that could be read.
fn seen(observation: Observation, fingerprint: Fingerprint) -> Seen {
    let is_read = matches!(observation, Observation::Present(_));
    Seen::Observed {
        observation,
        fingerprint: is_read.then_some(fingerprint),
    }
}

/// What an answer about one user comes down to.
enum Proof<'a> {
    /// The user's record, which is an object.
    Record(&'a RawValue),
    Gone,
}

fn proof<'a>(answer: &Answer<'a>, asked: UserId, secret: &SecretString) -> Result<Proof<'a>, Error> {
    match answer.status {
        StatusCode::OK => {
            let data: &RawValue = data(answer.body)?;
            if data.get().starts_with('{') {
                Ok(Proof::Record(data))
            } else {
                Err(Error::Garbled("its data is not an object"))
            }
        }
        StatusCode::NOT_FOUND if Failure::read(answer.body).is_some_and(|failure| failure.is_gone(asked)) => {
            Ok(Proof::Gone)
        }
        _ => Err(failure::error(answer, secret)),
    }
}

/// The data in the envelope of a good answer.
fn data<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Error> {
    let text = str::from_utf8(body).map_err(|_| Error::Garbled("it is not UTF-8"))?;
    let envelope: Success<'a, T> = serde_json::from_str(text).map_err(|error| {
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
    envelope.data.ok_or(Error::Garbled("it holds no data"))
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
