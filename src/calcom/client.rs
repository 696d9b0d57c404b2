//! Requests: the one HTTP client that all share, and what belongs to one client of Cal.com's.

mod attempt;
mod routes;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::redirect;
use rustls::crypto::CryptoProvider;
use secrecy::SecretString;
use url::Url;

use super::{
    Answer, Error, Lesson, OrganizationPage, Reach, RefusedAddresses, Roll, Source, body::Bodies,
    budget::Budget, decode_page, decode_roll, decode_seen, lessons::Lessons, wire::decode_organization_page,
};
use crate::{
    config,
    model::{Allowance, ClientId, Fingerprint, RateState, Seen, Target, UserId},
    retry::Reserve,
};

use attempt::What;
use routes::{Routes, Unsendable};

/// The most users of an organisation that Cal.com gives at once.
const ORGANIZATION_PAGE: usize = 1000;

/// A server that takes longer to accept a connection is away, however long an answer may take.
const MAX_CONNECT: Duration = Duration::from_secs(10);

/// Node, which a self-hosted Cal.com is, closes a connection after 5 idle seconds: a request that is sent just then
/// would fail.
const MAX_IDLE: Duration = Duration::from_secs(4);

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
        self.client_with(config, Kept::new(config.requests_per_minute))
    }

    /// As [`Api::client`], after another configuration: what `before` remembers is kept, as far as it is of the same client of the
    /// same server. Passes of the two must not overlap. A rate that has changed holds from the next pass on.
    pub fn client_after(&self, config: &config::Client, before: &ApiClient) -> ApiClient {
        let is_same = before.0.id == config.id && before.0.api.base_url == self.base_url;
        if is_same {
            self.client_with(config, before.0.kept.clone())
        } else {
            self.client(config)
        }
    }

    fn client_with(&self, config: &config::Client, kept: Kept) -> ApiClient {
        ApiClient(Arc::new(Shared {
            api: self.clone(),
            name: config.name.clone(),
            id: config.id.clone(),
            routes: Routes::new(&self.base_url, config),
            secret: config.secret.clone(),
            requests_per_minute: config.requests_per_minute,
            kept,
            requests: AtomicU64::new(0),
            told_of_waiting: AtomicBool::new(false),
        }))
    }
}

impl ApiClient {
    /// Until the end of the block that a 429 has begun, however long; none where there is no block.
    pub fn blocked_for(&self) -> Option<Duration> {
        self.0.kept.budget.blocked_for()
    }
}

/// Gives rustls its cryptography, unless it has one already.
pub(crate) fn install_crypto() {
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    }
}

/// One configured client of Cal.com: its credentials, its rate budget and its retry budget. Clones share them.
#[derive(Clone, Debug)]
pub struct ApiClient(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    api: Api,
    name: String,
    id: ClientId,
    routes: Result<Routes, Unsendable>,
    secret: SecretString,
    requests_per_minute: u32,
    kept: Kept,
    requests: AtomicU64,
    /// That this pass waits for the rate limit.
    told_of_waiting: AtomicBool,
}

/// What outlives a configuration. Clones share it.
#[derive(Clone, Debug)]
struct Kept {
    lessons: Arc<Lessons>,
    budget: Arc<Budget>,
    reserve: Arc<Mutex<Reserve>>,
    deprecation: Arc<Once>,
}

impl Kept {
    fn new(requests_per_minute: u32) -> Self {
        Self {
            lessons: Arc::default(),
            budget: Arc::new(Budget::new(requests_per_minute)),
            reserve: Arc::default(),
            deprecation: Arc::new(Once::new()),
        }
    }
}

impl Source for ApiClient {
    async fn get(&self, target: &Target) -> Result<Seen, Error> {
        let url = self.routes()?.user(target.id);
        let read = |answer: &Answer<'_>| decode_seen(answer, target, &self.0.secret);
        self.ask(What::User(target.id), url, read).await
    }

    async fn by_addresses(&self, targets: &[Target]) -> Result<Roll, Error> {
        let limit = targets.len().min(self.reach().users);
        let Some(url) = self.routes()?.by_addresses(targets, limit, &self.0.id) else {
            return Ok(Roll::default());
        };
        let read = |answer: &Answer<'_>| decode_roll(answer, targets, &self.0.id, &self.0.secret);
        self.ask(What::Addresses(targets.len()), url, read).await
    }

    async fn page(
        &self,
        offset: usize,
        limit: usize,
        known: &HashMap<Fingerprint, UserId>,
    ) -> Result<Roll, Error> {
        let url = self.routes()?.page(offset, limit);
        let read = |answer: &Answer<'_>| decode_page(answer, known, &self.0.secret);
        self.ask(What::Page { offset }, url, read).await
    }

    async fn organization_page(&self, organization: i64, skip: usize) -> Result<OrganizationPage, Error> {
        let url = self
            .routes()?
            .organization_page(organization, ORGANIZATION_PAGE, skip);
        let read = |answer: &Answer<'_>| decode_organization_page(answer, &self.0.id, &self.0.secret);
        self.ask(What::Organization { skip }, url, read).await
    }

    fn reach(&self) -> Reach {
        self.0.kept.lessons.reach()
    }

    fn learn(&self, lesson: Lesson) {
        let Some(reach) = self.0.kept.lessons.learn(lesson) else {
            return;
        };
        let name = self.0.name.as_str();
        match lesson {
            Lesson::NotByAddresses => tracing::info!(
                client.name = name,
                "cal.com does not list users by their addresses; for a day, users are asked for in other ways"
            ),
            Lesson::AtMostUsers(_) => tracing::info!(
                client.name = name,
                users = reach.users,
                "cal.com gives fewer users at once than it is known to; for a day, no more are asked for in one request"
            ),
            Lesson::TooManyBytes(_) => tracing::info!(
                client.name = name,
                address_bytes = reach.address_bytes,
                "requests with many addresses are too long for cal.com, or for something in front of it; for a day, \
                 none has more bytes of them"
            ),
        }
    }

    fn learn_refused(&self, user: &Target) {
        self.0.kept.lessons.learn_refused(user);
    }

    fn refused_addresses(&self) -> RefusedAddresses {
        self.0.kept.lessons.refused()
    }

    fn begin_pass(&self) {
        self.0.told_of_waiting.store(false, Ordering::Relaxed);
        self.0.kept.budget.begin_pass(self.0.requests_per_minute);
    }

    fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    fn rate_state(&self) -> RateState {
        self.0.kept.budget.rate_state()
    }

    fn allowance(&self) -> Option<Allowance> {
        self.0.kept.budget.allowance()
    }

    fn resume_rate(&self, state: RateState) {
        self.0.kept.budget.resume(state);
    }

    async fn rate_news(&self) {
        self.0.kept.budget.news().await;
    }

    fn most_within(&self, time: Duration) -> u64 {
        self.0.kept.budget.most_within(time)
    }
}
