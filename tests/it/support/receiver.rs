//! Somebody who takes webhooks, and checks their signatures by the specification.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{SecretSlice, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};

use super::world::LIMIT;
use calmirror::config::{SecretSource, Webhook};

/// A part of the address that nobody else is to see.
pub(crate) const TOKEN: &str = "T0kenInThePath";
const KEY: [u8; 32] = *b"a key of thirty-two bytes, truly";

/// What came.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) message: Value,
    /// What was answered; none while nothing was.
    pub(crate) status: Option<u16>,
}

impl Delivery {
    pub(crate) fn kind(&self) -> &str {
        self.message["type"].as_str().expect("a message has a type")
    }
}

/// How a message is answered.
#[derive(Clone, Debug)]
pub(crate) enum Reaction {
    Status(u16),
    /// With so many seconds in `Retry-After`.
    After(u16, u64),
    /// To this address.
    Redirect(String),
    /// Not before [`Receiver::release`].
    Hang,
}

#[derive(Clone)]
struct Shared {
    script: Arc<Mutex<VecDeque<Reaction>>>,
    came: watch::Sender<Vec<Delivery>>,
    released: watch::Sender<bool>,
}

/// Answers 204 unless a script says otherwise.
pub(crate) struct Receiver {
    address: std::net::SocketAddr,
    shared: Shared,
    _server: JoinSet<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("there are free ports");
        let shared = Shared {
            script: Arc::default(),
            came: watch::Sender::default(),
            released: watch::Sender::default(),
        };
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new()
            .route(&format!("/hooks/{TOKEN}"), post(take))
            .with_state(shared.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("the server runs") });
        Self {
            address,
            shared,
            _server: server,
        }
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        url_at(self.address)
    }

    /// As the configuration has it.
    pub(crate) fn webhook(&self) -> Webhook {
        webhook_at(self.address)
    }

    /// The next messages are answered so, one after the other.
    pub(crate) fn script(&self, reactions: impl IntoIterator<Item = Reaction>) {
        let mut script = self.shared.script.lock().expect("no test panics with this lock");
        script.extend(reactions);
    }

    /// Answers what hangs.
    pub(crate) fn release(&self) {
        self.shared.released.send_replace(true);
    }

    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.shared.came.borrow().clone()
    }

    /// The types of what was taken, in order.
    pub(crate) fn taken(&self) -> Vec<String> {
        let deliveries = self.deliveries();
        let taken = deliveries.iter().filter(|delivery| delivery.status == Some(204));
        taken.map(|delivery| delivery.kind().to_owned()).collect()
    }

    /// Waits until so many messages have come.
    pub(crate) async fn came(&self, count: usize) -> Vec<Delivery> {
        let mut came = self.shared.came.subscribe();
        let waited = timeout(LIMIT, came.wait_for(|came| came.len() >= count)).await;
        match waited {
            Ok(came) => came.expect("the receiver is there").clone(),
            Err(_) => panic!("{count} messages never came: {:?}", self.deliveries()),
        }
    }
}

/// The address of a receiver that is reached through another port.
pub(crate) fn url_at(address: std::net::SocketAddr) -> String {
    format!("http://{address}/hooks/{TOKEN}")
}

pub(crate) fn webhook_at(address: std::net::SocketAddr) -> Webhook {
    Webhook {
        url: SecretString::from(url_at(address)),
        origin: format!("http://{address}"),
        url_source: SecretSource::Env("URL".to_owned()),
        key: SecretSlice::from(KEY.to_vec()),
        secret_source: SecretSource::Env("KEY".to_owned()),
    }
}

/// The key as an operator writes it.
pub(crate) fn secret() -> String {
    format!("whsec_{}", STANDARD.encode(KEY))
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| {
        let value = headers.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        value.to_str().expect("a header is text").to_owned()
    };
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &body].concat();
    let expected = format!("v1,{}", STANDARD.encode(hmac_sha256(&KEY, &signed)));
    assert_eq!(header("webhook-signature"), expected, "the signature is wrong");
    assert!(!id.contains('.'), "{id}");
    assert_eq!(header("content-type"), "application/json");
    let reaction = shared
        .script
        .lock()
        .expect("no test panics with this lock")
        .pop_front()
        .unwrap_or(Reaction::Status(204));
    let message: Value = serde_json::from_slice(&body).expect("a message is JSON");
    let status = match &reaction {
        Reaction::Status(status) | Reaction::After(status, _) => Some(*status),
        Reaction::Redirect(_) => Some(307),
        Reaction::Hang => None,
    };
    let delivery = Delivery { id, message, status };
    shared.came.send_modify(|came| came.push(delivery));
    let code = |status| StatusCode::from_u16(status).expect("a status");
    match reaction {
        Reaction::Status(status) => code(status).into_response(),
        Reaction::After(status, seconds) => {
            (code(status), [(header::RETRY_AFTER, seconds.to_string())]).into_response()
        }
        Reaction::Redirect(to) => (code(307), [(header::LOCATION, to)]).into_response(),
        Reaction::Hang => {
            let mut released = shared.released.subscribe();
            drop(timeout(Duration::from_secs(600), released.wait_for(|released| *released)).await);
            StatusCode::NO_CONTENT.into_response()
        }
    }
}

/// RFC 2104, written out, so that the product's way to it is checked by another.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| -> Vec<u8> {
        let mut block = [pad; 64];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
        block.to_vec()
    };
    let inner = Sha256::digest([padded(0x36), message.to_vec()].concat());
    Sha256::digest([padded(0x5c), inner.to_vec()].concat()).to_vec()
}
