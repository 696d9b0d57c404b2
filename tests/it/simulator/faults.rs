//! What goes wrong on demand.

use std::time::Duration;

use calmirror::simulator::{Answer, Faults, RouteKind, Script, SimulatorConfig, Target};
use tokio::io::AsyncReadExt as _;

use super::Fixture;
use crate::support::http;

#[tokio::test]
async fn a_script_is_for_whom_it_says_and_as_often() {
    let fixture = Fixture::with_users(2).await;
    let [first, second] = [0, 1].map(|index| fixture.user_path(fixture.client.users[index]));
    fixture
        .simulator
        .script(Target::User(fixture.client.users[0]), 2, Answer::html(200));
    assert_eq!(fixture.get(&second).await.json()["status"], "success");
    for _ in 0..2 {
        let page = fixture.get(&first).await;
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.body.starts_with(b"<!DOCTYPE html>"));
    }
    assert_eq!(fixture.get(&first).await.json()["status"], "success");
    let lists = Target::Route(RouteKind::ListUsers);
    fixture
        .simulator
        .script(lists, Script::ALWAYS, Answer::text(503, "busy"));
    assert_eq!(fixture.get(&fixture.users_path()).await.status, 503);
    assert_eq!(fixture.get(&first).await.status, 200);
    fixture.simulator.clear_scripts();
    assert_eq!(fixture.get(&fixture.users_path()).await.status, 200);
    assert_eq!(fixture.simulator.requests().faulted, 3);
}

#[tokio::test]
async fn bodies_and_connections_can_be_cut() {
    let fixture = Fixture::with_users(1).await;
    let path = fixture.user_path(fixture.client.users[0]);
    let cut = Answer::CutShort {
        declared_bytes: 1000,
        sent: "{\"status\":".into(),
    };
    fixture.simulator.script(Target::Any, 1, cut);
    let answer = fixture.get(&path).await;
    assert_eq!(answer.header("content-length"), Some("1000"));
    assert_eq!(answer.body, b"{\"status\":");

    fixture.simulator.script(Target::Any, 1, Answer::Close);
    let to = fixture.simulator.address();
    let stream = http::send(to, "GET", &path, &fixture.credentials(), "")
        .await
        .expect("the connection is taken");
    assert!(http::receive(stream).await.is_none());
    assert_eq!(fixture.get(&path).await.status, 200);
}

#[tokio::test]
async fn bodies_can_be_endless_slow_or_bombs() {
    let fixture = Fixture::with_users(1).await;
    let path = fixture.user_path(fixture.client.users[0]);
    let drip = Answer::Drip {
        body: "{}".into(),
        pause: Duration::from_millis(1),
    };
    fixture.simulator.script(Target::Any, 1, drip);
    assert_eq!(fixture.get(&path).await.body, b"{}");

    let bomb = Answer::GzipBomb {
        inflated_bytes: 1 << 30,
    };
    fixture.simulator.script(Target::Any, 1, bomb);
    let answer = fixture.get(&path).await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert!(answer.body.starts_with(&[0x1f, 0x8b]) && answer.body.len() < 4 << 20);

    fixture.simulator.script(Target::Any, 1, Answer::Endless);
    let to = fixture.simulator.address();
    let mut stream = http::send(to, "GET", &path, &fixture.credentials(), "")
        .await
        .expect("the connection is taken");
    let mut read = vec![0; 1 << 20];
    stream.read_exact(&mut read).await.expect("it goes on and on");
    // A caller that does not read does not keep the simulator from stopping.
    fixture.simulator.shutdown().await.expect("it stops");
}

#[tokio::test]
async fn a_hanging_request_goes_on_when_it_is_released_and_holds_up_nobody() {
    let fixture = Fixture::with_users(2).await;
    let [first, second] = [0, 1].map(|index| fixture.user_path(fixture.client.users[index]));
    let (simulator, to) = (&fixture.simulator, fixture.simulator.address());
    simulator.script(Target::User(fixture.client.users[0]), 1, Answer::Hang);
    let stream = http::send(to, "GET", &first, &fixture.credentials(), "")
        .await
        .expect("the connection is taken");
    simulator.wait_until(|counts| counts.hanging == 1).await;
    assert_eq!(fixture.get(&second).await.status, 200);
    simulator.release();
    let answer = http::receive(stream).await.expect("an answer");
    assert_eq!(answer.json()["data"]["id"], fixture.client.users[0]);
    assert_eq!(simulator.requests().hanging, 0);

    simulator.script(Target::Any, 1, Answer::Hang);
    let stream = http::send(to, "GET", &first, &fixture.credentials(), "")
        .await
        .expect("the connection is taken");
    simulator.wait_until(|counts| counts.hanging == 1).await;
    drop(stream);
    simulator.wait_until(|counts| counts.hanging == 0).await;
}

#[tokio::test]
async fn requests_can_be_waited_for() {
    let fixture = Fixture::with_users(1).await;
    let path = fixture.user_path(fixture.client.users[0]);
    let (counts, _) = tokio::join!(fixture.simulator.wait_for_requests(3), async {
        fixture.get(&path).await;
        fixture.get(&fixture.users_path()).await;
        fixture.get("/nowhere").await;
    });
    assert_eq!((counts.get_user, counts.list_users, counts.unknown), (1, 1, 1));
}

#[tokio::test]
async fn a_rate_of_errors_is_met() {
    let fixture = Fixture::start(SimulatorConfig {
        faults: Faults {
            error_rate: 0.5,
            ..Faults::default()
        },
        ..SimulatorConfig::default()
    })
    .await;
    let path = fixture.user_path(fixture.client.users[0]);
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(fixture.get(&path).await.status);
    }
    for status in [200, 500, 502] {
        assert!(statuses.contains(&status), "no {status} among {statuses:?}");
    }
}

#[tokio::test]
async fn latency_is_added_and_a_dropped_simulator_is_gone() {
    let fixture = Fixture::with_users(1).await;
    let path = fixture.user_path(fixture.client.users[0]);
    let latency = Duration::from_millis(30);
    fixture.simulator.set_faults(Faults {
        latency,
        ..Faults::default()
    });
    let began = std::time::Instant::now();
    assert_eq!(fixture.get(&path).await.status, 200);
    assert!(began.elapsed() >= latency);

    let to = fixture.simulator.address();
    let idle = tokio::net::TcpStream::connect(to).await.expect("it listens");
    drop(fixture);
    assert!(http::receive(idle).await.is_none(), "open connections end");
}
