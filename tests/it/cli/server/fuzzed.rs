//! Whatever comes through the socket: no panic, no 5xx but by design, and the next request is answered.

use std::{collections::BTreeSet, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Daemon, HARDLY_EVER};
use crate::support::environment;

const REQUESTS: usize = 1500;

/// Another way of it with each run; a failure prints it, and `FUZZ_SEED` has it tried again.
fn seed() -> u64 {
    let told = environment("FUZZ_SEED").map(|seed| seed.parse().expect("FUZZ_SEED is a number"));
    told.unwrap_or_else(|| fastrand::u64(..))
}

/// The users that are there. Without them, what answers of a past would never be reached.
struct Known {
    users: Vec<i64>,
    /// What opens the door, where there is one.
    token: Option<&'static str>,
}

const METHODS: &[&str] = &[
    "GET",
    "GET",
    "GET",
    "GET",
    "HEAD",
    "POST",
    "OPTIONS",
    "CONNECT",
    "TRACE",
    "get",
    "G E T",
    "",
    "PRI",
    "\u{0}",
    "GETGETGETGETGETGETGET",
];

const PATHS: &[&str] = &[
    "/",
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/v1/status",
    "/api/v1/",
    "//healthz",
    "/healthz/",
    "/HEALTHZ",
    "/api/v1/status/../status",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/%00",
    "/%ff%fe",
    "/%",
    "/%zz",
    "/\u{ff}\u{fe}",
    "*",
    "",
    "http://localhost/metrics",
    "http://evil.example/metrics",
    "http://",
    "localhost:80",
    "/metrics#x",
    "/users/1",
    "/users/-1",
    "/users/99999999999999999999",
    "/users/%31",
    "/events",
    "/users",
    "/users/-9223372036854775808",
    "/users/1%0d%0aX:%20y",
    "/assets/..%2f..%2fpage.rs",
    "/api/v1/overview",
    "/api/v1/users/1",
    "/static/../../x",
    "/api/v1/users/1/history",
    "/;a=b",
    "/\\..\\",
    "/ /x",
    "/\t",
];

const QUERIES: &[&str] = &[
    "",
    "",
    "",
    "?",
    "?a=b",
    "?at=",
    "?at=2026-01-01T00:00:00Z",
    "?at=-292277022657-01-27T08:29:52Z",
    "?at=%00",
    "?at=-9999-01-01T00:00",
    "?at=%2B262142-12-31T23:59:59",
    "?at=0000-01-01T00:00:00Z",
    "?before=-2147483648",
    "?id=-9223372036854775808",
    "?id=1%0d%0aX:%20y",
    "?limit=-1",
    "?limit=1e999",
    "?limit=99999999999999999999",
    "?at[]=1&at[]=2",
    "?%ff=%fe",
    "?a=%",
    "?after=NaN",
    "?client=acme'--",
    "?client=%27%20or%201=1",
    "?=&=&=",
    "??",
];

/// Parts of a past that there are, and some that there are not.
const PASTS: &[&str] = &[
    "",
    "?at=2100-01-01",
    "?at=0001-01-01T00:00:00Z",
    "?before=2",
    "?before=1",
    "?before=2147483647&at=2100-01-01+10:00",
];

const VERSIONS: &[&str] = &[
    " HTTP/1.1",
    " HTTP/1.1",
    " HTTP/1.1",
    " HTTP/1.0",
    " HTTP/2.0",
    " HTTP/0.9",
    "",
    " HTTP/1.1 ",
    " http/1.1",
    " HTTP/9.99",
];

const HEADERS: &[&str] = &[
    "Host: localhost",
    "Host: localhost",
    "Host: localhost",
    "Host: evil.example",
    "Host:",
    "Host: [::1",
    "Host: a b",
    "Host: \u{0}",
    "Host: localhost:99999",
    "Host: %6c",
    "Content-Length: 0",
    "Content-Length: 5",
    "Content-Length: -1",
    "Content-Length: 5, 5",
    "Content-Length: 18446744073709551616",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked, identity",
    " folded",
    "No colon",
    "X: \u{7f}",
    "Connection: close",
    "Connection: keep-alive, upgrade",
    "Upgrade: h2c",
    "HTTP2-Settings: AAMAAABkAAQAAP__",
    "Upgrade: websocket",
    "Expect: 100-continue",
    "Expect: 999",
    "Range: bytes=0-0,-1",
    "Accept-Encoding: gzip;q=nope",
    "Authorization: Basic",
    "Authorization: Basic ////",
    "Authorization: Bearer \u{80}",
    "Origin: null",
    "Origin: http://[",
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: none",
    "Last-Event-ID: \u{ff}",
    "If-None-Match: *",
    "If-Modified-Since: never",
    "Accept: text/event-stream",
    "Cookie: a=b; c=\"",
    "Name with space: 1",
    ": empty",
];

const TAILS: &[&str] = &[
    "\r\n\r\n",
    "\r\n\r\n",
    "\r\n\r\n",
    "\r\n\r\n",
    "\n\n",
    "\r\n",
    "",
    "\r\n\r\nhello",
    "\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "\r\n\r\nffffffffffffffffff\r\n",
    "\u{0}\r\n\r\n",
];

/// Mostly the first of them, which is in order: what is wrong in every way at once is refused for the first of them.
fn mostly<'a>(random: &mut fastrand::Rng, of: &[&'a str]) -> &'a str {
    match random.u8(..5) {
        0 => pick(random, of),
        _ => of[0],
    }
}

fn pick<'a>(random: &mut fastrand::Rng, of: &[&'a str]) -> &'a str {
    random.choice(of).expect("there are some")
}

fn of_a_user(random: &mut fastrand::Rng, known: &Known) -> String {
    let user = random.choice(&known.users).expect("there are some");
    let route = pick(random, &["/users/", "/api/v1/users/", "/users?id="]);
    let part = pick(random, PASTS);
    format!("{route}{user}{part}")
}

/// One request, or what a client takes for one. Characters up to 255 stand for bytes.
fn request(random: &mut fastrand::Rng, known: &Known) -> Vec<u8> {
    let path = match random.u8(..4) {
        0 => of_a_user(random, known),
        _ => pick(random, PATHS).to_owned(),
    };
    let mut text = format!(
        "{} {path}{}{}",
        mostly(random, METHODS),
        mostly(random, QUERIES),
        mostly(random, VERSIONS),
    );
    if random.u8(..20) > 0 {
        text.push_str("\r\n");
        text.push_str(mostly(random, HEADERS));
    }
    if let Some(token) = known.token
        && random.u8(..4) > 0
    {
        text.push_str(&format!("\r\nAuthorization: Bearer {token}"));
    }
    for _ in 0..random.usize(..3) {
        text.push_str("\r\n");
        text.push_str(pick(random, HEADERS));
    }
    match random.u8(..40) {
        0 => text.push_str(&format!("\r\nX: {}", "x".repeat(random.usize(..40_000)))),
        1 => text.push_str(&"\r\nX: y".repeat(random.usize(..500))),
        2 => text = format!("GET /{}", "a".repeat(random.usize(..70_000))),
        3 => text.insert_str(0, "\r\n\r\n"),
        _ => {}
    }
    text.push_str(mostly(random, TAILS));
    let mut bytes: Vec<u8> = text.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect();
    if random.u8(..8) == 0 {
        for _ in 0..random.usize(..8) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
    }
    if random.u8(..10) == 0 {
        bytes.truncate(random.usize(..bytes.len()));
    }
    bytes
}

/// What comes back before there is nothing more for a moment.
async fn answers(daemon: &Daemon, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(daemon.address).await.expect("it listens");
    let mut received = Vec::new();
    // It may close before it has read all of it.
    if stream.write_all(bytes).await.is_err() {
        return received;
    }
    let mut chunk = [0; 16 * 1024];
    while let Ok(Ok(read @ 1..)) = timeout(Duration::from_millis(150), stream.read(&mut chunk)).await {
        received.extend_from_slice(&chunk[..read]);
    }
    received
}

fn statuses(received: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(received);
    text.match_indices("HTTP/1.")
        .filter_map(|(at, _)| text[at..].get(9..12)?.parse().ok())
        .collect()
}

/// Sends them all. The corpus has to reach all that there is to reach, which is answers of these statuses.
async fn fuzz(sections: &str, token: Option<&'static str>, reached: &[u16]) {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let daemon = Daemon::of(3, sections).await;
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer
        .iter()
        .map(|bearer| ("authorization", bearer.as_str()))
        .collect();
    daemon.until_ready(200, "ok", None).await;
    let known = Known {
        users: daemon.setup.clients[0].users.clone(),
        token,
    };
    let requests: Vec<Vec<u8>> = (0..REQUESTS)
        .map(|_| {
            let mut bytes = request(&mut random, &known);
            if random.u8(..6) == 0 {
                bytes.extend(request(&mut random, &known));
            }
            bytes
        })
        .collect();
    let answered: Vec<(usize, Vec<u16>)> = stream::iter(requests.iter().enumerate())
        .map(|(number, bytes)| {
            let daemon = &daemon;
            async move { (number, statuses(&answers(daemon, bytes).await)) }
        })
        .buffer_unordered(24)
        .collect()
        .await;
    let mut seen = BTreeSet::new();
    for (number, statuses) in answered {
        for status in statuses {
            seen.insert(status);
            assert!(
                (200..500).contains(&status),
                "{status} to {:?}, FUZZ_SEED={seed}",
                String::from_utf8_lossy(&requests[number])
            );
        }
    }
    assert_eq!(daemon.get("/healthz").await.status, 200);
    for path in ["/metrics".to_owned(), format!("/users/{}", known.users[0])] {
        assert_eq!(daemon.get_with(&path, &headers).await.status, 200, "{path}");
    }
    let ended = daemon.stop().await;
    assert!(!ended.stderr.contains("panic"), "FUZZ_SEED={seed}: {ended}");
    for status in reached {
        assert!(seen.contains(status), "no {status} in {seen:?}, FUZZ_SEED={seed}");
    }
}

#[tokio::test]
async fn whatever_is_sent_nothing_breaks_and_the_next_request_is_answered() {
    fuzz(HARDLY_EVER, None, &[200, 303, 400, 403, 404, 405, 413, 421, 431]).await;
}

#[tokio::test]
async fn whatever_is_sent_past_a_token_breaks_nothing_either() {
    let sections = format!("{HARDLY_EVER}\n[server]\ntoken = {{ env = \"TOKEN\" }}\nshow_values = true");
    let reached = [200, 303, 400, 401, 403, 404, 405, 413, 431];
    fuzz(&sections, Some("s3cr3t-t0ken"), &reached).await;
}
