//! What can go wrong, switched on by hand or rolled with seeded dice.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::body::Bytes;
use fastrand::Rng;

use super::{counts::RouteKind, refusal::Refusal, world::ReadLag};

/// Faults that every request meets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Added to every answer.
    pub latency: Duration,
    /// The share of requests, 0 to 1, answered by a 500 or a 502 of one of several shapes.
    pub error_rate: f64,
    /// How far GETs are behind writes.
    pub read_lag: ReadLag,
}

/// A fault for the next requests that it is meant for.
#[derive(Clone, Debug)]
pub struct Script {
    pub target: Target,
    /// How many requests; [`Script::ALWAYS`] for all until [`clear_scripts`](super::Simulator::clear_scripts).
    pub times: u32,
    pub answer: Answer,
}

impl Script {
    pub const ALWAYS: u32 = u32::MAX;
}

/// Which requests a script is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Any,
    /// Those with this user in their path.
    User(i64),
    Route(RouteKind),
    /// Those for a page of a client's list that begins at this offset.
    Page(usize),
    /// Those with this client in their path.
    Client(String),
}

/// What a scripted request gets instead of its true answer. It still counts for the rate limit.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Sent as it is; no header is added but `Content-Length` and `Date`. The status has three digits, the headers'
    /// names are in small letters.
    Respond {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
    },
    /// One of Cal.com's own refusals, in its envelope.
    Refuse(Refusal),
    /// A 200 of which only this much comes before the connection closes.
    CutShort { declared_bytes: u64, sent: Bytes },
    /// A 200 of spaces without end.
    Endless,
    /// A 200 that comes one byte at a time.
    Drip { body: Bytes, pause: Duration },
    /// A 200 of spaces that is small on the wire and this large when inflated, rounded up to whole MiB.
    GzipBomb { inflated_bytes: u64 },
    /// The connection closes without an answer.
    Close,
    /// Nothing until [`release`](super::Simulator::release), then the true answer.
    Hang,
}

impl Answer {
    /// An answer with this status and body, as JSON.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::Respond {
            status,
            headers: vec![("content-type", "application/json; charset=utf-8".to_owned())],
            body: body.into(),
        }
    }

    /// A page, such as a proxy or a parked domain sends.
    pub fn html(status: u16) -> Self {
        let title = match status {
            200 => "Welcome",
            502 => "502 Bad Gateway",
            _ => "Sorry",
        };
        Self::Respond {
            status,
            headers: vec![("content-type", "text/html; charset=utf-8".to_owned())],
            body: format!(
                "<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n"
            )
            .into(),
        }
    }

    /// A plain text, such as a server sends that could not start.
    pub fn text(status: u16, body: &'static str) -> Self {
        Self::Respond {
            status,
            headers: vec![("content-type", "text/plain; charset=utf-8".to_owned())],
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    fn random(rng: &mut Rng) -> Self {
        match rng.u32(..4) {
            0 => Self::Refuse(Refusal::Unhandled),
            1 => Self::text(500, "A server error has occurred\n\nFUNCTION_INVOCATION_FAILED\n"),
            2 => Self::html(502),
            _ => Self::text(502, "error code: 502"),
        }
    }
}

/// The request, as far as scripts look at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    pub(super) kind: RouteKind,
    pub(super) client: Option<&'a str>,
    pub(super) user: Option<i64>,
    pub(super) query: Option<&'a str>,
}

impl Seen<'_> {
    fn offset(&self) -> Option<usize> {
        let mut pairs = url::form_urlencoded::parse(self.query?.as_bytes());
        let (_, offset) = pairs.find(|(name, _)| name == "offset")?;
        offset.parse().ok()
    }
}

impl Target {
    fn is(&self, seen: Seen<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::User(id) => seen.user == Some(*id),
            Self::Route(kind) => seen.kind == *kind,
            Self::Page(offset) => seen.kind == RouteKind::ListUsers && seen.offset() == Some(*offset),
            Self::Client(id) => seen.client == Some(id),
        }
    }
}

#[derive(Debug)]
pub(super) struct FaultBox(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    faults: Faults,
    scripts: Vec<Script>,
    dice: Rng,
}

impl FaultBox {
    pub(super) fn new(faults: Faults, seed: u64) -> Self {
        Self(Mutex::new(Inner {
            faults,
            scripts: Vec::new(),
            dice: Rng::with_seed(seed),
        }))
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        change(&mut self.lock().faults)
    }

    pub(super) fn now(&self) -> Faults {
        self.lock().faults
    }

    pub(super) fn script(&self, script: Script) {
        if script.times > 0 {
            self.lock().scripts.push(script);
        }
    }

    pub(super) fn clear_scripts(&self) {
        self.lock().scripts.clear();
    }

    /// The fault that this request meets: the oldest script that is meant for it, else what the dice say.
    pub(super) fn meet(&self, seen: Seen<'_>) -> Option<Answer> {
        let mut inner = self.lock();
        if let Some(index) = inner.scripts.iter().position(|script| script.target.is(seen)) {
            let script = &mut inner.scripts[index];
            if script.times == Script::ALWAYS {
                return Some(script.answer.clone());
            }
            script.times -= 1;
            return if script.times == 0 {
                Some(inner.scripts.remove(index).answer)
            } else {
                Some(script.answer.clone())
            };
        }
        let rate = inner.faults.error_rate;
        (rate > 0.0 && inner.dice.f64() < rate).then(|| Answer::random(&mut inner.dice))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Seen<'_> = Seen {
        kind: RouteKind::GetUser,
        client: Some("clx0"),
        user: Some(7),
        query: None,
    };

    fn script(target: Target, times: u32, status: u16) -> Script {
        Script {
            target,
            times,
            answer: Answer::html(status),
        }
    }

    fn status(answer: Option<Answer>) -> Option<u16> {
        match answer? {
            Answer::Respond { status, .. } => Some(status),
            other => panic!("not scripted: {other:?}"),
        }
    }

    #[test]
    fn scripts_are_used_in_order_by_whom_they_are_meant_for() {
        let faults = FaultBox::new(Faults::default(), 1);
        faults.script(script(Target::User(8), 1, 501));
        faults.script(script(Target::User(7), 2, 502));
        faults.script(script(Target::Any, 1, 503));
        let met: Vec<_> = (0..4).map(|_| status(faults.meet(SEEN))).collect();
        assert_eq!(met, [Some(502), Some(502), Some(503), None]);
        faults.script(script(Target::Client("clx0".to_owned()), Script::ALWAYS, 504));
        assert_eq!(status(faults.meet(SEEN)), Some(504));
        assert_eq!(status(faults.meet(SEEN)), Some(504));
        faults.clear_scripts();
        assert_eq!(status(faults.meet(SEEN)), None);
    }

    #[test]
    fn dice_are_seeded() {
        let roll = |seed| {
            let faults = Faults {
                error_rate: 0.3,
                ..Faults::default()
            };
            let faults = FaultBox::new(faults, seed);
            (0..1000)
                .map(|_| faults.meet(SEEN).is_some())
                .collect::<Vec<bool>>()
        };
        assert_eq!(roll(1), roll(1));
        assert_ne!(roll(1), roll(2));
        let met = roll(1).into_iter().filter(|met| *met).count();
        assert!((200..400).contains(&met), "{met} of 1000 at a rate of 0.3");
    }
}
