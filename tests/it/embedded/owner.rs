//! Processes that own a server and are killed: this test binary, run again for one test.

use super::*;

/// Tells the child which directory to use, and that it is a child at all.
const DIR: &str = "CALMIRROR_TEST_EMBEDDED_DIR";
const EPHEMERAL: &str = "CALMIRROR_TEST_EMBEDDED_EPHEMERAL";

/// Longer than a busy machine needs to stop a server.
#[tokio::test]
#[ignore = "the child of the other tests"]
async fn child() {
    let Some(dir) = environment(DIR) else {
        return;
    };
    let options = if environment(EPHEMERAL).is_some() {
        Options::ephemeral(dir)
    } else {
        options(Path::new(&dir))
    };
    match Embedded::start(options).await {
        Ok(server) => {
            println!("\nready");
            // Until the parent has enough of us.
            std::io::stdin()
                .read_to_end(&mut Vec::new())
                .expect("standard input can be read");
            drop(server);
        }
        Err(error) => println!("\nrefused: {error}"),
    }
}

fn spawn(dir: &Path, variables: &[(&str, &str)]) -> (Child, String) {
    let program = std::env::current_exe().expect("this program has a path");
    let mut child = Command::new(program)
        .args(["--exact", "embedded::owner::child", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program can be run");
    let stdout = child.stdout.take().expect("standard output is piped");
    let answer = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .find(|line| line == "ready" || line.starts_with("refused"))
        .expect("the child says how it went");
    (child, answer)
}

fn kill_hard(mut child: Child) {
    // SIGKILL: it has no chance to clean up.
    child.kill().expect("a child can be killed");
    child.wait().expect("a child can be waited for");
}

#[tokio::test]
async fn the_server_stops_when_its_owner_is_killed() {
    let dir = home();
    let (child, answer) = spawn(dir.path(), &[]);
    assert_eq!(answer, "ready");
    let pid = postmaster(dir.path());
    kill_hard(child);
    until("the server stops", || is_gone(pid)).await;
    let server = start(dir.path()).await;
    assert!(!server.is_joined());
    let log = fs::read_to_string(server.log_path()).expect("there is a log");
    assert!(!log.contains("was not properly shut down"), "{log}");
    server.stop().await.expect("the server stops");
}

#[tokio::test]
async fn an_ephemeral_directory_goes_when_its_owner_is_killed() {
    let dir = home();
    let (child, answer) = spawn(dir.path(), &[(EPHEMERAL, "yes")]);
    assert_eq!(answer, "ready");
    kill_hard(child);
    until("the directory goes", || !dir.path().exists()).await;
}

#[tokio::test]
async fn the_server_outlives_its_starter_while_another_process_uses_it() {
    let dir = home();
    let (child, answer) = spawn(dir.path(), &[]);
    assert_eq!(answer, "ready");
    let server = start(dir.path()).await;
    assert!(server.is_joined());
    let pid = postmaster(dir.path());
    kill_hard(child);
    run(&server, "SELECT 1").await;
    server.stop().await.expect("the server stops");
    assert!(is_gone(pid), "the last user does not wait for the server");
}

#[tokio::test]
async fn a_start_right_after_a_kill_waits_for_the_old_server() {
    let dir = home();
    let (child, answer) = spawn(dir.path(), &[]);
    assert_eq!(answer, "ready");
    let old = postmaster(dir.path());
    kill_hard(child);
    let server = start(dir.path()).await;
    // It may have come in time to join; either way there is one server, and it goes on.
    if !server.is_joined() {
        assert!(is_gone(old), "there are two servers");
    }
    run(&server, "SELECT 1").await;
    server.stop().await.expect("the server stops");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_server_whose_supervisor_was_killed_is_replaced() {
    let dir = home();
    let server = start(dir.path()).await;
    let orphan = postmaster(dir.path());
    let status = fs::read_to_string(format!("/proc/{orphan}/status")).expect("the server is there");
    let supervisor = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .and_then(|pid| pid.trim().parse().ok())
        .expect("every process has a parent");
    let watcher = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"))
        .expect("the supervisor is there")
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .find(|pid| *pid != orphan.as_raw())
        .expect("it has another child");
    for pid in [supervisor, watcher] {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it can be killed");
    }
    drop(server);
    let server = start(dir.path()).await;
    assert!(!server.is_joined());
    assert!(is_gone(orphan), "the old server still runs");
    server.stop().await.expect("the server stops");
}

#[tokio::test]
async fn a_bin_dir_without_postgres_is_named() {
    let (dir, empty) = (home(), home());
    let bin_dir = empty.path().to_str().expect("the path is text");
    let (child, answer) = spawn(dir.path(), &[("PG_BIN_DIR", bin_dir)]);
    assert_eq!(
        answer,
        format!("refused: PG_BIN_DIR names {bin_dir}, which cannot serve: there is no `initdb` in it")
    );
    kill_hard(child);
}

/// As in the container image, which has neither the programs nor a place to write.
#[tokio::test]
async fn missing_programs_are_named_before_a_directory_that_cannot_be_made() {
    let empty = home();
    let file = empty.path().join("file");
    fs::write(&file, "").expect("the directory takes a file");
    let bin_dir = empty.path().to_str().expect("the path is text");
    let (child, answer) = spawn(&file.join("postgres"), &[("PG_BIN_DIR", bin_dir)]);
    assert_eq!(
        answer,
        format!("refused: PG_BIN_DIR names {bin_dir}, which cannot serve: there is no `initdb` in it")
    );
    kill_hard(child);
}

#[tokio::test]
async fn the_server_does_not_see_our_environment() {
    if !Path::new("/proc/self/environ").exists() {
        return;
    }
    let dir = home();
    let (child, answer) = spawn(dir.path(), &[("CAL_SECRET", "hunter2"), ("PGPORT", "1")]);
    assert_eq!(answer, "ready");
    let environ = fs::read(format!("/proc/{}/environ", postmaster(dir.path()))).expect("it can be read");
    let environ = String::from_utf8_lossy(&environ);
    assert!(!environ.contains("hunter2"), "{environ}");
    kill_hard(child);
}
