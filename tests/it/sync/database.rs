//! The database's unhappy days, the fence, and PgBouncer.

use calmirror::{
    compare::{self, ChangeSet},
    model::{ClientId, RunOutcome, UserId},
    simulator::{Answer, RateLimit, Simulator, SimulatorConfig, Target},
    store::{Error, Run, Settings, Store},
    sync::Failure,
};
use serde_json::json;
use sqlx::AssertSqlSafe;
use tokio_util::sync::CancellationToken;

use crate::support::{
    TestDb,
    gate::Gate,
    pgbouncer::PgBouncer,
    world::{World, store},
};

/// What a pass would write for the first user.
async fn some_change(world: &World, run: &Run) -> ChangeSet {
    use calmirror::calcom::Source as _;
    let id = UserId(world.users()[0]);
    let observation = world.source.get_user(id).await.expect("the simulator answers");
    let known = world.store.known(run, &[id]).await.expect("the store answers");
    compare::diff(&world.client.id, vec![observation], &known)
}

#[tokio::test]
async fn a_pass_that_was_overtaken_writes_nothing() {
    let world = World::new(3).await;
    let older = world.begin().await;
    let set = some_change(&world, &older).await;
    let newer = world.begin().await;
    let refused = world.store.apply(&older, &set).await;
    assert_eq!(
        refused,
        Err(Error::Fenced {
            ours: older.epoch,
            theirs: newer.epoch
        })
    );
    assert_eq!(world.value::<i64>("select count(*) from managed_users").await, 0);
    world
        .store
        .apply(&newer, &set)
        .await
        .expect("the newer pass may write");
    world.assert_replay().await;
    assert_eq!(
        world
            .value::<String>("select outcome from sync_runs order by run_id limit 1")
            .await,
        "failed",
        "the overtaken run is closed"
    );
}

#[tokio::test]
async fn a_row_that_changed_since_it_was_read_is_a_conflict() {
    let world = World::new(3).await;
    let run = world.begin().await;
    let set = some_change(&world, &run).await;
    world.store.apply(&run, &set).await.expect("the first time");
    assert_eq!(
        world.store.apply(&run, &set).await,
        Err(Error::Conflict),
        "an insert of a row that is there"
    );
    assert_eq!(
        world
            .value::<i64>("select count(*) from managed_user_changes")
            .await,
        1
    );
    world.assert_replay().await;
}

#[tokio::test]
async fn a_row_that_was_deleted_since_it_was_read_is_not_inserted_as_if_it_were_new() {
    for (deleted, refused) in [
        ("delete from managed_users", Error::Edited(vec![UserId(0)])),
        (
            "delete from managed_users; delete from managed_user_changes",
            Error::Conflict,
        ),
    ] {
        let world = World::new(3).await;
        world.pass().await;
        let user = world.users()[0];
        world
            .simulator
            .patch_user(user, json!({ "name": "Changed" }))
            .expect("the user can be changed");
        let run = world.begin().await;
        let set = some_change(&world, &run).await;
        assert_eq!(set.updates.len(), 1);
        for statement in deleted.split("; ") {
            sqlx::query(AssertSqlSafe(statement))
                .execute(&world.pool)
                .await
                .expect("rows can be deleted");
        }
        let refused = match refused {
            Error::Edited(_) => Error::Edited(vec![UserId(user)]),
            other => other,
        };
        assert_eq!(world.store.apply(&run, &set).await, Err(refused), "{deleted}");
        // The pass then looks again.
        let report = world.pass().await;
        assert_eq!(report.outcome, RunOutcome::Applied, "{:?}", report.error);
        assert_eq!(world.value::<i64>("select count(*) from managed_users").await, 3);
    }
}

#[tokio::test]
async fn a_pass_leaves_other_clients_rows_alone() {
    let mut world = World::new(3).await;
    world.pass().await;
    let tuples = world.tuples().await;
    let info = world.simulator.clients().swap_remove(0);
    world
        .simulator
        .add_client("other", "other-client", "other-secret");
    for user in &info.users {
        let record = world.simulator.user_json(*user).expect("the user is there");
        world.simulator.delete_user(*user).expect("the user can go");
        world
            .simulator
            .place_raw("other-client", *user, record)
            .expect("and come elsewhere");
    }
    world.client.id = ClientId("other-client".to_owned());
    world.client.name = "other".to_owned();
    world.client.secret = "other-secret".to_owned().into();
    world.source = crate::support::world::source(&world.simulator.base_url(), &world.client);
    let report = world.pass().await;
    assert_eq!((report.outcome, report.rejected), (RunOutcome::Partial, 3));
    let after = world.tuples().await;
    sqlx::query("delete from rejects")
        .execute(&world.pool)
        .await
        .expect("rejects can be deleted");
    assert_ne!(after, tuples, "the rejects are on record");
    assert_eq!(world.tuples().await, tuples);
}

#[tokio::test]
async fn connections_that_are_cut_in_a_pass_are_made_again() {
    let world = World::new(10).await;
    let hanging = world.users()[9];
    world.simulator.script(Target::User(hanging), 1, Answer::Hang);
    let (report, ()) = tokio::join!(world.pass(), async {
        world.simulator.wait_for_requests(10).await;
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name = 'calmirror'",
        )
        .execute(&world.pool)
        .await
        .expect("connections can be cut");
        world.simulator.release();
    });
    assert_eq!(
        (report.outcome, report.inserted),
        (RunOutcome::Applied, 10),
        "{:?}",
        report.error
    );
    world.assert_quiet().await;
}

#[tokio::test]
async fn a_database_that_is_away_fails_the_pass_and_no_more() {
    let world = World::new(3).await;
    world.pass().await;
    let options = world.db.connect_options().host("127.0.0.1").port(1);
    let settings = Settings {
        schema: "public".to_owned(),
        max_connections: 1,
        pgbouncer: false,
    };
    let away = Store::open(options.socket("/nonexistent"), &settings);
    let report = world.unchecked_pass(&away, &CancellationToken::new()).await;
    assert_eq!(
        (report.outcome, report.failure),
        (RunOutcome::Failed, Failure::Unavailable)
    );
    assert_eq!(report.run_id, None);
    assert_eq!(world.pass().await.outcome, RunOutcome::NoChange);
}

#[tokio::test]
async fn a_lock_that_somebody_holds_is_waited_for() {
    let world = World::new(3).await;
    world.pass().await;
    world
        .simulator
        .patch_user(world.users()[0], serde_json::json!({ "timeZone": "Asia/Tokyo" }))
        .expect("the user can be changed");
    let mut analyst = world.pool.begin().await.expect("an analyst begins");
    sqlx::query("lock table managed_users in share mode")
        .execute(&mut *analyst)
        .await
        .expect("and locks");
    let (report, ()) = tokio::join!(world.pass(), async {
        world.until_somebody_waits_for("managed_users").await;
        analyst.commit().await.expect("the lock is given back");
    });
    assert_eq!((report.outcome, report.updated), (RunOutcome::Applied, 1));
}

#[tokio::test]
async fn passes_work_through_pgbouncer_in_transaction_mode() {
    let simulator = Simulator::start(SimulatorConfig {
        users_per_client: 30,
        rate_limit: RateLimit::OFF,
        ..SimulatorConfig::default()
    })
    .await
    .expect("the simulator starts");
    let world = World::with(simulator, TestDb::new().await).await;
    let bouncer = PgBouncer::start(&world.db);
    let settings = Settings {
        schema: "public".to_owned(),
        max_connections: 3,
        pgbouncer: true,
    };
    let pooled = Store::open(bouncer.connect_options(), &settings);
    assert_eq!(
        pooled.migrate().await,
        Ok(0),
        "migrations are looked for through PgBouncer"
    );
    let cancel = CancellationToken::new();
    let report = world.unchecked_pass(&pooled, &cancel).await;
    assert_eq!(
        (report.outcome, report.inserted),
        (RunOutcome::Applied, 30),
        "{:?}",
        report.error
    );
    world
        .simulator
        .delete_user(world.users()[0])
        .expect("the user can be deleted");
    world
        .simulator
        .patch_user(world.users()[1], serde_json::json!({ "name": "N" }))
        .expect("changes");
    assert_eq!(world.unchecked_pass(&pooled, &cancel).await.updated, 1);
    assert_eq!(world.unchecked_pass(&pooled, &cancel).await.removed, 1);
    assert_eq!(
        world.unchecked_pass(&pooled, &cancel).await.outcome,
        RunOutcome::NoChange
    );
    world.assert_replay().await;
    pooled.close().await;
}

#[tokio::test]
async fn two_passes_at_once_leave_one_right_mirror() {
    let world = World::new(30).await;
    let other = store(&world.db, 2);
    let cancel = CancellationToken::new();
    let (left, right) = tokio::join!(
        world.unchecked_pass(&world.store, &cancel),
        world.unchecked_pass(&other, &cancel)
    );
    let outcomes = [left.outcome, right.outcome];
    assert!(
        outcomes.contains(&RunOutcome::Applied) || outcomes.contains(&RunOutcome::NoChange),
        "{outcomes:?}"
    );
    world.assert_replay().await;
    assert_eq!(world.pass().await.unchanged, 30);
}

/// What the database did is seen by the pass, whether or not it was told.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_neither_lost_nor_doubled() {
    let world = World::new(20).await;
    let (mut gate, url) = Gate::before_database(&world.db);
    gate.open();
    let settings = Settings {
        schema: "public".to_owned(),
        max_connections: 2,
        pgbouncer: false,
    };
    let through = || Store::open_url(&url.clone().into(), &settings).expect("the gate has an address");
    let cancel = CancellationToken::new();

    let store = through();
    gate.lose_answer(&["insert into managed_users as m", "commit\0"]);
    let report = world.unchecked_pass(&store, &cancel).await;
    assert!(gate.has_lost());
    assert_eq!(
        (report.outcome, report.inserted),
        (RunOutcome::Applied, 20),
        "{:?}",
        report.error
    );
    world.assert_replay().await;

    let user = world.users()[0];
    world
        .simulator
        .delete_user(user)
        .expect("the user can be deleted");
    world.unchecked_pass(&store, &cancel).await;
    gate.lose_answer(&["set version = i.version", "commit\0"]);
    let report = world.unchecked_pass(&store, &cancel).await;
    assert!(gate.has_lost());
    assert_eq!(
        (report.outcome, report.removed),
        (RunOutcome::Applied, 1),
        "{:?}",
        report.error
    );
    assert_eq!(world.kinds(user).await, ["insert", "removal"]);
    world.assert_quiet().await;

    gate.lose_answer(&["outcome = coalesce($2", "commit\0"]);
    let report = world.unchecked_pass(&through(), &cancel).await;
    assert!(gate.has_lost());
    assert_eq!(
        report.outcome,
        RunOutcome::NoChange,
        "the end of a run, too: {:?}",
        report.error
    );
}
