//! The embedded server, as root and as anybody else.

use std::{
    fs,
    io::Write as _,
    io::{BufRead, BufReader, Read},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use calmirror::embedded::{Embedded, Error, Options};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use sqlx::{Connection, postgres::PgConnection};
use tempfile::TempDir;

use crate::support::{environment, process::until};

mod owner;

fn home() -> TempDir {
    tempfile::Builder::new()
        .prefix("calmirror-embedded-")
        .tempdir()
        .expect("the temporary directory takes another one")
}

/// Kept, but not worth a wait for the disk.
fn options(dir: &Path) -> Options {
    Options {
        durable: false,
        ..Options::durable(dir)
    }
}

async fn start(dir: &Path) -> Embedded {
    Embedded::start(options(dir))
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

async fn refusal(options: Options) -> String {
    Embedded::start(options)
        .await
        .expect_err("the start is refused")
        .to_string()
}

async fn connect(server: &Embedded) -> PgConnection {
    PgConnection::connect_with(&server.connect_options())
        .await
        .expect("the server takes connections")
}

async fn run(server: &Embedded, statement: &'static str) {
    let mut connection = connect(server).await;
    sqlx::raw_sql(statement)
        .execute(&mut connection)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
    connection.close().await.expect("the connection closes");
}

fn set_mode(dir: &Path, mode: u32) {
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).expect("it is ours to open and close");
}

fn postmaster(dir: &Path) -> Pid {
    let text = fs::read_to_string(dir.join("data/postmaster.pid")).expect("a running server has a pid file");
    let pid = text.lines().next().and_then(|line| line.parse().ok());
    Pid::from_raw(pid.expect("its first line is a number"))
}

fn is_gone(pid: Pid) -> bool {
    // A process that nobody has reaped yet is gone too: it has no working directory.
    kill(pid, None) == Err(Errno::ESRCH) || fs::read_link(format!("/proc/{pid}/cwd")).is_err()
}

#[tokio::test]
async fn the_printed_line_leads_in() {
    let dir = home();
    let server = start(dir.path()).await;
    let line = format!(
        "{} -Atc 'SELECT current_user, current_database()'",
        server.psql_command()
    );
    let output = Command::new("/bin/sh")
        .args(["-c", &line])
        .current_dir("/")
        .output()
        .expect("there is a shell");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "calmirror|calmirror\n",
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    server.stop().await.expect("the server stops");
}

#[tokio::test]
async fn the_server_is_private_and_knows_letters() {
    let dir = home();
    let server = start(dir.path()).await;
    let mut connection = connect(&server).await;
    for (query, expected) in [
        ("SELECT current_setting('listen_addresses')", ""),
        ("SELECT current_setting('server_encoding')", "UTF8"),
        (
            "SELECT datcollate::text FROM pg_database WHERE datname = 'calmirror'",
            "C",
        ),
        ("SELECT lower('ÉCOLE')", "école"),
        ("SELECT current_setting('shared_buffers')", "128MB"),
    ] {
        let value: String = sqlx::query_scalar(query)
            .fetch_one(&mut connection)
            .await
            .expect("it answers");
        assert_eq!(value, expected, "{query}");
    }
    connection.close().await.expect("the connection closes");
    let socket_dir = server
        .connect_options()
        .get_socket()
        .cloned()
        .expect("there is a socket");
    let mode = socket_dir.metadata().expect("its directory is there").mode();
    assert_eq!(mode & 0o777, 0o700, "others can reach the socket");
    server.stop().await.expect("the server stops");
}

#[tokio::test]
async fn data_survive_a_restart() {
    let dir = home();
    let server = start(dir.path()).await;
    run(&server, "CREATE TABLE kept AS SELECT 42 AS value").await;
    let pid = postmaster(dir.path());
    server.stop().await.expect("the server stops");
    assert!(is_gone(pid), "stop() does not wait for the server");
    let server = start(dir.path()).await;
    run(&server, "SELECT 1 / (SELECT count(*) FROM kept WHERE value = 42)").await;
    server.stop().await.expect("the server stops");
}

#[tokio::test]
async fn a_crash_of_the_server_loses_nothing_and_stops_no_start() {
    let dir = home();
    let server = Embedded::start(Options::durable(dir.path()))
        .await
        .expect("it starts");
    run(&server, "CREATE TABLE kept AS SELECT 42 AS value").await;
    kill(postmaster(dir.path()), Signal::SIGKILL).expect("it can be killed");
    drop(server);
    let server = start(dir.path()).await;
    assert!(!server.is_joined());
    run(&server, "SELECT 1 / (SELECT count(*) FROM kept WHERE value = 42)").await;
    server.stop().await.expect("the server stops");
}

#[tokio::test]
async fn a_server_that_was_killed_is_revived_once_for_all_its_users() {
    let dir = home();
    let mut starter = Embedded::start(Options::durable(dir.path()))
        .await
        .expect("it starts");
    let mut joiner = start(dir.path()).await;
    for server in [&mut starter, &mut joiner] {
        assert!(!server.revive().await.expect("it runs"), "nothing was amiss");
    }
    run(&starter, "CREATE TABLE kept AS SELECT 42 AS value").await;
    let killed = postmaster(dir.path());
    kill(killed, Signal::SIGKILL).expect("it can be killed");
    until("the server is gone", || is_gone(killed)).await;
    assert!(joiner.revive().await.expect("it is started again"));
    let pid = postmaster(dir.path());
    assert!(
        starter.revive().await.expect("it is joined"),
        "it used the first one"
    );
    assert_eq!(postmaster(dir.path()), pid);
    joiner.stop().await.expect("it leaves");
    run(
        &starter,
        "SELECT 1 / (SELECT count(*) FROM kept WHERE value = 42)",
    )
    .await;
    starter.stop().await.expect("the server stops");
    assert!(is_gone(pid));
}

#[tokio::test]
async fn a_stale_pid_file_with_the_number_of_another_process_stops_no_start() {
    let dir = home();
    let server = start(dir.path()).await;
    let path = dir.path().join("data/postmaster.pid");
    let text = fs::read_to_string(&path).expect("a running server has a pid file");
    server.stop().await.expect("the server stops");
    // Of the same user: Postgres itself sees through the others.
    let owner = dir.path().join("data").metadata().expect("the cluster is there");
    let mut other = Command::new("/bin/sh");
    other
        .args(["-c", "read -r _"])
        .current_dir("/")
        .stdin(Stdio::piped());
    if geteuid().is_root() {
        other.uid(owner.uid()).gid(owner.gid());
    }
    let mut other = other.spawn().expect("there is a shell");
    let (_, rest) = text.split_once('\n').expect("it has many lines");
    fs::write(&path, format!("{}\n{rest}", other.id())).expect("the file can be written");
    std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).expect("it is ours to give");
    let server = start(dir.path()).await;
    server.stop().await.expect("the server stops");
    drop(other.stdin.take());
    assert!(
        other.wait().expect("it ends").code().is_some(),
        "it was taken for a server and killed"
    );
}

#[tokio::test]
async fn of_two_starts_at_one_moment_the_second_joins() {
    let dir = home();
    let (one, other) = tokio::join!(start(dir.path()), start(dir.path()));
    let (starter, joiner) = if one.is_joined() {
        (other, one)
    } else {
        (one, other)
    };
    assert!(
        !starter.is_joined() && joiner.is_joined(),
        "there must be one of each"
    );
    let pid = postmaster(dir.path());
    starter.stop().await.expect("it leaves");
    run(&joiner, "SELECT 1").await;
    joiner.stop().await.expect("the server stops");
    assert!(is_gone(pid), "the last user does not wait for the server");
}

#[tokio::test]
async fn an_unfinished_cluster_is_not_taken_for_a_whole_one() {
    let dir = home();
    start(dir.path()).await.stop().await.expect("the server stops");
    let unfinished = dir.path().join("data.new-1-00000000");
    fs::rename(dir.path().join("data"), &unfinished).expect("it can be renamed");
    let server = start(dir.path()).await;
    assert!(!unfinished.exists(), "it is still there");
    server.stop().await.expect("the server stops");
}

#[tokio::test]
async fn a_path_that_is_no_good_for_a_socket_is_good_for_data() {
    let dir = home();
    let home = dir.path().join("with spaces, and ".repeat(5));
    set_mode(dir.path(), 0o755);
    let server = start(&home).await;
    let socket_dir = server
        .connect_options()
        .get_socket()
        .cloned()
        .expect("there is a socket");
    assert!(!socket_dir.starts_with(&home), "{}", socket_dir.display());
    run(&server, "SELECT 1").await;
    server.stop().await.expect("the server stops");
    assert!(!socket_dir.exists(), "its directory is left behind");
}

#[tokio::test]
async fn an_ephemeral_directory_goes_with_its_server() {
    let dir = home();
    let server = Embedded::start(Options::ephemeral(dir.path()))
        .await
        .expect("it starts");
    run(&server, "SELECT 1").await;
    server.stop().await.expect("the server stops");
    assert!(!dir.path().exists(), "the directory is still there");
}

#[tokio::test]
async fn the_servers_own_words_are_in_the_error() {
    let dir = home();
    let mut options = options(dir.path());
    options.settings = vec![("shared_buffers".to_owned(), "plenty".to_owned())];
    let text = refusal(options).await;
    assert!(
        text.contains("invalid value for parameter \"shared_buffers\": \"plenty\""),
        "{text}"
    );
}

#[tokio::test]
async fn a_directory_with_other_things_in_it_stays_as_it_is() {
    let dir = home();
    fs::write(dir.path().join("letter.txt"), "dear").expect("the directory takes a file");
    let before = dir.path().metadata().expect("it is there").uid();
    let error = Embedded::start(options(dir.path()))
        .await
        .expect_err("the start is refused");
    assert!(matches!(error, Error::NotOurs { .. }), "{error}");
    assert_eq!(dir.path().metadata().expect("it is there").uid(), before);
}

#[tokio::test]
async fn a_directory_that_the_servers_user_cannot_enter_is_named() {
    if !geteuid().is_root() {
        // Nobody else runs the server as another user. Written past the harness, which keeps what is printed.
        writeln!(
            std::io::stderr(),
            "SKIPPED: an unreachable directory, which only root can show"
        )
        .expect("standard error is open");
        return;
    }
    let closed = home();
    set_mode(closed.path(), 0o700);
    let text = refusal(options(&closed.path().join("below/postgres"))).await;
    assert!(
        text.contains(&format!("cannot enter {}:", closed.path().display())),
        "{text}"
    );
    assert!(text.contains("database.data_dir"), "{text}");
    assert!(
        !closed.path().join("below").exists(),
        "something was created all the same"
    );
}

#[tokio::test]
async fn data_of_another_version_are_refused_with_both_versions() {
    let dir = home();
    start(dir.path()).await.stop().await.expect("the server stops");
    fs::write(dir.path().join("data/PG_VERSION"), "9.6\n").expect("the file can be written");
    let text = refusal(options(dir.path())).await;
    assert!(
        text.contains("is of Postgres 9, and the installed Postgres is 1"),
        "{text}"
    );
}
