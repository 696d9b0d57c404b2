//! A user's past, with and without scripts.

use calmirror::{
    config::Retention,
    retention::{Upkeep, When},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Site;
use crate::{retention::date_back, support::browser::Page};

/// A user of three versions, whose time zone was another in each.
async fn told() -> (Site, i64, Vec<String>) {
    let site = Site::new(3, true).await;
    let user = site.world.users()[1];
    let mut zones = Vec::new();
    for zone in [None, Some("Pacific/Chatham"), Some("Antarctica/Troll")] {
        if let Some(zone) = zone {
            let patch = json!({ "timeZone": zone });
            site.world
                .simulator
                .patch_user(user, patch)
                .expect("the user is there");
        }
        site.pass().await;
        zones.push(
            site.world
                .value("select time_zone from managed_users order by id offset 1 limit 1")
                .await,
        );
    }
    (site, user, zones)
}

#[tokio::test]
async fn instants_of_any_age_are_answered() {
    let (site, user, _) = told().await;
    for (at, expected) in [
        ("-9999-01-01T00:00", 400),
        ("-262143-01-01T00:00:00", 400),
        ("%2B262142-12-31T23:59:59", 400),
        ("0001-01-01T00:00:00Z", 200),
        ("9999-12-31T23:59:59.999999999Z", 200),
    ] {
        for route in ["/users", "/api/v1/users"] {
            let answer = site.get(&format!("{route}/{user}?at={at}")).await;
            assert_eq!(answer.status, expected, "{at}: {answer:?}");
        }
    }
    site.close().await;
}

const ZONE: &str = "[...document.querySelectorAll('.state > div')].find((row) => \
                    row.querySelector('dt').firstChild.data === 'time_zone').querySelector('dd').textContent";

#[tokio::test]
async fn each_version_is_a_link_that_works_without_scripts() {
    let (site, user, zones) = told().await;
    let mut page = Page::without_javascript().await;
    page.open(&site.url(&format!("/users/{user}"))).await;
    assert_eq!(
        page.value("document.querySelector('[data-slider]').hidden").await,
        true
    );
    assert_eq!(page.value(ZONE).await, zones[2]);
    for (version, zone) in zones.iter().enumerate() {
        let link = format!(
            "document.querySelector('[data-version=\"{}\"] a').href",
            version + 1
        );
        let link = page.value(&link).await;
        page.open(link.as_str().expect("a link leads somewhere")).await;
        assert_eq!(page.value(ZONE).await, *zone, "version {}", version + 1);
        let current = page.text(".version a[aria-current]").await;
        assert_eq!(current, format!("Version {}", version + 1));
    }
    site.close().await;
}

#[tokio::test]
async fn the_slider_moves_through_the_versions_by_keys() {
    const ARROW_LEFT: u32 = 37;
    let (site, user, zones) = told().await;
    let mut page = Page::new().await;
    page.open(&site.url(&format!("/users/{user}"))).await;
    page.wait_until("!document.querySelector('[data-slider]').hidden")
        .await;
    page.value("document.getElementById('slider').focus()").await;
    for version in [2, 1] {
        page.press("ArrowLeft", ARROW_LEFT).await;
        let zone = &zones[version - 1];
        page.wait_until(&format!("({ZONE}) === '{zone}'")).await;
        let said = page
            .value("document.getElementById('slider').getAttribute('aria-valuetext')")
            .await;
        let said = said.as_str().expect("it says where it is");
        assert!(said.starts_with(&format!("version {version}, ")), "{said}");
        let address = page.value("location.search").await;
        assert!(
            address.as_str().is_some_and(|search| search.starts_with("?at=")),
            "{address}"
        );
    }
    // What the address says is what is shown.
    let address = page
        .value("location.origin + location.pathname + location.search")
        .await;
    page.open(address.as_str().expect("an address")).await;
    assert_eq!(page.value(ZONE).await, zones[0]);
    assert_eq!(page.complaints(), [] as [String; 0]);
    site.close().await;
}

#[tokio::test]
async fn the_json_of_a_user_has_the_versions_and_the_state_of_an_instant() {
    let (site, user, zones) = told().await;
    let newest = site.get(&format!("/api/v1/users/{user}")).await.json();
    let versions = newest["versions"].as_array().expect("a list").clone();
    let told: Vec<_> = versions
        .iter()
        .map(|version| version["version"].as_i64())
        .collect();
    assert_eq!(told, [Some(3), Some(2), Some(1)]);
    assert_eq!(
        (&newest["newest_version"], &newest["oldest_version"]),
        (&json!(3), &json!(1))
    );
    for (version, zone) in versions.iter().rev().zip(&zones) {
        let at = version["observed_at"].as_str().expect("a time");
        let state = site.get(&format!("/api/v1/users/{user}?at={at}")).await.json()["state"].clone();
        assert_eq!(
            (
                &state["version"],
                &state["kind"],
                &state["fields"]["time_zone"],
                &state["valid_from"]
            ),
            (
                &version["version"],
                &version["kind"],
                &json!(zone),
                &version["observed_at"]
            ),
            "{state}"
        );
    }
    site.close().await;
}

/// A user of so many versions, each a second after the one before.
async fn long(versions: i32) -> (Site, i64) {
    let site = Site::new(1, true).await;
    site.pass().await;
    let user = site.world.users()[0];
    sqlx::query(
        "insert into managed_user_changes (run_id, user_id, client_id, version, kind, observed_at, changed, after)
         select run_id, user_id, client_id, n, 'update', observed_at + n * interval '1 second', '{}', after
         from managed_user_changes, generate_series(2, $1) as n",
    )
    .bind(versions)
    .execute(&site.world.pool)
    .await
    .expect("the ledger can be written");
    (site, user)
}

/// The version that each part of the page shows: the panel, the list, the slider, and what the slider says.
async fn shown(page: &Page) -> [String; 4] {
    let mut parts = Vec::new();
    for part in [
        "document.querySelector('#as-of strong').textContent",
        "document.querySelector('.version:has(a[aria-current])').dataset.version",
        "document.getElementById('slider').value",
        "document.getElementById('slider').getAttribute('aria-valuetext').match(/version ([0-9]+),/)[1]",
    ] {
        let said = page.value(part).await;
        parts.push(said.as_str().expect("a version").to_owned());
    }
    parts.try_into().expect("four parts")
}

#[tokio::test]
async fn slider_list_and_state_show_the_same_version_of_a_long_past() {
    const ARROW_LEFT: u32 = 37;
    const NO_SLIDER: &str = "document.querySelector('[data-slider]') === null";
    let (site, user) = long(250).await;
    let mut page = Page::new().await;
    page.open(&site.url(&format!("/users/{user}?before=51"))).await;
    // The state is that of version 250, which is not among these.
    assert_eq!(page.text("#as-of strong").await, "250");
    assert_eq!(page.value(NO_SLIDER).await, true);
    let link = page
        .value("document.querySelector('[data-version=\"30\"] a').href")
        .await;
    page.open(link.as_str().expect("a link leads somewhere")).await;
    page.wait_until("!document.querySelector('[data-slider]').hidden")
        .await;
    assert_eq!(shown(&page).await, ["30"; 4]);
    page.value("document.getElementById('slider').focus()").await;
    page.press("ArrowLeft", ARROW_LEFT).await;
    page.wait_until("document.querySelector('#as-of strong').textContent === '29'")
        .await;
    page.wait_until("location.search.endsWith('&before=51')").await;
    assert_eq!(shown(&page).await, ["29"; 4]);
    // What the address says is what is shown.
    let address = page.value("location.href").await;
    page.open(&site.url("/")).await;
    page.open(address.as_str().expect("an address")).await;
    page.wait_until("!document.querySelector('[data-slider]').hidden")
        .await;
    assert_eq!(shown(&page).await, ["29"; 4]);
    let newest =
        "[...document.querySelectorAll('a')].find((a) => a.textContent === 'Newest versions').pathname";
    assert_eq!(page.value(newest).await, format!("/users/{user}"));

    // An instant of long ago, without saying which versions.
    let at: String = site
        .world
        .value("select to_char(observed_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') from managed_user_changes where version = 20")
        .await;
    page.open(&site.url(&format!("/users/{user}?at={at}"))).await;
    assert_eq!(page.text("#as-of strong").await, "20");
    assert_eq!(page.value(NO_SLIDER).await, true);
    let link = page.value("document.querySelector('#as-of p > a').href").await;
    page.open(link.as_str().expect("a link leads somewhere")).await;
    page.wait_until("!document.querySelector('[data-slider]').hidden")
        .await;
    assert_eq!(shown(&page).await, ["20"; 4]);
    assert_eq!(page.complaints(), [] as [String; 0]);
    site.close().await;
}

#[tokio::test]
async fn a_long_past_comes_in_parts() {
    let (site, user) = long(450).await;
    let mut path = format!("/users/{user}");
    let mut seen = Vec::new();
    loop {
        let page = site.html(&path).await;
        let versions = page.split("data-version=\"").skip(1);
        let versions = versions.filter_map(|rest| rest.split('"').next()?.parse::<i32>().ok());
        seen.extend(versions);
        match page
            .split("<a href=\"")
            .skip(1)
            .find(|link| link.contains("rel=\"next\"") && link.find("rel=") < link.find('>'))
        {
            Some(link) => path = link.split('"').next().expect("it ends").to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, (1..=450).rev().collect::<Vec<_>>());
    site.close().await;
}

#[tokio::test]
async fn a_past_that_was_folded_says_since_when_it_is_known() {
    let (site, user, zones) = told().await;
    // The passes are of 22, 21 and 20 days ago.
    date_back(&site.world.pool, 20).await;
    let upkeep = Upkeep {
        store: site.world.store.clone(),
        retention: Retention {
            no_change_runs_days: 0,
            rejects_days: 0,
            ledger_days: 10,
        },
        clients: vec![site.world.client.id.clone()],
    };
    upkeep
        .prune(When::Now, &CancellationToken::new())
        .await
        .expect("the ledger can be folded");
    let days_ago = async |days: &'static str| -> String { site.world.value(days).await };
    let unknown =
        days_ago("select to_char(now() - interval '20.5 days', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')").await;
    let never =
        days_ago("select to_char(now() - interval '30 days', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')").await;
    for (at, is_known) in [(unknown, false), (never, true)] {
        let html = site.html(&format!("/users/{user}?at={at}")).await;
        assert_eq!(html.contains("Not known before "), !is_known, "{html}");
        assert_eq!(
            html.contains("The user was not mirrored yet."),
            is_known,
            "{html}"
        );
        // How it came about is not known, and it was not first seen then.
        assert!(html.contains("written") && !html.contains("first seen"), "{html}");
        let answer = site.get(&format!("/api/v1/users/{user}?at={at}")).await;
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(answer["state"], serde_json::Value::Null);
        assert_eq!(answer["known_from"].is_string(), !is_known, "{answer}");
        assert_eq!(answer["versions"][0]["folded"], true);
    }
    let html = site.html(&format!("/users/{user}")).await;
    assert!(html.contains(&zones[2]), "{html}");
    // Nor does the list of changes say so.
    let html = site.html("/").await;
    assert!(html.contains("written"), "{html}");
    site.close().await;
}

#[tokio::test]
async fn large_values_make_pages_of_fewer_versions() {
    let site = Site::new(1, true).await;
    let user = site.world.users()[0];
    site.pass().await;
    for letter in ["a", "b", "c", "d", "e", "f", "g"] {
        let bio = letter.repeat(500_000);
        site.world
            .simulator
            .patch_user(user, json!({ "bio": bio }))
            .expect("the user is there");
        assert_eq!(site.pass().await.updated, 1);
    }
    let mut seen = Vec::new();
    let mut path = format!("/api/v1/users/{user}");
    while seen.last() != Some(&1) {
        let answer = site.get(&path).await;
        assert_eq!(answer.status, 200);
        // Two megabytes, the version with which they are full, and the state.
        assert!(answer.body.len() < 4_000_000, "{} bytes", answer.body.len());
        let past = answer.json();
        let versions = past["versions"].as_array().expect("versions");
        assert!(!versions.is_empty(), "{path}");
        seen.extend(versions.iter().filter_map(|version| version["version"].as_i64()));
        path = format!(
            "/api/v1/users/{user}?before={}",
            seen.last().expect("there is one")
        );
    }
    assert_eq!(seen, [8, 7, 6, 5, 4, 3, 2, 1]);
    let page = site.html(&format!("/users/{user}")).await;
    assert!(
        page.contains("Earlier versions"),
        "they are more than one page has"
    );
    let overview = site.get("/api/v1/overview").await;
    let changes = overview.json()["changes"].as_array().map(Vec::len);
    assert!(
        changes.is_some_and(|changes| (1..8).contains(&changes)),
        "{changes:?}"
    );
    site.close().await;
}
