//! What Postgres may answer, and what becomes of it.

use calmirror::{
    calcom::Source as _,
    compare,
    model::{RunOutcome, UserId},
    store::Error,
};
use tokio_util::sync::CancellationToken;

use super::stage::{COMPLETE, FAILED, Stage, failed_for, the_line, times};
use crate::support::world::World;

/// Makes writes to the mirror fail: always, or only the first time.
fn failing(code: &str, only_once: bool) -> String {
    // What a sequence gave is not taken back with the transaction.
    let when = if only_once {
        "if nextval('failures') = 1 then"
    } else {
        "if true then"
    };
    format!(
        "create sequence if not exists failures; alter sequence failures restart;
         create or replace function fail() returns trigger language plpgsql as $$
         begin
             {when} raise exception 'as the test wants it' using errcode = '{code}'; end if;
             return new;
         end $$;
         create or replace trigger failing before insert on managed_users execute function fail()"
    )
}

/// What a code means, as far as callers see it.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Unavailable(_) => "away",
        Error::Busy(_) => "busy",
        Error::Full(_) => "full",
        Error::ReadOnly(_) => "read-only",
        Error::Missing(_) => "missing",
        Error::Refused(_) => "refused",
        _ => "something else",
    }
}

/// Every class that a database's bad day can show, and some that no waiting helps.
const CODES: [(&str, &str); 27] = [
    ("08000", "away"),      // connection_exception
    ("08003", "away"),      // connection_does_not_exist
    ("08006", "away"),      // connection_failure
    ("08P01", "away"),      // protocol_violation, as PgBouncer says it
    ("25006", "read-only"), // read_only_sql_transaction
    ("25P03", "away"),      // idle_in_transaction_session_timeout
    ("40001", "busy"),      // serialization_failure
    ("40P01", "busy"),      // deadlock_detected
    ("53000", "full"),      // insufficient_resources
    ("53100", "full"),      // disk_full
    ("53200", "full"),      // out_of_memory
    ("53300", "full"),      // too_many_connections
    ("55P03", "busy"),      // lock_not_available
    ("57014", "busy"),      // query_canceled
    ("57P01", "away"),      // admin_shutdown
    ("57P02", "away"),      // crash_shutdown
    ("57P03", "away"),      // cannot_connect_now
    ("57P05", "away"),      // idle_session_timeout
    ("58000", "away"),      // system_error
    ("58030", "away"),      // io_error
    ("42P01", "missing"),   // undefined_table
    ("42703", "missing"),   // undefined_column
    ("42883", "missing"),   // undefined_function
    ("42501", "refused"),   // insufficient_privilege
    ("23514", "refused"),   // check_violation
    ("XX000", "refused"),   // internal_error
    ("XX001", "refused"),   // data_corrupted
];

#[tokio::test]
async fn each_code_is_of_its_kind_and_only_what_may_pass_is_tried_again() {
    let world = World::new(3).await;
    let run = world.begin().await;
    let id = UserId(world.users()[0]);
    let observation = world.source.get_user(id).await.expect("the simulator answers");
    let known = world.store.known(&run, &[id]).await.expect("the store answers");
    let set = compare::diff(&world.client.id, vec![observation], &known);
    for (code, expected) in CODES {
        execute(&world, &failing(code, false)).await;
        let error = world
            .store
            .apply(&run, &set)
            .await
            .expect_err("the write was refused");
        assert_eq!(kind(&error), expected, "{code}: {error}");
        assert!(
            error
                .to_string()
                .contains(&format!("as the test wants it ({code})")),
            "{error}"
        );
        let passing = ["away", "busy", "full", "read-only"].contains(&expected);
        assert_eq!(error.is_transient(), passing, "{code}");
        assert!(!passing || error.remedy().is_some(), "{code}: no remedy");
    }
    assert_eq!(
        world
            .value::<i64>("select count(*) from managed_user_changes")
            .await,
        0
    );
}

#[tokio::test]
async fn what_passes_is_waited_for_within_the_pass() {
    let world = World::new(5).await;
    let cancel = CancellationToken::new();
    let mut changes = 5;
    for (turn, (code, expected)) in CODES.into_iter().enumerate() {
        if ["missing", "refused"].contains(&expected) {
            continue;
        }
        if turn > 0 {
            let zone = format!("Etc/GMT+{}", turn % 12);
            world
                .simulator
                .patch_user(world.users()[turn % 5], serde_json::json!({ "timeZone": zone }))
                .expect("the user can be changed");
            changes += 1;
        }
        execute(&world, &failing(code, true)).await;
        let report = world.unchecked_pass(&world.store, &cancel).await;
        assert_eq!(report.outcome, RunOutcome::Applied, "{code}: {:?}", report.error);
        assert_eq!(
            world.value::<i64>("select nextval('failures')").await,
            3,
            "{code}"
        );
        world.assert_replay().await;
    }
    assert_eq!(
        world
            .value::<i64>("select count(*) from managed_user_changes")
            .await,
        changes
    );
}

async fn execute(world: &World, statements: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))
        .execute(&world.pool)
        .await
        .unwrap_or_else(|error| panic!("{statements}: {error}"));
}

#[tokio::test]
async fn a_code_that_stays_fails_the_pass_with_its_remedy() {
    for (code, exit, what, remedy) in [
        ("53100", 75, "the database has no room", "give the server disk"),
        ("53200", 75, "the database has no room", "memory"),
        (
            "57014",
            75,
            "the database is busy",
            "end the session that holds the lock",
        ),
        (
            "57P03",
            75,
            "the database is unavailable",
            "check that Postgres runs",
        ),
        (
            "42501",
            1,
            "the database refused",
            "grant it to the user of database.url",
        ),
    ] {
        let stage = Stage::new(5).await;
        stage.sync().await.expect(0);
        let fresh = stage.fresh_as_of().await;
        stage.change(0, "Antarctica/Troll");
        stage.execute(&failing(code, false)).await;
        let ended = stage.sync().await.expect(exit);
        let line = the_line(&ended);
        for text in [what, remedy, code] {
            assert!(line.contains(text), "no {text:?} in {line}");
        }
        assert_eq!(stage.fresh_as_of().await, fresh, "{code}: freshness moved");
        stage.execute("drop trigger failing on managed_users").await;
        stage.sync().await.expect(0);
        stage.assert_true(6).await;
    }
}

#[tokio::test]
async fn a_database_that_is_read_only_is_tried_again_until_it_is_not() {
    let stage = Stage::new(5).await;
    let mut administrator = stage.pool.acquire().await.expect("the database answers");
    let mut say = async |statement: &'static str| {
        let database: String = sqlx::query_scalar("select quote_ident(current_database())")
            .fetch_one(&mut *administrator)
            .await
            .expect("it has a name");
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "alter database {database} {statement}"
        )))
        .execute(&mut *administrator)
        .await
        .expect("the database can be set");
    };
    let mut program = stage.start_daemon();
    program.logged(COMPLETE).await;
    let fresh = stage.fresh_as_of().await;
    say("set default_transaction_read_only = on").await;
    // Sessions have the setting from their beginning on.
    stage.terminate_sessions().await;
    let (line, _) = failed_for(&mut program, "the database is read-only").await;
    assert!(line.contains("must lead to the primary"), "{line}");
    stage.change(0, "Antarctica/Troll");
    let ended = stage.sync().await.expect(75);
    assert!(the_line(&ended).contains("read-only"), "{ended}");
    assert!(stage.fresh_as_of().await >= fresh);
    let changes: i64 = stage.value("select count(*) from managed_user_changes").await;
    assert_eq!(changes, 5);
    // Nobody ends the sessions that are read-only still.
    say("reset default_transaction_read_only").await;
    let log = program.logged(FAILED).await;
    program.logged_times(COMPLETE, times(&log, COMPLETE) + 2).await;
    program.signal(nix::sys::signal::Signal::SIGTERM);
    program.end().await.expect(0);
    stage.assert_true(6).await;
}

#[tokio::test]
async fn a_full_queue_of_notifications_is_named_with_its_remedy() {
    let world = World::new(3).await;
    // As Postgres says it, and when: as the transaction commits.
    let full = "create function full_queue() returns trigger language plpgsql as $$
         begin
             raise exception 'too many notifications in the NOTIFY queue' using errcode = '54000';
         end $$;
         create constraint trigger full_queue after insert on managed_users deferrable initially deferred
         for each row execute function full_queue()";
    execute(&world, full).await;
    let report = world
        .unchecked_pass(&world.store, &CancellationToken::new())
        .await;
    assert_eq!(report.outcome, RunOutcome::Failed);
    let error: String = world
        .value("select error from sync_runs where outcome = 'failed'")
        .await;
    for part in [
        "too many notifications in the NOTIFY queue (54000)",
        "end the session that listens and does not read",
        "notify.postgres = false",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(world.value::<i64>("select count(*) from managed_users").await, 0);
    // Other limits are other faults.
    execute(&world, "drop trigger full_queue on managed_users").await;
    execute(&world, &failing("54000", false)).await;
    world
        .unchecked_pass(&world.store, &CancellationToken::new())
        .await;
    let error: String = world
        .value("select error from sync_runs order by run_id desc limit 1")
        .await;
    assert!(
        error.contains("(54000)") && !error.contains("notify.postgres"),
        "{error}"
    );
}
