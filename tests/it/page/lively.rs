//! An open page follows what happens.

use serde_json::json;

use super::Site;
use crate::support::browser::Page;

async fn open(site: &Site) -> Page {
    let mut page = Page::new().await;
    // The page also asks now and then, for the sake of other processes; here only events tell it anything.
    let script = json!({ "source": "window.setInterval = () => 0" });
    page.call("Page.addScriptToEvaluateOnNewDocument", script).await;
    page.open(&site.url("/")).await;
    page.wait_until("document.getElementById('live').dataset.state === 'on'")
        .await;
    page
}

#[tokio::test]
async fn a_change_appears_without_a_reload() {
    let site = Site::new(5, true).await;
    site.pass().await;
    let mut page = open(&site).await;
    page.value("window.mark = 'the same document'").await;
    assert_eq!(page.text("#headline").await, "The mirror is fresh");
    let user = site.world.users()[2];
    site.world
        .simulator
        .patch_user(user, json!({ "timeZone": "Asia/Tokyo" }))
        .expect("the user is there");
    let report = site.pass().await;
    assert_eq!(report.updated, 1);
    page.wait_until("document.querySelector('.change .diff ins')?.textContent.includes('Asia/Tokyo')")
        .await;
    let shown = page.text(".change .who a").await;
    assert_eq!(shown, format!("User {user}"));
    assert_eq!(page.value("window.mark").await, "the same document");
    let said = "document.getElementById('said').textContent.includes('1 updated')";
    page.wait_until(said).await;
    assert_eq!(page.complaints(), [] as [String; 0]);
    site.close().await;
}

#[tokio::test]
async fn an_answer_that_is_no_status_page_leaves_what_is_shown_and_is_not_live() {
    let site = Site::new(4, false).await;
    site.pass().await;
    let mut page = open(&site).await;
    page.value("window.fetched = window.fetch").await;
    let title = page.value("document.title").await;
    assert_ne!(title, "");
    for (status, kind, body) in [
        (503, "text/plain", "the answer takes too long"),
        (401, "text/plain", "bring server.token"),
        (502, "text/html", "<title>Bad gateway</title><h1>Bad gateway</h1>"),
        (200, "text/html", "<title>Sign in</title><form></form>"),
    ] {
        let answer = json!({ "status": status, "headers": { "content-type": kind } });
        page.value(&format!(
            "window.fetch = async () => new Response({}, {answer})",
            json!(body)
        ))
        .await;
        site.pass().await;
        page.wait_until("document.getElementById('live').dataset.state === 'lost'")
            .await;
        assert_eq!(page.text("#live .text").await, "Reconnecting", "{status}");
        assert_eq!(page.value("document.title").await, title, "{status}");
        assert_eq!(page.text("#headline").await, "The mirror is fresh", "{status}");
        assert!(page.text(".card").await.contains("4 live"), "{status}");
        // The next answer is one again.
        page.value("window.fetch = window.fetched").await;
        site.pass().await;
        page.wait_until("document.getElementById('live').dataset.state === 'on'")
            .await;
    }
    assert_eq!(page.complaints(), [] as [String; 0]);
    site.close().await;
}

#[tokio::test]
async fn a_pass_under_way_is_followed_to_its_end() {
    let site = Site::new(6, false).await;
    let mut page = open(&site).await;
    let last = site.world.users()[5];
    site.hang_at(last);
    let looked_at = async {
        page.wait_until("document.querySelector('[data-progress] progress')?.max === 6")
            .await;
        page.wait_until("document.querySelector('[data-progress]').textContent.includes('5 of 6 users')")
            .await;
        assert!(page.text(".card").await.contains("running"));
        site.world.simulator.release();
    };
    let (report, ()) = tokio::join!(site.pass(), looked_at);
    assert_eq!(report.inserted, 6);
    page.wait_until("document.querySelector('[data-progress]') === null")
        .await;
    page.wait_until("document.querySelector('.facts').textContent.includes('6 inserted')")
        .await;
    assert_eq!(page.complaints(), [] as [String; 0]);
    site.close().await;
}

#[tokio::test]
async fn what_somebody_has_opened_or_stands_on_stays_so() {
    let site = Site::new(4, false).await;
    site.pass().await;
    let page = open(&site).await;
    page.value("document.querySelector('details.passes').open = true")
        .await;
    page.value("document.querySelector('details.passes summary').focus()")
        .await;
    let runs = page
        .value("document.querySelectorAll('.passes tbody tr').length")
        .await;
    assert_eq!(runs, 1);
    site.pass().await;
    page.wait_until("document.querySelectorAll('.passes tbody tr').length === 2")
        .await;
    let kept =
        "document.querySelector('details.passes').open && document.activeElement.localName === 'summary'";
    assert_eq!(page.value(kept).await, true);
    site.close().await;
}
