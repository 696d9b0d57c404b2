//! `--output json`, held against docs/output.md: the document is what is true, and the program has to keep to it.

mod shape;

use std::collections::BTreeSet;

use calmirror::cli::Cli;
use clap::CommandFactory as _;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use self::shape::Shapes;
use super::Setup;
use crate::{retention::date_back, support::program::Workplace, verify::edit};

const JSON: [&str; 2] = ["--output", "json"];

/// Runs a command, which ends with one of these codes, and gives its lines.
async fn lines(setup: &Setup, arguments: &[&str], codes: &[i32]) -> Vec<Value> {
    let ended = setup.run(&[&JSON[..], arguments].concat()).await;
    assert!(codes.contains(&ended.code()), "{ended}");
    ended.json()
}

/// The last line of standard error.
async fn error(workplace: &Workplace, arguments: &[&str], code: i32) -> Vec<Value> {
    let ended = workplace.run(&[&JSON[..], arguments].concat()).await.expect(code);
    let line = ended.stderr.lines().last().unwrap_or_else(|| panic!("{ended}"));
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {ended}"));
    assert_eq!(value["exit_code"], code, "{ended}");
    vec![value]
}

/// What prints no JSON, as the document says at its head.
const WITHOUT: [&str; 3] = ["completions", "man", "run"];

#[test]
fn every_command_has_its_json_documented_or_has_none() {
    let program = Cli::command();
    let commands: BTreeSet<&str> = program.get_subcommands().map(clap::Command::get_name).collect();
    let shapes = Shapes::documented();
    let documented = shapes.commands().into_iter().chain(WITHOUT).collect();
    assert_eq!(commands, documented);
    let document = include_str!("../../../docs/output.md");
    let head = document.split("\n- ").next().unwrap_or_default();
    for command in WITHOUT {
        assert!(head.contains(&format!("`{command}`")), "{command}: {head}");
    }
}

#[tokio::test]
async fn every_command_prints_the_json_that_is_documented() {
    let mut shapes = Shapes::documented();
    passes(&mut shapes).await;
    kept(&mut shapes).await;
    configurations(&mut shapes).await;
    servers(&mut shapes).await;
    failures(&mut shapes).await;
    shapes.assert_all_seen();
}

/// What has to do with passes and the mirror.
async fn passes(shapes: &mut Shapes) {
    let mut setup = Setup::new(2, 20).await;
    setup.configure("[removal]\nmin_age_s = 0");
    shapes.hold("migrate", &lines(&setup, &["migrate"], &[0]).await);
    shapes.hold("check", &lines(&setup, &["check"], &[0]).await);
    let planned = lines(&setup, &["plan"], &[10]).await;
    hold_plan(shapes, &planned);
    shapes.hold("sync", &lines(&setup, &["sync"], &[0]).await);

    let [first, second] = [0, 1].map(|client: usize| setup.clients[client].clone());
    let patch = json!({ "timeZone": "Asia/Tokyo" });
    setup
        .simulator
        .patch_user(first.users[0], patch)
        .expect("the user can be changed");
    setup
        .simulator
        .delete_user(first.users[1])
        .expect("the user is there");
    let whole = setup
        .simulator
        .user_json(first.users[2])
        .expect("the user is there")
        .to_vec();
    let mut more: Value = serde_json::from_slice(&whole).expect("a record is JSON");
    more["favourite"] = "tea".into();
    for (user, record) in [(2, more.to_string()), (3, "{}".to_owned())] {
        setup
            .simulator
            .place_raw(&first.id, first.users[user], record)
            .expect("the record can be placed");
    }
    for user in &second.users[..8] {
        setup.simulator.delete_user(*user).expect("the user is there");
    }
    hold_plan(shapes, &lines(&setup, &["plan"], &[3, 4]).await);
    shapes.hold("sync", &lines(&setup, &["sync"], &[3, 4]).await);
    // Somebody whom Cal.com never had, and somebody who is no longer asked for.
    setup.clients[0].users.push(777_777);
    setup.clients[1].users.truncate(19);
    setup.configure("[removal]\nmin_age_s = 0");
    shapes.hold("sync", &lines(&setup, &["sync"], &[3]).await);
    setup
        .simulator
        .delete_user(first.users[5])
        .expect("the user is there");
    shapes.hold("sync", &lines(&setup, &["sync"], &[3, 4]).await);
    hold_plan(shapes, &lines(&setup, &["plan"], &[3, 4, 10]).await);
    let requests = [
        ("CALMIRROR__CALCOM__REQUESTS_PER_MINUTE", "100"),
        ("CALMIRROR__CALCOM__REQUESTS_PER_MINUTE", "0"),
    ];
    for variable in requests {
        let arguments = [&JSON[..], &["plan", "--requests"]].concat();
        let ended = setup.workplace.run_with(&[variable], &arguments).await.expect(0);
        shapes.hold("plan --requests", &ended.json());
    }
    let forgotten = first.users[6].to_string();
    shapes.hold("forget", &lines(&setup, &["forget", &forgotten], &[0]).await);
    let status = lines(&setup, &["status"], &[0]).await;
    shapes.hold("status", &status);
    let held = status[0]["clients"][1]["held"]["run_id"].to_string();
    shapes.hold("approve", &lines(&setup, &["approve", &held], &[0]).await);
    shapes.hold(
        "history",
        &lines(&setup, &["history", &first.users[0].to_string()], &[0]).await,
    );
    findings(shapes, &setup, &first.users, &first.id).await;
    let _gate = setup.gate();
    setup.configure("");
    let mut watch = setup
        .workplace
        .start(&[&JSON[..], &["status", "--watch", "0.1"]].concat());
    watch.printed("unavailable").await;
    watch.signal(Signal::SIGINT);
    shapes.hold(
        "status --watch: the database is away",
        &watch.end().await.expect(0).json(),
    );
}

/// What has to do with what is not kept for ever.
async fn kept(shapes: &mut Shapes) {
    let setup = Setup::new(1, 3).await;
    setup.configure("[retention]\nledger_days = 10");
    lines(&setup, &["sync"], &[0]).await;
    let user = setup.clients[0].users[0];
    setup
        .simulator
        .patch_user(user, json!({ "timeZone": "Asia/Tokyo" }))
        .expect("the user can be changed");
    lines(&setup, &["sync"], &[0]).await;
    let pool = setup.pool().await;
    date_back(&pool, 20).await;
    pool.close().await;
    shapes.hold("prune", &lines(&setup, &["prune", "--dry-run"], &[0]).await);
    let pruned = lines(&setup, &["prune"], &[0]).await;
    assert_eq!(pruned[0]["deleted"]["managed_user_changes"], 1, "{pruned:?}");
    shapes.hold("prune", &pruned);
    shapes.hold("status", &lines(&setup, &["status"], &[0]).await);
    shapes.hold(
        "history",
        &lines(&setup, &["history", &user.to_string()], &[0]).await,
    );
    shapes.hold("grants", &lines(&setup, &["grants"], &[0]).await);
}

fn hold_plan(shapes: &mut Shapes, lines: &[Value]) {
    let (ends, changes): (Vec<Value>, Vec<Value>) = lines
        .iter()
        .cloned()
        .partition(|line| line.get("outcome").is_some());
    shapes.hold("plan: a change", &changes);
    shapes.hold("plan: the end", &ends);
}

/// What `verify` finds where somebody has been at the tables.
async fn findings(shapes: &mut Shapes, setup: &Setup, users: &[i64], client: &str) {
    let pool = setup.pool().await;
    edit(
        &pool,
        format!(
            "update managed_users set time_zone = 'Mars/Olympus' where id = {}",
            users[7]
        ),
    )
    .await;
    edit(
        &pool,
        format!("delete from managed_users where id = {}", users[8]),
    )
    .await;
    edit(
        &pool,
        format!(
            "insert into managed_users (id, client_id, email, time_zone, week_start, created_date, version, first_seen_at,
                 changed_at)
             values (424242, '{client}', 'x', 'UTC', 'Sunday', now(), 1, now(), now())"
        ),
    )
    .await;
    edit(
        &pool,
        format!(
            "update managed_user_changes set changed = '[]' where user_id = {}",
            users[0]
        ),
    )
    .await;
    let found = lines(setup, &["verify"], &[1]).await;
    let repaired = lines(setup, &["verify", "--repair"], &[1]).await;
    for line in found.iter().chain(&repaired) {
        let heading = ["finding", "repair", "summary"]
            .into_iter()
            .find(|key| line.get(key).is_some());
        shapes.hold(
            match heading {
                Some("finding") => "verify: a finding",
                Some("repair") => "verify: a repair",
                Some(_) => "verify: the summary",
                None => panic!("{line}"),
            },
            std::slice::from_ref(line),
        );
    }
    pool.close().await;
}

/// What has to do with configurations.
async fn configurations(shapes: &mut Shapes) {
    let setup = Setup::new(1, 3).await;
    shapes.hold("config", &lines(&setup, &["config"], &[0]).await);
    setup.workplace.write("users.txt", "17\n");
    let text = "[[clients]]\nname = \"acme\"\nid = \"x\"\nsecret = { file = \"none\" }\nusers = \"all\"\n\
                users_file = \"users.txt\"\norganization_id = 1\nusers_sql = \"select 1 as user_id\"\n";
    setup.workplace.write("config.toml", text);
    shapes.hold("config", &lines(&setup, &["config"], &[0]).await);
    shapes.hold("check", &lines(&setup, &["check", "--health"], &[1]).await);
    let (client, users) = (&setup.clients[0], format!("{:?}", setup.clients[0].users));
    let users = users.replace(['[', ']', ' '], "");
    let base_url = setup.simulator.base_url();
    let database_url = setup.db.url();
    let arguments = [
        "init",
        "--path",
        "new.toml",
        "--client-id",
        &client.id,
        "--secret-env",
        "SECRET_ACME",
        "--base-url",
        &base_url,
        "--database-url",
        &database_url,
    ];
    let wrote = lines(&setup, &[&arguments[..], &["--users", &users]].concat(), &[0]).await;
    assert_eq!(wrote[0], json!({ "wrote": "new.toml", "complete": true }));
    shapes.hold("init", &wrote[..1]);
    shapes.hold("check", &wrote[1..]);
    let unfinished = lines(&setup, &[&arguments[..], &["--force"]].concat(), &[0]).await;
    assert_eq!(unfinished, [json!({ "wrote": "new.toml", "complete": false })]);
}

/// What runs by itself.
async fn servers(shapes: &mut Shapes) {
    let workplace = Workplace::new();
    for more in [&[][..], &["--users-dir", "users"]] {
        let simulate = ["simulate", "--port", "0", "--users", "3"];
        let mut simulator = workplace.start(&[&JSON[..], &simulate, more].concat());
        simulator.printed("base_url").await;
        simulator.signal(Signal::SIGINT);
        shapes.hold("simulate", &simulator.end().await.expect(0).json());
    }
    let demo = workplace
        .run(&[&JSON[..], &["demo", "--once", "--dir", "demo"]].concat())
        .await
        .expect(0);
    shapes.hold("demo", &demo.json());
}

/// What is said where nothing can be done.
async fn failures(shapes: &mut Shapes) {
    let mut setup = Setup::new(1, 1).await;
    let whole = std::fs::read_to_string(setup.workplace.path().join("config.toml")).expect("it is there");
    setup
        .workplace
        .write("config.toml", "[calcom]\nbase_uri = \"x\"\nconcurrency = 0\n");
    let faults = error(&setup.workplace, &["status"], 2).await;
    assert!(
        faults[0]["faults"]
            .as_array()
            .is_some_and(|faults| faults.len() >= 2),
        "{faults:?}"
    );
    shapes.hold("error", &faults);
    setup.workplace.write("config.toml", &whole);
    let usage = error(&setup.workplace, &["stauts"], 2).await;
    assert!(
        usage[0]["remedy"]
            .as_str()
            .is_some_and(|remedy| remedy.contains("status")),
        "{usage:?}"
    );
    shapes.hold("error", &usage);
    shapes.hold("error", &error(&setup.workplace, &["history", "424242"], 1).await);
    let _gate = setup.gate();
    setup.configure("");
    let away = error(&setup.workplace, &["status"], 75).await;
    assert!(away[0]["remedy"].is_string(), "{away:?}");
    shapes.hold("error", &away);
    // Without JSON it is for people, and nothing is on standard output.
    let ended = setup.run(&["status"]).await.expect(75);
    assert!(
        ended.stderr.starts_with("error: the database is unavailable"),
        "{ended}"
    );
    assert_eq!(ended.stdout, "");
}
