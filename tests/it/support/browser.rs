//! A real browser: one Chromium for all tests of the process, driven through a pipe by its DevTools protocol.

mod process;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};

use self::process::Browser;

/// For what comes in a moment or never; two cores may be shared by many.
const LIMIT: Duration = Duration::from_secs(90);

/// A tab with cookies and a cache of its own; closed when it is dropped.
pub(crate) struct Page {
    browser: &'static Browser,
    context: String,
    session: String,
    events: mpsc::UnboundedReceiver<Value>,
}

/// What a reader of the screen is told of one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accessible {
    pub(crate) role: String,
    pub(crate) name: String,
}

impl Page {
    pub(crate) async fn new() -> Self {
        let browser = Browser::shared();
        let context = browser
            .call(
                None,
                "Target.createBrowserContext",
                json!({ "disposeOnDetach": true }),
            )
            .await;
        let context = text(&context["browserContextId"]);
        let target =
            json!({ "url": "about:blank", "browserContextId": context, "width": 1200, "height": 900 });
        let target = browser.call(None, "Target.createTarget", target).await;
        let attached = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call(None, "Target.attachToTarget", attached).await;
        let session = text(&attached["sessionId"]);
        let (sender, events) = mpsc::unbounded_channel();
        browser
            .pages
            .lock()
            .expect("no test panics with this lock")
            .insert(session.clone(), sender);
        let page = Self {
            browser,
            context,
            session,
            events,
        };
        for domain in ["Page", "Runtime", "Log", "Accessibility"] {
            page.call(&format!("{domain}.enable"), json!({})).await;
        }
        page
    }

    /// As in a browser that runs no scripts.
    pub(crate) async fn without_javascript() -> Self {
        let page = Self::new().await;
        page.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }))
            .await;
        page
    }

    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        self.browser.call(Some(&self.session), method, params).await
    }

    /// `dark` or `light`.
    pub(crate) async fn prefer(&self, scheme: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Opens an address, and waits until all of it is there.
    pub(crate) async fn open(&mut self, url: &str) {
        while self.events.try_recv().is_ok() {}
        let opened = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
        self.loaded().await;
    }

    /// Waits until the next document is there with all of it.
    pub(crate) async fn loaded(&mut self) {
        self.event("Page.loadEventFired").await;
    }

    /// Opens an address that wants a user and a password, as somebody who types these in, or who declines. Gives what the document
    /// was answered with the first time.
    pub(crate) async fn sign_in(&mut self, url: &str, credentials: Option<(&str, &str)>) -> Value {
        while self.events.try_recv().is_ok() {}
        self.call("Network.enable", json!({})).await;
        self.call("Fetch.enable", json!({ "handleAuthRequests": true }))
            .await;
        let navigation = json!({ "url": url });
        let (opened, challenge) = tokio::join!(
            self.browser
                .call(Some(&self.session), "Page.navigate", navigation),
            async {
                let mut challenge = Value::Null;
                loop {
                    let event = timeout(LIMIT, self.events.recv()).await;
                    let event = event.expect("the page comes").expect("the browser is there");
                    let params = &event["params"];
                    let id = &params["requestId"];
                    match event["method"].as_str() {
                        Some("Fetch.authRequired") => {
                            challenge = params["authChallenge"].clone();
                            let answer = match credentials {
                                Some((user, password)) => {
                                    json!({ "response": "ProvideCredentials", "username": user, "password": password })
                                }
                                None => json!({ "response": "CancelAuth" }),
                            };
                            let answer = json!({ "requestId": id, "authChallengeResponse": answer });
                            self.browser
                                .send(Some(&self.session), "Fetch.continueWithAuth", answer);
                        }
                        Some("Page.loadEventFired") => break challenge,
                        _ => {}
                    }
                }
            }
        );
        assert!(
            opened["errorText"].is_null() || credentials.is_none(),
            "{url}: {opened}"
        );
        // From here on the browser brings by itself what it was told: nobody answers if it asks again. That requests are announced does not
        // end, which would come between those that the page begins to make now.
        challenge
    }

    /// Waits for an event, and drops those before it that are no complaints.
    async fn event(&mut self, method: &str) {
        let mut complaints = Vec::new();
        loop {
            let event = timeout(LIMIT, self.events.recv()).await;
            let event = event
                .unwrap_or_else(|_| panic!("{method} never came"))
                .expect("the browser is there");
            if event["method"] == method {
                break;
            }
            complaints.extend(complaint(&event));
        }
        assert_eq!(complaints, [] as [String; 0]);
    }

    /// What the browser complained of since the page was opened: errors and warnings of scripts, styles and requests.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            complaints.extend(complaint(&event));
        }
        complaints
    }

    /// The value of an expression; a promise is waited for.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut result = self.call("Runtime.evaluate", params).await;
        assert!(
            result["exceptionDetails"].is_null(),
            "{expression}: {}",
            result["exceptionDetails"]
        );
        result["result"]["value"].take()
    }

    pub(crate) async fn text(&self, selector: &str) -> String {
        let selector = Value::from(selector);
        let text = self
            .value(&format!(
                "document.querySelector({selector})?.textContent ?? null"
            ))
            .await;
        assert!(!text.is_null(), "there is no {selector}");
        self::text(&text).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Waits until an expression is true. Looks whenever the page changes.
    pub(crate) async fn wait_until(&self, expression: &str) {
        let limit = LIMIT.as_millis() / 2;
        let waiting = format!(
            "new Promise((resolve) => {{
                const look = () => {{
                    let is;
                    try {{ is = Boolean({expression}); }} catch {{ is = false; }}
                    if (is) {{ observer.disconnect(); resolve(true); }}
                }};
                const observer = new MutationObserver(look);
                observer.observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});
                setTimeout(() => {{ observer.disconnect(); resolve(false); }}, {limit});
                look();
            }})"
        );
        let came = self.value(&waiting).await;
        if came != true {
            let page = self.value("document.body.innerText").await;
            panic!("{expression} never came about on:\n{}", self::text(&page));
        }
    }

    /// Presses and releases a key, such as `Tab`.
    pub(crate) async fn press(&self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "nativeVirtualKeyCode": code,
            });
            self.call("Input.dispatchKeyEvent", event).await;
        }
        if key == "Enter" {
            let event = json!({ "type": "char", "key": key, "text": "\r" });
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// What a screen reader finds, in its order; nothing that it passes over.
    pub(crate) async fn accessible(&self) -> Vec<Accessible> {
        let tree = self.call("Accessibility.getFullAXTree", json!({})).await;
        let nodes = tree["nodes"].as_array().expect("a tree has nodes");
        nodes
            .iter()
            .filter(|node| node["ignored"] != true)
            .map(|node| Accessible {
                role: node["role"]["value"].as_str().unwrap_or_default().to_owned(),
                name: node["name"]["value"].as_str().unwrap_or_default().to_owned(),
            })
            .collect()
    }

    /// The whole page as a PNG, in Base64, down to a height.
    pub(crate) async fn picture(&self, width: u32, height: u32) -> String {
        self.resize(width, height).await;
        let picture = json!({ "format": "png", "optimizeForSpeed": false });
        text(&self.call("Page.captureScreenshot", picture).await["data"])
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Ok(mut pages) = self.browser.pages.lock() {
            pages.remove(&self.session);
        }
        let context = json!({ "browserContextId": self.context });
        self.browser.send(None, "Target.disposeBrowserContext", context);
    }
}

fn complaint(event: &Value) -> Option<String> {
    let params = &event["params"];
    match event["method"].as_str()? {
        "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" if params["type"] == "error" || params["type"] == "warning" => {
            Some(params["args"].to_string())
        }
        "Log.entryAdded" if params["entry"]["level"] == "error" || params["entry"]["level"] == "warning" => {
            Some(params["entry"].to_string())
        }
        _ => None,
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}
