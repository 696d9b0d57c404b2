//! A server of scripted bytes: it plays one step for each request, in order, and remembers what it was asked.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What becomes of one request.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// These bytes, then the end of the connection.
    Send(Vec<u8>),
    /// These bytes, and then nothing, for as long as the client holds on.
    Stall(Vec<u8>),
    /// These bytes, and then the last argument again and again, for as long as the client reads.
    Pour(Vec<u8>, Vec<u8>),
    /// The end of the connection, without an answer.
    Hang,
}

impl Step {
    /// An answer with a body of known length.
    pub(crate) fn answer(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut bytes = head(status, headers, Some(body.len()));
        bytes.extend_from_slice(body);
        Self::Send(bytes)
    }
}

/// Status line and header lines; each of `headers` ends with CRLF.
pub(crate) fn head(status: u16, headers: &str, length: Option<usize>) -> Vec<u8> {
    let length = length.map_or(String::new(), |length| format!("content-length: {length}\r\n"));
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{length}{headers}\r\n").into_bytes()
}

pub(crate) struct Scripted {
    pub(crate) addr: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Scripted {
    /// Plays the steps, the last one for all further requests as well.
    pub(crate) async fn play(steps: impl IntoIterator<Item = Step>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let steps = Arc::new(Mutex::new(steps.into_iter().collect::<VecDeque<_>>()));
        let seen = Arc::clone(&requests);
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&steps), Arc::clone(&seen)));
            }
        });
        Self {
            addr,
            requests,
            server,
        }
    }

    /// The heads of the requests so far, in the order in which they came.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests
            .lock()
            .expect("no test panics while it holds this")
            .clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.server.abort();
    }
}

const TLS_HANDSHAKE: u8 = 0x16;

async fn serve(mut stream: TcpStream, steps: Arc<Mutex<VecDeque<Step>>>, seen: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    // A handshake of TLS, which this server does not speak, is answered at its first byte.
    while !request.ends_with(b"\r\n\r\n") && request != [TLS_HANDSHAKE] {
        // A client that leaves is one of the things that tests are about.
        match stream.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let step = {
        let mut steps = steps.lock().expect("no test panics while it holds this");
        seen.lock()
            .expect("no test panics while it holds this")
            .push(String::from_utf8_lossy(&request).into_owned());
        if steps.len() > 1 {
            steps.pop_front()
        } else {
            steps.front().cloned()
        }
    };
    match step.expect("the script has a step") {
        Step::Hang => {}
        Step::Send(bytes) => {
            if stream.write_all(&bytes).await.is_ok() {
                stream.shutdown().await.ok();
            }
        }
        Step::Stall(bytes) => {
            if stream.write_all(&bytes).await.is_ok() {
                // Ends when the client does.
                stream.read_u8().await.ok();
            }
        }
        Step::Pour(bytes, again) => {
            if stream.write_all(&bytes).await.is_ok() {
                while stream.write_all(&again).await.is_ok() {}
            }
        }
    }
}
