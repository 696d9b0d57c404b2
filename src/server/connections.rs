//! Connections: how many, how large their requests, how long they may take to say something.

use std::{sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Far more than the browsers and scrapers of one daemon. Who comes beyond waits to be accepted.
const CONNECTIONS: usize = 128;

/// From the opening of a connection, or the end of an answer, to the end of the next request's headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);

/// From an answer, or a part of a stream, to the client's taking it. Otherwise one that reads nothing would keep its place for ever.
const READ_WITHIN: Duration = Duration::from_secs(20);

/// The first line and all headers.
const HEADER_BYTES: usize = 16 * 1024;

const HEADERS: usize = 64;

/// The system has no room for another connection.
const BREATH: Duration = Duration::from_millis(100);

/// Accepts and answers until it is closing, and then until the connections have ended.
pub(super) async fn serve(listener: &TcpListener, router: Router, closing: &CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            biased;
            () = closing.cancelled() => break,
            Some(_) = connections.join_next() => {}
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let connection = connection(stream, router.clone(), closing.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Answers on one connection until it ends.
pub(super) async fn connection(stream: TcpStream, router: Router, closing: CancellationToken) {
    if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(READ_WITHIN)) {
        tracing::debug!(%error, "a connection has no time-out for what is sent");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}
