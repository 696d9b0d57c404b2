//! A request, with as many tries as are due.

use std::{
    sync::{MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use reqwest::{
    Method, Request, Response, StatusCode,
    header::{self, HeaderMap},
};
use tokio::time::{Instant, sleep};
use url::Url;

use super::{
    ApiClient,
    routes::{Routes, Unsendable},
};
use crate::{
    calcom::{
        Answer, Disposition, Error, Said,
        budget::{Permit, Silence},
    },
    clock::{Clock, SystemClock},
    crash_point::crash_point,
    measured,
    model::UserId,
    retry::{Next, Policy, Reserve},
};

/// Half a second is longer than a hiccup of one of the source's many servers; three tries are design's bound.
const RETRIES: Policy = Policy {
    max_tries: 3,
    first_wait: Duration::from_millis(500),
    max_wait: Duration::from_secs(8),
};

/// Blocks that one request waits out. A block lasts a minute, and more than this many in a row is another's doing.
const MAX_BLOCKS: u32 = 3;

/// A wait that is long enough for somebody to wonder why nothing happens.
const LONG_WAIT: Duration = Duration::from_secs(3);

/// What a request asks for, as logs tell it.
#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    User(UserId),
    /// So many of them.
    Addresses(usize),
    Page {
        offset: usize,
    },
    Organization {
        skip: usize,
    },
}

impl ApiClient {
    pub(super) fn routes(&self) -> Result<&Routes, Error> {
        let routes = self.0.routes.as_ref();
        routes.map_err(|Unsendable(what)| Error::Unsendable(what))
    }

    /// Asks until `read` makes something of an answer, or no more tries are due.
    pub(super) async fn ask<T>(
        &self,
        what: What,
        url: Url,
        read: impl Fn(&Answer<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let headers = &self.routes()?.headers;
        self.reserve().earn();
        let (mut tries, mut blocks) = (0, 0);
        loop {
            let mut request = Request::new(Method::GET, url.clone());
            request.headers_mut().clone_from(headers);
            let error = match self.attempt(what, request, &read).await {
                Ok(read) => return Ok(read),
                Err(error) => error,
            };
            match error.disposition() {
                // The next attempt's permit waits until the block is over.
                Disposition::WaitUntil(_) if blocks < MAX_BLOCKS => blocks += 1,
                Disposition::Retry => {
                    tries += 1;
                    let next = RETRIES.after(tries, &mut self.reserve(), fastrand::f64());
                    match next {
                        Next::Wait(wait) => sleep(wait).await,
                        Next::GiveUp(_) => return Err(error),
                    }
                }
                _ => return Err(error),
            }
        }
    }

    /// One request, and what came of it.
    async fn attempt<T>(
        &self,
        what: What,
        request: Request,
        read: impl Fn(&Answer<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let permit = self
            .0
            .kept
            .budget
            .permit(|silence| self.note_waiting(silence))
            .await;
        let permit = permit.map_err(|until| Error::RateLimited { until })?;
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        crash_point!("request::before");
        let begun = Instant::now();
        let response = self.0.api.http.execute(request).await;
        let response = response.map_err(Error::unreachable);
        let status = response.as_ref().ok().map(Response::status);
        let result = match response {
            Ok(response) => self.answer(response, &permit, begun, read).await,
            Err(error) => Err(error),
        };
        let code = status.map(|status| status.as_u16());
        measured::request(&self.0.name, code, begun.elapsed());
        if tracing::enabled!(tracing::Level::DEBUG) {
            self.note_attempt(what, status, begun, result.as_ref().err());
        }
        crash_point!("request::after");
        result
    }

    async fn answer<T>(
        &self,
        mut response: Response,
        permit: &Permit<'_>,
        begun: Instant,
        read: impl Fn(&Answer<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let status = response.status();
        // Before the body, which may never come: the others must fall silent at once.
        let heard = permit.answered(status, response.headers(), SystemClock.now());
        // Of a longer one, the end of the pass tells.
        if let Some(block) = heard.block.filter(|block| block.begins && block.is_waited_for) {
            tracing::warn!(
                client.name = self.0.name,
                wait_s = block.until.saturating_duration_since(Instant::now()).as_secs(),
                "the rate limit is used up; the client is quiet until the block is over; lower \
                 `requests_per_minute` if something else needs the same client's limit"
            );
        }
        self.note_deprecation(response.headers());
        let body = self.0.api.bodies.read(&mut response, begun).await?;
        let location = response.headers().get(header::LOCATION);
        let answer = Answer {
            status,
            location: location.and_then(|value| value.to_str().ok()),
            blocked_until: heard.block.map(|block| block.until),
            rest: heard.rest,
            body: &body.bytes,
        };
        read(&answer)
    }

    fn note_attempt(&self, what: What, status: Option<StatusCode>, begun: Instant, error: Option<&Error>) {
        let name = self.0.name.as_str();
        let status = status.map(|status| status.as_u16());
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let error = error.map(tracing::field::display);
        match what {
            What::User(user) => tracing::debug!(
                client.name = name,
                user.id = user.0,
                http.status = status,
                duration_ms,
                error,
                "asked for a user"
            ),
            What::Addresses(users) => tracing::debug!(
                client.name = name,
                users,
                http.status = status,
                duration_ms,
                error,
                "asked for users by their addresses"
            ),
            What::Page { offset } => tracing::debug!(
                client.name = name,
                offset,
                http.status = status,
                duration_ms,
                error,
                "asked for a page of users"
            ),
            What::Organization { skip } => tracing::debug!(
                client.name = name,
                skip,
                http.status = status,
                duration_ms,
                error,
                "asked for a page of the organisation's users"
            ),
        }
    }

    /// Tells the operator once a pass why nothing happens.
    fn note_waiting(&self, silence: Silence) {
        // That a block begins was said already.
        if silence.is_block || silence.left() < LONG_WAIT {
            return;
        }
        if !self.0.told_of_waiting.swap(true, Ordering::Relaxed) {
            tracing::info!(
                client.name = self.0.name,
                wait_s = silence.left().as_secs(),
                "the rate limit's window is used up; the pass waits for the next one, now and whenever it is again"
            );
        }
    }

    /// Tells the operator once that the routes are about to end.
    fn note_deprecation(&self, headers: &HeaderMap) {
        let notice = |name: &str| {
            let value = headers.get(name)?;
            Some(Said::new(
                &String::from_utf8_lossy(value.as_bytes()),
                &self.0.secret,
            ))
        };
        let (deprecation, sunset) = (notice("deprecation"), notice("sunset"));
        if deprecation.is_some() || sunset.is_some() {
            self.0.kept.deprecation.call_once(|| {
                tracing::warn!(
                    client.name = self.0.name,
                    http.deprecation = deprecation.as_ref().map(Said::as_str),
                    http.sunset = sunset.as_ref().map(Said::as_str),
                    "cal.com announces the end of the address that managed users are read from"
                );
            });
        }
    }

    fn reserve(&self) -> MutexGuard<'_, Reserve> {
        self.0.kept.reserve.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
