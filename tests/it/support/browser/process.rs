//! The browser's process, and what is said through its pipe.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::LIMIT;
use crate::support::environment;

/// The programs that may be it; `CHROMIUM` names another one.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome-stable",
    "google-chrome",
];

/// Removes what the browser leaves, also when the tests are interrupted: it ends with the pipe, and this shell after it.
const SHELL: &str = r#"dir=$(mktemp -d) && trap '' INT TERM
"$@" --user-data-dir="$dir" about:blank 3<&0 4>&1 </dev/null >/dev/null 2>&1
rm -rf "$dir""#;

pub(super) struct Browser {
    to: Mutex<ChildStdin>,
    calls: AtomicU64,
    answers: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    pub(super) pages: Mutex<HashMap<String, mpsc::UnboundedSender<Value>>>,
}

impl Browser {
    /// The one of this process. Starts it, if nobody has.
    pub(super) fn shared() -> &'static Self {
        static BROWSER: OnceLock<Browser> = OnceLock::new();
        static READER: OnceLock<()> = OnceLock::new();
        let mut from = None;
        let browser = BROWSER.get_or_init(|| {
            let (to, output, child) = start();
            from = Some((output, child));
            Self {
                to: Mutex::new(to),
                calls: AtomicU64::new(1),
                answers: Mutex::default(),
                pages: Mutex::default(),
            }
        });
        if let Some((from, mut child)) = from {
            READER.get_or_init(|| {
                thread::spawn(move || {
                    browser.read(from);
                    child.wait().expect("it is our child");
                });
            });
        }
        browser
    }

    fn read(&self, from: ChildStdout) {
        for message in BufReader::new(from).split(0) {
            let Ok(message) = message else { break };
            let message: Value = serde_json::from_slice(&message).expect("the browser speaks JSON");
            if let Some(id) = message["id"].as_u64() {
                let waiting = self
                    .answers
                    .lock()
                    .expect("no test panics with this lock")
                    .remove(&id);
                // Whoever asked may have gone.
                waiting.map(|waiting| waiting.send(message));
            } else if let Some(session) = message["sessionId"].as_str() {
                if message["method"] == "Fetch.requestPaused" {
                    // At any time, whoever waits for what.
                    let goes_on = json!({ "requestId": message["params"]["requestId"] });
                    self.send(Some(session), "Fetch.continueRequest", goes_on);
                }
                let pages = self.pages.lock().expect("no test panics with this lock");
                pages.get(session).map(|page| page.send(message.clone()));
            }
        }
        // It has ended: nobody waits for nothing.
        self.answers
            .lock()
            .expect("no test panics with this lock")
            .clear();
    }

    pub(super) fn send(&self, session: Option<&str>, method: &str, params: Value) -> u64 {
        let id = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let mut to = self.to.lock().expect("no test panics with this lock");
        to.write_all(&bytes).expect("the browser listens");
        id
    }

    pub(super) async fn call(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        let (sender, answer) = oneshot::channel();
        {
            // Locked until the answer has somebody to go to.
            let mut answers = self.answers.lock().expect("no test panics with this lock");
            answers.insert(self.send(session, method, params), sender);
        }
        let answer = timeout(LIMIT, answer).await;
        let mut answer = answer
            .unwrap_or_else(|_| panic!("the browser does not answer to {method}"))
            .unwrap_or_else(|_| panic!("the browser ended at {method}"));
        assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
        answer["result"].take()
    }
}

fn start() -> (ChildStdin, ChildStdout, Child) {
    let named = environment("CHROMIUM");
    let path = environment("PATH").unwrap_or_default();
    let is_there = |name: &&str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let program = named
        .or_else(|| {
            NAMES
                .iter()
                .find(|name| is_there(name))
                .map(|name| (*name).to_owned())
        })
        .expect("no Chromium on PATH, and none named by CHROMIUM: tests/setup installs it");
    let mut command = Command::new("sh");
    command.args(["-c", SHELL, "sh", &program]).args([
        "--headless",
        "--remote-debugging-pipe",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-default-apps",
        "--disable-dev-shm-usage",
        "--disable-extensions",
        "--disable-gpu",
        "--disable-sync",
        "--force-color-profile=srgb",
        "--hide-scrollbars",
        // Nothing but this machine can be reached, whatever a page asks for.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]);
    if nix::unistd::geteuid().is_root() {
        command.arg("--no-sandbox");
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("there is a shell");
    let pipes = (child.stdin.take(), child.stdout.take());
    let is_piped = "it is piped";
    (pipes.0.expect(is_piped), pipes.1.expect(is_piped), child)
}
