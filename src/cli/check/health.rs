//! `calmirror check --health`: is the daemon of this configuration alive? For containers, so it is quick and needs little.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Finding, Out, Sign, report};
use crate::cli::exit::Exit;

/// A container's check gives up later than this.
const PATIENCE: Duration = Duration::from_secs(3);

/// A status line is shorter.
const MAX_HEAD_BYTES: u64 = 1024;

/// Why the daemon is not known to be alive.
#[derive(Debug, thiserror::Error)]
enum Ill {
    #[error("server.listen is off, so the daemon cannot be asked")]
    Off,
    #[error("server.listen has port 0, which the daemon takes for any free one, so it cannot be asked")]
    AnyPort,
    #[error("nobody answers at {0}: {1}")]
    Unreachable(SocketAddr, #[source] io::Error),
    #[error("no answer from {0} within {limit} s", limit = PATIENCE.as_secs())]
    Late(SocketAddr),
    #[error("what answers at {0} does not speak HTTP")]
    NoHttp(SocketAddr),
    #[error("{0} answers with status {1}")]
    Status(SocketAddr, u16),
}

/// Prints one line. Anything but a healthy daemon is a failure.
///
/// # Errors
///
/// When the line cannot be printed.
pub(in crate::cli) async fn run(
    listen: anyhow::Result<Option<SocketAddr>>,
    out: &mut Out,
) -> anyhow::Result<Exit> {
    let asked = match listen {
        Ok(listen) => ask(listen).await,
        Err(error) => return report(out, ill(format!("{error:#}"), None)),
    };
    let finding = match asked {
        Ok(address) => Finding::fine("health", format!("the daemon at {address} is alive")),
        Err(error) => ill(error.to_string(), error.remedy()),
    };
    report(out, finding)
}

fn ill(message: String, remedy: Option<&str>) -> Finding {
    Finding {
        subject: "health".to_owned(),
        ok: false,
        sign: Sign::Fault,
        message,
        remedy: remedy.map(str::to_owned),
        exit: Exit::Failed,
    }
}

async fn ask(listen: Option<SocketAddr>) -> Result<SocketAddr, Ill> {
    let address = reachable(listen.ok_or(Ill::Off)?);
    if address.port() == 0 {
        return Err(Ill::AnyPort);
    }
    let status = tokio::time::timeout(PATIENCE, status(address))
        .await
        .map_err(|_| Ill::Late(address))?
        .map_err(|error| Ill::Unreachable(address, error))?;
    match status {
        Some(200) => Ok(address),
        Some(status) => Err(Ill::Status(address, status)),
        None => Err(Ill::NoHttp(address)),
    }
}

/// Where whoever listens everywhere can be asked from the same machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The status of GET /healthz; none where the answer is no HTTP.
async fn status(address: SocketAddr) -> io::Result<Option<u16>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    let mut answer = stream.take(MAX_HEAD_BYTES);
    while !head.contains(&b'\n') && answer.read_buf(&mut head).await? > 0 {}
    Ok(parse(&head))
}

/// `HTTP/1.1 200 OK`.
fn parse(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split_whitespace();
    words.next()?.strip_prefix("HTTP/1.")?;
    words.next()?.parse().ok()
}

impl Ill {
    const fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Off | Self::AnyPort => {
                Some("give server.listen an address with a port, as in \"127.0.0.1:9470\"")
            }
            Self::Unreachable(..) => Some(
                "start `calmirror run`, by the same configuration; a daemon that runs may still listen where it said before",
            ),
            Self::Late(_) => Some("it hangs: its log says what it did last; start it again"),
            Self::NoHttp(_) => Some("another program has the port: set server.listen to another one"),
            Self::Status(..) => Some("its log says what is wrong; start it again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_listens_everywhere_is_asked_at_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:9470", "127.0.0.1:9470"),
            ("[::]:9470", "[::1]:9470"),
            ("10.1.2.3:80", "10.1.2.3:80"),
            ("127.0.0.1:1", "127.0.0.1:1"),
        ] {
            let listen = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), asked);
        }
    }

    #[test]
    fn a_status_line_is_read_and_anything_else_is_none() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), Some(200));
        assert_eq!(parse(b"HTTP/1.0 503 Service Unavailable"), Some(503));
        for other in [&b""[..], b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1\r\n", b"\xff\xfe"] {
            assert_eq!(parse(other), None);
        }
    }
}
