//! `calmirror demo`, the first thing that people see.

use std::{fs, os::unix::net::UnixStream, path::PathBuf};

use nix::sys::signal::Signal;

use crate::support::program::Workplace;

#[tokio::test]
async fn three_passes_and_what_they_leave() {
    let workplace = Workplace::new();
    // A variable that happens to be set is not meant for the demo.
    let variables = [("DATABASE_URL", "postgres://127.0.0.1:1/nowhere")];
    let demo = workplace
        .run_with(&variables, &["demo", "--once", "--dir", "demo"])
        .await
        .expect(0);
    let rows: Vec<Vec<&str>> = super::cells(&demo.stdout)
        .into_iter()
        .filter(|row| matches!(row.first(), Some(&("acme" | "globex"))))
        .collect();
    assert_eq!(rows.len(), 6, "two clients, three passes: {demo}");
    let count = |row: &[&str], column: usize| row[column].parse::<u32>().expect("a number");
    let (inserted, updated) = (3, 4);
    assert!(
        rows[..2]
            .iter()
            .all(|row| row[1] == "applied" && count(row, inserted) > 100),
        "{demo}"
    );
    let second: u32 = rows[2..4].iter().map(|row| count(row, updated)).sum();
    assert!(second > 0, "{demo}");
    assert_eq!(rows[4][1], "no_change", "{demo}");
    assert_eq!(rows[5][1], "no_change", "{demo}");
    assert!(demo.stdout.contains("rows written: 0"), "{demo}");
    let changes = u32::try_from(demo.log_lines("user changed").len()).expect("a few");
    let inserted_later: u32 = rows[2..4].iter().map(|row| count(row, inserted)).sum();
    assert_eq!(
        changes,
        second + inserted_later,
        "one line a changed user: {demo}"
    );

    let config = ["--config", "demo/config.toml", "--output", "json"];
    let status = workplace
        .run(&[&config[..], &["status"]].concat())
        .await
        .expect(0)
        .json();
    let clients = status[0]["clients"].as_array().expect("a list");
    assert_eq!(clients.len(), 2);
    for client in clients {
        assert_eq!(
            (&client["verdict"], &client["rejects"]),
            (&"fresh".into(), &0.into())
        );
    }
    let user = demo
        .stdout
        .lines()
        .find_map(|line| line.split_once(" history ").map(|(_, user)| user.trim()))
        .expect("the demo names a user to look at");
    let history = workplace
        .run(&[&config[..], &["history", user]].concat())
        .await
        .expect(0)
        .json();
    assert_eq!(history.len(), 2);
    assert_eq!(history[1]["kind"], "update");
}

#[tokio::test]
async fn it_goes_on_until_it_is_told_to_end() {
    let workplace = Workplace::new();
    let mut demo = workplace.start(&["demo", "--dir", "demo"]);
    let printed = demo.printed("Ctrl-C").await;
    demo.logged("calmirror runs").await;
    let socket = socket(&printed);
    UnixStream::connect(&socket).expect("the server answers while the demo runs");
    demo.signal(Signal::SIGINT);
    demo.end().await.expect(0);
    assert!(
        UnixStream::connect(&socket).is_err(),
        "the server outlived the demo"
    );
}

/// From the line that opens a shell on the database.
fn socket(printed: &str) -> PathBuf {
    let dir = printed
        .split_once(" -h ")
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .expect("the demo says how to reach its database");
    PathBuf::from(dir).join(".s.PGSQL.5432")
}

#[tokio::test]
async fn it_empties_no_directory_that_is_not_its_own() {
    let workplace = Workplace::new();
    fs::create_dir(workplace.path().join("mine")).expect("the directory takes another one");
    workplace.write("mine/thesis.txt", "years of work");
    let ended = workplace.run(&["demo", "--once", "--dir", "mine"]).await;
    assert_ne!(ended.code(), 0);
    assert!(ended.stderr.contains("--dir"), "{ended}");
    assert!(workplace.path().join("mine/thesis.txt").exists());
}
