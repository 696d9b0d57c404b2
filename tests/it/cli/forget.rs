//! `calmirror forget`, and what the other commands know afterwards.

use calmirror::{
    model::UserId,
    simulator::{Answer, Target},
};
use serde_json::json;

use super::Setup;
use crate::{
    forget::{asked, waiting_for_fence},
    support::world::store,
};

/// Everything that says who the user is, and nothing else in the program's words.
const VALUES: [&str; 3] = ["xanthippe", "socratous", "hemlock"];

/// A user of the first client whose values nobody else has.
async fn somebody(setup: &Setup) -> i64 {
    let user = setup.clients[0].users[1];
    setup
        .simulator
        .patch_user(
            user,
            json!({ "name": "xanthippe", "bio": "socratous", "metadata": { "drink": "hemlock" } }),
        )
        .expect("the user can be changed");
    setup.run(&["sync"]).await.expect(0);
    user
}

#[tokio::test]
async fn forget_erases_a_user_and_says_what_is_left_to_do() {
    let mut setup = Setup::new(2, 3).await;
    let user = somebody(&setup).await;
    setup
        .simulator
        .patch_user(user, json!({ "name": "xanthippe the second" }))
        .expect("the user can be changed");
    setup.run(&["sync"]).await.expect(0);
    let (id, client) = (user.to_string(), setup.clients[0].name.clone());
    let ended = setup.run(&["forget", &id]).await.expect(0);
    assert_eq!(
        ended.stdout,
        format!(
            "user {id} is forgotten; erased: 1 row, 2 versions\n\
             the configuration still lists user {id} for {client}: take it out there\n"
        )
    );
    let [line] = ended.log_lines("user forgotten")[..] else {
        panic!("one line: {ended}");
    };
    assert!(line.contains(&id), "{line}");
    for value in VALUES {
        assert!(!ended.to_string().contains(value), "{ended}");
    }

    let gone = setup.run(&["history", &id]).await.expect(1);
    assert_eq!(gone.stdout, "");
    assert!(
        gone.stderr
            .starts_with(&format!("error: user {id} is forgotten since 20")),
        "{gone}"
    );
    // Passes leave it out, whatever process makes them.
    for _ in 0..2 {
        let report = setup
            .run(&["--output", "json", "sync", "--client", &client])
            .await
            .expect(0);
        assert_eq!(
            (&report.json()[0]["observed"], &report.json()[0]["requests"]),
            (&json!(2), &json!(2))
        );
    }
    let text = setup.run(&["status"]).await.expect(0);
    assert!(
        text.stdout.contains(&format!(
            "\n{client}: forgotten but still watched: {id}; take them out of the configuration\n"
        )),
        "{text}"
    );
    let status = setup.run(&["--output", "json", "status"]).await.expect(0).json();
    assert_eq!(status[0]["clients"][0]["forgotten"], json!([user]));
    assert_eq!(status[0]["clients"][0]["forgotten_users"], 1);
    assert_eq!(status[0]["clients"][1]["forgotten_users"], 0);

    setup.clients[0].users.retain(|other| *other != user);
    setup.configure("");
    let text = setup.run(&["status"]).await.expect(0);
    assert!(!text.stdout.contains("forgotten"), "{text}");
    assert!(!text.stdout.contains("no longer watched"), "{text}");
    let again = setup.run(&["forget", &id]).await.expect(0);
    assert!(
        again
            .stdout
            .starts_with(&format!("user {id} was forgotten on 20"))
            && again.stdout.lines().count() == 1,
        "{again}"
    );
    assert!(again.log_lines("user forgotten").is_empty(), "{again}");
}

#[tokio::test]
async fn forget_answers_programs_in_json() {
    let setup = Setup::new(1, 3).await;
    let user = somebody(&setup).await;
    let id = user.to_string();
    let run = async || {
        setup
            .run(&["--output", "json", "forget", &id])
            .await
            .expect(0)
            .json()
    };
    let (first, second) = (run().await, run().await);
    let [first] = &first[..] else { panic!("{first:?}") };
    let mut expected = json!({
        "user_id": user, "forgotten_at": first["forgotten_at"], "already": false, "rows": 1, "versions": 1,
        "rejects": 0, "missing": 0, "held_sets": 0, "errors": 0, "watched_by": [setup.clients[0].name],
    });
    assert_eq!(*first, expected);
    assert!(first["forgotten_at"].is_string());
    for (key, value) in [
        ("already", json!(true)),
        ("rows", json!(0)),
        ("versions", json!(0)),
    ] {
        expected[key] = value;
    }
    assert_eq!(second, [expected]);
}

#[tokio::test]
async fn a_mistyped_id_is_not_forgotten() {
    let setup = Setup::new(1, 3).await;
    setup.run(&["sync"]).await.expect(0);
    let why = "nothing is known of user 424242, so nothing was done; is it another id?";
    for (format, said) in [
        ("text", format!("error: {why}\n")),
        (
            "json",
            format!("{{\"error\":\"{why}\",\"remedy\":null,\"exit_code\":1,\"faults\":[]}}\n"),
        ),
    ] {
        let ended = setup
            .run(&["--output", format, "forget", "424242"])
            .await
            .expect(1);
        assert_eq!(ended.stdout, "");
        assert_eq!(ended.stderr, said);
    }
    assert_eq!(
        setup.value::<i64>("select count(*) from forgotten_users").await,
        0
    );
    setup.run(&["forget", "alice"]).await.expect(2);
    setup.run(&["forget"]).await.expect(2);
}

#[tokio::test]
async fn forget_needs_a_migrated_database() {
    let setup = Setup::new(1, 3).await;
    setup.configure("schema = \"elsewhere\"");
    let ended = setup.run(&["forget", "1"]).await.expect(1);
    assert!(ended.stderr.contains("calmirror migrate"), "{ended}");
}

#[tokio::test]
async fn a_daemon_under_way_leaves_a_forgotten_user_out() {
    let setup = Setup::new(1, 3).await;
    let user = somebody(&setup).await;
    setup.configure("[schedule]\ncron = \"* * * * * *\"\nat_start = true\n");
    let mut daemon = setup.workplace.start(&["run"]);
    daemon.logged_times("pass ended", 1).await;
    let id = user.to_string();
    setup.run(&["forget", &id]).await.expect(0);
    setup
        .simulator
        .patch_user(user, json!({ "name": "xanthippe the second" }))
        .expect("the user can be changed");
    let ended = daemon.logged("pass ended").await.matches("pass ended").count();
    // The second of these began after the user was forgotten.
    daemon.logged_times("pass ended", ended + 2).await;
    assert_eq!(
        setup
            .value::<i64>(
                "select (select count(*) from managed_users) + (select count(*) from managed_user_changes)"
            )
            .await,
        4
    );
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = daemon.end().await.expect(0);
    for value in VALUES {
        assert!(!ended.stderr.contains(value), "{ended}");
    }
}

#[tokio::test]
async fn a_batch_that_was_compared_before_says_nothing_of_a_forgotten_user() {
    let setup = Setup::new(1, 3).await;
    let forgotten = somebody(&setup).await;
    let (hangs, other) = (setup.clients[0].users[0], setup.clients[0].users[2]);
    for user in [forgotten, other] {
        setup
            .simulator
            .patch_user(user, json!({ "name": "xanthippe the second" }))
            .expect("the user can be changed");
    }
    setup.simulator.script(Target::User(hangs), 1, Answer::Hang);
    let before = setup.simulator.requests().total;
    let program = setup.workplace.start(&["--output", "json", "sync"]);
    asked(&setup.simulator, before + 3).await;
    let (pool, beside) = (setup.pool().await, store(&setup.db, 1));
    let mut guard = pool.begin().await.expect("a transaction can begin");
    sqlx::query("lock table sync_state in exclusive mode")
        .execute(&mut *guard)
        .await
        .expect("the fence can be locked");
    let release = async {
        waiting_for_fence(&pool, 1).await;
        setup.simulator.release();
        waiting_for_fence(&pool, 2).await;
        guard.commit().await.expect("the guard lets go");
    };
    let (forgot, ()) = tokio::join!(beside.forget(UserId(forgotten)), release);
    assert!(forgot.is_ok_and(|forgot| forgot.is_some()));
    let ended = program.end().await.expect(0);
    let report = &ended.json()[0];
    assert_eq!(
        [&report["outcome"], &report["observed"], &report["updated"]],
        [&json!("applied"), &json!(2), &json!(1)],
        "{ended}"
    );
    let changed = ended.log_lines("user changed");
    assert_eq!(changed.len(), 1, "{ended}");
    assert!(changed[0].contains(&other.to_string()), "{ended}");
    assert!(!ended.stderr.contains(&forgotten.to_string()), "{ended}");
    beside.close().await;
}
