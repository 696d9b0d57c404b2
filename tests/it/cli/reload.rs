//! SIGHUP: the configuration is read again while passes are made.

mod embedded;
mod under_way;

use std::{fs, time::Instant};

use calmirror::simulator::{Answer, Target};
use nix::{
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};

use super::Setup;
use crate::support::{TestDb, program::Program};

const EVERY_SECOND: &str = "[schedule]\ncron = \"* * * * * *\"";
/// The first of January: no tick but the one at the start.
const HARDLY_EVER: &str = "[schedule]\ncron = \"0 0 1 1 *\"";

const RELOADED: &str = "configuration reloaded";
const REFUSED: &str = "configuration not reloaded";

/// The last line with this text.
fn line<'a>(log: &'a str, text: &str) -> &'a str {
    let found = log.lines().rev().find(|line| line.contains(text));
    found.unwrap_or_else(|| panic!("{text:?} is not in {log}"))
}

fn passes(log: &str, client: &str) -> Vec<String> {
    let of = format!("client.name={client} ");
    let lines = log
        .lines()
        .filter(|line| line.contains("pass ended") && line.contains(&of));
    lines.map(str::to_owned).collect()
}

async fn stop(program: Program) {
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
}

#[tokio::test]
async fn clients_come_and_go_with_a_reload() {
    let mut setup = Setup::new(3, 4).await;
    let late = setup.clients.pop().expect("there are three");
    setup.configure(HARDLY_EVER);
    let mut program = setup.workplace.start(&["run"]);
    program.logged_times("pass ended", 2).await;

    let gone = setup.clients.remove(0);
    setup.clients.push(late.clone());
    setup.configure(HARDLY_EVER);
    program.signal(Signal::SIGHUP);
    let log = program.logged(RELOADED).await;
    let line = line(&log, RELOADED);
    assert!(
        line.contains(&format!("clients.added=\"{}\"", late.name))
            && line.contains(&format!("clients.removed=\"{}\"", gone.name))
            && !line.contains("clients.changed")
            && !line.contains("sections"),
        "{line}"
    );
    assert!(line.contains("clients=2") && !line.contains("SECRET"), "{line}");
    // Nobody has to wait for the first of January.
    let log = program
        .logged_with(&["pass ended", &format!("client.name={} ", late.name)], 1)
        .await;
    assert_eq!(passes(&log, &gone.name).len(), 1);
    assert_eq!(passes(&log, &setup.clients[0].name).len(), 1, "it was not due");

    // From now on every second, of those two only.
    setup.configure(EVERY_SECOND);
    program.signal(Signal::SIGHUP);
    program
        .logged_with(&["pass ended", &format!("client.name={} ", late.name)], 3)
        .await;
    let log = program
        .logged_with(
            &["pass ended", &format!("client.name={} ", setup.clients[0].name)],
            3,
        )
        .await;
    assert_eq!(passes(&log, &gone.name).len(), 1, "it was taken out");
    assert!(log.contains("sections=\"schedule\""), "{log}");
    stop(program).await;
    assert_eq!(
        setup
            .value::<i64>("select count(*) from managed_users_live")
            .await,
        12
    );
}

#[tokio::test]
async fn a_configuration_at_fault_is_refused_with_all_its_faults_and_the_old_one_goes_on() {
    let setup = Setup::new(1, 4).await;
    setup.configure(EVERY_SECOND);
    let mut program = setup.workplace.start(&["run"]);
    program.logged("pass ended").await;
    setup.configure("[schedule]\ncron = \"often\"\n[removal]\nconfirmation = 1");
    program.signal(Signal::SIGHUP);
    let log = program.logged(REFUSED).await;
    assert!(line(&log, REFUSED).contains("faults=2"), "{log}");
    assert!(line(&log, "schedule.cron").contains("config.toml:8:8"), "{log}");
    let unknown = line(&log, "removal.confirmation");
    assert!(
        unknown.contains("config.toml:10:1") && unknown.contains("confirmations"),
        "{log}"
    );
    let ended = passes(&log, "acme").len();
    program.logged_times("pass ended", ended + 2).await;

    fs::remove_file(setup.workplace.path().join("config.toml")).expect("it is there");
    program.signal(Signal::SIGHUP);
    program.logged_times(REFUSED, 2).await;

    setup.configure(EVERY_SECOND);
    program.signal(Signal::SIGHUP);
    let log = program.logged(RELOADED).await;
    let ended = passes(&log, "acme").len();
    program.logged_times("pass ended", ended + 2).await;
    stop(program).await;
}

#[tokio::test]
async fn a_secret_that_was_exchanged_is_read_again() {
    let setup = Setup::new(1, 4).await;
    setup.configure(EVERY_SECOND);
    let path = setup.workplace.path().join("config.toml");
    let text = fs::read_to_string(&path).expect("it is there");
    let by_file = text.replace("{ env = \"SECRET_ACME\" }", "{ file = \"secret\" }");
    assert_ne!(text, by_file);
    setup.workplace.write("config.toml", &by_file);
    setup.workplace.write("secret", &setup.clients[0].secret);
    let mut program = setup.workplace.start(&["run"]);
    program.logged("run.outcome=applied").await;
    let id = &setup.clients[0].id;
    setup
        .simulator
        .set_secret(id, "exchanged-s3cret")
        .expect("there is the client");
    program.logged("the secret is wrong").await;
    setup.workplace.write("secret", "exchanged-s3cret");
    program.signal(Signal::SIGHUP);
    let log = program.logged(RELOADED).await;
    assert!(line(&log, RELOADED).contains("clients.changed=\"acme\""), "{log}");
    let well = log.matches("run.outcome=no_change").count();
    program.logged_times("run.outcome=no_change", well + 1).await;
    program.signal(Signal::SIGTERM);
    let ended = program.end().await.expect(0);
    assert!(!ended.stderr.contains("exchanged-s3cret"), "{ended}");
}

#[tokio::test]
async fn reloads_bring_no_more_requests_than_the_rate_allows() {
    let setup = Setup::new(1, 40).await;
    let configure = |level: &str| {
        setup.configure(&format!("{EVERY_SECOND}\n[log]\nlevel = \"{level}\""));
        let path = setup.workplace.path().join("config.toml");
        let text = fs::read_to_string(&path).expect("it is there");
        let rate = text.replace("requests_per_minute = 0", "requests_per_minute = 600");
        setup.workplace.write("config.toml", &rate);
    };
    configure("info");
    let started = Instant::now();
    let mut program = setup.workplace.start(&["run"]);
    for (pass, level) in [(1, "info,calmirror=info"), (2, "info")] {
        program.logged_times("pass ended", pass).await;
        configure(level);
        program.signal(Signal::SIGHUP);
        program.logged_times(RELOADED, pass).await;
    }
    program.logged_times("pass ended", 3).await;
    let requests = setup.simulator.requests().total;
    // Ten a second, and a burst of an 18th of 600 once.
    let allowed = started.elapsed().as_secs_f64().mul_add(10.0, 34.0);
    assert!(
        requests >= 120 && f64::from(u32::try_from(requests).expect("few")) <= allowed,
        "{requests} requests, {allowed} allowed"
    );
    stop(program).await;
}

#[tokio::test]
async fn the_level_of_the_log_changes_and_what_cannot_is_said() {
    let setup = Setup::new(1, 4).await;
    setup.configure(&format!("{EVERY_SECOND}\n[log]\nlevel = \"warn\""));
    let mut program = setup.workplace.start(&["run"]);
    setup.simulator.wait_for_requests(8).await;
    setup.configure(&format!(
        "{EVERY_SECOND}\n[log]\nlevel = \"info\"\nformat = \"json\""
    ));
    program.signal(Signal::SIGHUP);
    let log = program.logged("pass ended").await;
    let first = log.lines().next().expect("there are lines");
    assert!(
        first.contains("WARN") && first.contains("log.format has changed"),
        "nothing of the level info before: {log}"
    );
    assert!(line(&log, RELOADED).contains("sections=\"log\""), "{log}");
    stop(program).await;
}

#[tokio::test]
async fn passes_go_to_another_database_after_a_reload() {
    let mut setup = Setup::new(1, 4).await;
    setup.configure(EVERY_SECOND);
    let mut program = setup.workplace.start(&["run"]);
    program.logged("run.outcome=applied").await;
    let other = TestDb::new().await;
    setup.database_url = other.url();
    setup.configure(EVERY_SECOND);
    program.signal(Signal::SIGHUP);
    program.logged_times("run.outcome=applied", 2).await;
    let before: i64 = setup.value("select count(*) from sync_runs").await;
    let log = program.logged("pass ended").await;
    program
        .logged_times("pass ended", passes(&log, "acme").len() + 2)
        .await;
    let after: i64 = setup.value("select count(*) from sync_runs").await;
    assert_eq!(before, after, "the first database is left alone");
    // Nobody keeps connections to it.
    let sessions: i64 = setup
        .value("select count(*) from pg_stat_activity where datname = current_database() and application_name = 'calmirror'")
        .await;
    assert_eq!(sessions, 0);
    stop(program).await;
    let users: i64 = sqlx::query_scalar("select count(*) from managed_users_live")
        .fetch_one(&other.pool().await)
        .await
        .expect("there are tables");
    assert_eq!(users, 4);
}

#[tokio::test]
async fn a_reload_that_hangs_in_a_file_does_not_hold_up_the_end() {
    let setup = Setup::new(1, 4).await;
    setup.configure(HARDLY_EVER);
    let mut program = setup.workplace.start(&["run"]);
    program.logged("pass ended").await;
    let pipe = setup.workplace.path().join("users");
    mkfifo(&pipe, Mode::S_IRWXU).expect("the directory takes a pipe");
    let path = setup.workplace.path().join("config.toml");
    let text = fs::read_to_string(&path).expect("it is there");
    let by_file: String = text
        .lines()
        .map(|line| match line.starts_with("users = ") {
            true => "users_file = \"users\"\n".to_owned(),
            false => format!("{line}\n"),
        })
        .collect();
    setup.workplace.write("config.toml", &by_file);
    program.signal(Signal::SIGHUP);
    // Whoever writes waits for somebody who reads, who then waits for what is never written.
    let opening = tokio::task::spawn_blocking(|| fs::OpenOptions::new().write(true).open(pipe));
    let writer = opening.await.expect("no panic").expect("somebody reads");
    stop(program).await;
    drop(writer);
}
