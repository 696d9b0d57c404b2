//! `calmirror simulate` and `calmirror sync` as two processes, by what the one prints for the other.

use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{
    TestDb, http,
    program::{Ended, Program, Workplace},
};

const CLIENTS: usize = 2;
const USERS: usize = 150;

/// A simulator that runs, and all that it printed where it belongs.
struct Pasted {
    workplace: Workplace,
    simulator: Program,
    base_url: String,
    client: String,
    secret: String,
}

impl Pasted {
    async fn start(database: &str) -> Self {
        let mut workplace = Workplace::new();
        // Neither side counts requests: these are more than Cal.com takes in so short a time.
        workplace.set("CALMIRROR__CALCOM__REQUESTS_PER_MINUTE", "0");
        let users_dir = workplace.path().join("users");
        let users_dir = users_dir.to_str().expect("the path is text");
        let (users, clients) = (USERS.to_string(), CLIENTS.to_string());
        let mut simulator = workplace.start(&[
            "simulate",
            "--port",
            "0",
            "--users",
            &users,
            "--clients",
            &clients,
            "--users-dir",
            users_dir,
            "--rate-limit",
            "0",
        ]);
        let printed = simulator.printed("# Serving").await;
        let (config, shell) = printed
            .split_once("# For the shell")
            .expect("the shell's part follows");
        workplace.write("config.toml", &format!("{config}\n[database]\n{database}\n"));
        let mut secrets = Vec::new();
        for line in shell.lines() {
            if let Some((name, value)) = line
                .strip_prefix("export ")
                .and_then(|export| export.split_once('='))
            {
                workplace.set(name, value);
                secrets.push(value.to_owned());
            }
        }
        assert_eq!(secrets.len(), CLIENTS, "{printed}");
        let quoted = |key: &str| {
            let line = config.lines().find(|line| line.starts_with(key));
            let line = line.unwrap_or_else(|| panic!("no {key} in {printed}"));
            line.split('"').nth(1).expect("a quoted value").to_owned()
        };
        Self {
            base_url: quoted("base_url"),
            client: quoted("id"),
            secret: secrets.swap_remove(0),
            workplace,
            simulator,
        }
    }

    async fn sync(&self) -> (Vec<Value>, Ended) {
        let ended = self.workplace.run(&["--output", "json", "sync"]).await.expect(0);
        (ended.json(), ended)
    }

    fn first_user(&self) -> i64 {
        let file: PathBuf = self.workplace.path().join("users/users-acme.txt");
        let ids = std::fs::read_to_string(file).expect("the ids are written");
        assert_eq!(ids.lines().count(), USERS);
        ids.lines().next().and_then(|id| id.parse().ok()).expect("an id")
    }

    async fn patch(&self, user: i64, body: &str) {
        let address = self.base_url.trim_start_matches("http://");
        let path = format!("/v2/oauth-clients/{}/users/{user}", self.client);
        let headers = [
            ("x-cal-client-id", self.client.as_str()),
            ("x-cal-secret-key", self.secret.as_str()),
            ("content-type", "application/json"),
        ];
        let address = address.parse().expect("an address and a port");
        let answer = http::request(address, "PATCH", &path, &headers, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// All pairs, then none, then the one that was changed, then none.
    async fn mirror(&self) {
        let each = |reports: &[Value], outcome: &str, key: &str, count: usize| {
            assert_eq!(reports.len(), CLIENTS);
            for report in reports {
                assert_eq!(
                    (&report["outcome"], &report[key]),
                    (&outcome.into(), &count.into())
                );
            }
        };
        each(&self.sync().await.0, "applied", "inserted", USERS);
        each(&self.sync().await.0, "no_change", "unchanged", USERS);
        let user = self.first_user();
        self.patch(user, r#"{"timeZone":"Asia/Tokyo"}"#).await;
        let (reports, ended) = self.sync().await;
        let updated: i64 = reports
            .iter()
            .filter_map(|report| report["updated"].as_i64())
            .sum();
        assert_eq!(updated, 1);
        assert_eq!(ended.log_lines("user changed").len(), 1, "{ended}");
        let history = self
            .workplace
            .run(&["--output", "json", "history", &user.to_string()])
            .await
            .expect(0)
            .json();
        assert_eq!(history.len(), 2);
        assert_eq!(history[1]["changed"]["time_zone"]["new"], "Asia/Tokyo");
        each(&self.sync().await.0, "no_change", "unchanged", USERS);
    }

    async fn end(self) {
        self.simulator.signal(Signal::SIGINT);
        self.simulator.end().await.expect(0);
    }
}

#[tokio::test]
async fn into_a_postgres_that_is_there() {
    let db = TestDb::new().await;
    let pasted = Pasted::start(&format!("url = \"{}\"", db.url())).await;
    pasted.mirror().await;
    pasted.end().await;
    let live: i64 = sqlx::query_scalar("select count(*) from managed_users_live")
        .fetch_one(&db.pool().await)
        .await
        .expect("the mirror can be read");
    assert_eq!(usize::try_from(live), Ok(CLIENTS * USERS));
}

#[tokio::test]
async fn into_an_embedded_postgres() {
    let pasted = Pasted::start("url = \"embedded\"\ndata_dir = \"postgres\"").await;
    pasted.mirror().await;
    let postmaster = pasted.workplace.path().join("postgres/data/postmaster.pid");
    assert!(!postmaster.exists(), "the server outlived its last user");
    pasted.end().await;
}
