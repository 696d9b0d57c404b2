//! A faithful stand-in for Cal.com: its managed-user routes with their caps, refusals word for word, its rate limit,
//! weak entity tags, and faults on demand.
//!
//! It shares no code with [`crate::calcom`], so that one misreading of the API cannot hide in both. Used by the demo,
//! the tests and the benchmarks, in process or by `calmirror simulate`.

mod answers;
mod body;
mod budget;
mod config;
mod connection;
mod counts;
mod email;
mod faults;
mod input;
mod life;
mod lists;
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
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{body::Bytes, handler::Handler as _};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use answers::{Answered, Delivery};
pub use config::{ClientInfo, SimulatorConfig};
pub use counts::{RequestCounts, RouteKind};
pub use faults::{Answer, Faults, Script, Target};
pub use lists::{EmailFilter, ListRoute, Lists, MaxLimit};
pub use record::User;
pub use refusal::{Refusal, Violation};
pub use throttle::{Budget, RateLimit};
pub use world::ReadLag;

use connection::{Caller, Connections};
use record::Record;
use service::Service;
use world::{Client, Moment};

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

impl SimulatorError {
    /// What can be done about it, where that is not plain.
    pub fn remedy(&self) -> Option<&'static str> {
        matches!(self, Self::Listen { .. }).then_some("--port names another one; 0 is any that is free")
    }
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
        let planned = config.clone();
        let world = tokio::task::spawn_blocking(move || planned.invent()).await?;
        let closing = CancellationToken::new();
        let cut = CancellationToken::new();
        let service = Arc::new(Service {
            world,
            throttle: throttle::Throttle::new(config.rate_limit),
            faults: faults::FaultBox::new(config.faults, config.seed),
            lists: RwLock::new(config.lists),
            counter: counts::Counter::new(),
            answers: answers::Log::new(),
            clock: config.clock,
            prefix: config.path_prefix.trim_end_matches('/').to_owned(),
            released: watch::Sender::new(0),
            closing: closing.clone(),
        });
        let handler = service::answer.with_state(service.clone());
        let connections = Connections {
            listener,
            cut: cut.clone(),
        };
        let server = axum::serve(
            connections,
            handler.into_make_service_with_connect_info::<Caller>(),
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

    /// A client's users with their addresses as these people know them, without the suffix; ids ascending. Users
    /// without an address, which only a raw record can be, are not among them.
    ///
    /// # Errors
    /// Where there is no such client.
    pub fn addresses(&self, client_id: &str) -> Result<Vec<(i64, String)>, Refusal> {
        let client = self.service.world.client(client_id)?;
        Ok(client.addresses(|id, stored| (id, email::without_suffix(stored, client_id))))
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
        Ok(self.service.insert(&client, body, now, self.moment())?.id())
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
    /// Where there is no such client, or somebody else has the id.
    pub fn place_user(&self, client_id: &str, user: &User) -> Result<(), Refusal> {
        self.place(client_id, Record::of(user))
    }

    /// Serves these very bytes as the user's record: in a GET, and within lists.
    ///
    /// # Errors
    /// Where there is no such client, or somebody else has the id.
    pub fn place_raw(&self, client_id: &str, id: i64, record: impl AsRef<[u8]>) -> Result<(), Refusal> {
        self.place(client_id, Record::raw(id, record.as_ref()))
    }

    fn place(&self, client_id: &str, record: Record) -> Result<(), Refusal> {
        let (id, world) = (record.id(), &self.service.world);
        let client = world.client(client_id)?;
        let anothers = world.owner(id).is_ok_and(|owner| owner.id != client.id);
        if anothers || world.organization.has_member(id) {
            return Err(Refusal::NotOurUser(id));
        }
        world.skip_ids_to(id);
        client.put(record, self.moment(), self.service.faults.now().read_lag);
        Ok(())
    }

    /// A user's record as it is served once reads have caught up.
    pub fn user_json(&self, id: i64) -> Option<Bytes> {
        let owner = self.service.world.owner(id).ok()?;
        Some(Bytes::copy_from_slice(owner.primary(id)?.json()))
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

    pub fn lists(&self) -> Lists {
        self.service.lists()
    }

    /// Makes the list routes those of another server.
    pub fn set_lists(&self, lists: Lists) {
        *self.service.lists.write().unwrap_or_else(PoisonError::into_inner) = lists;
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
