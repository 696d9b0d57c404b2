//! Responses, in the shape that Express gives them.

use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use chrono::{DateTime, SecondsFormat, Utc};

use super::{record::Record, refusal::Refusal, throttle::Verdict};

/// An answer as it is known before it is a response.
pub(super) enum Reply {
    Json {
        status: StatusCode,
        body: Bytes,
        etag: Option<HeaderValue>,
    },
    Unchanged(HeaderValue),
}

impl Reply {
    pub(super) fn user(record: &Record) -> Self {
        Self::Json {
            status: StatusCode::OK,
            body: record.answer(),
            etag: Some(record.etag()),
        }
    }

    pub(super) fn list((body, etag): (Bytes, HeaderValue)) -> Self {
        Self::Json {
            status: StatusCode::OK,
            body,
            etag: Some(etag),
        }
    }
}

pub(super) fn send(reply: Reply) -> Response {
    let mut response = Response::default();
    match reply {
        Reply::Json { status, body, etag } => {
            *response.status_mut() = status;
            let json = HeaderValue::from_static("application/json; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            if let Some(etag) = etag {
                response.headers_mut().insert(header::ETAG, etag);
            }
            *response.body_mut() = Body::from(body);
        }
        Reply::Unchanged(etag) => {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().insert(header::ETAG, etag);
        }
    }
    response
}

pub(super) fn refuse(refusal: &Refusal, now: DateTime<Utc>, path: &str) -> Response {
    let timestamp = now.to_rfc3339_opts(SecondsFormat::Millis, true);
    send(Reply::Json {
        status: refusal.status(),
        body: refusal.body(&timestamp, path).into(),
        etag: None,
    })
}

pub(super) fn respond(status: u16, headers: Vec<(&'static str, String)>, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).expect("a scripted status has three digits");
    for (name, value) in headers {
        response.headers_mut().append(
            HeaderName::from_static(name),
            HeaderValue::from_str(&value).expect("a scripted header's value is visible ASCII"),
        );
    }
    response
}

/// What nginx says to a request line that does not fit its buffers.
pub(super) fn url_too_long() -> Response {
    const PAGE: &str = "<html>\r\n<head><title>414 Request-URI Too Large</title></head>\r\n<body>\r\n\
                        <center><h1>414 Request-URI Too Large</h1></center>\r\n<hr><center>nginx</center>\r\n\
                        </body>\r\n</html>\r\n";
    let headers = [
        ("server", "nginx"),
        ("content-type", "text/html"),
        ("connection", "close"),
    ];
    let headers = headers.map(|(name, value)| (name, value.to_owned()));
    respond(414, headers.into(), Bytes::from_static(PAGE.as_bytes()))
}

pub(super) fn finish(mut response: Response, verdict: Option<Verdict>) -> Response {
    if let Some(verdict) = verdict {
        const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit-default");
        const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining-default");
        const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset-default");
        let headers = response.headers_mut();
        headers.insert(LIMIT, verdict.limit.into());
        headers.insert(REMAINING, verdict.remaining.into());
        headers.insert(RESET, verdict.reset.into());
    }
    response
}
