//! Requests for several users at once, and what is learned of a server by them.

use std::collections::HashMap;

use calmirror::{
    calcom::{Lesson, Reach, Roll, Scope},
    model::{Fingerprint, Seen, Target},
    simulator::{Simulator, SimulatorConfig},
};

use super::*;

fn record(id: i64, email: &str) -> String {
    format!(
        r#"{{"id":{id},"email":"{email}","timeZone":"UTC","weekStart":"Sunday","createdDate":"2024-04-01T00:00:00.000Z"}}"#
    )
}

fn list(records: &[&str]) -> Step {
    let body = format!(r#"{{"status":"success","data":[{}]}}"#, records.join(","));
    Step::answer(200, "", body)
}

fn refusal(status: u16, message: &str, details: &str) -> Step {
    let body = format!(
        r#"{{"status":"error","error":{{"code":"BadRequestException","message":"{message}","details":{details}}}}}"#
    );
    Step::answer(status, "", body)
}

fn target(id: i64, email: &str) -> Target {
    Target {
        id: UserId(id),
        email: Some(email.to_owned()),
        fingerprint: None,
    }
}

fn ids(roll: &Roll) -> Vec<i64> {
    roll.seen.iter().map(|seen| seen.user_id().0).collect()
}

/// The first line of each request, without the version.
fn lines(server: &Scripted) -> Vec<String> {
    let first = |request: String| request.split(" HTTP/1.1").next().map(str::to_owned);
    server.requests().into_iter().filter_map(first).collect()
}

async fn refused(server: &Scripted, targets: &[Target]) -> Error {
    let client = client(server);
    let error = client
        .by_addresses(targets)
        .await
        .expect_err("this proves nothing");
    let shown = format!("{error} {error:?} {client:?}");
    assert!(!shown.contains(SECRET) && !shown.contains("alice"), "{shown}");
    error
}

#[tokio::test]
async fn addresses_go_as_the_server_reads_them() {
    let server = Scripted::play([list(&[])]).await;
    let client = client(&server);
    let targets = [
        target(1, "alice+abc@example.com"),
        target(2, "o'hara+tag+abc@example.com"),
        target(3, "zoë@example.com"),
        target(4, "a&b=c#d e@example.com"),
        // These cannot be asked for by their addresses.
        target(5, "a,b@example.com"),
        target(6, ""),
        Target::unknown(UserId(7)),
    ];
    let roll = client.by_addresses(&targets).await.expect("a good answer");
    assert_eq!(roll, Roll::default());
    assert_eq!(
        lines(&server),
        [
            "GET /v2/oauth-clients/abc/users?limit=7&emails=alice@example.com,o%27hara%2Btag@example.com,\
             zo%C3%AB@example.com,a%26b%3Dc%23d%20e@example.com"
        ]
    );
    let head = server.requests().remove(0);
    for line in [
        format!("x-cal-secret-key: {SECRET}"),
        "x-cal-client-id: abc".to_owned(),
        "accept: application/json".to_owned(),
    ] {
        assert!(
            head.contains(&format!("\r\n{line}\r\n")),
            "{line} is not in {head}"
        );
    }
    assert_eq!(client.requests(), 1);
}

#[tokio::test]
async fn nothing_is_sent_when_nobody_can_be_asked_for_by_an_address() {
    let server = Scripted::play([list(&[])]).await;
    let client = client(&server);
    for targets in [vec![], vec![Target::unknown(UserId(1)), target(2, "a,b@x.org")]] {
        let roll = client.by_addresses(&targets).await.expect("nothing can fail");
        assert_eq!(roll, Roll::default());
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn an_answer_is_of_the_users_that_it_contains() {
    let (one, stranger) = (record(1, "alice+abc@x.org"), record(9, "carol+abc@x.org"));
    let server = Scripted::play([list(&[&one, &stranger])]).await;
    let known = Target {
        fingerprint: Some(Fingerprint::of(one.as_bytes())),
        ..target(1, "alice+abc@x.org")
    };
    let roll = client(&server)
        .by_addresses(&[known, target(2, "bob@x.org")])
        .await;
    let roll = roll.expect("a good answer");
    assert_eq!(roll.seen, [Seen::Unchanged(UserId(1))]);
    assert_eq!((roll.records, roll.unasked), (2, 1));
}

#[tokio::test]
async fn a_record_in_the_same_bytes_is_not_read_again() {
    let server = Scripted::play([ok()]).await;
    let client = client(&server);
    let mut wanted = Target::unknown(USER);
    let seen = client.get(&wanted).await.expect("a good answer");
    let Seen::Observed {
        observation: Observation::Present(_),
        fingerprint: Some(fingerprint),
    } = seen
    else {
        panic!("not a user: {seen:?}");
    };
    let data = RECORD.find(r#"{"id""#).expect("the record has an id");
    assert_eq!(
        fingerprint,
        Fingerprint::of(&RECORD.as_bytes()[data..RECORD.len() - 1])
    );
    wanted.fingerprint = Some(fingerprint);
    let seen = client.get(&wanted).await.expect("a good answer");
    assert_eq!(seen, Seen::Unchanged(USER));
}

#[tokio::test]
async fn pages_are_asked_for_by_limit_and_offset() {
    let (one, two) = (record(1, "a+abc@x.org"), record(2, "b+abc@x.org"));
    let server = Scripted::play([list(&[&one, &two])]).await;
    let known = HashMap::from([(Fingerprint::of(two.as_bytes()), UserId(2))]);
    let roll = client(&server)
        .page(250, 100, &known)
        .await
        .expect("a good answer");
    assert_eq!((ids(&roll), roll.records), (vec![1, 2], 2));
    assert_eq!(roll.seen[1], Seen::Unchanged(UserId(2)));
    assert_eq!(
        lines(&server),
        ["GET /v2/oauth-clients/abc/users?limit=100&offset=250"]
    );
}

#[tokio::test]
async fn an_organisations_page_gives_the_clients_own_users() {
    let records = [
        record(1, "alice+abc@x.org"),
        record(2, "bob+other@x.org"),
        record(3, "carol@x.org"),
        record(4, "abc@x.org"),
        r#"{"id":"5","email":"dora+abc@x.org"}"#.to_owned(),
        "7".to_owned(),
        r#"{"id":6,"email":"erik+abc@x.org","profile":{"id":1}}"#.to_owned(),
    ];
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let full: Vec<String> = (0..1000).map(|id| record(id, "a+other@x.org")).collect();
    let full: Vec<&str> = full.iter().map(String::as_str).collect();
    let server = Scripted::play([list(&full), list(&records)]).await;
    let config = config::Calcom {
        max_answer_bytes: 1_000_000,
        ..calcom(&format!("http://{}/api", server.addr))
    };
    let client = client_of(&config);
    let page = client.organization_page(17, 0).await.expect("a good answer");
    assert_eq!((page.found.len(), page.records), (0, 1000));
    let page = client.organization_page(17, 1000).await.expect("a good answer");
    assert_eq!(
        page.found,
        [target(1, "alice+abc@x.org"), target(6, "erik+abc@x.org")]
    );
    assert_eq!(page.records, 7);
    assert_eq!(
        lines(&server),
        [
            "GET /api/v2/organizations/17/users?take=1000&skip=0",
            "GET /api/v2/organizations/17/users?take=1000&skip=1000",
        ]
    );
    let head = server.requests().remove(1);
    assert!(
        head.contains(&format!("\r\nx-cal-secret-key: {SECRET}\r\n"))
            && head.contains("x-cal-client-id: abc"),
        "{head}"
    );
}

#[tokio::test]
async fn a_refusal_says_whether_fewer_users_may_fare_better() {
    let users = [target(1, "alice@x.org"), target(2, "b@x.org")];
    let limit =
        r#"{"errors":[{"property":"limit","constraints":{"max":"limit must not be greater than 100"}}]}"#;
    for (step, scope, tries) in [
        (refusal(400, "Invalid email alice smith", "null"), Scope::Size, 1),
        (refusal(400, "Bad Request Exception", limit), Scope::Route, 1),
        (
            refusal(400, "property emails should not exist", "null"),
            Scope::Route,
            1,
        ),
        (refusal(403, "no", "null"), Scope::Route, 1),
        (refusal(401, "no", "null"), Scope::Client, 1),
        (Step::answer(404, "", "<html>"), Scope::Route, 1),
        (Step::answer(405, "", ""), Scope::Route, 1),
        (Step::answer(410, "", ""), Scope::Client, 1),
        (Step::answer(414, "", "<html>"), Scope::Size, 1),
        (Step::answer(431, "", ""), Scope::Size, 1),
        (Step::answer(501, "", ""), Scope::Route, 1),
        (Step::answer(301, "location: /x\r\n", ""), Scope::Client, 1),
        (Step::answer(200, "", vec![b' '; 100_001]), Scope::Size, 1),
        (Step::answer(500, "", ""), Scope::Size, 3),
        (Step::answer(200, "", "<html>"), Scope::Size, 3),
        (
            Step::answer(200, "", r#"{"status":"success","data":["#),
            Scope::Size,
            3,
        ),
        (Step::Hang, Scope::Client, 3),
    ] {
        let server = Scripted::play([step.clone()]).await;
        let error = refused(&server, &users).await;
        assert_eq!(error.scope(), scope, "{error}");
        assert_eq!(server.requests().len(), tries, "{error}");
    }
    let server = Scripted::play([refusal(400, "Bad Request Exception", limit)]).await;
    let error = refused(&server, &users).await;
    assert!(matches!(error, Error::LimitRefused { max: Some(100) }), "{error}");
    let server = Scripted::play([Step::answer(414, "", "")]).await;
    let error = refused(&server, &users).await;
    assert!(matches!(error, Error::TooLong { bytes: 20 }), "{error}");
}

#[tokio::test]
async fn an_answer_about_many_that_does_not_come_may_come_for_fewer() {
    let server = Scripted::play([Step::Stall(head(200, "", Some(9)))]).await;
    let error = impatient(&server)
        .by_addresses(&[target(1, "alice@x.org")])
        .await
        .expect_err("nothing comes");
    assert!(
        matches!(error, Error::Unreachable(Obstacle::TimeOut, _)),
        "{error}"
    );
    assert_eq!((error.scope(), server.requests().len()), (Scope::Size, 3));
}

#[tokio::test]
async fn trouble_with_many_is_tried_again_and_a_block_is_waited_for() {
    let blocked = Step::answer(429, "x-ratelimit-reset-default: 1\r\n", "");
    let one = record(1, "alice+abc@x.org");
    let server = Scripted::play([Step::answer(502, "", ""), blocked, list(&[&one])]).await;
    let client = client(&server);
    let begun = Instant::now();
    let roll = client.by_addresses(&[target(1, "alice@x.org")]).await;
    assert_eq!(ids(&roll.expect("a good answer")), [1]);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(client.requests(), 3);
    let lines = lines(&server);
    assert!(lines.iter().all(|line| *line == lines[0]), "{lines:?}");
}

#[tokio::test]
async fn a_lesson_is_told_once_and_kept_to() {
    let (told, _guard) = Told::listen(Level::TRACE);
    let server = Scripted::play([list(&[])]).await;
    let client = client(&server);
    assert_eq!(client.reach(), Reach::default());
    for _ in 0..2 {
        client.learn(Lesson::AtMostUsers(100));
        client.learn(Lesson::TooManyBytes(4000));
        client.learn(Lesson::NotByAddresses);
    }
    let reach = Reach {
        users: 100,
        address_bytes: 3000,
        by_addresses: false,
    };
    assert_eq!(client.reach(), reach);
    let targets: Vec<Target> = (0..100).map(|id| target(id, "alice+tag@x.org")).collect();
    client.by_addresses(&targets).await.expect("a good answer");
    assert!(lines(&server)[0].starts_with("GET /v2/oauth-clients/abc/users?limit=100&emails="));

    let log = told.text();
    for lesson in [
        "fewer users at once",
        "too long for cal.com",
        "does not list users by their addresses",
    ] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(lesson)).collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].contains(" INFO ") && lines[0].contains("test"), "{log}");
    }
    assert_eq!(
        log.matches("asked for users by their addresses").count(),
        1,
        "{log}"
    );
    assert!(!log.contains(SECRET) && !log.contains("alice"), "{log}");
}

#[tokio::test]
async fn the_simulator_gives_by_addresses_and_by_pages_what_it_gives_by_ids() {
    let simulator = Simulator::start(SimulatorConfig {
        users_per_client: 300,
        ..SimulatorConfig::default()
    });
    let simulator = simulator.await.expect("the simulator starts");
    let at = simulator.clients().swap_remove(0);
    let config = config::Calcom {
        max_answer_bytes: 1_000_000,
        ..calcom(&simulator.base_url())
    };
    let api = Api::new(&config).expect("it can be built");
    let api = api.client(&config_client(&at.id, &at.secret));
    let unknown = HashMap::new();
    let mut all = api.page(0, 250, &unknown).await.expect("a good answer").seen;
    all.extend(api.page(250, 250, &unknown).await.expect("a good answer").seen);
    assert_eq!(all.len(), 300);
    let mut targets = Vec::new();
    for seen in &all {
        let Seen::Observed {
            observation: Observation::Present(user),
            fingerprint: fingerprint @ Some(_),
        } = seen
        else {
            panic!("not a user: {seen:?}");
        };
        targets.push(Target {
            fingerprint: *fingerprint,
            ..target(user.id.0, &user.email)
        });
    }
    let one = api.get(&targets[7]).await.expect("a good answer");
    assert_eq!(
        one,
        Seen::Unchanged(targets[7].id),
        "a list spells a record as it is alone"
    );

    let (gone, changed) = (targets[3].id, targets[4].id);
    simulator.delete_user(gone.0).expect("the user is there");
    let body = serde_json::json!({ "name": "Another" });
    simulator.patch_user(changed.0, body).expect("the user is there");
    let roll = api.by_addresses(&targets[..250]).await.expect("a good answer");
    assert_eq!((roll.records, roll.seen.len(), roll.unasked), (249, 249, 0));
    for seen in &roll.seen {
        let is_unchanged = matches!(seen, Seen::Unchanged(_));
        assert_eq!(is_unchanged, seen.user_id() != changed, "{seen:?}");
        assert_ne!(seen.user_id(), gone);
    }

    targets[0].email = Some("no address".to_owned());
    let error = api
        .by_addresses(&targets[..2])
        .await
        .expect_err("one is no address");
    assert!(matches!(error, Error::InvalidAddress(_)), "{error}");
    assert!(!format!("{error} {error:?}").contains("no address"), "{error}");
    simulator.shutdown().await.expect("it shuts down");
}
