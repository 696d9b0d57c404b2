//! Refusals that are about several users being asked for at once.

use reqwest::StatusCode;
use secrecy::SecretString;
use serde_json::Value;

use super::super::{
    Answer,
    failure::{self, Failure, FailureError},
};
use crate::{
    calcom::{
        address::address_bytes,
        error::{Error, Said},
    },
    model::{ClientId, Target},
};

/// What a refusal of a request by addresses means.
pub(super) fn of_addresses(
    answer: &Answer<'_>,
    targets: &[Target],
    client: &ClientId,
    secret: &SecretString,
) -> Error {
    match answer.status {
        StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::URI_TOO_LONG
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            let emails = targets.iter().filter_map(|target| target.email.as_deref());
            Error::TooLong {
                bytes: emails.filter_map(|email| address_bytes(email, client)).sum(),
            }
        }
        StatusCode::BAD_REQUEST => match Failure::read(answer.body) {
            Some(failure) if is_of_an_address(&failure.error) => {
                // What follows these words is somebody's address.
                Error::InvalidAddress(Said::new("Invalid email", secret))
            }
            _ => of_page(answer, secret),
        },
        _ => of_page(answer, secret),
    }
}

/// What a refusal of a request for a page means.
pub(super) fn of_page(answer: &Answer<'_>, secret: &SecretString) -> Error {
    let failure = Failure::read(answer.body).filter(|_| answer.status == StatusCode::BAD_REQUEST);
    if let Some(max) = failure.and_then(|failure| limit_refused(&failure.error)) {
        return Error::LimitRefused { max };
    }
    match (failure::error(answer, secret), answer.status) {
        // What a server has not got, it will not have a moment later either.
        (Error::Trouble { said, .. }, status @ StatusCode::NOT_IMPLEMENTED) => {
            Error::Unforeseen { status, said }
        }
        (error, _) => error,
    }
}

fn is_of_an_address(error: &FailureError<'_>) -> bool {
    error.message.starts_with("Invalid email")
        || violations(error).any(|violation| {
            violation.property == "emails" && violation.rules.iter().any(|(name, _)| name == "isEmail")
        })
}

/// The most that `limit` may be, if it is at fault and that is said.
fn limit_refused(error: &FailureError<'_>) -> Option<Option<usize>> {
    if let Some(violation) = violations(error).find(|violation| violation.property == "limit") {
        return Some(violation.rules.iter().find_map(|(_, rule)| most(rule)));
    }
    error
        .message
        .starts_with("limit must")
        .then(|| most(&error.message))
}

/// The number in "limit must not be greater than 100".
fn most(rule: &str) -> Option<usize> {
    let (_, number) = rule.split_once("greater than ")?;
    let digits = number.bytes().take_while(u8::is_ascii_digit).count();
    number[..digits].parse().ok().filter(|most| *most > 0)
}

/// One entry of `details.errors`.
struct Violation {
    property: String,
    /// The name of each rule that does not hold, and what it says.
    rules: Vec<(String, String)>,
}

fn violations(error: &FailureError<'_>) -> impl Iterator<Item = Violation> {
    let details = error
        .details
        .and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    let errors = details.and_then(|mut details| match details.get_mut("errors").map(Value::take) {
        Some(Value::Array(errors)) => Some(errors),
        _ => None,
    });
    errors.into_iter().flatten().filter_map(|error| {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let rules = error.get("constraints").and_then(Value::as_object);
        Some(Violation {
            property: error.get("property").and_then(text)?,
            rules: rules
                .into_iter()
                .flatten()
                .filter_map(|(name, rule)| Some((name.clone(), text(rule)?)))
                .collect(),
        })
    })
}
