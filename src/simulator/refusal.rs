//! Cal.com's refusals, word for word, in its error envelope.

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Why a request is refused, as Cal.com's server says it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "ApiAuthStrategy - Only 'x-cal-client-id' header provided. Please also provide 'x-cal-secret-key' header or \
         Auth bearer token as 'Authentication' header"
    )]
    NoSecret,
    /// On a route without a client in its path.
    #[error(
        "ApiAuthStrategy - Only 'x-cal-secret-key' header provided. Please also provide 'x-cal-client-id' header or \
         Auth bearer token as 'Authentication' header"
    )]
    NoClientId,
    #[error(
        "ApiAuthStrategy - No authentication method provided. Either pass an API key as 'Bearer' header or OAuth \
         client credentials as 'x-cal-secret-key' and 'x-cal-client-id' headers"
    )]
    NoCredentials,
    #[error("ApiAuthStrategy - oAuth client - Client with ID {0} not found")]
    UnknownClient(String),
    #[error("ApiAuthStrategy - oAuth client - Invalid client secret")]
    WrongSecret,
    /// The client belongs to another organisation.
    #[error(
        "OAuthClientGuard - forbidden. oAuth client with id={0} does not belong to the organization with id=1."
    )]
    Forbidden(String),
    /// The organisation in the path is another one.
    #[error("RolesGuard - User is not a member of the organization with id={0}.")]
    NotAMember(String),
    #[error("Forbidden resource")]
    ForbiddenResource,
    /// The one refusal that means that a user is gone.
    #[error("User with ID {0} is not part of this OAuth client.")]
    NotOurUser(i64),
    #[error("Cannot {method} {path}")]
    NoRoute { method: String, path: String },
    #[error("Invalid Query: The requested record was not found.")]
    RecordMissing,
    #[error("Validation failed (numeric string is expected)")]
    NotNumeric,
    /// Fields of the query or of the body are out of bounds.
    #[error("Bad Request Exception")]
    Violations(Vec<Violation>),
    #[error("Invalid email {0}")]
    InvalidEmail(String),
    #[error("{0}")]
    UnreadableBody(String),
    #[error("request entity too large")]
    BodyTooLarge,
    #[error("User with the provided e-mail already exists.")]
    EmailTaken,
    #[error("CustomThrottlerGuard - Too many requests. Please try again later.")]
    TooManyRequests,
    #[error("Internal server error")]
    Unhandled,
}

/// One entry of `details.errors`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The query or the body as a whole.
    pub target: Value,
    pub value: Value,
    pub property: &'static str,
    pub children: [u8; 0],
    /// From the rule's name to what it says.
    pub constraints: Map<String, Value>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    status: &'static str,
    timestamp: &'a str,
    path: &'a str,
    error: Fault<'a>,
}

#[derive(Serialize)]
struct Fault<'a> {
    code: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
}

impl Refusal {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoSecret
            | Self::NoClientId
            | Self::NoCredentials
            | Self::UnknownClient(_)
            | Self::WrongSecret => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::NotAMember(_) | Self::ForbiddenResource => StatusCode::FORBIDDEN,
            Self::NotOurUser(_) | Self::NoRoute { .. } | Self::RecordMissing => StatusCode::NOT_FOUND,
            Self::NotNumeric | Self::Violations(_) | Self::InvalidEmail(_) | Self::UnreadableBody(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::EmailTaken => StatusCode::CONFLICT,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unhandled => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoSecret
            | Self::NoClientId
            | Self::NoCredentials
            | Self::UnknownClient(_)
            | Self::WrongSecret => "UnauthorizedException",
            Self::Forbidden(_) | Self::NotAMember(_) | Self::ForbiddenResource => "ForbiddenException",
            Self::NotOurUser(_) | Self::NoRoute { .. } => "NotFoundException",
            Self::RecordMissing => "NOT_FOUND",
            Self::NotNumeric | Self::Violations(_) | Self::InvalidEmail(_) | Self::UnreadableBody(_) => {
                "BadRequestException"
            }
            Self::BodyTooLarge => "PayloadTooLargeException",
            Self::EmailTaken => "ConflictException",
            Self::TooManyRequests => "ThrottlerException",
            Self::Unhandled => "InternalServerErrorException",
        }
    }

    /// What the server's framework calls the exception's response.
    fn details(&self) -> Option<Value> {
        match self {
            Self::RecordMissing => None,
            Self::TooManyRequests => Some(Value::from(self.to_string())),
            Self::Violations(violations) => Some(json!({ "errors": violations })),
            _ => Some(json!({
                "message": self.to_string(),
                "error": self.status().canonical_reason(),
                "statusCode": self.status().as_u16(),
            })),
        }
    }

    /// The body of the answer; `timestamp` and `path` are those of the request.
    pub fn body(&self, timestamp: &str, path: &str) -> Vec<u8> {
        if *self == Self::Unhandled {
            return br#"{"statusCode":500,"message":"Internal server error"}"#.to_vec();
        }
        let envelope = Envelope {
            status: "error",
            timestamp,
            path,
            error: Fault {
                code: self.code(),
                message: self.to_string(),
                details: self.details(),
            },
        };
        serde_json::to_vec(&envelope).expect("the envelope's keys are strings")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(refusal: &Refusal) -> Value {
        serde_json::from_slice(&refusal.body("2026-01-02T03:04:05.678Z", "/v2/x")).expect("the body is JSON")
    }

    #[test]
    fn the_envelope_is_that_of_the_server() {
        assert_eq!(
            body(&Refusal::NotOurUser(7)),
            json!({
                "status": "error",
                "timestamp": "2026-01-02T03:04:05.678Z",
                "path": "/v2/x",
                "error": {
                    "code": "NotFoundException",
                    "message": "User with ID 7 is not part of this OAuth client.",
                    "details": {
                        "message": "User with ID 7 is not part of this OAuth client.",
                        "error": "Not Found",
                        "statusCode": 404,
                    },
                },
            })
        );
    }

    #[test]
    fn details_differ_in_shape() {
        assert!(body(&Refusal::TooManyRequests)["error"]["details"].is_string());
        assert!(body(&Refusal::RecordMissing)["error"].get("details").is_none());
        assert!(body(&Refusal::Violations(Vec::new()))["error"]["details"]["errors"].is_array());
        assert_eq!(
            body(&Refusal::Unhandled),
            json!({ "statusCode": 500, "message": "Internal server error" })
        );
    }
}
