//! The webhook as the daemon tells it, and as `calmirror check` tries it.

use calmirror::simulator::{Answer, Target};
use nix::sys::signal::Signal;

use super::Setup;
use crate::support::{
    program::Program,
    receiver::{Reaction, Receiver, TOKEN, secret},
};

const WEBHOOK: &str = "[notify]\nwebhook_url = { env = \"URL\" }\nwebhook_secret = { env = \"KEY\" }\n";
const EVERY_SECOND: &str = "[schedule]\ncron = \"* * * * * *\"\n[log]\nlevel = \"debug\"\n";

/// A client that Cal.com refuses, and somebody to be told of it.
async fn refused() -> (Setup, Receiver) {
    let mut setup = Setup::new(1, 3).await;
    let receiver = Receiver::start().await;
    setup.workplace.set("URL", &receiver.url());
    setup.workplace.set("KEY", &secret());
    // Neither Cal.com nor the receiver is asked by way of somebody else.
    setup.workplace.set("HTTP_PROXY", "http://127.0.0.1:1");
    setup.workplace.set("ALL_PROXY", "http://127.0.0.1:1");
    setup.workplace.set("SECRET_ACME", "not-it");
    setup.configure(&format!("{EVERY_SECOND}{WEBHOOK}"));
    (setup, receiver)
}

#[track_caller]
fn assert_secret(log: &str) {
    assert!(!log.contains(TOKEN) && !log.contains("whsec_"), "{log}");
}

async fn stop(program: Program) -> String {
    program.signal(Signal::SIGTERM);
    let ended = program.end().await.expect(0);
    assert_secret(&ended.stderr);
    ended.stderr
}

#[tokio::test]
async fn a_daemon_tells_what_it_finds_once_also_after_a_restart() {
    let (mut setup, receiver) = refused().await;
    // The first is not taken.
    receiver.script([Reaction::Status(503)]);
    let mut program = setup.workplace.start(&["run"]);
    program.logged("the webhook could not be told").await;
    program.logged("told the webhook").await;
    stop(program).await;
    let deliveries = receiver.deliveries();
    assert_eq!(deliveries.len(), 2, "{deliveries:?}");
    assert_eq!(deliveries[0].id, deliveries[1].id);
    assert_eq!(deliveries[1].kind(), "client.refused");
    let error = deliveries[1].message["data"]["reasons"][0]["error"].as_str();
    assert!(
        error.is_some_and(|error| error.contains("the secret is wrong")),
        "{error:?}"
    );

    // Still so: nothing is said of it.
    let mut program = setup.workplace.start(&["run"]);
    program.logged_times("pass ended", 3).await;
    stop(program).await;
    assert_eq!(receiver.deliveries().len(), 2);

    let acme = setup.clients[0].secret.clone();
    setup.workplace.set("SECRET_ACME", &acme);
    let mut program = setup.workplace.start(&["run"]);
    program.logged("told the webhook").await;
    stop(program).await;
    assert_eq!(receiver.taken(), ["client.refused", "client.well"]);
}

#[tokio::test]
async fn what_the_first_pass_puts_right_is_not_told() {
    let (mut setup, receiver) = refused().await;
    let acme = setup.clients[0].clone();
    setup.workplace.set("SECRET_ACME", &acme.secret);
    setup.run(&["sync"]).await.expect(0);
    sqlx::query("update sync_state set fresh_until = last_complete_at")
        .execute(&setup.pool().await)
        .await
        .expect("the mirror can be stale");
    let last = *acme.users.last().expect("there are three");
    setup.simulator.script(Target::User(last), 1, Answer::Hang);
    let mut program = setup.workplace.start(&["run"]);
    setup.simulator.wait_until(|counts| counts.hanging == 1).await;
    // Seconds later.
    program.logged("tick skipped").await;
    setup.simulator.release();
    program
        .logged_with(&["pass ended", "run.outcome=no_change"], 3)
        .await;
    stop(program).await;
    assert!(receiver.deliveries().is_empty(), "{:?}", receiver.deliveries());
}

#[tokio::test]
async fn two_daemons_on_one_database_tell_it_once() {
    let (setup, receiver) = refused().await;
    let mut programs = [setup.workplace.start(&["run"]), setup.workplace.start(&["run"])];
    receiver.came(1).await;
    for program in &mut programs {
        program.logged_times("pass ended", 4).await;
    }
    for program in programs {
        stop(program).await;
    }
    assert_eq!(receiver.deliveries().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_holds_up_neither_passes_nor_the_end() {
    let (setup, receiver) = refused().await;
    receiver.script([Reaction::Hang]);
    let mut program = setup.workplace.start(&["run"]);
    receiver.came(1).await;
    let so_far = program.logged("pass ended").await;
    let ended = so_far.lines().filter(|line| line.contains("pass ended")).count();
    program.logged_times("pass ended", ended + 3).await;
    assert_eq!(receiver.deliveries().len(), 1, "it is still being told");
    let ended = program.end_in_time(Signal::SIGTERM).await.expect(0);
    assert!(!ended.stderr.contains("told the webhook"), "{ended}");
}

#[tokio::test]
async fn another_receiver_is_told_as_soon_as_it_is_configured() {
    let (setup, receiver) = refused().await;
    let sections = format!(
        "{EVERY_SECOND}{}",
        WEBHOOK.replace("{ env = \"URL\" }", "{ file = \"url\" }")
    );
    setup.configure(&sections);
    setup.workplace.write("url", &receiver.url());
    receiver.script([Reaction::Hang]);
    let mut program = setup.workplace.start(&["run"]);
    receiver.came(1).await;
    let other = Receiver::start().await;
    setup.workplace.write("url", &other.url());
    program.signal(Signal::SIGHUP);
    program.logged("configuration reloaded").await;
    assert_eq!(other.came(1).await[0].kind(), "client.refused");
    program.logged("told the webhook").await;
    let log = stop(program).await;
    assert!(
        !log.contains("did not answer in time"),
        "the first one was waited for: {log}"
    );
}

#[tokio::test]
async fn check_tries_the_webhook_where_it_is_asked_to() {
    let mut setup = Setup::new(1, 3).await;
    let ended = setup.run(&["check", "--notify"]).await.expect(2);
    assert!(
        ended
            .stdout
            .contains("fault  notify: there is no webhook to be tried"),
        "{ended}"
    );

    let receiver = Receiver::start().await;
    setup.workplace.set("URL", &receiver.url());
    setup.workplace.set("KEY", &secret());
    setup.configure(WEBHOOK);
    let ended = setup.run(&["check"]).await.expect(0);
    let origin = format!("http://{}", receiver.address());
    let expected = format!("ok     notify: the webhook at {origin} is in order");
    assert!(ended.stdout.contains(&expected), "{ended}");
    assert!(receiver.deliveries().is_empty());

    let ended = setup.run(&["check", "--notify"]).await.expect(0);
    assert!(
        ended
            .stdout
            .contains(&format!("ok     notify: {origin} took a message of type test")),
        "{ended}"
    );
    assert_eq!(receiver.deliveries()[0].kind(), "test");

    for (reaction, code, expected) in [
        (Reaction::Status(401), 1, "check notify.webhook_secret"),
        (Reaction::Status(410), 1, "wants no more messages (410)"),
        (
            Reaction::Redirect(receiver.url()),
            1,
            "set notify.webhook_url to where it leads",
        ),
        (Reaction::Status(500), 75, "look into the receiver's own log"),
    ] {
        receiver.script([reaction]);
        let ended = setup.run(&["check", "--notify"]).await.expect(code);
        assert!(ended.stdout.contains(expected), "{ended}");
        assert_secret(&ended.stdout);
        assert_secret(&ended.stderr);
    }
    setup.workplace.set("URL", &format!("http://127.0.0.1:1/{TOKEN}"));
    let ended = setup
        .run(&["--output", "json", "check", "--notify"])
        .await
        .expect(75);
    let finding = ended.json().pop().expect("there are findings");
    assert_eq!(finding["subject"], "notify");
    assert!(
        finding["message"]
            .as_str()
            .is_some_and(|message| message.starts_with("no connection to")),
        "{finding}"
    );
    assert_secret(&ended.stdout);
}
