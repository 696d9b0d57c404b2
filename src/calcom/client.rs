//! Requests: the one HTTP client that all share, and what belongs to one client of Cal.com's.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{
    Response,
    header::{self, HeaderMap, HeaderValue},
    redirect,
};
use rustls::crypto::CryptoProvider;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, sleep};
use url::Url;

use super::{
    Answer, Disposition, Error, Lesson, OrganizationPage, Reach, Roll, Said, Source,
    body::Bodies,
    budget::{Budget, Permit, Silence},
    decode_answer,
};
use crate::{
    clock::{Clock, SystemClock},
    config,
    crash_point::crash_point,
    model::{self, Fingerprint, Observation, Seen, UserId},
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

/// A server that takes longer to accept a connection is away, however long an answer may take.
const MAX_CONNECT: Duration = Duration::from_secs(10);

/// Node, which a self-hosted Cal.com is, closes a connection after 5 idle seconds: a request that is sent just then
/// would fail.
const MAX_IDLE: Duration = Duration::from_secs(4);

/// A wait that is long enough for somebody to wonder why nothing happens.
const LONG_WAIT: Duration = Duration::from_secs(3);

/// What all clients share: connections, time-outs, and where Cal.com is.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    base_url: Url,
    bodies: Bodies,
}

impl Api {
    /// Sets up the shared HTTP client; nothing is asked yet.
    ///
    /// Proxies of the environment (`HTTPS_PROXY` and the like) are not used: the secret goes to the configured origin
    /// and nowhere else.
    ///
    /// # Errors
    /// [`Error::Setup`] when the system has no certificates to check others by.
    pub fn new(config: &config::Calcom) -> Result<Self, Error> {
        install_crypto();
        let secure = config.base_url.scheme() != "http";
        #[expect(clippy::disallowed_methods, reason = "this is the one shared client")]
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("calmirror/", env!("CARGO_PKG_VERSION")))
            // reqwest would send the secret's header along to another host.
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .https_only(secure)
            // Retries are counted and bounded here, all of them.
            .retry(reqwest::retry::never())
            .timeout(config.timeout)
            .connect_timeout(config.timeout.min(MAX_CONNECT))
            .pool_idle_timeout(MAX_IDLE);
        if !secure {
            // Plain HTTP works where there are no certificates, such as in a slim image next to the simulator.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self {
            http: builder
                .build()
                .map_err(|error| Error::Setup(error.without_url()))?,
            base_url: config.base_url.clone(),
            bodies: Bodies::new(config.max_answer_bytes, config.timeout),
        })
    }

    /// One configured client, to be kept across passes: its rate, its blocks and its retries are remembered in it.
    pub fn client(&self, config: &config::Client) -> ApiClient {
        ApiClient {
            api: self.clone(),
            name: config.name.clone(),
            target: Target::new(&self.base_url, config),
            secret: config.secret.clone(),
            budget: Budget::new(config.requests_per_minute),
            reserve: Mutex::default(),
            requests: AtomicU64::new(0),
            deprecation: Once::new(),
            told_of_waiting: AtomicBool::new(false),
        }
    }
}

/// Gives rustls its cryptography, unless it has one already.
fn install_crypto() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

/// One configured client of Cal.com: its credentials, its rate budget and its retry budget.
#[derive(Debug)]
pub struct ApiClient {
    api: Api,
    name: String,
    target: Result<Target, Unsendable>,
    secret: SecretString,
    budget: Budget,
    reserve: Mutex<Reserve>,
    requests: AtomicU64,
    deprecation: Once,
    /// That this pass waits for the rate limit.
    told_of_waiting: AtomicBool,
}

/// Where a client's users are, and what has to be sent there.
#[derive(Debug)]
struct Target {
    /// `…/v2/oauth-clients/{clientId}/users`.
    users: Url,
    headers: HeaderMap,
}

/// The part of the credentials that no request can hold.
#[derive(Clone, Copy, Debug)]
struct Unsendable(&'static str);

impl Target {
    fn new(base_url: &Url, config: &config::Client) -> Result<Self, Unsendable> {
        let id = config.id.as_str();
        // These would lead to another address, for all that is percent-encoded.
        if matches!(id, "" | "." | "..") || id.chars().any(char::is_control) {
            return Err(Unsendable("id"));
        }
        let mut users = base_url.clone();
        users
            .path_segments_mut()
            .map_err(|()| Unsendable("base address"))?
            .pop_if_empty()
            .extend(["v2", "oauth-clients", id, "users"]);
        let mut secret =
            HeaderValue::from_str(config.secret.expose_secret()).map_err(|_| Unsendable("secret"))?;
        secret.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert("x-cal-secret-key", secret);
        // Chooses the rate limit's bucket: without it the caller is counted by its IP address.
        let id = HeaderValue::from_str(id).map_err(|_| Unsendable("id"))?;
        headers.insert("x-cal-client-id", id);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        Ok(Self { users, headers })
    }

    fn user(&self, user: UserId) -> Url {
        let mut url = self.users.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(&user.to_string());
        }
        url
    }
}

impl Source for ApiClient {
    async fn get(&self, wanted: &model::Target) -> Result<Seen, Error> {
        let user = wanted.id;
        let target = match &self.target {
            Ok(target) => target,
            Err(Unsendable(what)) => return Err(Error::Unsendable(what)),
        };
        self.reserve().earn();
        let (mut tries, mut blocks) = (0, 0);
        loop {
            let error = match self.attempt(target, user).await {
                Ok(observation) => {
                    return Ok(Seen::Observed {
                        observation,
                        fingerprint: None,
                    });
                }
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

    async fn by_addresses(&self, _targets: &[model::Target]) -> Result<Roll, Error> {
        Ok(Roll::default())
    }

    async fn page(
        &self,
        _offset: usize,
        _limit: usize,
        _known: &HashMap<Fingerprint, UserId>,
    ) -> Result<Roll, Error> {
        Ok(Roll::default())
    }

    async fn organization_page(&self, _organization: i64, _skip: usize) -> Result<OrganizationPage, Error> {
        Ok(OrganizationPage::default())
    }

    fn reach(&self) -> Reach {
        Reach::default()
    }

    fn learn(&self, _lesson: Lesson) {}

    fn begin_pass(&self) {
        self.told_of_waiting.store(false, Ordering::Relaxed);
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl ApiClient {
    /// One request, and what came of it.
    async fn attempt(&self, target: &Target, user: UserId) -> Result<Observation, Error> {
        let permit = self.budget.permit(|silence| self.note_waiting(silence)).await;
        let permit = permit.map_err(|until| Error::RateLimited { until })?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        crash_point!("request::before");
        let begun = Instant::now();
        let request = self
            .api
            .http
            .get(target.user(user))
            .headers(target.headers.clone());
        let response = request.send().await.map_err(Error::unreachable);
        let status = response.as_ref().ok().map(Response::status);
        let result = match response {
            Ok(response) => self.observe(response, &permit, user, begun).await,
            Err(error) => Err(error),
        };
        tracing::debug!(
            client.name = self.name,
            user.id = user.0,
            http.status = status.map(|status| status.as_u16()),
            duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            error = result.as_ref().err().map(tracing::field::display),
            "asked for a user"
        );
        crash_point!("request::after");
        result
    }

    async fn observe(
        &self,
        mut response: Response,
        permit: &Permit<'_>,
        user: UserId,
        begun: Instant,
    ) -> Result<Observation, Error> {
        let status = response.status();
        // Before the body, which may never come: the others must fall silent at once.
        let heard = permit.answered(status, response.headers(), SystemClock.now());
        // Of a longer one, the end of the pass tells.
        if let Some(block) = heard.block.filter(|block| block.begins && block.is_waited_for) {
            tracing::warn!(
                client.name = self.name,
                wait_s = block.until.saturating_duration_since(Instant::now()).as_secs(),
                "the rate limit is used up; the client is quiet until the block is over; lower \
                 `requests_per_minute` if something else needs the same client's limit"
            );
        }
        self.note_deprecation(response.headers());
        let body = self.api.bodies.read(&mut response, begun).await?;
        let location = response.headers().get(header::LOCATION);
        let answer = Answer {
            status,
            location: location.and_then(|value| value.to_str().ok()),
            blocked_until: heard.block.map(|block| block.until),
            rest: heard.rest,
            body: &body.bytes,
        };
        decode_answer(&answer, user, &self.secret)
    }

    /// Tells the operator once a pass why nothing happens.
    fn note_waiting(&self, silence: Silence) {
        // That a block begins was said already.
        if silence.is_block || silence.left() < LONG_WAIT {
            return;
        }
        if !self.told_of_waiting.swap(true, Ordering::Relaxed) {
            tracing::info!(
                client.name = self.name,
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
                &self.secret,
            ))
        };
        let (deprecation, sunset) = (notice("deprecation"), notice("sunset"));
        if deprecation.is_some() || sunset.is_some() {
            self.deprecation.call_once(|| {
                tracing::warn!(
                    client.name = self.name,
                    http.deprecation = deprecation.as_ref().map(Said::as_str),
                    http.sunset = sunset.as_ref().map(Said::as_str),
                    "cal.com announces the end of the address that managed users are read from"
                );
            });
        }
    }

    fn reserve(&self) -> MutexGuard<'_, Reserve> {
        self.reserve.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
