//! A daemon whose database is not there yet.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::Setup;
use crate::support::{
    http::{self, Answer},
    world::LIMIT,
};

/// Waits until somebody answers so.
async fn until(address: SocketAddr, path: &str, status: u16) -> Answer {
    let waiting = async {
        loop {
            let Some(stream) = http::send(address, "GET", path, &[], "").await.ok() else {
                continue;
            };
            match http::receive(stream).await {
                Some(answer) if answer.status == status => break answer,
                _ => {}
            }
        }
    };
    let waited = tokio::time::timeout(LIMIT, waiting).await;
    waited.unwrap_or_else(|_| panic!("{path} never answered {status}"))
}

#[tokio::test]
async fn probes_are_answered_while_an_embedded_database_starts() {
    let mut setup = Setup::new(1, 3).await;
    // Free a moment ago.
    let address = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.local_addr().expect("it is bound")
    };
    setup
        .workplace
        .set("CALMIRROR__SERVER__LISTEN", &address.to_string());
    // As while another process starts or stops the server.
    let data_dir = setup.workplace.path().join("postgres");
    fs::create_dir(&data_dir).expect("the workplace takes a directory");
    let lock = File::create(data_dir.join("lock")).expect("a file can be made");
    lock.lock().expect("nobody has it");
    setup.database_url = "embedded".to_owned();
    setup.configure(&format!("data_dir = \"{}\"", data_dir.display()));
    let mut daemon = setup.workplace.start(&["run"]);

    until(address, "/healthz", 200).await;
    let starting = until(address, "/readyz", 503).await.json();
    assert_eq!(starting, json!({ "status": "starting", "reasons": [] }));
    let get = async |path, headers: &[_]| http::request(address, "GET", path, headers, "").await;
    for path in ["/", "/metrics", "/api/v1/overview", "/nothing"] {
        let answer = get(path, &[]).await;
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    // Who may ask, and how, is as ever.
    let elsewhere = [("origin", "http://evil.example")];
    assert_eq!(get("/readyz", &elsewhere).await.status, 403);
    let posted = http::request(address, "POST", "/healthz", &[], "").await;
    assert_eq!(posted.status, 405);
    setup.run(&["check", "--health"]).await.expect(0);

    drop(lock);
    daemon.logged("pass ended").await;
    let ready: Value = until(address, "/readyz", 200).await.json();
    assert_eq!(ready["status"], "ok");
    assert_eq!(get("/", &[]).await.status, 200);
    daemon.signal(Signal::SIGTERM);
    daemon.end().await.expect(0);
}
