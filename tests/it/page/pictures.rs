//! The pictures in docs/: `tests/screenshots` makes them anew.

use std::{fs, path::Path};

use serde_json::json;

use super::Site;
use crate::support::browser::Page;

const WIDTH: u32 = 1200;

/// A month of passes before those that are made here.
const PAST: &str = "
    insert into sync_runs (
        client_id, client_name, trigger, outcome, started_at, began_at, finished_at, observed, unchanged, requests,
        inserted, updated, removed, restored
    )
    select s.client_id, s.client_name, 'schedule', 'applied', begun, begun, begun + interval '9 seconds', 40, 0, 60,
        d * 7919 % 14, 8 + d * 104729 % 37, case when d % 6 = 0 then 3 else 0 end, case when d % 11 = 0 then 2 else 0 end
    from sync_state as s, generate_series(29, 2, -1) as d,
        lateral (select now() - d * interval '1 day') as at (begun)
    where d % 7 not in (2, 3)
    union all
    select s.client_id, s.client_name, 'schedule',
        case when n % 97 = 0 then 'partial' when n % 15 = 0 then 'applied' else 'no_change' end,
        begun, begun, begun + interval '2 seconds' + (n * 7919 % 40) * interval '1 second', 40, 40,
        18 + (n * 7919 % 140),
        0, case when n % 15 = 0 then n % 4 + 1 else 0 end, 0, 0
    from sync_state as s, generate_series(320, 1, -1) as n,
        lateral (select now() - n * interval '5 minutes') as at (begun)";

/// The first pass came before all of these.
const FIRST: &str = "
    update sync_runs set
        started_at = started_at - interval '29 days', began_at = began_at - interval '29 days',
        finished_at = finished_at - interval '29 days'
    where run_id = 1";

async fn site() -> Site {
    let site = Site::new(40, true).await;
    site.pass().await;
    sqlx::query(PAST)
        .execute(&site.world.pool)
        .await
        .expect("passes can be written");
    sqlx::query(FIRST)
        .execute(&site.world.pool)
        .await
        .expect("passes can be changed");
    let users = site.world.users();
    for (place, patch) in [
        (3, json!({ "timeZone": "Asia/Tokyo" })),
        (8, json!({ "weekStart": "Monday", "timeFormat": 12 })),
        (11, json!({ "bio": "Answers within a day.", "locale": "pt-BR" })),
        (19, json!({ "metadata": { "plan": "team", "seats": 12 } })),
    ] {
        let patched = site.world.simulator.patch_user(users[place], patch);
        patched.expect("the user is there");
    }
    site.pass().await;
    site.world
        .simulator
        .patch_user(users[3], json!({ "timeZone": "Europe/Rome" }))
        .expect("the user is there");
    site.pass().await;
    site
}

async fn take(page: &Page, name: &str, height: u32) {
    page.value("document.fonts.ready.then(() => true)").await;
    let picture = page.picture(WIDTH, height).await;
    let bytes = decoded(&picture);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    assert!(bytes.len() < 150_000, "{name} has {} bytes", bytes.len());
    fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Base64 without the padding's fine points.
fn decoded(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text
        .bytes()
        .filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte))
    {
        bits = bits << 6 | u32::try_from(digit).expect("six bits");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("eight bits"));
        }
    }
    bytes
}

#[tokio::test]
#[ignore = "writes into docs/: tests/screenshots"]
async fn pictures_of_the_states() {
    let site = site().await;
    let users = site.world.users();
    let mut page = Page::new().await;
    page.resize(WIDTH, 1000).await;
    page.open(&site.url("/")).await;
    page.wait_until("document.getElementById('live').dataset.state === 'on'")
        .await;
    take(&page, "status-fresh.png", 1230).await;
    page.prefer("dark").await;
    take(&page, "status-fresh-dark.png", 1230).await;
    page.prefer("light").await;

    let mut history = Page::new().await;
    history.open(&site.url(&format!("/users/{}", users[3]))).await;
    history
        .wait_until("!document.querySelector('[data-slider]').hidden")
        .await;
    take(&history, "status-user.png", 1130).await;

    site.hang_at(users[39]);
    site.hang_at(users[38]);
    let looked_at = async {
        page.wait_until("document.querySelector('[data-progress]')?.textContent.includes('38 of 40 users')")
            .await;
        take(&page, "status-running.png", 720).await;
        site.world.simulator.release();
    };
    tokio::join!(site.pass(), looked_at);

    for user in &users[20..28] {
        site.world
            .simulator
            .delete_user(*user)
            .expect("the user is there");
    }
    site.pass().await;
    site.pass().await;
    page.wait_until("document.querySelector('.command code') !== null")
        .await;
    take(&page, "status-held.png", 860).await;
    page.prefer("dark").await;
    take(&page, "status-held-dark.png", 860).await;
    site.close().await;
}
