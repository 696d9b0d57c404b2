//! `calmirror status --watch`, beside a pass that is under way.

use calmirror::simulator::{Answer, Target};
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::PgPool;

use super::Setup;
use crate::support::program::Program;

/// A client with a mirror, and a pass over it that has begun and waits for one user.
async fn under_way() -> (Setup, Program) {
    let setup = Setup::new(1, 6).await;
    setup.run(&["sync"]).await.expect(0);
    let program = begin(&setup).await;
    (setup, program)
}

async fn begin(setup: &Setup) -> Program {
    let last = setup.clients[0].users[5];
    setup.simulator.script(Target::User(last), 1, Answer::Hang);
    let program = setup.workplace.start(&["sync"]);
    setup.simulator.wait_until(|counts| counts.hanging == 1).await;
    program
}

async fn beat(pool: &PgPool, observed: i64) {
    sqlx::query("update sync_runs set observed = $1 where outcome is null")
        .bind(observed)
        .execute(pool)
        .await
        .expect("the run can be told of");
}

const WATCH: [&str; 3] = ["status", "--watch", "0.1"];

#[tokio::test]
async fn a_pass_is_followed_line_by_line() {
    let (setup, pass) = under_way().await;
    let mut watch = setup.workplace.start(&WATCH);
    watch.printed("acme: fresh; run 2 under way").await;
    beat(&setup.pool().await, 3).await;
    watch.printed("run 2 under way, 3 of 6 users observed").await;
    setup.simulator.release();
    pass.end().await.expect(0);
    watch.printed("acme: fresh; run 2 no_change; 6 live").await;
    watch.signal(Signal::SIGINT);
    let ended = watch.end().await.expect(0);
    assert_eq!(ended.stderr, "");
    // A line for what is new, and none for what is not: signs of life and lags are nothing new.
    assert!(ended.stdout.lines().count() <= 4, "{ended}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(lines.windows(2).all(|pair| pair[0] != pair[1]), "{ended}");
}

#[tokio::test]
async fn a_program_has_an_object_for_each_change() {
    let (setup, pass) = under_way().await;
    let mut watch = setup
        .workplace
        .start(&[&["--output", "json"], &WATCH[..]].concat());
    watch.printed("\"last_run_id\":2,\"last_outcome\":null").await;
    setup.simulator.release();
    pass.end().await.expect(0);
    watch
        .printed("\"last_run_id\":2,\"last_outcome\":\"no_change\"")
        .await;
    watch.signal(Signal::SIGTERM);
    let ended = watch.end().await.expect(0);
    let once = setup.run(&["--output", "json", "status"]).await.expect(0).json();
    let keys = |value: &Value| {
        value
            .as_object()
            .map(|value| value.keys().cloned().collect::<Vec<_>>())
    };
    let seen = ended.json();
    assert!((2..=4).contains(&seen.len()), "{ended}");
    for status in &seen {
        assert_eq!(keys(status), keys(&once[0]));
    }
}

#[tokio::test]
async fn a_screen_is_drawn_over_the_one_before() {
    let (setup, pass) = under_way().await;
    let mut watch = setup.workplace.on_terminal((100, 30), &WATCH);
    watch.shows("run 2 is under way").await;
    beat(&setup.pool().await, 4).await;
    let screen = watch.shows("so far 4 of 6 users observed").await;
    assert_eq!(screen.matches("client  mirror").count(), 1, "{screen}");
    setup.simulator.release();
    pass.end().await.expect(0);
    let screen = watch
        .shows_since(0, |screen| {
            screen.contains("no_change") && !screen.contains("under way")
        })
        .await;
    assert_eq!(screen.matches("client  mirror").count(), 1, "{screen}");
    assert!(
        screen.starts_with("20") && screen.contains("every 0.1 s, Ctrl-C ends it"),
        "{screen}"
    );
    // Another width is another drawing, and nothing of the old one is left.
    let before = watch.so_far();
    watch.resize((40, 30));
    let screen = watch
        .shows_since(before, |screen| screen.contains("last pass no_change"))
        .await;
    assert!(!screen.contains("client  mirror"), "{screen}");
    assert_eq!(screen.matches("Ctrl-C").count(), 1, "{screen}");
    // No more of it than there is room for.
    let before = watch.so_far();
    watch.resize((40, 4));
    watch
        .shows_since(before, |screen| screen.contains("more lines)"))
        .await;
    watch.signal(Signal::SIGINT);
    let shown = watch.end().await.expect(0);
    let raw = shown.raw();
    // What is drawn over is not cleared first, which would flicker: once for each new width.
    assert_eq!(raw.matches("\u{1b}[2J").count(), 1, "{raw:?}");
    assert!(raw.ends_with("\r\n") && !raw.contains("told to end"), "{raw:?}");
}

#[tokio::test]
async fn a_terminal_that_cannot_move_its_cursor_gets_lines() {
    let setup = Setup::new(1, 2).await;
    setup.run(&["sync"]).await.expect(0);
    let mut watch = setup.workplace.on_terminal_with(
        &[("TERM", "dumb")],
        crate::support::terminal::Stands::Both,
        (100, 30),
        &WATCH,
    );
    watch.shows("acme: fresh; run 1 applied; 2 live").await;
    watch.signal(Signal::SIGINT);
    let shown = watch.end().await.expect(0);
    assert!(!shown.raw().contains('\u{1b}'), "{}", shown.raw());
}

#[tokio::test]
async fn a_watch_outlives_its_database() {
    let mut setup = Setup::new(1, 2).await;
    setup.run(&["sync"]).await.expect(0);
    let mut gate = setup.gate();
    setup.configure("");
    // It is away from the beginning on.
    let mut lines = setup.workplace.start(&WATCH);
    let mut json = setup
        .workplace
        .start(&[&["--output", "json"], &WATCH[..]].concat());
    let mut screen = setup.workplace.on_terminal((100, 30), &WATCH);
    lines.printed("the database is unavailable").await;
    json.printed("{\"unavailable\":\"the database is unavailable")
        .await;
    screen.shows("the database is unavailable").await;
    gate.open();
    lines.printed("acme: fresh").await;
    json.printed("\"verdict\":\"fresh\"").await;
    screen
        .shows_since(0, |screen| {
            screen.contains("fresh") && !screen.contains("unavailable")
        })
        .await;
    let before = screen.so_far();
    gate.shut();
    json.printed_times("{\"unavailable\":", 2).await;
    let shown = screen
        .shows_since(before, |screen| screen.contains("what is below was seen before"))
        .await;
    assert!(shown.contains("fresh"), "{shown}");
    gate.open();
    json.printed_times("\"verdict\":\"fresh\"", 2).await;
    lines.printed_times("the database is back", 2).await;
    for program in [&lines, &json] {
        program.signal(Signal::SIGINT);
    }
    screen.signal(Signal::SIGINT);
    let ended = lines.end().await.expect(0);
    assert_eq!(
        ended.stdout.matches("acme: fresh").count(),
        1,
        "it has not changed: {ended}"
    );
    json.end().await.expect(0);
    screen.end().await.expect(0);
}

#[tokio::test]
async fn it_ends_at_once_while_the_database_is_away() {
    let mut setup = Setup::new(1, 2).await;
    setup.run(&["sync"]).await.expect(0);
    let mut gate = setup.gate();
    setup.configure("");
    gate.open();
    let mut watch = setup.workplace.start(&WATCH);
    watch.printed("acme: fresh").await;
    // Connections stay, and nothing comes back.
    gate.freeze();
    watch.signal(Signal::SIGINT);
    watch.end().await.expect(0);
}

#[tokio::test]
async fn what_waiting_does_not_mend_ends_it() {
    let mut setup = Setup::new(1, 2).await;
    setup.configure("schema = \"elsewhere\"");
    let ended = setup.run(&WATCH).await.expect(1);
    assert!(ended.stderr.contains("calmirror migrate"), "{ended}");
    for seconds in ["0", "-1", "soon", "1e9"] {
        let ended = setup
            .run(&["status", &format!("--watch={seconds}")])
            .await
            .expect(2);
        assert!(ended.stderr.contains("seconds from 0.1"), "{ended}");
    }
    setup.workplace.set("CALMIRROR__DATABASE__SCHEMA", "public");
    setup.run(&["sync"]).await.expect(0);
    let mut watch = setup.workplace.start(&WATCH);
    watch.printed("acme: fresh").await;
    // A reader that leaves is noticed with the next change.
    watch.leave_output().await;
    setup.run(&["sync"]).await.expect(0);
    let ended = watch.end().await.expect(0);
    assert_eq!(ended.stderr, "");
}
