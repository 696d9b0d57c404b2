//! The client of Cal.com's API against a server that answers with scripted bytes.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use calmirror::{
    calcom::{Api, ApiClient, Disposition, Error, Obstacle, Source},
    config,
    model::{ClientId, Observation, UserId},
};
use secrecy::SecretString;
use tracing::Level;

use crate::support::{
    scripted::{Scripted, Step, head},
    told::Told,
};

mod rolls;

const SECRET: &str = "s3cr3t-of-the-client";
const USER: UserId = UserId(7);

const RECORD: &str = r#"{"status":"success","data":{"id":7,"email":"alice+abc@example.com","username":"alice",
"timeZone":"Europe/Paris","weekStart":"Sunday","createdDate":"2024-04-01T00:00:00.000Z","timeFormat":12}}"#;

fn calcom(base_url: &str) -> config::Calcom {
    config::Calcom {
        base_url: base_url.parse().expect("the test's address is valid"),
        concurrency: 8,
        timeout: Duration::from_secs(30),
        max_answer_bytes: 100_000,
        ..config::Calcom::default()
    }
}

fn config_client(id: &str, secret: &str) -> config::Client {
    config::Client {
        name: "test".to_owned(),
        id: ClientId(id.to_owned()),
        secret: SecretString::from(secret),
        secret_source: config::SecretSource::Env("SECRET".to_owned()),
        watch: config::Watch {
            listed: config::Listed::of([USER].into_iter().collect()),
            ..config::Watch::default()
        },
        fetch: config::FetchPlan::Get,
        requests_per_minute: 0,
        cron: String::new(),
    }
}

fn client_of(config: &config::Calcom) -> ApiClient {
    let api = Api::new(config).expect("the HTTP client can be built");
    api.client(&config_client("abc", SECRET))
}

fn client(server: &Scripted) -> ApiClient {
    client_of(&calcom(&format!("http://{}", server.addr)))
}

fn impatient(server: &Scripted) -> ApiClient {
    let config = config::Calcom {
        timeout: Duration::from_millis(200),
        ..calcom(&format!("http://{}", server.addr))
    };
    client_of(&config)
}

fn ok() -> Step {
    Step::answer(200, "", RECORD)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).expect("a Vec takes anything");
    encoder.finish().expect("a Vec takes anything")
}

async fn failed(client: &ApiClient) -> Error {
    let error = client.get_user(USER).await.expect_err("this proves nothing");
    let shown = format!("{error} {error:?} {client:?}");
    assert!(!shown.contains(SECRET) && !shown.contains("alice"), "{shown}");
    error
}

async fn present(client: &ApiClient) {
    let observed = client.get_user(USER).await;
    assert!(matches!(observed, Ok(Observation::Present(_))), "{observed:?}");
}

#[tokio::test]
async fn a_request_is_as_the_api_wants_it() {
    let server = Scripted::play([ok()]).await;
    let api = Api::new(&calcom(&format!("http://{}/api", server.addr))).expect("it can be built");
    let client = api.client(&config_client("a/b?c#d%2e é", SECRET));
    // An id outside ASCII still is one segment of the path, but no header can hold it as it is.
    present(&client).await;
    let request = server.requests().remove(0);
    assert!(
        request.starts_with("GET /api/v2/oauth-clients/a%2Fb%3Fc%23d%252e%20%C3%A9/users/7 HTTP/1.1\r\n"),
        "{request}"
    );
    for line in [
        format!("x-cal-secret-key: {SECRET}"),
        format!("user-agent: calmirror/{}", env!("CARGO_PKG_VERSION")),
        "accept: application/json".to_owned(),
    ] {
        assert!(
            request.contains(&format!("\r\n{line}\r\n")),
            "{line} is not in {request}"
        );
    }
    assert!(request.contains("\r\nx-cal-client-id: a/b?c#d%2e "), "{request}");
    assert!(request.contains("gzip") && request.contains("br"), "{request}");
    assert_eq!(client.requests(), 1);
}

#[tokio::test]
async fn credentials_that_no_request_can_hold_are_refused_unsent() {
    let server = Scripted::play([ok()]).await;
    let api = Api::new(&calcom(&format!("http://{}", server.addr))).expect("it can be built");
    for (id, secret) in [
        ("abc", "with\nbreak"),
        ("", "x"),
        ("..", "x"),
        (".", "x"),
        ("a\tb", "x"),
    ] {
        let client = api.client(&config_client(id, secret));
        let error = client.get_user(USER).await.expect_err("it cannot be sent");
        assert_eq!(error.disposition(), Disposition::StopClient);
        assert!(!format!("{error:?}").contains("break"), "{error:?}");
        assert_eq!(client.requests(), 0);
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_secret_goes_nowhere_else() {
    let elsewhere = Scripted::play([ok()]).await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("location: http://{}/x?key=1\r\n", elsewhere.addr);
        let server = Scripted::play([Step::answer(status, &location, "")]).await;
        let error = failed(&client(&server)).await;
        assert_eq!(error.disposition(), Disposition::StopClient);
        let shown = error.to_string();
        assert!(
            shown.contains(&elsewhere.addr.to_string()) && !shown.contains("key"),
            "{shown}"
        );
        assert_eq!(server.requests().len(), 1);
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn a_failure_is_tried_three_times_and_no_more() {
    let broken = Step::answer(500, "", r#"{"statusCode":500,"message":"Internal server error"}"#);
    let server = Scripted::play([broken.clone()]).await;
    let client_ = client(&server);
    let error = failed(&client_).await;
    assert!(
        matches!(error, Error::Trouble { .. }) && error.is_unavailable(),
        "{error}"
    );
    assert_eq!((server.requests().len(), client_.requests()), (3, 3));

    let server = Scripted::play([broken, Step::Hang, ok()]).await;
    present(&client(&server)).await;
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn what_another_try_cannot_mend_is_tried_once() {
    for status in [400, 401, 403, 404, 410, 418] {
        let server = Scripted::play([Step::answer(status, "", "{}")]).await;
        failed(&client(&server)).await;
        assert_eq!(server.requests().len(), 1, "{status}");
    }
    let gone = r#"{"status":"error","error":{"code":"NotFoundException","message":"User with ID 7 is not part of this OAuth client."}}"#;
    let server = Scripted::play([Step::answer(404, "", gone)]).await;
    assert_eq!(
        client(&server).get_user(USER).await.ok(),
        Some(Observation::Gone(USER))
    );
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn retries_of_all_users_together_are_bounded() {
    let server = Scripted::play([Step::answer(503, "", "")]).await;
    let client = client(&server);
    let users = futures_util::future::join_all((0..50).map(|user| client.get_user(UserId(user)))).await;
    assert!(users.iter().all(Result::is_err));
    // Fifty first tries, a fifth of that, and the ten that a client starts with.
    assert_eq!(server.requests().len(), 50 + 10 + 10);
}

#[tokio::test]
async fn a_body_cut_short_is_tried_again_and_never_half_believed() {
    let mut cut = head(200, "", Some(RECORD.len()));
    cut.extend_from_slice(&RECORD.as_bytes()[..100]);
    let server = Scripted::play([Step::Send(cut)]).await;
    let error = failed(&client(&server)).await;
    assert!(matches!(error, Error::CutOff(_)), "{error}");
    assert_eq!(server.requests().len(), 3);

    let html = Step::answer(200, "content-type: text/html\r\n", "<html>alice is away</html>");
    let server = Scripted::play([html, ok()]).await;
    present(&client(&server)).await;
}

#[tokio::test]
async fn bodies_without_end_stop_at_the_cap() {
    let endless = Step::Pour(head(200, "", None), vec![b' '; 10_000]);
    let large = Step::answer(200, "", vec![b' '; 100_001]);
    let bomb = Step::answer(200, "content-encoding: gzip\r\n", gzip(&vec![b' '; 50_000_000]));
    for step in [endless, large, bomb] {
        let server = Scripted::play([step]).await;
        let error = failed(&client(&server)).await;
        assert!(matches!(error, Error::TooLarge { limit: 100_000 }), "{error}");
        assert_eq!(error.disposition(), Disposition::Skip);
        assert_eq!(server.requests().len(), 1);
    }
    let endless = Step::Pour(head(401, "", None), vec![b' '; 10_000]);
    let server = Scripted::play([endless]).await;
    let error = failed(&client(&server)).await;
    assert_eq!(
        error.disposition(),
        Disposition::StopClient,
        "the status tells enough"
    );
}

#[tokio::test]
async fn compressed_answers_are_read_and_broken_ones_are_not() {
    let zipped = gzip(RECORD.as_bytes());
    let answer = |body: &[u8]| Step::answer(200, "content-encoding: gzip\r\n", body);
    let server = Scripted::play([answer(&zipped[..40]), answer(b"not gzip"), answer(&zipped)]).await;
    present(&client(&server)).await;
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    for begun in [Vec::new(), head(200, "", Some(9)), head(404, "", Some(9))] {
        let server = Scripted::play([Step::Stall(begun)]).await;
        let error = failed(&impatient(&server)).await;
        assert!(
            matches!(error, Error::Unreachable(Obstacle::TimeOut, _)),
            "{error}"
        );
        assert!(error.is_unavailable());
        assert_eq!(server.requests().len(), 3);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let plain = Scripted::play([Step::Stall(head(400, "", Some(0)))]).await;
    let error = failed(&client_of(&calcom(&format!("https://{}", plain.addr)))).await;
    assert!(matches!(error, Error::Unreachable(Obstacle::Tls, _)), "{error:?}");
    assert!(error.is_unavailable() && error.remedy().is_some());
    let error = failed(&client_of(&calcom("http://no-such-host.invalid"))).await;
    assert!(
        matches!(error, Error::Unreachable(Obstacle::Name, _)),
        "{error:?}"
    );
    assert!(error.is_unavailable() && error.remedy().is_some());

    // Nothing listens on a port that was just let go.
    let free = std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    let error = failed(&client_of(&calcom(&format!("http://{free}")))).await;
    assert!(
        matches!(error, Error::Unreachable(Obstacle::Connection, _)),
        "{error}"
    );
    assert!(error.is_unavailable());
}

#[tokio::test]
async fn nothing_is_sent_during_a_block_and_all_goes_on_after_it() {
    let blocked = Step::answer(429, "x-ratelimit-reset-default: 1\r\n", "");
    let server = Scripted::play([blocked, ok()]).await;
    let client = client(&server);
    let begun = Instant::now();
    present(&client).await;
    // What the server says, and a second on top. Lower bounds hold however slow the machine is.
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(client.requests(), 2);
    let others = futures_util::future::join_all((0..5).map(|_| client.get_user(USER))).await;
    assert!(others.iter().all(Result::is_ok));
    assert_eq!(client.requests(), 7);
}

#[tokio::test]
async fn a_window_used_up_is_waited_for_without_a_429() {
    let last = Step::answer(
        200,
        "x-ratelimit-remaining-short: 0\r\nx-ratelimit-reset-short: 1\r\n",
        RECORD,
    );
    let server = Scripted::play([last, ok()]).await;
    let client = client(&server);
    present(&client).await;
    let begun = Instant::now();
    present(&client).await;
    assert!(
        begun.elapsed() >= Duration::from_millis(1500),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn an_announced_end_is_warned_of_once_and_logs_hold_no_secret() {
    let (told, _guard) = Told::listen(Level::TRACE);
    let sunset = "deprecation: true\r\nsunset: Sat, 31 Oct 2026 23:59:59 GMT\r\n";
    let server = Scripted::play([Step::answer(200, sunset, RECORD)]).await;
    let client = client(&server);
    present(&client).await;
    present(&client).await;
    let log = told.text();
    assert_eq!(log.matches("announces the end").count(), 1, "{log}");
    assert_eq!(log.matches("asked for a user").count(), 2, "{log}");
    assert!(log.contains("31 Oct 2026"), "{log}");
    assert!(!log.contains(SECRET) && !log.contains("alice"), "{log}");
}
