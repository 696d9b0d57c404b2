//! What stands in front of the simulator: faults below HTTP.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// What becomes of some requests.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// The connection is reset.
    Reset,
    /// These bytes, and then nothing.
    Stall(Vec<u8>),
}

/// For requests whose first line holds this text.
type Fault = Option<(String, Raw)>;

/// Passes requests on, one a connection, but for those that meet a fault.
pub(super) struct Front {
    address: SocketAddr,
    fault: Arc<Mutex<Fault>>,
    server: JoinHandle<()>,
}

impl Front {
    pub(super) async fn before(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let fault = Arc::new(Mutex::new(None));
        let now = Arc::clone(&fault);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let now = Arc::clone(&now);
                connections.spawn(async move {
                    // Who leaves early leaves nothing to be said.
                    pass_on(stream, behind, &now).await.ok();
                });
            }
        });
        Self {
            address,
            fault,
            server,
        }
    }

    pub(super) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn set(&self, of: &str, fault: Raw) {
        *self.fault.lock().expect("no test panics with this lock") = Some((of.to_owned(), fault));
    }

    pub(super) fn clear(&self) {
        *self.fault.lock().expect("no test panics with this lock") = None;
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn pass_on(mut stream: TcpStream, behind: SocketAddr, fault: &Mutex<Fault>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let line = text.lines().next().unwrap_or_default();
    let met = fault.lock().expect("no test panics with this lock").clone();
    let met = met.filter(|(of, _)| line.contains(of.as_str()));
    match met.map(|(_, fault)| fault) {
        Some(Raw::Reset) => stream.set_zero_linger(),
        Some(Raw::Stall(begun)) => {
            stream.write_all(&begun).await?;
            // Ends when the client does.
            stream.read_u8().await.map(drop)
        }
        None => {
            let mut server = TcpStream::connect(behind).await?;
            // One request a connection, so that each can meet a fault of its own.
            let request = text.replacen("\r\n", "\r\nconnection: close\r\n", 1);
            server.write_all(request.as_bytes()).await?;
            copy(&mut server, &mut stream).await.map(drop)
        }
    }
}

/// A certificate of its own issue, and its key.
pub(super) struct Identity {
    /// What has to be trusted to trust it.
    pub(super) pem: String,
    config: Arc<ServerConfig>,
}

impl Identity {
    /// For this host name or address.
    pub(super) fn of(host: &str) -> Self {
        Self::made(host, |_| ())
    }

    /// For this host name or address, and until the year 2001.
    pub(super) fn of_old(host: &str) -> Self {
        Self::made(host, |params| params.not_after = date_time_ymd(2001, 1, 1))
    }

    fn made(host: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new([host.to_owned()]).expect("a host has a certificate");
        // Each is of an issuer of its own.
        let issuer = format!("issuer {:x}", fastrand::u64(..));
        params.distinguished_name.push(DnType::CommonName, issuer);
        change(&mut params);
        let key = KeyPair::generate().expect("a key can be made");
        let made = params.self_signed(&key).expect("it can be signed");
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the usual versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.der().clone()], key)
            .expect("certificate and key belong together");
        Self {
            pem: made.pem(),
            config: Arc::new(config),
        }
    }
}

/// Speaks TLS in front of the simulator, with an identity that can be changed.
pub(super) struct Secure {
    address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    server: JoinHandle<()>,
}

impl Secure {
    pub(super) async fn before(behind: SocketAddr, identity: &Identity) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let config = Arc::new(Mutex::new(Arc::clone(&identity.config)));
        let now = Arc::clone(&config);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let config = Arc::clone(&now.lock().expect("no test panics with this lock"));
                connections.spawn(async move {
                    // A client that does not trust the certificate leaves.
                    let mut stream = TlsAcceptor::from(config).accept(stream).await?;
                    let mut server = TcpStream::connect(behind).await?;
                    copy_bidirectional(&mut stream, &mut server).await
                });
            }
        });
        Self {
            address,
            config,
            server,
        }
    }

    pub(super) fn base_url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(super) fn turn_into(&self, identity: &Identity) {
        *self.config.lock().expect("no test panics with this lock") = Arc::clone(&identity.config);
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.server.abort();
    }
}
