//! Who is answered, and how much is told.

use nix::sys::signal::Signal;

use super::{Daemon, HARDLY_EVER, Setup};
use crate::support::http::Answer;

/// What is for people and scrapers; probes are asked for otherwise.
pub(super) const ROUTES: [(&str, u16); 10] = [
    ("/metrics", 200),
    ("/api/v1/status", 200),
    ("/no/such/thing", 404),
    ("/", 200),
    ("/users?id=1", 303),
    ("/users/1", 404),
    ("/users/x?at=now", 400),
    ("/assets/page.js", 404),
    ("/api/v1/overview", 200),
    ("/api/v1/users/1", 404),
];
pub(super) const PROBES: [&str; 2] = ["/healthz", "/readyz"];
const WITH_TOKEN: &str = "[server]\ntoken = { env = \"TOKEN\" }";

fn with_token() -> String {
    format!("{HARDLY_EVER}\n{WITH_TOKEN}")
}

/// `token` as a browser brings it.
const RIGHT_BASIC: &str = "Basic bWU6czNjcjN0LXQwa2Vu";

fn assert_secured(answer: &Answer) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{answer:?}");
    }
    let policy = answer.header("content-security-policy").expect("there is one");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    for (name, _) in &answer.headers {
        assert!(
            !name.starts_with("access-control-"),
            "another site may read this: {answer:?}"
        );
    }
}

#[tokio::test]
async fn a_token_is_asked_for_where_there_is_one_and_probes_do_without() {
    let daemon = Daemon::of(3, &with_token()).await;
    daemon.until_ready(200, "ok", None).await;
    let right = [("authorization", "Bearer s3cr3t-t0ken")];
    for (route, expected) in ROUTES.into_iter().chain([("/events", 0)]) {
        let wrong = [
            &[][..],
            &[("authorization", "Bearer s3cr3t-t0ke")],
            &[("authorization", "Bearer s3cr3t-t0kenn")],
            &[("authorization", "Bearer ")],
            &[("authorization", "Basic bWU6d3Jvbmc=")],
            &[("authorization", "s3cr3t-t0ken")],
            &[("cookie", "token=s3cr3t-t0ken")],
            &[right[0], right[0]],
        ];
        for headers in wrong {
            let answer = daemon.get_with(route, headers).await;
            assert_eq!(answer.status, 401, "{route} {headers:?}");
            let challenges: Vec<_> = answer
                .headers
                .iter()
                .filter(|(name, _)| name == "www-authenticate")
                .map(|(_, value)| value.split(' ').next().expect("a scheme"))
                .collect();
            assert_eq!(challenges, ["Basic", "Bearer"]);
            assert_secured(&answer);
        }
        assert_eq!(
            daemon
                .get_with(&format!("{route}?token=s3cr3t-t0ken"), &[])
                .await
                .status,
            401
        );
        if route == "/events" {
            // With the token it has no end: see the tests of the page.
            continue;
        }
        assert_eq!(daemon.get_with(route, &right).await.status, expected, "{route}");
        let basic = [("authorization", RIGHT_BASIC)];
        assert_eq!(daemon.get_with(route, &basic).await.status, expected, "{route}");
    }
    for probe in PROBES {
        let answer = daemon.get(probe).await;
        assert_eq!(answer.status, 200, "{probe}");
        assert_secured(&answer);
    }
    // Whoever knows the token may call the server what it likes, as a scraper in another container does.
    let named = [
        "GET /metrics HTTP/1.1",
        "Host: calmirror:9470",
        "Authorization: Bearer s3cr3t-t0ken",
    ];
    assert_eq!(daemon.raw(&named).await.status, 200);
    let ended = daemon.stop().await;
    assert!(!ended.stderr.contains("s3cr3t-t0ken"), "{ended}");
}

#[tokio::test]
async fn a_probe_without_the_token_learns_whether_and_not_what() {
    let mut setup = Setup::new(1, 3).await;
    let mut gate = setup.gate();
    gate.open();
    let daemon = Daemon::start(setup, &with_token()).await;
    daemon.until_ready(200, "ok", None).await;
    sqlx::query("update sync_state set fresh_until = last_complete_at")
        .execute(&daemon.setup.pool().await)
        .await
        .expect("freshness can be dated back");
    let stale = daemon.until_ready(200, "degraded", Some("stale")).await;
    assert_eq!(
        stale,
        serde_json::json!({"status": "degraded", "reasons": ["stale"]})
    );
    let right = [("authorization", "Bearer s3cr3t-t0ken")];
    let told = daemon.get_with("/readyz", &right).await.json();
    assert_eq!(told["clients"][0]["client"], "acme");
    // Why the database is away is nobody else's business either.
    gate.shut();
    let away = daemon.until_ready(503, "database_unavailable", None).await;
    assert_eq!(
        away,
        serde_json::json!({"status": "database_unavailable", "reasons": []})
    );
    let told = daemon.get_with("/readyz", &right).await.json();
    assert!(told["error"].is_string(), "{told}");
    daemon.stop().await;
}

/// Only a start takes another address, so whoever reaches the old one needs the token still.
#[tokio::test]
async fn an_address_that_others_reach_keeps_its_token_whatever_is_reloaded() {
    let mut daemon = Daemon::listening("0.0.0.0:0", &with_token()).await;
    assert_eq!(daemon.get("/metrics").await.status, 401);
    daemon
        .setup
        .configure(&format!("{HARDLY_EVER}\n[server]\nlisten = \"127.0.0.1:0\""));
    daemon.program.signal(Signal::SIGHUP);
    daemon.program.logged("configuration reloaded").await;
    assert_eq!(daemon.get("/metrics").await.status, 401);
    let right = [("authorization", "Bearer s3cr3t-t0ken")];
    assert_eq!(daemon.get_with("/metrics", &right).await.status, 200);
    daemon.stop().await;
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_misdirected_unless_a_probe_says_it() {
    let sections = format!("{HARDLY_EVER}\n[server]\nhosts = [\"mirror.example\"]");
    let daemon = Daemon::of(3, &sections).await;
    daemon.until_ready(200, "ok", None).await;
    let port = daemon.address.port();
    let cases = [
        (format!("Host: 127.0.0.1:{port}"), 200),
        ("Host: localhost".to_owned(), 200),
        ("Host: LOCALHOST:1".to_owned(), 200),
        ("Host: [::1]:9470".to_owned(), 200),
        ("Host: mirror.example".to_owned(), 200),
        (format!("Host: evil.example:{port}"), 421),
        ("Host: 192.0.2.1".to_owned(), 421),
        ("Host: mirror.example.evil.example".to_owned(), 421),
        ("Host: ".to_owned(), 400),
        ("Host: a@localhost".to_owned(), 400),
        ("X-Forwarded-Host: localhost".to_owned(), 400),
        ("Host: localhost\r\nHost: localhost".to_owned(), 400),
    ];
    for (host, expected) in &cases {
        for (route, well) in ROUTES {
            let expected = if *expected == 200 { &well } else { expected };
            let answer = daemon.raw(&[&format!("GET {route} HTTP/1.1"), host]).await;
            assert_eq!(answer.status, *expected, "{route} {host}");
            assert_secured(&answer);
        }
        if *expected != 200 {
            let answer = daemon.raw(&["GET /events HTTP/1.1", host]).await;
            assert_eq!(answer.status, *expected, "{host}");
        }
        let probe = daemon.raw(&["GET /readyz HTTP/1.1", host]).await;
        assert_eq!(probe.status, 200, "{host}");
        assert_eq!(probe.json().get("clients").is_some(), *expected == 200, "{host}");
    }
    // An absolute address names a host as well.
    let absolute = ["GET http://evil.example/metrics HTTP/1.1", "Host: localhost"];
    assert_eq!(daemon.raw(&absolute).await.status, 421);
    let absolute = ["GET http://localhost/metrics HTTP/1.1", "Host: localhost"];
    assert_eq!(daemon.raw(&absolute).await.status, 200);
    daemon.stop().await;
}

#[tokio::test]
async fn pages_of_other_sites_read_nothing_and_links_may_be_followed() {
    let daemon = Daemon::of(3, HARDLY_EVER).await;
    daemon.until_ready(200, "ok", None).await;
    let own = format!("http://{}", daemon.address);
    let cases: [(&[(&str, &str)], u16); 10] = [
        (&[], 200),
        (&[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")], 200),
        (
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")],
            200,
        ),
        (&[("origin", &own)], 200),
        (
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
            403,
        ),
        (
            &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")],
            403,
        ),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "null")], 403),
        (
            &[
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ],
            200,
        ),
        (
            &[
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "iframe"),
            ],
            403,
        ),
    ];
    for (headers, expected) in cases {
        for (route, well) in ROUTES.into_iter().chain([("/readyz", 200)]) {
            let answer = daemon.get_with(route, headers).await;
            let expected = if expected == 200 { well } else { expected };
            assert_eq!(answer.status, expected, "{route} {headers:?}");
            assert_secured(&answer);
        }
        if expected != 200 {
            let answer = daemon.get_with("/events", headers).await;
            assert_eq!(answer.status, expected, "{headers:?}");
        }
    }
    daemon.stop().await;
}

#[tokio::test]
async fn nothing_is_taken_but_get_and_head_without_a_body() {
    let daemon = Daemon::of(3, HARDLY_EVER).await;
    daemon.until_ready(200, "ok", None).await;
    let routes = ROUTES.iter().map(|(route, _)| route);
    for route in routes.chain(&PROBES) {
        for method in [
            "POST",
            "PUT",
            "PATCH",
            "DELETE",
            "OPTIONS",
            "TRACE",
            "CONNECT-ish",
            "get",
        ] {
            let answer = daemon
                .raw(&[&format!("{method} {route} HTTP/1.1"), "Host: localhost"])
                .await;
            assert_eq!(answer.status, 405, "{method} {route}");
            assert_eq!(answer.header("allow"), Some("GET, HEAD"));
            assert_secured(&answer);
        }
        let with_body = ["Content-Length: 2", "Transfer-Encoding: chunked"];
        for header in with_body {
            let lines = [&format!("GET {route} HTTP/1.1"), "Host: localhost", header];
            assert_eq!(daemon.raw(&lines).await.status, 413, "{header}");
        }
        let get = daemon.get(route).await;
        let head = daemon
            .raw(&[&format!("HEAD {route} HTTP/1.1"), "Host: localhost"])
            .await;
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{route}");
        assert_secured(&head);
    }
    daemon.stop().await;
}
