//! What was really answered, kept on request: what tests hold a mirror against.

use axum::{
    body::{self, Body, Bytes},
    http::StatusCode,
    response::Response,
};
use tokio::sync::watch;

use super::{Simulator, counts::RouteKind};

/// How an answer's body went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// At once and as a whole, as far as it is up to the simulator.
    Whole,
    /// Whole, but one byte at a time: it arrives at a caller that waits for it.
    Drip,
    /// Less than was declared.
    Cut,
    /// Without an end.
    Endless,
    /// As a gzip bomb.
    Bomb,
    /// Nothing at all: the connection was closed.
    Closed,
}

/// One answer that was given.
#[derive(Clone, Debug)]
pub struct Answered {
    /// 1 for the first answer that was kept, in the order of answering.
    pub sequence: u64,
    /// That of the base address that was asked at; see [`Simulator::tagged_base_url`].
    pub tag: Option<String>,
    pub kind: RouteKind,
    /// The client in the request's path.
    pub client_id: Option<String>,
    /// The user in the request's path.
    pub user_id: Option<i64>,
    /// 0 where the connection was closed instead.
    pub status: u16,
    pub delivery: Delivery,
    /// The body of a GET of a single user, as far as it can arrive; of other requests and of bodies without an end, nothing.
    pub body: Bytes,
}

impl Answered {
    /// Whether a caller that waits long enough has the whole answer.
    pub fn is_whole(&self) -> bool {
        matches!(self.delivery, Delivery::Whole | Delivery::Drip)
    }
}

impl Simulator {
    /// Begins to keep every answer, from nothing, or ends it and forgets those that were kept. Off at the start, for it
    /// takes memory without bound.
    pub fn keep_answers(&self, keep: bool) {
        self.service.answers.keep(keep);
    }

    /// The answers kept so far, in the order in which they were given. Whether somebody still read them, nobody knows.
    pub fn answers(&self) -> Vec<Answered> {
        self.answers_after(0)
    }

    /// Those of [`Simulator::answers`] with a higher sequence number.
    pub fn answers_after(&self, sequence: u64) -> Vec<Answered> {
        self.service.answers.after(sequence)
    }

    /// Waits until the answers kept so far fulfil a condition.
    pub async fn wait_for_answers(&self, condition: impl FnMut(&[Answered]) -> bool) {
        self.service.answers.wait_for(condition).await;
    }

    /// An address as good as [`Simulator::base_url`], whose answers are kept with this tag: a name without a slash.
    /// Tells apart those who ask at the same time. There is none unless answers are kept.
    pub fn tagged_base_url(&self, tag: &str) -> String {
        format!("{}/@{tag}", self.base_url())
    }
}

/// A mark on a response whose body is not simply what it seems to be.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) delivery: Delivery,
    pub(super) body: Bytes,
}

/// Whom an answer is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) tag: Option<&'a str>,
    pub(super) kind: RouteKind,
    pub(super) client: Option<&'a str>,
    pub(super) user: Option<i64>,
}

/// `None` while nothing is kept.
#[derive(Debug)]
pub(super) struct Log(watch::Sender<Option<Vec<Answered>>>);

impl Log {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(super) fn keep(&self, keep: bool) {
        self.0.send_replace(keep.then(Vec::new));
    }

    pub(super) fn is_kept(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Those of a higher sequence number.
    pub(super) fn after(&self, sequence: u64) -> Vec<Answered> {
        let skipped = usize::try_from(sequence).unwrap_or(usize::MAX);
        let log = self.0.borrow();
        log.iter().flatten().skip(skipped).cloned().collect()
    }

    pub(super) async fn wait_for(&self, mut condition: impl FnMut(&[Answered]) -> bool) {
        self.0
            .subscribe()
            .wait_for(|log| condition(log.as_deref().unwrap_or_default()))
            .await
            .expect("the sender is borrowed meanwhile");
    }

    /// Keeps an answer and gives it back as it was.
    pub(super) async fn note(&self, asked: Asked<'_>, mut response: Response) -> Response {
        let status = response.status();
        let sent = match response.extensions_mut().remove::<Sent>() {
            Some(sent) => sent,
            None => {
                let (parts, whole) = response.into_parts();
                let whole = body::to_bytes(whole, usize::MAX)
                    .await
                    .expect("a body without a mark is in memory");
                response = Response::from_parts(parts, Body::from(whole.clone()));
                Sent {
                    delivery: Delivery::Whole,
                    body: whole,
                }
            }
        };
        let single = asked.kind == RouteKind::GetUser;
        let closed = sent.delivery == Delivery::Closed;
        self.0.send_modify(|log| {
            let Some(log) = log else { return };
            log.push(Answered {
                sequence: log.len() as u64 + 1,
                tag: asked.tag.map(str::to_owned),
                kind: asked.kind,
                client_id: asked.client.map(str::to_owned),
                user_id: asked.user,
                status: if closed { 0 } else { StatusCode::as_u16(&status) },
                delivery: sent.delivery,
                body: if single { sent.body } else { Bytes::new() },
            });
        });
        response
    }
}

/// The tag of a path below `prefix`, as `/@tag/v2/…`, and the path without it.
pub(super) fn tag<'a>(path: &'a str, prefix: &str) -> Option<(&'a str, &'a str)> {
    let tagged = path.strip_prefix(prefix)?.strip_prefix("/@")?;
    let slash = tagged.find('/')?;
    Some(tagged.split_at(slash))
}
