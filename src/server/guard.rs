//! Who may see what: in front of every route.
//!
//! A page of another site may make a browser ask for anything, also by a name of its own that leads to this address. So
//! `Host` has to be one that is known, unless the token shows that the asking is meant, and what a browser says of where a
//! request comes from has to be here. No answer allows another site to read it.

mod headers;
mod host;
mod token;

use std::{net::SocketAddr, panic::AssertUnwindSafe, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;

use super::Context;
use crate::{config, model::panic_message};

/// How much an answer may tell whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Everything that the configuration shows.
    Full,
    /// A probe, which has neither token nor a host name of ours: whether, and no more.
    Probe,
}

/// What probes ask for. They go by an address of their own and bring no token, and learn little.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Longer than any answer takes that has an end. Of one that streams, the beginning.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");
const CHALLENGE: HeaderValue = HeaderValue::from_static(
    "Basic realm=\"calmirror: any user, server.token as password\", charset=\"UTF-8\"",
);
const CHALLENGE_BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"calmirror\"");

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Method,
    Body,
    NoHost,
    WrongHost,
    OtherSite,
    NoToken,
}

pub(super) async fn guard(State(context): State<Context>, request: Request, next: Next) -> Response {
    let view = context.view();
    let_in(&view.config.server, context.address, request, next).await
}

/// The same by this configuration, at this address.
pub(super) async fn let_in(
    config: &config::Server,
    address: Option<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut response = match admit(&request, config, address) {
        Ok(trust) => {
            request.extensions_mut().insert(trust);
            let path = request.uri().path().to_owned();
            answer(next.run(request), &path).await
        }
        Err(refusal) => refusal.into_response(),
    };
    headers::secure(response.headers_mut());
    response
}

/// A panic ends the one answer.
pub(super) async fn answer(answer: impl Future<Output = Response>, path: &str) -> Response {
    let answer = tokio::time::timeout(ANSWER_WITHIN, AssertUnwindSafe(answer).catch_unwind());
    match answer.await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            tracing::error!(
                http.path = path,
                panic.message = panic_message(&*panic),
                "an answer over HTTP panicked"
            );
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "a fault in calmirror; its log says more\n",
            )
                .into_response()
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the answer takes too long\n").into_response(),
    }
}

fn admit(request: &Request, config: &config::Server, address: Option<SocketAddr>) -> Result<Trust, Refusal> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err(Refusal::Method);
    }
    let headers = request.headers();
    if has_body(headers) {
        return Err(Refusal::Body);
    }
    let trust = trust(request, config, address);
    let trust = match trust {
        Err(_) if PROBES.contains(&request.uri().path()) => Trust::Probe,
        trust => trust?,
    };
    if comes_from_elsewhere(headers) {
        return Err(Refusal::OtherSite);
    }
    Ok(trust)
}

fn trust(request: &Request, config: &config::Server, address: Option<SocketAddr>) -> Result<Trust, Refusal> {
    let headers = request.headers();
    if let Some(wanted) = &config.token {
        // Whoever knows it was not led here by a name, and a proxy or a container may have any.
        return if token::is_right(headers, wanted) {
            Ok(Trust::Full)
        } else {
            Err(Refusal::NoToken)
        };
    }
    let named = host::named(request.uri(), headers).ok_or(Refusal::NoHost)?;
    if named.iter().all(|host| host::is_ours(host, config, address)) {
        Ok(Trust::Full)
    } else {
        Err(Refusal::WrongHost)
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length.as_bytes() != b"0")
}

/// What browsers say of a request that a page of another site makes. A person who follows a link is welcome.
fn comes_from_elsewhere(headers: &HeaderMap) -> bool {
    let is = |name: &'static str, values: &[&str]| {
        let mut given = headers.get_all(HeaderName::from_static(name)).iter();
        given.any(|given| values.iter().any(|value| given.as_bytes() == value.as_bytes()))
    };
    if is("sec-fetch-site", &["cross-site", "same-site"]) {
        return !(is("sec-fetch-mode", &["navigate"]) && is("sec-fetch-dest", &["document"]));
    }
    headers
        .get_all(header::ORIGIN)
        .iter()
        .any(|origin| !host::is_origin(origin, headers.get(header::HOST)))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "nothing here writes: GET or HEAD\n",
            ),
            Self::Body => (StatusCode::PAYLOAD_TOO_LARGE, "no request here has a body\n"),
            Self::NoHost => (StatusCode::BAD_REQUEST, "the request names no host, or several\n"),
            Self::WrongHost => (
                StatusCode::MISDIRECTED_REQUEST,
                "the request's Host is none of this server's names; server.hosts takes more\n",
            ),
            Self::OtherSite => (
                StatusCode::FORBIDDEN,
                "this may not be read by pages of other sites\n",
            ),
            Self::NoToken => (
                StatusCode::UNAUTHORIZED,
                "bring server.token: as `Authorization: Bearer`, or as the password of any user\n",
            ),
        };
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        match self {
            Self::Method => {
                headers.insert(header::ALLOW, ALLOWED_METHODS);
            }
            Self::NoToken => {
                headers.insert(header::WWW_AUTHENTICATE, CHALLENGE);
                headers.append(header::WWW_AUTHENTICATE, CHALLENGE_BEARER);
            }
            _ => {}
        }
        if matches!(self, Self::Method | Self::Body) {
            // What follows may be a body, and is not to be taken for a request.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
