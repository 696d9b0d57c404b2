//! What the page and its JSON say, held against the database; and what they never say.

use calmirror::{model::RunOutcome, schedule::Cron};
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::Site;
use crate::support::{http, world::LIMIT};

#[tokio::test]
async fn the_page_says_what_the_database_says() {
    let site = Site::new(12, true).await;
    site.pass().await;
    let user = site.world.users()[3];
    site.world
        .simulator
        .patch_user(
            user,
            json!({ "timeZone": "Asia/Tokyo", "bio": "Answers within a day." }),
        )
        .expect("the user is there");
    let report = site.pass().await;
    let answer = site.get("/api/v1/overview").await;
    assert_eq!(answer.status, 200);
    let overview = answer.json();
    let client = &overview["clients"][0];
    let (live, run): (i64, i64) = (
        site.count("select count(*) from managed_users_live").await,
        site.count("select max(run_id) from sync_runs").await,
    );
    assert_eq!(
        (&client["condition"], &client["fresh"], &client["users"]["live"]),
        (&json!("well"), &json!(true), &json!(live))
    );
    let last = &client["last_pass"];
    assert_eq!(
        (
            &last["run_id"],
            &last["outcome"],
            &last["updated"],
            &last["requests"]
        ),
        (&json!(run), &json!("applied"), &json!(1), &json!(report.requests))
    );
    // Days are counted from the passes, and come to what the ledger has.
    let days = overview["days"].as_array().expect("days");
    assert_eq!(days.len(), 30);
    let counted = |name: &str| days.iter().filter_map(|day| day[name].as_i64()).sum::<i64>();
    assert_eq!(
        (counted("inserted"), counted("updated")),
        (
            site.count("select count(*) from managed_user_changes where kind = 'insert'")
                .await,
            site.count("select count(*) from managed_user_changes where kind = 'update'")
                .await,
        )
    );
    let changes = overview["changes"].as_array().expect("changes");
    assert_eq!(changes.len(), 2, "{changes:?}");
    let ledger: Value = site
        .world
        .value("select changed from managed_user_changes where kind = 'update'")
        .await;
    assert_eq!(
        (&changes[0]["user_id"], &changes[0]["changed"]),
        (&json!(user), &ledger)
    );
    assert_eq!(
        (&changes[1]["users"], &changes[1]["user_id"]),
        (&json!(12), &Value::Null)
    );
    let page = site.html("/").await;
    for text in [
        "The mirror is fresh",
        "12</strong> live",
        "Asia/Tokyo",
        "Answers within a day.",
    ] {
        assert!(page.contains(text), "no {text} in {page}");
    }
    // Since when, and until when: the first pass was complete as well, and nothing was between.
    let said = |after: &str| {
        let rest = page.split(after).nth(1).unwrap_or_else(|| panic!("no {after}"));
        let time = rest
            .split("datetime=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        time.and_then(|time| time.parse::<DateTime<Utc>>().ok())
            .expect("a time")
    };
    let since: DateTime<Utc> = site.world.value("select min(finished_at) from sync_runs").await;
    assert_eq!(said("Fresh since "), since);
    let last: DateTime<Utc> = site.world.value("select last_complete_at from sync_state").await;
    assert_eq!(said("The last complete pass ended "), last);
    let until: DateTime<Utc> = site.world.value("select fresh_until from sync_state").await;
    assert_eq!(said("It stays so until "), until);
    let next = said("<dt>Next pass</dt>");
    let cron = Cron::parse(&site.world.client.cron, Tz::UTC).expect("it is a schedule");
    assert_eq!(cron.next_after(next - TimeDelta::seconds(1)), Some(next));
    assert!(next > last, "{next}");
    assert!(page.contains(">limit 450<"), "{page}");
    site.close().await;
}

#[tokio::test]
async fn held_removals_are_shown_with_the_command_that_approves_them() {
    let (site, report) = Site::held(false).await;
    assert_eq!(report.outcome, RunOutcome::Held);
    let run = report.run_id.expect("the pass is on record");
    let page = site.html("/").await;
    for text in [
        "Removals wait for you".to_owned(),
        format!("<code>calmirror approve {run}</code>"),
        "8 of 20 users would be removed".to_owned(),
    ] {
        assert!(page.contains(&text), "no {text} in {page}");
    }
    let overview = site.get("/api/v1/overview").await.json();
    assert_eq!(overview["clients"][0]["condition"], "held");
    assert_eq!(overview["clients"][0]["held"]["run_id"], run);
    // The command does what the page says.
    assert_eq!(site.world.approve(run).await.removed, 8);
    site.close().await;
}

#[tokio::test]
async fn no_personal_value_is_shown_unless_values_are() {
    const SECRETS: [&str; 8] = [
        "vera.example",
        "vera-user",
        "Vera Verity",
        "Likes gardens",
        "veras-picture",
        "veras-plan",
        "veras-shoe",
        "Second Name",
    ];
    for shown in [false, true] {
        let site = Site::new(3, shown).await;
        let user = site.world.users()[0];
        let record = |name: &str, zone: &str| {
            json!({
                "id": user, "email": format!("vera+{}@vera.example", site.world.client_id()), "username": "vera-user",
                "name": name, "bio": "Likes gardens", "timeZone": zone, "weekStart": "Monday",
                "createdDate": "2024-01-01T00:00:00.000Z", "avatarUrl": "https://example.com/veras-picture",
                "metadata": { "plan": "veras-plan" }, "shoeSize": "veras-shoe",
            })
            .to_string()
        };
        let place = |record: String| {
            site.world
                .simulator
                .place_raw(site.world.client_id(), user, record)
                .expect("the user can be placed");
        };
        place(record("Vera Verity", "Asia/Tokyo"));
        site.pass().await;
        place(record("Second Name", "Europe/Rome"));
        site.pass().await;
        let mut all = String::new();
        for path in ["/", "/api/v1/overview"] {
            all.push_str(&site.html(path).await);
        }
        for path in [format!("/users/{user}"), format!("/api/v1/users/{user}")] {
            all.push_str(&site.html(&path).await);
        }
        assert!(all.contains("Asia/Tokyo") && all.contains("Europe/Rome"), "{all}");
        for secret in SECRETS {
            assert_eq!(all.contains(secret), shown, "{secret} in {all}");
        }
        site.close().await;
    }
}

#[tokio::test]
async fn hostile_values_stay_text() {
    let site = Site::new(2, true).await;
    let user = site.world.users()[0];
    site.pass().await;
    let long = "x".repeat(40_000);
    for name in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "a\u{202e}b\u{7}c",
        &long,
    ] {
        site.world
            .simulator
            .patch_user(user, json!({ "name": name, "bio": name }))
            .expect("the user is there");
        site.pass().await;
    }
    for path in ["/".to_owned(), format!("/users/{user}")] {
        let page = site.html(&path).await;
        assert!(!page.contains("<script>alert"), "{path}");
        assert!(!page.contains("<img"), "{path}");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{path}");
        assert!(!page.contains('\u{202e}') && !page.contains('\u{7}'), "{path}");
        assert!(page.contains("a\\u{202e}b\\u{7}c"), "{path}");
        assert!(page.len() < 100_000, "{path}: {} bytes", page.len());
    }
    site.close().await;
}

#[tokio::test]
async fn what_cannot_be_answered_is_said_with_its_status() {
    let site = Site::new(2, false).await;
    let user = site.world.users()[0];
    let before = site.html("/").await;
    assert!(before.contains("There is no complete pass yet"), "{before}");
    site.pass().await;
    for (path, status) in [
        ("/users/nobody".to_owned(), 400),
        ("/users/99999999999999999999999".to_owned(), 400),
        ("/users/1".to_owned(), 404),
        (format!("/users/{user}?at=yesterday"), 400),
        (format!("/users/{user}?at=2026-11-23+10:00+CET"), 400),
        (format!("/users/{user}?at=2026-11-23+10:00"), 200),
        (format!("/users/{user}?before=x"), 400),
        (format!("/users/{user}?at=0001-01-01T00:00:00Z"), 200),
        (format!("/users/{user}?at=9999-12-31T23:59:59Z&before=-5"), 200),
        (format!("/api/v1/users/{user}"), 200),
        ("/api/v1/users/1".to_owned(), 404),
        ("/users?id=x".to_owned(), 400),
        (format!("/users?id={user}"), 303),
        ("/assets/page.css".to_owned(), 404),
    ] {
        assert_eq!(site.get(&path).await.status, status, "{path}");
    }
    // What people type is taken, and the page says what it was taken for.
    for (typed, taken) in [
        ("2126-11-23", "2126-11-23 00:00:00 UTC"),
        ("2126-11-23%2010:00", "2126-11-23 10:00:00 UTC"),
        ("2126-11-23T10:00:30%2B02:00", "2126-11-23 08:00:30 UTC"),
    ] {
        let page = site.html(&format!("/users/{user}?at={typed}")).await;
        let said = format!(
            "As of <time datetime=\"{}\">{taken}<",
            taken.replacen(' ', "T", 1).replace(" UTC", "Z")
        );
        assert!(page.contains(&said), "no {said} in {page}");
    }
    for path in [
        format!("/users/{user}?at=tomorrow"),
        format!("/api/v1/users/{user}?at=23.11.2026"),
    ] {
        let refused = site.html(&path).await;
        assert!(
            refused.contains("Write it as 2026-11-23, 2026-11-23 20:01 or "),
            "{refused}"
        );
    }
    site.world
        .store
        .forget(calmirror::model::UserId(user))
        .await
        .expect("the user can be forgotten");
    let gone = site.get(&format!("/users/{user}")).await;
    assert_eq!(gone.status, 410);
    assert!(String::from_utf8_lossy(&gone.body).contains("forgotten since"));
    site.close().await;
}

#[tokio::test]
async fn without_a_database_the_page_says_so() {
    let mut site = Site::new(2, false).await;
    site.pass().await;
    let (mut gate, url) = crate::support::gate::Gate::before_database(&site.world.db);
    gate.open();
    let mut view = super::view(&site.world, false);
    view.store = crate::support::world::store_at(&url, 1);
    site._views.send_replace(std::sync::Arc::new(view));
    assert_eq!(site.get("/").await.status, 200);
    gate.shut();
    // A pass that begins is news, so that what was read before does not count any more.
    drop(site.live.begins("acme", calmirror::sync::Progress::default()));
    let answer = site.get("/").await;
    assert_eq!(answer.status, 503);
    assert!(String::from_utf8_lossy(&answer.body).contains("The database does not answer"));
    assert_eq!(site.get("/api/v1/overview").await.status, 503);
    site.server.abort_all();
}

#[tokio::test]
async fn assets_are_kept_for_ever_under_names_that_change_with_them() {
    let site = Site::new(1, false).await;
    let page = site.html("/").await;
    let mut found = 0;
    for part in page.split("\"/assets/").skip(1) {
        let name = part.split('"').next().expect("an attribute ends");
        let asset = site.get(&format!("/assets/{name}")).await;
        assert_eq!(asset.status, 200, "{name}");
        let kept = asset.header("cache-control").expect("it says how long");
        assert!(kept.contains("immutable"), "{kept}");
        found += 1;
    }
    assert_eq!(found, 3, "style, script and icon");
    for inline in ["<style", "style=", "onclick", "http://", "https://"] {
        assert!(!page.contains(inline), "{inline} in {page}");
    }
    site.close().await;
}

#[tokio::test]
async fn streams_are_bounded_and_end_with_the_process() {
    let site = Site::new(1, false).await;
    let mut open = Vec::new();
    for _ in 0..32 {
        let mut stream = http::send(site.address, "GET", "/events", &[], "")
            .await
            .expect("it connects");
        let event = first_event(&mut stream);
        tokio::time::timeout(LIMIT, event)
            .await
            .expect("a first event comes");
        open.push(stream);
    }
    let refused = site.get("/events").await;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").is_some());
    site.close().await;
    for stream in open {
        let answer = http::receive(stream).await;
        drop(answer);
    }
}

/// Reads up to the end of an event.
async fn first_event(stream: &mut tokio::net::TcpStream) {
    use tokio::io::AsyncReadExt as _;
    let mut read = Vec::new();
    while !read.windows(8).any(|window| window == b"changed\n") {
        assert_ne!(stream.read_buf(&mut read).await.expect("it can be read"), 0);
    }
}

#[tokio::test]
async fn neither_ledger_nor_passes_are_read_from_end_to_end() {
    let site = Site::new(2, false).await;
    site.pass().await;
    sqlx::raw_sql(
        "insert into sync_runs (client_id, client_name, trigger, outcome, started_at, finished_at, inserted)
         select 'other' || n % 50, 'other', 'schedule', 'applied', now() - n * interval '1 minute', now(), 1
         from generate_series(1, 50000) as n;
         insert into managed_user_changes (run_id, user_id, client_id, version, kind, observed_at, changed, after)
         select 1, 1000000 + n, 'other', 1, 'insert', now(), '{}', '{}' from generate_series(1, 50000) as n;
         analyze sync_runs, managed_user_changes",
    )
    .execute(&site.world.pool)
    .await
    .expect("rows can be written");
    let scanned = "select coalesce(sum(seq_scan), 0)::bigint from pg_stat_user_tables
                   where relname in ('sync_runs', 'managed_user_changes')";
    // Statistics of other connections come when those have nothing to do for a while, or end.
    let before = site.count(scanned).await;
    let store = crate::support::world::store(&site.world.db, 1);
    let ids = [site.world.client_id().to_owned()];
    let recent = store
        .recent(&ids, 1_000, 30, 200)
        .await
        .expect("the database answers");
    assert_eq!(
        (recent.passes.len(), recent.changes.len(), recent.days.len()),
        (1, 200, 1)
    );
    store.close().await;
    let after = site.count(scanned).await;
    assert_eq!(after, before);
    site.close().await;
}
