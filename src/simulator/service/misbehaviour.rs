//! Scripted and random faults, as they go out.

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use chrono::{DateTime, Utc};

use super::Service;
use crate::simulator::{
    answers::{Delivery, Sent},
    body,
    connection::Caller,
    counts::Counter,
    faults::Answer,
    response::{finish, refuse, respond},
    throttle::Verdict,
};

impl Service {
    /// The faulty response, or `None` where the true one follows.
    pub(super) async fn misbehave(
        &self,
        fault: Answer,
        caller: &Caller,
        now: DateTime<Utc>,
        path: &str,
        verdict: Option<Verdict>,
    ) -> Option<Response> {
        let marked = |body, delivery, sent| {
            let mut response = Response::new(body);
            response.extensions_mut().insert(Sent { delivery, body: sent });
            response
        };
        let json = |body, delivery, sent| {
            let mut response = marked(body, delivery, sent);
            let json = HeaderValue::from_static("application/json; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        };
        Some(match fault {
            Answer::Respond {
                status,
                headers,
                body,
            } => respond(status, headers, body),
            Answer::Refuse(refusal) => finish(refuse(&refusal, now, path), verdict),
            Answer::CutShort { declared_bytes, sent } => {
                let mut response = json(body::cut_short(sent.clone()), Delivery::Cut, sent);
                response
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, HeaderValue::from(declared_bytes));
                response
            }
            Answer::Endless => json(
                body::endless(self.closing.clone()),
                Delivery::Endless,
                Bytes::new(),
            ),
            Answer::Drip { body, pause } => {
                let drops = body::drip(body.clone(), pause, self.closing.clone());
                json(drops, Delivery::Drip, body)
            }
            Answer::GzipBomb { inflated_bytes } => {
                let mut response = json(body::gzip_bomb(inflated_bytes), Delivery::Bomb, Bytes::new());
                response
                    .headers_mut()
                    .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                response
            }
            Answer::Close => {
                caller.cut.cancel();
                marked(Body::empty(), Delivery::Closed, Bytes::new())
            }
            Answer::Hang => {
                self.hang().await;
                return None;
            }
        })
    }

    async fn hang(&self) {
        /// Counts down also when the caller leaves, which drops the future.
        struct Hanging<'a>(&'a Counter);
        impl Drop for Hanging<'_> {
            fn drop(&mut self) {
                self.0.update(|counts| counts.hanging -= 1);
            }
        }
        // Subscribed first: whoever sees the count can release at once.
        let mut released = self.released.subscribe();
        self.counter.update(|counts| counts.hanging += 1);
        let _hanging = Hanging(&self.counter);
        tokio::select! {
            () = self.closing.cancelled() => {}
            changed = released.changed() => changed.expect("the sender lives as long as the service"),
        }
    }
}
