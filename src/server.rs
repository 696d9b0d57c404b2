//! The HTTP server of the daemon: whether it lives, whether the mirror can be trusted. Nothing here writes.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    calcom::ApiClient,
    config::{self, Config},
    live::Live,
    schedule::Cron,
    store::Store,
};

/// What the server shows: the configuration in force, and what belongs to it. A reload sends another.
#[derive(Debug)]
pub struct View {
    pub config: Config,
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
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "server.listen: {address} cannot be listened on; is another calmirror running? Set another address, or \"\" for none"
    )]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// A server that has its port and answers nobody yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Longer than any answer takes; what streams ends at once.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

impl Server {
    /// Takes the port.
    ///
    /// # Errors
    ///
    /// When it cannot be had.
    pub async fn bind(address: SocketAddr) -> Result<Self, Error> {
        let refused = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { listener, address })
    }

    /// Where it can be reached: with the port that it was given, where any would do.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the context closes, and what is being answered then a little longer.
    ///
    /// # Errors
    ///
    /// When the system takes the port away.
    pub async fn serve(self, context: Context) -> io::Result<()> {
        let closing = context.closing.clone();
        let overdue = async {
            closing.cancelled().await;
            tokio::time::sleep(LAST_ANSWERS).await;
        };
        let serving = axum::serve(self.listener, router(context))
            .with_graceful_shutdown(closing.clone().cancelled_owned());
        tokio::select! {
            served = serving => served,
            () = overdue => Ok(()),
        }
    }
}

fn router(context: Context) -> Router {
    Router::new().route("/healthz", get(healthz)).with_state(context)
}

/// Depends on the scheduler's loop only: neither the database nor Cal.com is a reason to start the process anew.
async fn healthz(State(context): State<Context>) -> (StatusCode, &'static str) {
    const STUCK: Duration = Duration::from_secs(60);
    match context.live.last_beat() {
        Some(beat) if beat.elapsed() < STUCK => (StatusCode::OK, "ok\n"),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the scheduler's loop does not come round\n",
        ),
    }
}
