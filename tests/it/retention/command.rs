//! `calmirror prune`, the daemon's own, and what the other commands show of it.

use calmirror::simulator::{RateLimit, Simulator, SimulatorConfig};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{date_back, execute, value};
use crate::support::{TestDb, program::Workplace};

/// A client with four users, who all have changed twice, in passes of 23 to 25 days ago; a pass that changed nothing, of 22
/// days ago; and one of 21.
struct Setup {
    simulator: Simulator,
    db: TestDb,
    pool: PgPool,
    workplace: Workplace,
}

const RETENTION: &str = "[retention]\nno_change_runs_days = 21\nledger_days = 10";

impl Setup {
    async fn new(sections: &str) -> Self {
        let simulator = Simulator::start(SimulatorConfig {
            users_per_client: 4,
            rate_limit: RateLimit::OFF,
            ..SimulatorConfig::default()
        })
        .await
        .expect("the simulator starts");
        let db = TestDb::new().await;
        let setup = Self {
            pool: db.pool().await,
            workplace: Workplace::new(),
            simulator,
            db,
        };
        setup.configure(sections);
        for name in ["One", "Two", "Three", "Three", "Three"] {
            if name != "One" {
                for user in setup.users() {
                    setup
                        .simulator
                        .patch_user(user, json!({ "name": name }))
                        .expect("the user can be changed");
                }
            }
            setup.workplace.run(&["sync"]).await.expect(0);
        }
        date_back(&setup.pool, 21).await;
        setup
    }

    fn users(&self) -> Vec<i64> {
        self.simulator.clients()[0].users.clone()
    }

    fn configure(&self, sections: &str) {
        let client = &self.simulator.clients()[0];
        self.workplace.write("secret", &client.secret);
        self.workplace.write(
            "config.toml",
            &format!(
                "[calcom]\nbase_url = \"{}\"\nrequests_per_minute = 0\n[database]\nurl = \"{}\"\n{sections}\n\
                 [[clients]]\nname = \"acme\"\nid = \"{}\"\nsecret = {{ file = \"secret\" }}\nusers = {:?}\n",
                self.simulator.base_url(),
                self.db.url(),
                client.id,
                client.users,
            ),
        );
    }

    async fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let all = [&["--output", "json"], arguments].concat();
        self.workplace.run(&all).await.expect(0).json()
    }
}

#[tokio::test]
async fn prune_deletes_what_a_dry_run_shows_and_says_so() {
    let setup = Setup::new(RETENTION).await;
    let tables =
        "select (select count(*) from sync_runs) || ' ' || (select count(*) from managed_user_changes)
        || ' ' || (select count(*) from retention)";
    let before = value::<String>(&setup.pool, tables).await;
    assert_eq!(before, "5 12 0");
    let dry = setup.workplace.run(&["prune", "--dry-run"]).await.expect(0);
    assert_eq!(
        dry.stdout,
        "sync_runs: 1 row would be deleted\nrejects: 0 rows would be deleted\n\
         managed_user_changes: 8 rows would be deleted, folded into 4 others\n"
    );
    let [dry] = &setup.json(&["prune", "--dry-run"]).await[..] else {
        panic!("one line")
    };
    assert_eq!(
        value::<String>(&setup.pool, tables).await,
        before,
        "nothing is written"
    );
    assert_eq!(dry["history_from"], Value::Null, "nothing is folded yet");
    let [line] = &setup.json(&["prune"]).await[..] else {
        panic!("one line")
    };
    let history_from = setup.json(&["status"]).await[0]["retention"]["history_from"].clone();
    assert!(history_from.is_string());
    assert_eq!(
        *line,
        json!({
            "dry_run": false, "complete": true,
            "deleted": { "sync_runs": 1, "rejects": 0, "managed_user_changes": 8 },
            "folded_users": 4, "users_in_doubt": 0, "history_from": history_from,
        })
    );
    assert_eq!(dry["dry_run"], true);
    assert_eq!(dry["deleted"], line["deleted"]);
    assert_eq!(value::<String>(&setup.pool, tables).await, "4 4 1");

    let again = setup.workplace.run(&["prune"]).await.expect(0);
    assert_eq!(
        again.stdout,
        "sync_runs: 0 rows deleted\nrejects: 0 rows deleted\n\
         managed_user_changes: 0 rows deleted, folded into 0 others\n"
    );
    let logged = again.log_lines("deleted what [retention] does not keep");
    assert_eq!(logged, [""; 0], "it is said once");
    // What is gone is gone, whatever is configured since.
    for sections in ["[retention]\nledger_days = 15", "[retention]\nledger_days = 0"] {
        setup.configure(sections);
        let line = &setup.json(&["prune"]).await[0];
        assert_eq!(line["history_from"], history_from, "{sections}");
    }
    setup.configure("[retention]\nno_change_runs_days = 0\nrejects_days = 0");
    let nothing = setup.workplace.run(&["prune"]).await.expect(0);
    assert_eq!(
        nothing.stdout,
        "sync_runs: kept for ever, as retention.no_change_runs_days says\n\
         rejects: kept for ever, as retention.rejects_days says\n\
         managed_user_changes: kept for ever, as retention.ledger_days says\n"
    );
}

#[tokio::test]
async fn history_and_status_show_what_was_folded_and_a_repair_goes_on_from_there() {
    let setup = Setup::new(RETENTION).await;
    let status = setup.json(&["status"]).await;
    assert_eq!(status[0]["retention"], Value::Null);
    let text = setup.workplace.run(&["status"]).await.expect(0);
    assert!(!text.stdout.contains("retention"), "{text}");
    setup.json(&["prune"]).await;
    let user = setup.users()[2].to_string();
    let text = setup.workplace.run(&["history", &user]).await.expect(0);
    assert!(text.stdout.starts_with("v3 insert  20"), "{text}");
    assert!(text.stdout.contains("\n    (versions 1 to 3, since 20"), "{text}");
    assert!(text.stdout.contains("\n    name: \"Three\"\n"), "{text}");
    let lines = setup.json(&["history", &user]).await;
    let first_seen = value::<String>(
        &setup.pool,
        "select min(to_jsonb(first_seen_at) #>> '{}') from managed_users",
    )
    .await;
    let spelled = |time: &Value| {
        chrono::DateTime::parse_from_rfc3339(time.as_str().unwrap_or_default()).expect("a time")
    };
    assert_eq!(lines.len(), 1);
    assert_eq!(
        spelled(&lines[0]["folded"]["first_seen_at"]),
        spelled(&json!(first_seen))
    );
    assert_eq!(lines[0]["folded"]["removed_at"], Value::Null);

    let status = setup.json(&["status"]).await;
    let retention = &status[0]["retention"];
    assert_eq!(
        (
            &retention["deleted_runs"],
            &retention["deleted_versions"],
            &retention["users_in_doubt"]
        ),
        (&json!(1), &json!(8), &json!(0))
    );
    assert!(retention["history_from"].is_string() && retention["finished_at"].is_string());
    let text = setup.workplace.run(&["status"]).await.expect(0);
    let told = text.stdout.replace("\n    ", " ");
    assert!(told.contains("\nretention: last done at 20"), "{text}");
    assert!(
        told.contains("1 runs, 0 rejects and 8 versions deleted; history is whole from 20"),
        "{text}"
    );

    setup
        .workplace
        .run(&["verify", "--instants", "20"])
        .await
        .expect(0);
    execute(
        &setup.pool,
        format!("update managed_users set first_seen_at = now(), bio = 'edited' where id = {user}"),
    )
    .await;
    setup.workplace.run(&["verify"]).await.expect(1);
    setup.workplace.run(&["verify", "--repair"]).await.expect(0);
    setup
        .workplace
        .run(&["verify", "--instants", "20"])
        .await
        .expect(0);
    let lines = setup.json(&["history", &user]).await;
    let kinds: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["kind"].clone(),
                line["version"].clone(),
                line.get("folded").is_some(),
            )
        })
        .collect();
    assert_eq!(
        kinds,
        [
            (json!("insert"), json!(3), true),
            (json!("repair"), json!(4), false)
        ]
    );
    setup.workplace.run(&["sync"]).await.expect(0);
}

#[tokio::test]
async fn a_ledger_in_doubt_is_four_and_named_by_verify() {
    let setup = Setup::new(RETENTION).await;
    let user = setup.users()[1];
    execute(
        &setup.pool,
        format!("update managed_user_changes set changed = '{{}}' where user_id = {user} and version = 2"),
    )
    .await;
    for arguments in [&["prune", "--dry-run"][..], &["prune"]] {
        let ended = setup.workplace.run(arguments).await.expect(4);
        assert!(
            ended.stdout.ends_with(
                "the ledger of 1 user has a fault and is left as it is: `calmirror verify` says which\n"
            ),
            "{ended}"
        );
    }
    assert_eq!(
        value::<i64>(&setup.pool, "select count(*) from managed_user_changes").await,
        3 + 3
    );
    let text = setup.workplace.run(&["status"]).await.expect(0);
    let told = text.stdout.replace("\n    ", " ");
    assert!(
        told.contains("1 users' ledger has a fault and was not folded"),
        "{text}"
    );
}

#[tokio::test]
async fn a_database_without_tables_is_one_and_one_that_is_away_seventy_five() {
    let db = TestDb::empty().await;
    let mut workplace = Workplace::new();
    workplace.set("SECRET", "s");
    let configure = |url: &str| {
        workplace.write(
            "config.toml",
            &format!(
                "[database]\nurl = \"{url}\"\n[[clients]]\nname = \"acme\"\nid = \"x\"\n\
                 secret = {{ env = \"SECRET\" }}\nusers = [1]\n"
            ),
        );
    };
    configure(&db.url());
    for arguments in [&["prune"][..], &["prune", "--dry-run"]] {
        let ended = workplace.run(arguments).await.expect(1);
        assert!(ended.stderr.contains("calmirror migrate"), "{ended}");
    }
    configure("postgres://nobody@127.0.0.1:1/nothing");
    workplace.run(&["prune"]).await.expect(75);
}

#[tokio::test]
async fn the_daemon_does_it_beside_its_passes_and_ends_with_them() {
    // Whether the first pass ends before or after it must not matter: it takes the last complete pass's place, of 21 days ago,
    // which nothing then refers to any more.
    let retention = "[retention]\nno_change_runs_days = 22\nledger_days = 10";
    let setup = Setup::new(retention).await;
    setup.configure(&format!("[schedule]\ncron = \"0 0 1 1 *\"\n{retention}"));
    let mut program = setup.workplace.start(&["run"]);
    let log = program.logged("deleted what [retention] does not keep").await;
    let line = log
        .lines()
        .find(|line| line.contains("deleted what"))
        .expect("it was logged");
    for part in [
        "INFO",
        "deleted.sync_runs=1",
        "deleted.rejects=0",
        "deleted.managed_user_changes=8",
        "folded_users=4",
        "is_complete=true",
    ] {
        assert!(line.contains(part), "{line}");
    }
    program.logged("pass ended").await;
    program.signal(Signal::SIGTERM);
    let ended = program.end().await.expect(0);
    assert!(!ended.stderr.contains("could not be deleted"), "{ended}");
    // Another process knows that it was done today.
    execute(
        &setup.pool,
        "insert into sync_runs (client_id, client_name, outcome, started_at, finished_at)
         values ('x', 'x', 'skipped', '2020-01-01', '2020-01-01')",
    )
    .await;
    setup.configure(&format!(
        "[log]\nlevel = \"debug\"\n[schedule]\ncron = \"0 0 1 1 *\"\n{retention}"
    ));
    let mut program = setup.workplace.start(&["run"]);
    program.logged("not due yet").await;
    program.signal(Signal::SIGTERM);
    let ended = program.end().await.expect(0);
    assert!(ended.log_lines("deleted what").is_empty(), "{ended}");
    assert_eq!(
        value::<i64>(
            &setup.pool,
            "select count(*) from sync_runs where client_id = 'x'"
        )
        .await,
        1
    );
}
