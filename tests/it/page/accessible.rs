//! For everybody: by keyboard, by screen reader, without scripts, in the dark.

use super::Site;
use crate::support::browser::{Accessible, Page};

const TAB: u32 = 9;
const ENTER: u32 = 13;

#[tokio::test]
async fn a_screen_reader_finds_landmarks_headings_and_names() {
    let (site, report) = Site::held(true).await;
    let mut page = Page::new().await;
    page.open(&site.url("/")).await;
    let found = page.accessible().await;
    let has = |role: &str, name: &str| {
        let wanted = Accessible {
            role: role.to_owned(),
            name: name.to_owned(),
        };
        assert!(found.contains(&wanted), "no {wanted:?} in {found:#?}");
    };
    let client = &site.world.client.name;
    has("banner", "");
    has("main", "");
    has("contentinfo", "");
    has("search", "");
    has("heading", "Removals wait for you");
    has("heading", client);
    has("heading", "Latest changes");
    has("article", client);
    has("region", "Changes a day");
    has("textbox", "User");
    has("button", "History");
    has("status", "");
    let starts = |role: &str, name: &str| {
        let is_there = found
            .iter()
            .any(|node| node.role == role && node.name.starts_with(name));
        assert!(is_there, "no {role} {name} in {found:#?}");
    };
    starts("image", "Lag, last hour: ");
    starts("image", "Requests a minute, last hour: ");
    starts("image", "Changes a day, last 30 days: 20 in all");
    starts(
        "StaticText",
        &format!("calmirror approve {}", report.run_id.expect("on record")),
    );
    // Whatever can be acted on or is a picture says what it is.
    let nameless: Vec<_> = found
        .iter()
        .filter(|node| {
            matches!(
                node.role.as_str(),
                "link" | "button" | "textbox" | "image" | "slider" | "progressbar"
            )
        })
        .filter(|node| node.name.is_empty())
        .collect();
    assert!(nameless.is_empty(), "{nameless:?}");
    let levels = page
        .value("[...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.localName[1]))")
        .await;
    let levels: Vec<i64> = serde_json::from_value(levels).expect("numbers");
    assert_eq!(levels[0], 1);
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
    let ids = "(() => { const ids = [...document.querySelectorAll('[id]')].map((e) => e.id); \
               return ids.length === new Set(ids).size; })()";
    assert_eq!(page.value(ids).await, true, "ids are unique");
    assert_eq!(page.complaints(), [] as [String; 0]);
    site.close().await;
}

#[tokio::test]
async fn everything_can_be_reached_and_seen_by_the_tab_key() {
    let (site, _) = Site::held(true).await;
    let mut page = Page::new().await;
    page.open(&site.url("/")).await;
    let mut reached = Vec::new();
    let focus = "(() => { const e = document.activeElement; const style = getComputedStyle(e); \
                 return { what: e.textContent.trim() || e.id, name: e.localName, outline: style.outlineStyle }; })()";
    for _ in 0..60 {
        page.press("Tab", TAB).await;
        let focused = page.value(focus).await;
        if focused["name"] == "body" {
            break;
        }
        assert_ne!(focused["outline"], "none", "the focus is not seen on {focused}");
        reached.push(focused["what"].as_str().unwrap_or_default().to_owned());
    }
    let order = [
        "Skip to the content",
        "calmirror",
        "find",
        "History",
        "Which users",
        "Passes",
        "As a table",
        "JSON",
    ];
    let mut rest = reached.iter();
    for wanted in order {
        assert!(
            rest.any(|what| what.starts_with(wanted)),
            "{wanted} is not reached in its turn: {reached:#?}"
        );
    }
    // The link that skips leads past the header.
    page.open(&site.url("/")).await;
    page.press("Tab", TAB).await;
    page.press("Enter", ENTER).await;
    page.wait_until("document.activeElement.localName === 'main'")
        .await;
    site.close().await;
}

#[tokio::test]
async fn all_of_it_is_there_without_scripts() {
    let (site, report) = Site::held(true).await;
    let mut page = Page::without_javascript().await;
    page.open(&site.url("/")).await;
    let text = page.value("document.body.innerText").await;
    let text = text.as_str().expect("a page has text");
    let run = report.run_id.expect("the pass is on record");
    for wanted in [
        "Removals wait for you",
        "Reload for news",
        &format!("calmirror approve {run}"),
        "Latest changes",
    ] {
        assert!(text.contains(wanted), "no {wanted} in {text}");
    }
    assert_eq!(
        page.value("document.querySelectorAll('svg.plot').length").await,
        3
    );
    // Details open without scripts as well, and the form is one.
    let user = site.world.users()[10];
    page.value("document.getElementById('find').focus()").await;
    page.call(
        "Input.insertText",
        serde_json::json!({ "text": user.to_string() }),
    )
    .await;
    page.press("Enter", ENTER).await;
    let heading = format!("User {user}");
    page.loaded().await;
    assert_eq!(page.text("h1").await, heading);
    assert_eq!(page.complaints(), [] as [String; 0]);
    site.close().await;
}

/// The contrast of each visible text with what is behind it, by WCAG's formula; those below 4.5.
const FAINT: &str = r#"(() => {
    const parse = (c) => (c.match(/[\d.]+/g) ?? []).map(Number);
    const lum = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (e) => {
        for (; e; e = e.parentElement) {
            const c = parse(getComputedStyle(e).backgroundColor);
            if (c.length === 3 || c[3] === 1) return c;
        }
        return [255, 255, 255];
    };
    const faint = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const e = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest("title")) continue;
        const style = getComputedStyle(e);
        const ink = parse(e instanceof SVGElement ? style.fill : style.color);
        const [a, b] = [lum(ink), lum(behind(e))].sort((x, y) => y - x);
        const contrast = (a + 0.05) / (b + 0.05);
        if (contrast < 4.5) faint.push(`${e.localName}.${e.className?.baseVal ?? e.className} ${contrast.toFixed(2)}: ${e.textContent.trim().slice(0, 40)}`);
    }
    return [...new Set(faint)];
})()"#;

#[tokio::test]
async fn texts_stand_out_by_day_and_by_night() {
    let (site, _) = Site::held(true).await;
    let user = site.world.users()[10];
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        let mut page = Page::new().await;
        page.prefer(scheme).await;
        for path in ["/".to_owned(), format!("/users/{user}")] {
            page.open(&site.url(&path)).await;
            page.value("for (const details of document.querySelectorAll('details')) details.open = true")
                .await;
            assert_eq!(page.value(FAINT).await, serde_json::json!([]), "{scheme} {path}");
        }
        grounds.push(
            page.value("getComputedStyle(document.documentElement).backgroundColor")
                .await,
        );
    }
    assert_ne!(grounds[0], grounds[1], "the dark is another");
    site.close().await;
}

#[tokio::test]
async fn nothing_comes_from_elsewhere_and_nothing_overflows_a_narrow_screen() {
    let (site, _) = Site::held(true).await;
    let mut page = Page::new().await;
    page.open(&site.url("/")).await;
    page.wait_until("document.getElementById('live').dataset.state === 'on'")
        .await;
    let loaded = page
        .value("performance.getEntriesByType('resource').map((entry) => entry.name)")
        .await;
    let loaded: Vec<String> = serde_json::from_value(loaded).expect("addresses");
    assert!(loaded.len() >= 2, "{loaded:?}");
    let here = site.url("/");
    assert!(
        loaded.iter().all(|address| address.starts_with(&here)),
        "{loaded:?}"
    );
    page.resize(360, 800).await;
    let overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(page.value(overflow).await, 0);
    assert_eq!(page.complaints(), [] as [String; 0]);
    site.close().await;
}
