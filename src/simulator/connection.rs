//! Connections that can be cut from within a request.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Accepts connections, each of which ends at once when `cut` is cancelled.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) listener: TcpListener,
    pub(super) cut: CancellationToken,
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (stream, peer) = Listener::accept(&mut self.listener).await;
            // As Node has it: else the end of a large answer waits for the caller's system. It fails where the caller
            // has left already.
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            let token = Arc::new(self.cut.child_token());
            let connection = Connection {
                stream,
                cut: Box::pin(CancellationToken::clone(&token).cancelled_owned()),
                token,
            };
            return (connection, peer);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Whom a request comes from.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) peer: SocketAddr,
    /// Ends the connection without another byte. Shared, for each request clones it.
    pub(super) cut: Arc<CancellationToken>,
}

impl Connected<IncomingStream<'_, Connections>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        Self {
            peer: *stream.remote_addr(),
            cut: stream.io().token.clone(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    token: Arc<CancellationToken>,
    /// Wakes whoever waits.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Connection {
    /// Does this to the stream, as long as it is not cut.
    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        act: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        const CUT: io::ErrorKind = io::ErrorKind::ConnectionAborted;
        if self.token.is_cancelled() {
            return Poll::Ready(Err(CUT.into()));
        }
        let polled = act(Pin::new(&mut self.stream), cx);
        // To be woken costs more than a look, and only who waits needs it.
        if polled.is_pending() && self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(CUT.into()));
        }
        polled
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stream, cx| stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
