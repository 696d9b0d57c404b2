//! `calmirror approve`: what an operator sees of held removals, and lets through.

use calmirror::simulator::{Answer, Target};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::Setup;

/// A mirror of twenty users, of whom eight are gone for good, and the run that holds their removals.
async fn held() -> (Setup, i64) {
    let setup = Setup::new(1, 20).await;
    setup.configure("[removal]\nmin_age_s = 0");
    setup.run(&["sync"]).await.expect(0);
    for user in &setup.clients[0].users[..8] {
        setup.simulator.delete_user(*user).expect("the user is there");
    }
    setup.run(&["sync"]).await.expect(0);
    let ended = setup.run(&["--output", "json", "sync"]).await.expect(3);
    let report = &ended.json()[0];
    assert_eq!(report["outcome"], "held");
    let run = report["run_id"].as_i64().expect("the pass is on record");
    let error = report["error"].as_str().expect("it says why");
    assert!(error.contains(&format!("`calmirror approve {run}`")), "{error}");
    let warned = ended.log_lines("pass ended");
    assert!(
        warned.len() == 1 && warned[0].contains("WARN") && warned[0].contains(error),
        "{ended}"
    );
    (setup, run)
}

async fn live(setup: &Setup) -> i64 {
    setup.value("select count(*) from managed_users_live").await
}

#[tokio::test]
async fn what_a_pass_held_is_removed_once_it_is_approved() {
    let (setup, run) = held().await;
    let run = run.to_string();
    let ended = setup.run(&["--output", "json", "approve", &run]).await.expect(0);
    let report = &ended.json()[0];
    assert_eq!(
        (&report["outcome"], &report["removed"]),
        (&Value::from("applied"), &Value::from(8))
    );
    assert_eq!(ended.log_lines("change.kind=removal").len(), 8, "{ended}");
    assert_eq!(live(&setup).await, 12);

    let again = setup.run(&["approve", &run]).await.expect(1);
    assert!(again.stderr.contains("is over"), "{again}");
    setup.run(&["sync"]).await.expect(0);
    assert_eq!(live(&setup).await, 12);
}

#[tokio::test]
async fn people_get_the_table_of_a_pass() {
    let (setup, run) = held().await;
    let ended = setup.run(&["approve", &run.to_string()]).await.expect(0);
    let rows = super::cells(&ended.stdout);
    assert_eq!(
        rows[1][..6],
        [setup.clients[0].name.as_str(), "applied", "9", "0", "0", "8"]
    );
}

#[tokio::test]
async fn a_run_that_holds_nothing_is_a_wrong_argument() {
    let (setup, run) = held().await;
    for (argument, why) in [
        ((run - 1).to_string(), "holds no removals"),
        ("999".to_owned(), "there is no run 999"),
        ("all".to_owned(), "invalid value"),
    ] {
        let ended = setup.run(&["approve", &argument]).await.expect(2);
        assert!(ended.stderr.contains(why), "{ended}");
    }
    let text = setup.workplace.path().join("config.toml");
    let config = std::fs::read_to_string(&text).expect("the configuration can be read");
    let another = config.replace(&setup.clients[0].id, "another-client");
    setup.workplace.write("config.toml", &another);
    let ended = setup.run(&["approve", &run.to_string()]).await.expect(2);
    assert!(
        ended.stderr.contains("which the configuration does not have"),
        "{ended}"
    );
    assert_eq!(live(&setup).await, 20);
}

#[tokio::test]
async fn an_approval_that_is_interrupted_removes_nothing() {
    let (setup, run) = held().await;
    let user = setup.clients[0].users[3];
    setup.simulator.script(Target::User(user), 1, Answer::Hang);
    let program = setup.workplace.start(&["approve", &run.to_string()]);
    setup.simulator.wait_until(|counts| counts.hanging == 1).await;
    program.signal(Signal::SIGINT);
    let ended = program.end().await.expect(1);
    assert!(ended.stdout.contains("asked to stop"), "{ended}");
    assert_eq!(live(&setup).await, 20);
    setup.simulator.release();
    setup.run(&["approve", &run.to_string()]).await.expect(0);
}

#[tokio::test]
async fn an_approval_while_cal_com_is_away_can_be_tried_again() {
    let (mut setup, run) = held().await;
    let true_address = setup.base_url.clone();
    // The source's identity is an address, so the same one has to stop answering.
    for user in setup.clients[0].users.clone() {
        setup.simulator.script(Target::User(user), 3, Answer::html(502));
    }
    let ended = setup.run(&["approve", &run.to_string()]).await.expect(75);
    assert!(ended.stdout.contains("nothing is removed"), "{ended}");
    setup.simulator.clear_scripts();
    setup.base_url = "http://127.0.0.1:9/other".to_owned();
    setup.configure("[removal]\nmin_age_s = 0");
    let ended = setup.run(&["approve", &run.to_string()]).await.expect(1);
    assert!(ended.stdout.contains("--accept-source"), "{ended}");
    setup.base_url = true_address;
    setup.configure("[removal]\nmin_age_s = 0");
    setup.run(&["approve", &run.to_string()]).await.expect(0);
    assert_eq!(live(&setup).await, 12);
}
