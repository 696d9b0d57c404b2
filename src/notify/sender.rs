//! One POST to the receiver.

use std::time::Duration;

use chrono::DateTime;
use reqwest::{StatusCode, header, redirect};
use secrecy::{ExposeSecret, SecretSlice};
use url::Url;

use super::signature::sign;
use crate::{
    calcom::install_crypto,
    clock::{Clock, SystemClock},
    config::Webhook,
};

/// What the specification gives receivers, at least.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A receiver that takes longer to accept a connection is away.
const MAX_CONNECT: Duration = Duration::from_secs(10);

/// Sends messages to the configured receiver.
#[derive(Debug)]
pub struct Sender {
    http: reqwest::Client,
    url: Url,
    key: SecretSlice<u8>,
    origin: String,
}

/// Why a message was not delivered, as far as is known. Neither `Display` nor `Debug` holds the address or what was answered: both
/// may be secret.
#[derive(Debug, thiserror::Error)]
pub enum Undelivered {
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] reqwest::Error),
    #[error("no connection to {origin}: {cause}")]
    NotConnected { origin: String, cause: String },
    /// The receiver may have taken the message.
    #[error("{origin} did not answer in time")]
    TimedOut { origin: String },
    /// The receiver may have taken the message.
    #[error("the connection to {origin} broke before the answer")]
    Broken { origin: String },
    #[error("{origin} wants no more messages (410)")]
    Gone { origin: String },
    #[error("{origin} answered with a redirect ({status}), which is not followed")]
    Moved { origin: String, status: StatusCode },
    #[error("{origin} answered {status}")]
    Refused {
        origin: String,
        status: StatusCode,
        /// How long it wants to be left alone, if it says so.
        retry_after: Option<Duration>,
    },
}

impl Sender {
    /// Sets up sending; nothing is sent yet. Proxies of the environment are not used.
    ///
    /// # Errors
    ///
    /// [`Undelivered::Setup`] when the system has no certificates to check others by, or the address was left alone.
    pub fn new(webhook: &Webhook) -> Result<Self, Undelivered> {
        Self::with_timeout(webhook, TIMEOUT)
    }

    /// As [`Sender::new`], with another time-out of a whole request.
    ///
    /// # Errors
    ///
    /// As [`Sender::new`].
    pub fn with_timeout(webhook: &Webhook, timeout: Duration) -> Result<Self, Undelivered> {
        install_crypto();
        let url =
            Url::parse(webhook.url.expose_secret()).expect("the configuration was read with its secrets");
        let secure = url.scheme() != "http";
        #[expect(
            clippy::disallowed_methods,
            reason = "a client of its own, so that nothing of cal.com's goes to the receiver"
        )]
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("calmirror/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .https_only(secure)
            .retry(reqwest::retry::never())
            .timeout(timeout)
            .connect_timeout(timeout.min(MAX_CONNECT))
            // Messages are hours apart.
            .pool_max_idle_per_host(0);
        if !secure {
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .build()
            .map_err(|error| Undelivered::Setup(error.without_url()))?;
        Ok(Self {
            http,
            url,
            key: webhook.key.clone(),
            origin: webhook.origin.clone(),
        })
    }

    /// Sends a message once. Of the answer, status and headers count; its body is not read.
    ///
    /// # Errors
    ///
    /// When the receiver did not take it, or nobody knows.
    pub async fn send(&self, id: &str, body: &str) -> Result<StatusCode, Undelivered> {
        let timestamp = SystemClock.now().timestamp();
        let signature = sign(self.key.expose_secret(), id, timestamp, body.as_bytes());
        let sent = self
            .http
            .post(self.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body.to_owned())
            .send()
            .await;
        let origin = self.origin.clone();
        let answer = sent.map_err(|error| self.not_answered(error))?;
        match answer.status() {
            status if status.is_success() => Ok(status),
            StatusCode::GONE => Err(Undelivered::Gone { origin }),
            status if status.is_redirection() => Err(Undelivered::Moved { origin, status }),
            status => Err(Undelivered::Refused {
                origin,
                status,
                retry_after: answer
                    .headers()
                    .get(header::RETRY_AFTER)
                    .and_then(|value| retry_after(value.to_str().ok()?)),
            }),
        }
    }

    fn not_answered(&self, error: reqwest::Error) -> Undelivered {
        let origin = self.origin.clone();
        if error.is_connect() || error.is_builder() {
            return Undelivered::NotConnected {
                origin,
                cause: root_cause(&error.without_url()),
            };
        }
        if error.is_timeout() {
            return Undelivered::TimedOut { origin };
        }
        Undelivered::Broken { origin }
    }
}

impl Undelivered {
    /// Whether the receiver may have taken the message.
    pub const fn is_unsure(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::Broken { .. })
    }

    /// Whether another try of the same message is of use only after somebody has changed something.
    pub fn needs_somebody(&self) -> bool {
        match self {
            Self::Setup(_) | Self::Gone { .. } | Self::Moved { .. } => true,
            Self::Refused { status, .. } => {
                status.is_client_error()
                    && !matches!(
                        *status,
                        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
                    )
            }
            Self::NotConnected { .. } | Self::TimedOut { .. } | Self::Broken { .. } => false,
        }
    }

    /// How long the receiver wants to be left alone.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What the operator can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Setup(_) => "install the system's certificates (Debian: ca-certificates)",
            Self::NotConnected { .. } | Self::TimedOut { .. } | Self::Broken { .. } => {
                "check that the receiver runs and that notify.webhook_url leads to it"
            }
            Self::Gone { .. } => "set notify.webhook_url to a receiver that wants messages, or remove it",
            Self::Moved { .. } => "set notify.webhook_url to where it leads",
            Self::Refused { status, .. } => match *status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    "check notify.webhook_secret and a token in notify.webhook_url"
                }
                status if status.is_client_error() => "check notify.webhook_url, and what the receiver takes",
                _ => "look into the receiver's own log",
            },
        }
    }
}

/// Seconds, or a date.
fn retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = DateTime::parse_from_rfc2822(value.trim()).ok()?;
    Some((until.to_utc() - SystemClock.now()).to_std().unwrap_or_default())
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_to_be_left_alone_is_read_in_both_forms() {
        assert_eq!(retry_after("120"), Some(Duration::from_secs(120)));
        let past = retry_after("Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(past, Some(Duration::ZERO));
        assert!(retry_after("Wed, 21 Oct 2105 07:28:00 GMT").is_some_and(|wait| wait > TIMEOUT));
        for value in ["", "soon", "-5", "1.5"] {
            assert_eq!(retry_after(value), None, "{value:?}");
        }
    }
}
