//! A faithful stand-in for Cal.com: its managed-user routes with their caps, refusals word for word, its rate limit,
//! weak entity tags, and faults on demand.
//!
//! It shares no code with [`crate::calcom`], so that one misreading of the API cannot hide in both. Used by the demo,
//! the tests and the benchmarks, in process or by `calmirror simulate`.

mod answers;
mod body;
mod connection;
mod counts;
mod email;
mod faults;
mod input;
mod life;
mod people;
mod record;
mod refusal;
mod response;
mod route;
mod service;
mod throttle;
mod world;

use std::{
    future::IntoFuture,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Bytes};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use answers::{Answered, Delivery};
pub use counts::{RequestCounts, RouteKind};
pub use faults::{Answer, Faults, Script, Target};
pub use record::User;
pub use refusal::{Refusal, Violation};
pub use throttle::RateLimit;
pub use world::ReadLag;

use crate::clock::{SharedClock, SystemClock};
use connection::{Caller, Connections};
use people::People;
use record::Record;
use service::Service;
use world::{Client, Moment, World};

/// What a simulator is to be like. The same values give the same world.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    pub host: IpAddr,
    /// 0: any that is free.
    pub port: u16,
    /// In front of `/v2`, such as `/api` of a self-hosted Cal.com; empty for none.
    pub path_prefix: String,
    pub seed: u64,
    pub clients: usize,
    pub users_per_client: usize,
    pub rate_limit: RateLimit,
    pub faults: Faults,
    /// What windows, blocks, lags in time and time stamps go by. Latencies are real time.
    pub clock: SharedClock,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            path_prefix: String::new(),
            seed: 1,
            clients: 1,
            users_per_client: 10,
            rate_limit: RateLimit::default(),
            faults: Faults::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Why a simulator did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    #[error("failed to listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the simulator's task ended early")]
    Task(#[from] tokio::task::JoinError),
    #[error("failed to serve")]
    Serve(#[source] io::Error),
}

/// What a caller needs to be one client, and whom it may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    pub name: String,
    pub id: String,
    pub secret: String,
    /// Ascending.
    pub users: Vec<i64>,
}

/// A running simulator. Dropping it stops it; [`Simulator::shutdown`] also waits.
#[derive(Debug)]
pub struct Simulator {
    service: Arc<Service>,
    address: SocketAddr,
    /// Taken by `shutdown`.
    task: Option<JoinHandle<io::Result<()>>>,
    cut: CancellationToken,
}

impl Simulator {
    /// Invents the users and begins to serve.
    pub async fn start(config: SimulatorConfig) -> Result<Self, SimulatorError> {
        let address = SocketAddr::new(config.host, config.port);
        let listen = |source| SimulatorError::Listen { address, source };
        // Before the users are invented, so that a taken port is told at once.
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let bound = listener.local_addr().map_err(listen)?;
        let (seed, clients, users) = (config.seed, config.clients, config.users_per_client);
        let world = tokio::task::spawn_blocking(move || invent(seed, clients, users)).await?;
        let closing = CancellationToken::new();
        let cut = CancellationToken::new();
        let service = Arc::new(Service {
            world,
            throttle: throttle::Throttle::new(config.rate_limit),
            faults: faults::FaultBox::new(config.faults, config.seed),
            counter: counts::Counter::new(),
            answers: answers::Log::new(),
            clock: config.clock,
            prefix: config.path_prefix.trim_end_matches('/').to_owned(),
            released: watch::Sender::new(0),
            closing: closing.clone(),
        });
        let router = Router::new()
            .fallback(service::answer)
            .with_state(service.clone());
        let connections = Connections {
            listener,
            cut: cut.clone(),
        };
        let server = axum::serve(
            connections,
            router.into_make_service_with_connect_info::<Caller>(),
        )
        .with_graceful_shutdown(closing.cancelled_owned());
        Ok(Self {
            service,
            address: bound,
            task: Some(tokio::spawn(server.into_future())),
            cut,
        })
    }

    /// For `[calcom] base_url`: the path prefix is part of it.
    pub fn base_url(&self) -> String {
        format!("http://{}{}", self.address, self.service.prefix)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets answers under way end, and cuts those that do not within a second.
    pub async fn shutdown(mut self) -> Result<(), SimulatorError> {
        const GRACE: Duration = Duration::from_secs(1);
        let Some(mut task) = self.task.take() else {
            return Ok(());
        };
        self.service.closing.cancel();
        let ended = match tokio::time::timeout(GRACE, &mut task).await {
            Ok(ended) => ended,
            Err(_) => {
                self.cut.cancel();
                task.await
            }
        };
        ended?.map_err(SimulatorError::Serve)
    }

    /// The clients with their users as they are now, in the order of their making.
    pub fn clients(&self) -> Vec<ClientInfo> {
        let info = |client: Arc<Client>| ClientInfo {
            name: client.name.clone(),
            id: client.id.clone(),
            secret: client.secret(),
            users: client.ids(),
        };
        self.service.world.clients().into_iter().map(info).collect()
    }

    /// Adds a client without users.
    pub fn add_client(&self, name: &str, id: &str, secret: &str) {
        let client = Client::new(name.to_owned(), id.to_owned(), secret.to_owned(), Vec::new());
        self.service.world.add(client);
    }

    /// Removes a client with its users; its secret is then refused as that of an unknown client.
    pub fn remove_client(&self, client_id: &str) -> bool {
        self.service.world.remove(client_id)
    }

    /// Replaces a client's secret, as an operator of Cal.com does.
    ///
    /// # Errors
    /// Where there is no such client.
    pub fn set_secret(&self, client_id: &str, secret: &str) -> Result<(), Refusal> {
        self.service.world.client(client_id)?.set_secret(secret);
        Ok(())
    }

    /// Whether every request of this client is a 403.
    ///
    /// # Errors
    /// Where there is no such client.
    pub fn set_forbidden(&self, client_id: &str, forbidden: bool) -> Result<(), Refusal> {
        self.service.world.client(client_id)?.set_forbidden(forbidden);
        Ok(())
    }

    /// Creates a user of what the body of a POST may hold, and gives its id.
    ///
    /// # Errors
    /// Those of the POST.
    pub fn create_user(&self, client_id: &str, body: Value) -> Result<i64, Refusal> {
        let client = self.service.world.client(client_id)?;
        let now = self.service.clock.now();
        let (id, _) = self.service.insert(&client, body, now, self.moment())?;
        Ok(id)
    }

    /// Changes a user as the body of a PATCH does, whosever it is.
    ///
    /// # Errors
    /// Those of the PATCH.
    pub fn patch_user(&self, id: i64, body: Value) -> Result<(), Refusal> {
        let client = self.service.world.owner(id)?;
        let fields = input::fields(body, false, &client.id)?;
        self.service.patch(&client, id, &fields, self.moment())?;
        Ok(())
    }

    /// # Errors
    /// Where no client has the user.
    pub fn delete_user(&self, id: i64) -> Result<(), Refusal> {
        let client = self.service.world.owner(id)?;
        client.delete(id, self.moment(), self.service.faults.now().read_lag)?;
        Ok(())
    }

    /// Puts this very user in the place of whatever the id had.
    ///
    /// # Errors
    /// Where there is no such client, or another one has the id.
    pub fn place_user(&self, client_id: &str, user: &User) -> Result<(), Refusal> {
        self.place(client_id, user.id, Record::of(user))
    }

    /// Serves these very bytes as the user's record: in a GET, and within lists.
    ///
    /// # Errors
    /// Where there is no such client, or another one has the id.
    pub fn place_raw(&self, client_id: &str, id: i64, record: impl AsRef<[u8]>) -> Result<(), Refusal> {
        self.place(client_id, id, Record::raw(record.as_ref()))
    }

    fn place(&self, client_id: &str, id: i64, record: Record) -> Result<(), Refusal> {
        let client = self.service.world.client(client_id)?;
        if let Ok(owner) = self.service.world.owner(id)
            && owner.id != client.id
        {
            return Err(Refusal::NotOurUser(id));
        }
        self.service.world.skip_ids_to(id);
        client.put(id, record, self.moment(), self.service.faults.now().read_lag);
        Ok(())
    }

    /// A user's record as it is served once reads have caught up.
    pub fn user_json(&self, id: i64) -> Option<Bytes> {
        let owner = self.service.world.owner(id).ok()?;
        Some(owner.primary(id)?.json())
    }

    /// What has been asked so far.
    pub fn requests(&self) -> RequestCounts {
        self.service.counter.now()
    }

    /// Waits until so many requests have arrived since the start.
    pub async fn wait_for_requests(&self, total: u64) -> RequestCounts {
        self.wait_until(|counts| counts.total >= total).await
    }

    /// Waits until the counts fulfil a condition, looked at whenever they change.
    pub async fn wait_until(&self, condition: impl FnMut(&RequestCounts) -> bool) -> RequestCounts {
        self.service.counter.wait_until(condition).await
    }

    /// Forgets every hit and block.
    pub fn set_rate_limit(&self, limit: RateLimit) {
        self.service.throttle.set(limit);
    }

    pub fn faults(&self) -> Faults {
        self.service.faults.now()
    }

    pub fn set_faults(&self, faults: Faults) {
        self.service.faults.with(|now| *now = faults);
    }

    /// Answers the next `times` requests that `target` means with `answer`. Older scripts come first.
    pub fn script(&self, target: Target, times: u32, answer: Answer) {
        self.service.faults.script(Script {
            target,
            times,
            answer,
        });
    }

    pub fn clear_scripts(&self) {
        self.service.faults.clear_scripts();
    }

    /// Lets every hanging request go on to its true answer.
    pub fn release(&self) {
        self.service.released.send_modify(|releases| *releases += 1);
    }

    fn moment(&self) -> Moment {
        Moment {
            millis: self.service.clock.now().timestamp_millis(),
            requests: self.service.counter.now().total,
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.service.closing.cancel();
        self.cut.cancel();
    }
}

fn invent(seed: u64, clients: usize, users_per_client: usize) -> World {
    let credentials: Vec<_> = (0..clients)
        .map(|index| People::credentials(seed, index))
        .collect();
    let mut people = People::new(seed);
    let settled = people.settle(&credentials, users_per_client);
    let world = World::new();
    world.skip_ids_to(people.next_id() - 1);
    for (credentials, users) in credentials.into_iter().zip(settled) {
        let records = users.iter().map(|user| (user.id, Record::of(user))).collect();
        world.add(Client::new(
            credentials.name,
            credentials.id,
            credentials.secret,
            records,
        ));
    }
    world
}
