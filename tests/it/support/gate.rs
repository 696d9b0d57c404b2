//! A TCP port in front of a server, which can refuse, pass on, cut or freeze connections.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use tokio::{
    io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
};
use url::Url;

use super::TestDb;

/// Until it is opened, connections are refused; the port is kept all the same.
pub(crate) struct Gate {
    /// Bound, and not listening yet.
    socket: Option<TcpSocket>,
    address: SocketAddr,
    behind: Behind,
    state: watch::Sender<State>,
    server: JoinSet<()>,
}

/// The server behind.
#[derive(Clone, Debug)]
enum Behind {
    Tcp(String),
    Unix(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Connections are cut, and new ones are closed at once.
    Shut,
    /// Connections stay, and nothing comes through.
    Frozen,
}

impl Gate {
    pub(crate) fn before(address: SocketAddr) -> Self {
        Self::new(Behind::Tcp(address.to_string()))
    }

    /// In front of a database. The second value is its address through the gate.
    pub(crate) fn before_database(db: &TestDb) -> (Self, String) {
        let mut url = Url::parse(&db.url()).expect("a test's database has an address");
        let options = db.connect_options();
        let port = options.get_port();
        let gate = Self::new(match options.get_socket() {
            Some(dir) => Behind::Unix(dir.join(format!(".s.PGSQL.{port}"))),
            None if options.get_host().starts_with('/') => {
                Behind::Unix(PathBuf::from(options.get_host()).join(format!(".s.PGSQL.{port}")))
            }
            None => Behind::Tcp(format!("{}:{port}", options.get_host())),
        });
        url.set_host(Some("127.0.0.1")).expect("the scheme has a host");
        url.set_port(Some(gate.address.port()))
            .expect("the scheme has a port");
        url.set_query(Some("sslmode=disable"));
        (gate, url.to_string())
    }

    fn new(behind: Behind) -> Self {
        let socket = TcpSocket::new_v4().expect("there are sockets");
        socket
            .bind((Ipv4Addr::LOCALHOST, 0).into())
            .expect("there are free ports");
        Self {
            address: socket.local_addr().expect("it is bound"),
            socket: Some(socket),
            behind,
            state: watch::Sender::new(State::Open),
            server: JoinSet::new(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn open(&mut self) {
        self.state.send_replace(State::Open);
        let Some(socket) = self.socket.take() else {
            return;
        };
        let listener = socket.listen(64).expect("the port is ours");
        let (behind, state) = (self.behind.clone(), self.state.subscribe());
        self.server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((front, _)) = listener.accept().await {
                connections.spawn(pass_on(front, behind.clone(), state.clone()));
            }
        });
    }

    pub(crate) fn shut(&self) {
        self.state.send_replace(State::Shut);
    }

    pub(crate) fn freeze(&self) {
        self.state.send_replace(State::Frozen);
    }
}

async fn pass_on(front: TcpStream, behind: Behind, mut state: watch::Receiver<State>) {
    let mut shut = state.clone();
    tokio::select! {
        _ = shut.wait_for(|state| *state == State::Shut) => {}
        () = async {
            state.wait_for(|state| *state == State::Open).await.expect("the gate is there");
            match behind {
                Behind::Tcp(address) => match TcpStream::connect(address).await {
                    Ok(back) => join(front, back, state).await,
                    Err(_) => drop(front),
                },
                Behind::Unix(path) => match UnixStream::connect(path).await {
                    Ok(back) => join(front, back, state).await,
                    Err(_) => drop(front),
                },
            }
        } => {}
    }
}

async fn join<A, B>(front: A, back: B, state: watch::Receiver<State>)
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (from_front, to_front) = io::split(front);
    let (from_back, to_back) = io::split(back);
    // Either end's leaving ends both: half-open connections are nothing that these protocols use.
    tokio::select! {
        () = pump(from_front, to_back, state.clone()) => {}
        () = pump(from_back, to_front, state) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        if state.wait_for(|state| *state == State::Open).await.is_err()
            || to.write_all(&chunk[..read]).await.is_err()
        {
            return;
        }
    }
}
