//! `calmirror check --health`, as a container asks it.

use std::net::{Ipv4Addr, TcpListener};

use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener as Listener,
};

use super::Setup;

const LISTEN: &str = "CALMIRROR__SERVER__LISTEN";

#[tokio::test]
async fn health_is_asked_of_the_daemon_and_needs_nothing_else() {
    let mut setup = Setup::new(1, 3).await;
    // A port that was free a moment ago, and that nobody else is given meanwhile: it is not of the range for any.
    let port = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.local_addr().expect("it is bound").port()
    };
    setup.workplace.set(LISTEN, &format!("127.0.0.1:{port}"));
    let before = setup.run(&["check", "--health"]).await.expect(1);
    assert_eq!(before.stdout.lines().count(), 2, "{before}");
    assert!(
        before
            .stdout
            .contains(&format!("nobody answers at 127.0.0.1:{port}"))
            && before.stdout.contains("calmirror run"),
        "{before}"
    );
    let mut daemon = setup.workplace.start(&["run"]);
    daemon.logged("calmirror runs").await;
    daemon.logged("pass ended").await;
    let requests = setup.simulator.requests().total;
    // Neither secrets nor the database are there for who asks.
    let variables = [
        ("SECRET_ACME", ""),
        ("DATABASE_URL", ""),
        ("CALMIRROR__DATABASE__URL", "postgres://127.0.0.1:1/nowhere"),
    ];
    let asked = loop {
        let asked = setup.workplace.run_with(&variables, &["check", "--health"]).await;
        // The first beat of the scheduler's loop comes within a second.
        if !asked.stdout.contains("status 503") {
            break asked.expect(0);
        }
    };
    assert_eq!(
        asked.stdout,
        format!("ok     health: the daemon at 127.0.0.1:{port} is alive\n")
    );
    let asked = setup
        .run(&["--output", "json", "check", "--health"])
        .await
        .expect(0)
        .json();
    assert_eq!(
        (&asked[0]["subject"], &asked[0]["ok"]),
        (&"health".into(), &true.into())
    );
    assert_eq!(setup.simulator.requests().total, requests);
    daemon.signal(Signal::SIGTERM);
    daemon.end().await.expect(0);
    setup.run(&["check", "--health"]).await.expect(1);
}

#[tokio::test]
async fn whatever_else_answers_is_not_healthy() {
    let mut setup = Setup::new(1, 1).await;
    for (answer, said) in [
        (&b"HTTP/1.1 503 Service Unavailable\r\n\r\n"[..], "status 503"),
        (
            b"HTTP/1.1 301 Moved Permanently\r\nLocation: /\r\n\r\n",
            "status 301",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"", "does not speak HTTP"),
    ] {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        setup.workplace.set(LISTEN, &address.to_string());
        let peer = async {
            let (mut stream, _) = listener.accept().await.expect("somebody asks");
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.expect("a request");
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            assert!(
                request.starts_with("GET /healthz HTTP/1.1\r\n")
                    && request.contains(&format!("\r\nHost: {address}\r\n")),
                "{request}"
            );
            stream.write_all(answer).await.expect("it listens");
        };
        let (ended, ()) = tokio::join!(setup.run(&["check", "--health"]), peer);
        let ended = ended.expect(1);
        assert!(ended.stdout.contains(said), "{ended}");
    }
    // One that accepts and is silent.
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    setup.workplace.set(LISTEN, &address);
    let ended = setup.run(&["check", "--health"]).await.expect(1);
    assert!(ended.stdout.contains("no answer from"), "{ended}");
}

#[tokio::test]
async fn without_an_address_the_line_says_what_is_missing() {
    let mut setup = Setup::new(1, 1).await;
    for (listen, said) in [("off", "server.listen is off"), ("127.0.0.1:0", "port 0")] {
        setup.workplace.set(LISTEN, listen);
        let ended = setup.run(&["check", "--health"]).await.expect(1);
        assert!(
            ended.stdout.contains(said) && ended.stdout.contains("127.0.0.1:9470"),
            "{ended}"
        );
    }
    // An address that is none is no health either, and Docker knows no other code.
    setup.workplace.set(LISTEN, "here");
    let ended = setup.run(&["check", "--health"]).await.expect(1);
    assert!(ended.stdout.contains("is no address with a port"), "{ended}");
    let ended = setup
        .run(&["--config", "nowhere.toml", "check", "--health"])
        .await
        .expect(1);
    assert!(ended.stdout.contains("nowhere.toml: cannot be read"), "{ended}");
}

#[tokio::test]
async fn a_daemon_is_healthy_whatever_the_file_says_of_anything_but_where_it_listens() {
    let mut setup = Setup::new(1, 3).await;
    setup.workplace.unset(LISTEN);
    setup.configure("[server]\nlisten = \"127.0.0.1:0\"");
    let mut daemon = setup.workplace.start(&["run"]);
    let log = daemon.logged("calmirror runs").await;
    let address = log
        .split_whitespace()
        .find_map(|word| word.strip_prefix("listen="));
    let address = address.expect("it says where").trim_matches('"').to_owned();
    daemon.logged("pass ended").await;
    let listen = format!("[server]\nlisten = \"{address}\"\n");
    let check = async |text: String| {
        setup.workplace.write("config.toml", &text);
        loop {
            let ended = setup.run(&["check", "--health"]).await;
            if !ended.stdout.contains("status 503") {
                break ended;
            }
        }
    };
    for (before, after) in [
        ("", "tokn = { env = \"T\" }\n[calcom]\nbase_uri = \"x\"\n"),
        ("", "hosts = 1\ntoken = 2\nshow_values = 3\n"),
        // Neither is looked for.
        (
            "",
            "token = { file = \"none\" }\n[[clients]]\nusers_file = \"none\"\n",
        ),
        ("[clients\nname = acme\n", ""),
        ("[[clients]]\nusers = [1, 2\n", ""),
        ("[[clients]]\nname = \"\"\"acme\n", ""),
        ("", "[schedule]\ncron = \"* * *\n"),
        ("", "[log]\nlevel = \n"),
    ] {
        let ended = check(format!("{before}{listen}{after}")).await.expect(0);
        assert!(
            ended.stdout.contains("is alive") && ended.stderr.is_empty(),
            "{ended}"
        );
    }
    // What is in force at the next start only is asked at once.
    let elsewhere = check("[server]\nlisten = \"127.0.0.1:1\"\n".to_owned())
        .await
        .expect(1);
    assert!(
        elsewhere.stdout.contains("may still listen where it said before"),
        "{elsewhere}"
    );
    // Not so where a variable says it, which stays as it is.
    let variable = [(LISTEN, address.as_str())];
    setup
        .workplace
        .run_with(&variable, &["check", "--health"])
        .await
        .expect(0);
    daemon.signal(Signal::SIGTERM);
    daemon.end().await.expect(0);
}
