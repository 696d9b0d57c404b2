//! The HTTP server of the daemon: whether it lives, whether the mirror can be trusted. Nothing here writes.

mod connections;
mod guard;
mod look;
mod metrics;
mod page;
mod readiness;
mod starting;
mod status;
#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, middleware, routing::get};
use tokio::{net::TcpListener, sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use self::look::Looks;
pub use self::look::{Look, NotReady};
use crate::{
    calcom::ApiClient,
    config::{self, Config},
    live::Live,
    measured::Exposition,
    schedule::Cron,
    store::{Store, UserCounts},
};

/// What the server shows: the configuration in force, and what belongs to it. A reload sends another.
#[derive(Debug)]
pub struct View {
    pub config: Config,
    /// The passes' own, for whoever has to put something on record beside them. Nothing that answers requests touches it.
    pub own_store: Store,
    /// Only reads, on connections of its own: see [`Store::looking_on`].
    pub store: Store,
    pub clients: Vec<ClientView>,
}

/// A client of the configuration in force.
#[derive(Debug)]
pub struct ClientView {
    pub client: config::Client,
    pub source: ApiClient,
    pub cron: Cron,
}

/// What every request sees. Clones share it.
#[derive(Clone, Debug)]
pub struct Context {
    pub view: watch::Receiver<Arc<View>>,
    pub live: Live,
    /// Is cancelled when the process ends: whoever holds a connection open has to let go.
    pub closing: CancellationToken,
    looks: Arc<Looks>,
    exposition: Exposition,
    /// When it was made.
    since: Instant,
    /// Where the server listens, once it does.
    address: Option<SocketAddr>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("server.listen: {address} cannot be listened on")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What the operator can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "is another calmirror running? Set another address, or \"off\" for none",
        }
    }
}

/// A server that has its port and answers nobody yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    exposition: Exposition,
}

/// Longer than answers take as a rule; what streams ends at once.
pub const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// As often as the recorder wants to be looked after.
const UPKEEP: Duration = Duration::from_secs(5);

impl Context {
    pub fn new(view: watch::Receiver<Arc<View>>, live: Live, closing: CancellationToken) -> Self {
        Self {
            view,
            live,
            closing,
            looks: Arc::default(),
            exposition: Exposition::install(),
            since: Instant::now(),
            address: None,
        }
    }

    /// What is shown at this moment.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }

    /// What the database says of the clients, now or a moment ago: asking often costs nothing.
    pub async fn look(&self) -> Arc<Look> {
        self.looks.look(&self.view()).await
    }

    /// The same, with numbers of users where the database answers.
    async fn look_and_count(&self, view: &Arc<View>) -> (Arc<Look>, Option<Arc<Vec<UserCounts>>>) {
        let look = self.looks.look(view).await;
        let news = *self.live.news().borrow();
        let counts = match look.health {
            Ok(_) => self.looks.counts(view, news).await,
            Err(_) => None,
        };
        (look, counts)
    }
}

impl Server {
    /// Takes the port. From here on, what happens is counted for `/metrics`.
    ///
    /// # Errors
    ///
    /// When it cannot be had.
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let refused = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self {
            listener,
            address,
            exposition: Exposition::install(),
        })
    }

    /// Where it can be reached: with the port that it was given, where any would do.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers probes until something has come without which there is nothing else to answer, and gives it.
    pub async fn until<T>(&self, config: config::Server, comes: impl Future<Output = T>) -> T {
        let closing = CancellationToken::new();
        let router = starting::router(config, self.address);
        let coming = async {
            let came = comes.await;
            closing.cancel();
            came
        };
        let answering = async {
            tokio::select! {
                () = connections::serve(&self.listener, router, &closing) => {}
                () = overdue(&closing) => {}
            }
        };
        tokio::join!(coming, answering).0
    }

    /// Answers until the context closes, and what is being answered then a little longer.
    pub async fn serve(self, context: Context) {
        let closing = context.closing.clone();
        let context = Context {
            address: Some(self.address),
            ..context
        };
        let upkeep = async {
            loop {
                tokio::time::sleep(UPKEEP).await;
                self.exposition.upkeep();
            }
        };
        tokio::select! {
            () = connections::serve(&self.listener, router(context), &closing) => {}
            () = overdue(&closing) => {}
            () = upkeep => {}
        }
    }
}

/// Comes when answers should have ended.
async fn overdue(closing: &CancellationToken) {
    closing.cancelled().await;
    tokio::time::sleep(LAST_ANSWERS).await;
}

fn router(context: Context) -> Router {
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readiness::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/status", get(status::status))
        .merge(page::routes())
        .fallback(async || (StatusCode::NOT_FOUND, "there is nothing here\n"));
    guarded(routes, context)
}

/// Nothing is answered but through the guard.
fn guarded(routes: Router<Context>, context: Context) -> Router {
    routes
        .layer(middleware::from_fn_with_state(context.clone(), guard::guard))
        .with_state(context)
}

/// Depends on the scheduler's loop only: neither the database nor Cal.com is a reason to start the process anew.
async fn healthz(State(context): State<Context>) -> (StatusCode, &'static str) {
    const STUCK: Duration = Duration::from_secs(60);
    // The first beat comes a second after the start.
    let beat = context.live.last_beat().unwrap_or(context.since);
    if beat.elapsed() < STUCK {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the scheduler's loop does not come round\n",
        )
    }
}
