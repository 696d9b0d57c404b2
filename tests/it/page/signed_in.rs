//! A page behind `server.token`, in a browser that asks for a user and a password.

use secrecy::SecretString;

use super::{Site, view};
use crate::support::{browser::Page, world::World};

const TOKEN: &str = "s3cr3t-t0ken";

async fn behind_a_token() -> Site {
    let world = World::new(4).await;
    let mut view = view(&world, false);
    view.config.server.token = Some(SecretString::from(TOKEN));
    Site::showing(world, view).await
}

#[tokio::test]
async fn a_browser_asks_for_the_token_and_shows_nothing_without_it() {
    let site = behind_a_token().await;
    site.pass().await;
    let mut page = Page::new().await;
    let challenge = page.sign_in(&site.url("/"), None).await;
    assert_eq!(challenge["scheme"], "basic", "{challenge}");
    let realm = challenge["realm"].as_str().unwrap_or_default();
    assert!(
        realm.contains("any user") && realm.contains("server.token"),
        "{challenge}"
    );
    let shown = page.text("body").await;
    assert!(shown.contains("bring server.token"), "{shown}");
    assert!(!shown.contains("mirror"), "{shown}");
    let status = "performance.getEntriesByType('navigation')[0].responseStatus";
    assert_eq!(page.value(status).await, 401);
    site.close().await;
}

#[tokio::test]
async fn with_the_token_the_page_is_live_in_a_browser() {
    let site = behind_a_token().await;
    site.pass().await;
    let mut page = Page::new().await;
    let challenge = page.sign_in(&site.url("/"), Some(("anybody", TOKEN))).await;
    assert_eq!(challenge["scheme"], "basic", "{challenge}");
    assert_eq!(page.text("#headline").await, "The mirror is fresh");
    // The stream of events, what it leads to, assets and other pages go with what was typed in once.
    page.wait_until("document.getElementById('live').dataset.state === 'on'")
        .await;
    page.value("window.mark = 'the same document'").await;
    let user = site.world.users()[2];
    site.world
        .simulator
        .patch_user(user, serde_json::json!({ "timeZone": "Asia/Tokyo" }))
        .expect("the user is there");
    site.pass().await;
    page.wait_until("document.querySelector('.change .diff ins')?.textContent.includes('Asia/Tokyo')")
        .await;
    assert_eq!(page.value("window.mark").await, "the same document");
    let styled = "getComputedStyle(document.querySelector('.card')).display";
    assert_ne!(page.value(styled).await, "inline");
    page.open(&site.url(&format!("/users/{user}"))).await;
    assert_eq!(page.text("#headline").await, format!("User {user}"));
    let address = page.value("location.href").await;
    assert!(!address.to_string().contains(TOKEN), "{address}");
    site.close().await;
}
