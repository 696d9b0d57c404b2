//! What the program shows of a pass while it runs.

use calmirror::simulator::{Answer, Target};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::Setup;

/// One client, whose last user does not answer until it is released.
async fn hanging() -> Setup {
    let setup = Setup::new(1, 6).await;
    let last = setup.clients[0].users[5];
    setup.simulator.script(Target::User(last), 1, Answer::Hang);
    setup
}

/// The line of a log in JSON that tells of a pass under way.
fn told(log: &str) -> Value {
    let line = log
        .lines()
        .find(|line| line.contains("pass under way"))
        .expect("it was waited for");
    serde_json::from_str(line).expect("the log is JSON")
}

#[tokio::test]
async fn a_pass_that_takes_long_is_seen_in_the_log_and_by_status() {
    let setup = hanging().await;
    setup.configure("[log]\nformat = \"json\"");
    let mut program = setup.workplace.start(&["sync"]);
    // The first comes after ten seconds.
    let line = told(&program.logged("pass under way").await);
    for (key, value) in [("level", "INFO"), ("client.name", setup.clients[0].name.as_str())] {
        assert_eq!(line[key], value, "{line}");
    }
    for (key, value) in [
        ("run.id", 1),
        ("users", 5),
        ("of", 6),
        ("requests", 6),
        ("changes", 5),
    ] {
        assert_eq!(line[key], value, "{key} of {line}");
    }
    assert!(
        line["rate_per_s"].is_number() && line["left_s"].is_u64(),
        "{line}"
    );
    // The sign of life is given at the same time, or a little later.
    let client = loop {
        let status = setup.run(&["--output", "json", "status"]).await.expect(0).json();
        let client = status[0]["clients"][0].clone();
        assert!(client["last_outcome"].is_null(), "{client}");
        if client["last_observed"] == 5 {
            break client;
        }
    };
    assert_eq!(client["last_requests"], 6, "{client}");
    assert_eq!(client["last_changes"], 5, "{client}");
    setup.simulator.release();
    let ended = program.end().await.expect(0);
    assert!(!ended.log_lines("pass under way").is_empty(), "{ended}");
    let short = setup.run(&["sync"]).await.expect(0);
    assert_eq!(short.log_lines("pass under way"), [""; 0]);
}

#[tokio::test]
async fn the_daemon_tells_of_a_pass_that_takes_long_and_warns_of_its_end() {
    let mut setup = hanging().await;
    setup.configure("[schedule]\ncron = \"* * * * *\"\n[log]\nformat = \"json\"");
    setup.workplace.set("CALMIRROR__CALCOM__REQUESTS_PER_MINUTE", "1");
    let mut program = setup.workplace.start(&["run"]);
    let log = program.logged("the pass is expected to end at ").await;
    assert!(log.contains("\"requests\":6"), "{log}");
    let line = told(&program.logged("pass under way").await);
    assert_eq!(line["of"], 6, "{line}");
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
}
