//! What the page says of a client in each state that is not well.

use calmirror::{
    model::{Failure, RunOutcome},
    simulator::{Answer, Refusal, Target},
};

use super::Site;

async fn execute(site: &Site, statement: &'static str) {
    sqlx::query(statement)
        .execute(&site.world.pool)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// Of a client that is not well, all of these are on the page, and none of those.
async fn assert_said(site: &Site, condition: &str, said: &[&str], not: &[&str]) {
    let page = site.html("/").await;
    let state = format!("data-condition=\"{condition}\"");
    for text in said.iter().chain([&state.as_str()]) {
        assert!(page.contains(text), "no {text} in {page}");
    }
    for text in not {
        assert!(!page.contains(text), "{text} in {page}");
    }
    let overview = site.get("/api/v1/overview").await.json();
    assert_eq!(overview["clients"][0]["condition"], condition);
}

#[tokio::test]
async fn a_client_that_cal_com_refuses_is_refused_with_what_it_says() {
    let site = Site::new(3, false).await;
    site.pass().await;
    let wrong = Answer::Refuse(Refusal::WrongSecret);
    site.world.simulator.script(Target::Any, 100, wrong);
    let report = site.pass().await;
    assert_eq!(report.failure, Failure::Refused);
    let error = "cal.com refuses the client with 401 Unauthorized";
    let run = format!("Run {}", report.run_id.expect("it is on record"));
    // The mirror is as fresh as it was.
    let said = ["The client is refused", error, &run, "Fresh since "];
    assert_said(&site, "refused", &said, &["was mirrored from"]).await;
    site.close().await;
}

#[tokio::test]
async fn nobody_is_said_to_refuse_a_client_whose_base_address_has_changed() {
    let site = Site::new(3, false).await;
    site.pass().await;
    execute(
        &site,
        "update sync_state set base_url = 'https://elsewhere.example'",
    )
    .await;
    let asked = site.world.simulator.requests();
    assert_eq!(site.pass().await.failure, Failure::Refused);
    assert_eq!(site.world.simulator.requests(), asked, "Cal.com was never asked");
    let said = [
        "The client is refused",
        "https://elsewhere.example",
        "--accept-source",
    ];
    assert_said(&site, "refused", &said, &["Cal.com refuses", "cal.com refuses"]).await;
    site.close().await;
}

#[tokio::test]
async fn a_client_without_a_complete_pass_in_time_is_stale_and_not_fresh() {
    let site = Site::new(3, false).await;
    site.pass().await;
    execute(&site, "update sync_state set fresh_until = last_complete_at").await;
    let said = [
        "The mirror is stale",
        "Not fresh since ",
        "The last complete pass ended ",
    ];
    assert_said(&site, "stale", &said, &["Fresh since ", "It stays so until "]).await;
    let overview = site.get("/api/v1/overview").await.json();
    assert_eq!(overview["clients"][0]["fresh_since"], serde_json::Value::Null);
    site.close().await;
}

#[tokio::test]
async fn a_client_that_is_held_for_long_is_not_fresh_either() {
    let (site, report) = Site::held(false).await;
    assert_eq!(report.outcome, RunOutcome::Held);
    execute(&site, "update sync_state set fresh_until = last_complete_at").await;
    let said = ["Removals wait for you", "calmirror approve", "Not fresh since "];
    assert_said(&site, "held", &said, &["Fresh since "]).await;
    site.close().await;
}

#[tokio::test]
async fn since_when_it_is_fresh_does_not_hang_on_the_passes_that_are_on_record() {
    let site = Site::new(3, false).await;
    for _ in 0..3 {
        site.pass().await;
    }
    execute(
        &site,
        "update sync_state set fresh_since = '2025-03-04 05:06:07.089Z'",
    )
    .await;
    let since = "Fresh since <span class=\"moment\">2025-03-04 05:06:07 UTC<";
    assert_said(&site, "well", &["The mirror is fresh", since], &[]).await;
    let overview = site.get("/api/v1/overview").await.json();
    assert_eq!(overview["clients"][0]["fresh_since"], "2025-03-04T05:06:07.089Z");
    site.close().await;
}
