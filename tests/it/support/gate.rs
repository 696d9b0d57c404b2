//! A TCP port in front of a server, which can refuse, pass on, cut or freeze connections.

use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{self, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
};
use url::Url;

use super::{TestDb, world::LIMIT};

/// Until it is opened, connections are refused; the port is kept all the same.
pub(crate) struct Gate {
    /// Bound, and not listening yet.
    socket: Option<TcpSocket>,
    address: SocketAddr,
    behind: Arc<Mutex<Behind>>,
    state: watch::Sender<State>,
    loss: Loss,
    server: JoinSet<()>,
}

/// Words to wait for on their way to the server, on one connection. The answer to what holds the last of them is lost, and the
/// connection with it.
#[derive(Clone, Debug, Default)]
struct Loss {
    words: Arc<Mutex<Words>>,
    /// The gate is shut with the loss, so that nobody can ask what became of it.
    shuts: Arc<AtomicBool>,
    /// Nothing is lost: the gate is frozen before the last word has come through.
    freezes: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Words {
    to_come: VecDeque<&'static [u8]>,
    /// Which connection the first of them came by.
    by: Option<u64>,
}

impl Loss {
    /// Whether this was the last word.
    fn hears(&self, connection: u64, chunk: &[u8]) -> bool {
        let mut words = self.words.lock().expect("no test panics with this lock");
        let Some(word) = words.to_come.front() else {
            return false;
        };
        if words.by.is_some_and(|by| by != connection)
            || !chunk.windows(word.len()).any(|window| window == *word)
        {
            return false;
        }
        words.to_come.pop_front();
        words.by = Some(connection);
        words.to_come.is_empty()
    }
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

    /// In front of a socket of the file system.
    pub(crate) fn before_socket(path: PathBuf) -> Self {
        Self::new(Behind::Unix(path))
    }

    /// New connections lead to another socket from now on, as when a name has got another address.
    pub(crate) fn lead_to_socket(&self, path: PathBuf) {
        *self.behind.lock().expect("no test panics with this lock") = Behind::Unix(path);
    }

    fn new(behind: Behind) -> Self {
        let socket = TcpSocket::new_v4().expect("there are sockets");
        socket
            .bind((Ipv4Addr::LOCALHOST, 0).into())
            .expect("there are free ports");
        Self {
            address: socket.local_addr().expect("it is bound"),
            socket: Some(socket),
            behind: Arc::new(Mutex::new(behind)),
            state: watch::Sender::new(State::Open),
            loss: Loss::default(),
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
        let (behind, state, loss) = (Arc::clone(&self.behind), self.state.clone(), self.loss.clone());
        self.server.spawn(async move {
            let mut connections = JoinSet::new();
            let mut accepted = 0;
            while let Ok((front, _)) = listener.accept().await {
                accepted += 1;
                let behind = behind.lock().expect("no test panics with this lock").clone();
                connections.spawn(pass_on(front, accepted, behind, state.clone(), loss.clone()));
            }
        });
    }

    /// Loses the answer to the message that holds the last of these words, once each has been sent after the one before, by the same
    /// connection.
    pub(crate) fn lose_answer(&self, words: &[&'static str]) {
        let mut wanted = self.loss.words.lock().expect("no test panics with this lock");
        wanted.to_come.extend(words.iter().map(|word| word.as_bytes()));
        wanted.by = None;
    }

    /// As [`Gate::lose_answer`], and shuts the gate.
    pub(crate) fn lose_answer_and_shut(&self, words: &[&'static str]) {
        self.loss.shuts.store(true, Ordering::SeqCst);
        self.lose_answer(words);
    }

    /// Freezes the gate when the last of these words is on its way, which it then still is.
    pub(crate) fn freeze_at(&self, words: &[&'static str]) {
        self.loss.freezes.store(true, Ordering::SeqCst);
        self.lose_answer(words);
    }

    /// Waits until the gate is frozen.
    pub(crate) async fn frozen(&self) {
        let mut state = self.state.subscribe();
        let frozen = state.wait_for(|state| *state == State::Frozen);
        let waited = tokio::time::timeout(LIMIT, frozen).await;
        assert!(
            waited.is_ok_and(|state| state.is_ok()),
            "nobody came by with the words"
        );
    }

    /// Whether the answer was lost.
    pub(crate) fn has_lost(&self) -> bool {
        self.loss
            .words
            .lock()
            .expect("no test panics with this lock")
            .to_come
            .is_empty()
    }

    pub(crate) fn shut(&self) {
        self.state.send_replace(State::Shut);
    }

    pub(crate) fn freeze(&self) {
        self.state.send_replace(State::Frozen);
    }
}

async fn pass_on(front: TcpStream, connection: u64, behind: Behind, gate: watch::Sender<State>, loss: Loss) {
    let hears = |chunk: &[u8]| loss.hears(connection, chunk);
    let mut state = gate.subscribe();
    let mut shut = gate.subscribe();
    tokio::select! {
        _ = shut.wait_for(|state| *state == State::Shut) => {}
        () = async {
            state.wait_for(|state| *state == State::Open).await.expect("the gate is there");
            match behind {
                Behind::Tcp(address) => match TcpStream::connect(address).await {
                    Ok(back) => join(front, back, &gate, &loss, hears).await,
                    Err(_) => drop(front),
                },
                Behind::Unix(path) => match UnixStream::connect(path).await {
                    Ok(back) => join(front, back, &gate, &loss, hears).await,
                    Err(_) => drop(front),
                },
            }
        } => {}
    }
}

async fn join<A, B>(
    front: A,
    back: B,
    gate: &watch::Sender<State>,
    loss: &Loss,
    hears: impl Fn(&[u8]) -> bool,
) where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (from_front, to_front) = io::split(front);
    let (from_back, to_back) = io::split(back);
    let losing = AtomicBool::new(false);
    // Either end's leaving ends both: half-open connections are nothing that these protocols use.
    tokio::select! {
        () = pump(from_front, to_back, gate.subscribe(), |chunk| {
            if hears(chunk) {
                if loss.freezes.swap(false, Ordering::SeqCst) {
                    gate.send_replace(State::Frozen);
                } else {
                    losing.store(true, Ordering::SeqCst);
                }
            }
            true
        }) => {}
        () = pump(from_back, to_front, gate.subscribe(), |_| {
            let lost = losing.load(Ordering::SeqCst);
            if lost && loss.shuts.swap(false, Ordering::SeqCst) {
                gate.send_replace(State::Shut);
            }
            !lost
        }) => {}
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<State>,
    passes: impl Fn(&[u8]) -> bool,
) {
    let mut chunk = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        if !passes(&chunk[..read]) {
            return;
        }
        if state.wait_for(|state| *state == State::Open).await.is_err()
            || to.write_all(&chunk[..read]).await.is_err()
        {
            return;
        }
    }
}
