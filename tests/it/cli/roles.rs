//! The whole program as the daemon's role, from the SQL that it prints.

use calmirror::simulator::{Answer, RateLimit, Target};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::Setup;
use crate::{
    grants::cast::{Cast, execute},
    support::program::Ended,
};

const SECTIONS: &str = "[removal]\nmin_age_s = 0\n[schedule]\ncron = \"* * * * * *\"";

struct Stage {
    setup: Setup,
    cast: Cast,
}

impl Stage {
    async fn new(users: usize) -> Self {
        let setup = Setup::new(1, users).await;
        let cast = Cast::without_rights(&setup.db);
        let roles = [
            "--migrator",
            &cast.roles.migrator,
            "--daemon",
            &cast.roles.daemon,
            "--reader",
            &cast.roles.reader,
        ];
        let grants = [&["grants"][..], &roles].concat();
        let printed = setup.run(&grants).await.expect(0);
        assert_eq!(printed.stderr, "");
        let mut admin = cast.admin().await;
        execute(&mut admin, &printed.stdout).await;
        let logins = [&cast.roles.migrator, &cast.roles.daemon, &cast.roles.reader];
        cast.with_passwords(&mut admin, &logins).await;
        let mut stage = Self { setup, cast };
        stage.be(&stage.cast.roles.daemon.clone());
        stage
    }

    /// Whom the program connects as from now on.
    fn be(&mut self, role: &str) {
        self.setup.database_url = self.cast.url(role);
        self.setup.configure(SECTIONS);
    }

    /// Runs a command that nothing is refused to.
    async fn run(&self, arguments: &[&str], code: i32) -> Ended {
        let ended = self.setup.run(arguments).await.expect(code);
        assert!(!ended.to_string().contains("(42501)"), "{ended}");
        ended
    }

    async fn sync(&self, code: i32) -> Value {
        self.run(&["sync", "--output", "json"], code)
            .await
            .json()
            .swap_remove(0)
    }

    fn user(&self, position: usize) -> i64 {
        self.setup.clients[0].users[position]
    }

    fn place(&self, user: i64, record: &str) {
        self.setup
            .simulator
            .place_raw(&self.setup.clients[0].id, user, record)
            .expect("the record can be placed");
    }

    fn record(&self, user: i64) -> Value {
        let record = self.setup.simulator.user_json(user).expect("the user is there");
        serde_json::from_slice(&record).expect("it is JSON")
    }

    fn rename(&self, user: i64, name: &str) {
        self.setup
            .simulator
            .patch_user(user, json!({ "name": name }))
            .expect("the user can be changed");
    }

    fn delete(&self, user: i64) {
        self.setup.simulator.delete_user(user).expect("the user is there");
    }
}

#[tokio::test]
async fn everything_that_passes_do_works_as_the_daemon() {
    let stage = Stage::new(100).await;
    let checked = stage.run(&["check"], 0).await;
    assert!(!checked.stdout.contains("warn"), "{checked}");
    assert_eq!(
        stage.run(&["migrate"], 0).await.stdout,
        "schema public is up to date\n"
    );
    stage.run(&["plan"], 10).await;
    assert_eq!(stage.sync(0).await["inserted"], 100);

    // Changes, one of them to a row that was edited here; a field that nobody knows; a record that cannot be read.
    let mut admin = stage.cast.admin().await;
    let edited = stage.user(1);
    execute(
        &mut admin,
        &format!("update managed_users set name = 'edited' where id = {edited}"),
    )
    .await;
    stage.rename(edited, "Ada");
    stage.rename(stage.user(2), "Grace");
    let mut record = stage.record(stage.user(3));
    record["pronouns"] = json!("she/her");
    stage.place(stage.user(3), &record.to_string());
    let good = stage.record(stage.user(4)).to_string();
    stage.place(stage.user(4), "{}");
    let report = stage.sync(4).await;
    assert_eq!(
        (&report["updated"], &report["rejected"]),
        (&json!(3), &json!(1)),
        "{report}"
    );
    stage.place(stage.user(4), &good);
    assert_eq!(stage.sync(0).await["outcome"], "no_change");
    for (query, expected) in [
        (
            "select count(*) from managed_user_changes where kind = 'repair'",
            1,
        ),
        ("select count(*) from extra_fields", 1),
        ("select count(*) from rejects", 0),
    ] {
        assert_eq!(stage.setup.value::<i64>(query).await, expected, "{query}");
    }

    // Removals, a restore, and a set that is held and let through.
    let gone = stage.record(stage.user(5)).to_string();
    stage.delete(stage.user(5));
    stage.sync(0).await;
    assert_eq!(stage.sync(0).await["removed"], 1);
    stage.place(stage.user(5), &gone);
    assert_eq!(stage.sync(0).await["restored"], 1);
    for position in 10..40 {
        stage.delete(stage.user(position));
    }
    stage.sync(0).await;
    let held = stage.sync(3).await;
    assert_eq!(stage.sync(3).await["outcome"], "held");
    let run = held["run_id"].as_i64().expect("the pass is on record") + 1;
    stage.run(&["plan"], 3).await;
    assert!(stage.run(&["status"], 0).await.stdout.contains("approve"));
    stage.run(&["approve", &run.to_string()], 0).await;

    stage.run(&["history", &stage.user(5).to_string()], 0).await;
    stage.run(&["plan", "--requests"], 0).await;
    stage.run(&["verify"], 0).await;
    stage.run(&["status", "--output", "json"], 0).await;

    // What is not kept.
    execute(
        &mut admin,
        "update sync_runs set started_at = started_at - interval '1 year', finished_at = finished_at - interval '1 year'
         where outcome = 'no_change'",
    )
    .await;
    let pruned = stage.run(&["prune", "--output", "json"], 0).await.json();
    assert!(pruned[0]["deleted"]["sync_runs"].as_i64() > Some(0), "{pruned:?}");
}

#[tokio::test]
async fn a_daemon_that_was_granted_it_folds_the_ledger() {
    let stage = Stage::new(3).await;
    stage.sync(0).await;
    stage.rename(stage.user(1), "Ada");
    stage.sync(0).await;
    let mut admin = stage.cast.admin().await;
    execute(
        &mut admin,
        "update managed_user_changes set observed_at = observed_at - interval '5 days'",
    )
    .await;
    stage.setup.configure("[retention]\nledger_days = 1");
    let refused = stage.setup.run(&["prune"]).await.expect(1);
    assert!(refused.to_string().contains("(42501)"), "{refused}");
    execute(&mut admin, &stage.cast.script("public", true)).await;
    let pruned = stage.run(&["prune", "--output", "json"], 0).await.json();
    assert_eq!(pruned[0]["folded_users"], 1, "{pruned:?}");
    let checked = stage.run(&["check"], 0).await;
    assert!(!checked.stdout.contains("warn"), "{checked}");
}

#[tokio::test]
async fn a_daemon_that_is_cut_limited_and_asked_by_query_works_as_its_role() {
    let mut stage = Stage::new(300).await;
    stage.setup.simulator.set_rate_limit(RateLimit {
        per_client: 100_000,
        ..RateLimit::default()
    });
    stage.sync(0).await;
    let noted: i64 = stage.setup.value("select count(*) from rate_limits").await;
    assert_eq!(noted, 1, "what is left of the window is on record");

    stage.setup.fetch = "bulk";
    stage.setup.configure(SECTIONS);
    let mut daemon = stage.setup.workplace.start(&["run"]);
    daemon.logged_times("pass ended", 3).await;
    stage
        .setup
        .simulator
        .script(Target::User(stage.user(7)), 1, Answer::Hang);
    stage.delete(stage.user(8));
    stage.rename(stage.user(9), "Emmy");
    daemon.logged("change.kind=update").await;
    daemon.logged("change.kind=removal").await;
    daemon.signal(Signal::SIGTERM);
    let ended = daemon.end().await.expect(0);
    stage.setup.simulator.clear_scripts();
    assert!(!ended.stderr.contains("(42501)"), "{ended}");

    // A pass that is cut, and the one that goes on from it.
    stage.setup.fetch = "get";
    let hardly_ever = SECTIONS.replace("* * * * * *", "0 0 1 1 *");
    stage.setup.configure(&hardly_ever);
    let before = stage.setup.simulator.requests().get_user;
    stage
        .setup
        .simulator
        .script(Target::User(stage.user(290)), 1, Answer::Hang);
    let program = stage.setup.workplace.start(&["sync"]);
    stage
        .setup
        .simulator
        .wait_until(|counts| counts.get_user >= before + 299)
        .await;
    program.signal(Signal::SIGTERM);
    program.end().await.expect(4);
    stage.setup.simulator.release();
    let resumed = stage.sync(0).await;
    assert!(resumed["requests"].as_i64() < Some(200), "{resumed}");

    // Users by a query, which is asked as the daemon too.
    let text = stage.setup.workplace.path().join("config.toml");
    let config = std::fs::read_to_string(&text).expect("the configuration can be read");
    let (above, _) = config.split_once("users = [").expect("a list of users");
    let by_query = format!("{above}users_sql = \"select id as user_id, email from managed_users\"\n");
    stage.setup.workplace.write("config.toml", &by_query);
    assert_eq!(stage.sync(0).await["outcome"], "no_change");
    stage.run(&["check"], 0).await;
    stage.run(&["status"], 0).await;
}

#[tokio::test]
async fn what_an_operator_does_is_for_the_migrator_and_the_daemon_says_so() {
    let mut stage = Stage::new(3).await;
    stage.sync(0).await;
    let user = stage.user(1).to_string();
    let refused = stage.setup.run(&["forget", &user]).await.expect(1);
    for said in [
        stage.cast.roles.daemon.as_str(),
        "DELETE on managed_user_changes",
        "INSERT on forgotten_users",
        "the role that owns the tables",
    ] {
        assert!(refused.stderr.contains(said), "{said}: {refused}");
    }
    assert_eq!(
        stage
            .setup
            .value::<i64>("select count(*) from managed_user_changes")
            .await,
        3
    );

    // A row that the ledger does not know is deleted, which no pass does.
    let mut admin = stage.cast.admin().await;
    execute(
        &mut admin,
        "insert into managed_users select 7, client_id, email, username, name, bio, time_zone, week_start, created_date,
             time_format, default_schedule_id, locale, avatar_url, metadata, extra, 1, first_seen_at, changed_at, null
         from managed_users limit 1",
    )
    .await;
    stage.run(&["verify"], 1).await;
    let refused = stage.setup.run(&["verify", "--repair"]).await.expect(1);
    assert!(
        refused
            .to_string()
            .contains("permission denied for table managed_users")
            && refused.to_string().contains("the role that owns the tables"),
        "{refused}"
    );

    stage.be(&stage.cast.roles.migrator.clone());
    stage.run(&["verify", "--repair"], 0).await;
    stage.run(&["forget", &user], 0).await;
    assert_eq!(
        stage
            .setup
            .value::<i64>("select count(*) from managed_users")
            .await,
        2
    );
}

#[tokio::test]
async fn migrations_that_are_due_are_left_to_the_migrator() {
    let mut stage = Stage::new(3).await;
    stage.sync(0).await;
    let mut admin = stage.cast.admin().await;
    // The table would be made by the newest one that is not on record; what is there already is of no matter here.
    execute(
        &mut admin,
        "delete from calmirror_migrations where version = (select max(version) from calmirror_migrations)",
    )
    .await;
    for command in ["sync", "migrate", "check"] {
        let ended = stage.setup.run(&[command]).await.expect(1);
        let said = ended.to_string();
        assert!(
            said.contains("schema public lacks 1 migrations") && said.contains("run `calmirror migrate`"),
            "{ended}"
        );
    }
    stage.be(&stage.cast.roles.migrator.clone());
    let checked = stage.setup.run(&["check"]).await.expect(0);
    assert!(
        checked.stdout.contains("1 migrations are due at the next pass"),
        "{checked}"
    );
    assert!(
        checked.stdout.contains("it owns the mirror's tables"),
        "{checked}"
    );
}

#[tokio::test]
async fn programs_get_the_same_statements_and_bad_names_are_refused() {
    let mut setup = Setup::new(1, 1).await;
    // Nobody is asked.
    setup.database_url = "postgres://nobody@127.0.0.1:9/nothing".to_owned();
    setup.configure("schema = \"mirror\"");
    let text = setup.run(&["grants"]).await.expect(0);
    let lines = setup.run(&["--output", "json", "grants"]).await.expect(0).json();
    let [grants] = &lines[..] else {
        panic!("one line: {lines:?}");
    };
    assert_eq!(
        (
            &grants["schema"],
            &grants["migrator"],
            &grants["daemon"],
            &grants["reader"]
        ),
        (
            &json!("mirror"),
            &json!("calmirror_migrator"),
            &json!("calmirror_daemon"),
            &json!("calmirror_reader")
        )
    );
    let statements = grants["statements"].as_array().expect("a list");
    let without_comments: String = text
        .stdout
        .lines()
        .filter(|line| !line.starts_with("--") && !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    let joined: String = statements
        .iter()
        .map(|statement| format!("{};\n", statement.as_str().expect("a text")))
        .collect();
    assert_eq!(without_comments, joined);
    for names in [["--daemon", "pg_daemon"], ["--daemon", "calmirror_reader"]] {
        let ended = setup.run(&[&["grants"], &names[..]].concat()).await.expect(2);
        assert!(ended.stderr.contains(names[1]), "{ended}");
    }
}
