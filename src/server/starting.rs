//! What is answered before there is a mirror to tell of: a database may take its time to start.

use std::net::SocketAddr;

use axum::{
    Json, Router,
    extract::{Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::Response,
    routing::get,
};

use super::{
    guard,
    readiness::{self, Readiness},
};
use crate::config;

/// Who may ask is settled already.
#[derive(Clone, Debug)]
struct Door {
    config: config::Server,
    address: SocketAddr,
}

/// Probes hear that the process lives and is not ready. Everything else has to wait.
pub(super) fn router(config: config::Server, address: SocketAddr) -> Router {
    let door = Door { config, address };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .fallback(async || (StatusCode::SERVICE_UNAVAILABLE, "calmirror is starting\n"))
        .layer(middleware::from_fn_with_state(door, guarded))
}

async fn guarded(State(door): State<Door>, request: Request, next: Next) -> Response {
    guard::let_in(&door.config, Some(door.address), request, next).await
}

async fn readyz() -> (StatusCode, Json<Readiness>) {
    (StatusCode::SERVICE_UNAVAILABLE, Json(readiness::starting()))
}
