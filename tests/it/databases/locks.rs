//! An analyst's session holds a lock for longer than a pass waits for it.

use std::time::Duration;

use calmirror::model::RunOutcome;
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use super::stage::until;
use crate::support::world::{LIMIT, World, store};

/// Short, so that the test is.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);

/// The ways to stand in the way of an update.
const LOCKS: [&str; 3] = [
    "lock table managed_users in access exclusive mode",
    "lock table managed_users in share mode",
    "select from managed_users order by id limit 1 for update",
];

async fn analyst(world: &World) -> PgConnection {
    PgConnection::connect_with(&world.db.connect_options().application_name("a notebook"))
        .await
        .expect("the database takes connections")
}

/// The session that waits for the analyst, other than the one that did before.
async fn waiting_session(world: &World, other_than: Option<i32>) -> i32 {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        loop {
            let pid: Option<i32> = sqlx::query_scalar(
                "select l.pid from pg_locks as l join pg_stat_activity as a on a.pid = l.pid
                 where not l.granted and a.datname = current_database()
                     and a.application_name = 'calmirror' and l.pid is distinct from $1",
            )
            .bind(other_than)
            .fetch_optional(&world.pool)
            .await
            .expect("locks can be looked at");
            if let Some(pid) = pid {
                return pid;
            }
            ticks.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, waiting)
        .await
        .expect("the pass comes to wait")
}

#[tokio::test]
async fn a_lock_that_outlasts_the_time_out_has_the_batch_tried_again() {
    let world = World::new(3).await;
    world.pass().await;
    let store = store(&world.db, 2).with_lock_timeout(LOCK_TIMEOUT);
    for (turn, lock) in LOCKS.into_iter().enumerate() {
        let zone = format!("Etc/GMT+{}", turn + 1);
        world
            .simulator
            .patch_user(world.users()[0], serde_json::json!({ "timeZone": zone }))
            .expect("the user can be changed");
        let mut analyst = analyst(&world).await;
        let mut locking = analyst.begin().await.expect("an analyst begins");
        sqlx::raw_sql(lock)
            .execute(&mut *locking)
            .await
            .expect("and locks");
        let cancel = CancellationToken::new();
        let (report, ()) = tokio::join!(world.unchecked_pass(&store, &cancel), async {
            let first = waiting_session(&world, None).await;
            // A connection whose transaction failed is not used again, so this is the next try.
            waiting_session(&world, Some(first)).await;
            locking.commit().await.expect("the lock is given back");
        });
        assert_eq!(
            (report.outcome, report.updated),
            (RunOutcome::Applied, 1),
            "{lock}: {:?}",
            report.error
        );
        world.assert_replay().await;
        assert_eq!(world.kinds(world.users()[0]).await.len(), turn + 2, "{lock}");
    }
    world.assert_quiet().await;
}

#[tokio::test]
async fn a_lock_that_is_not_given_back_fails_the_pass_which_names_its_holder() {
    let world = World::new(3).await;
    world.pass().await;
    world
        .simulator
        .patch_user(
            world.users()[0],
            serde_json::json!({ "timeZone": "Antarctica/Troll" }),
        )
        .expect("the user can be changed");
    let store = store(&world.db, 2).with_lock_timeout(LOCK_TIMEOUT / 4);
    let fresh = "select max(last_complete_run_id) from sync_state";
    let before: i64 = world.value(fresh).await;
    for lock in LOCKS {
        let mut analyst = analyst(&world).await;
        let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
            .fetch_one(&mut analyst)
            .await
            .expect("it answers");
        let mut locking = analyst.begin().await.expect("an analyst begins");
        sqlx::raw_sql(lock)
            .execute(&mut *locking)
            .await
            .expect("and locks");
        let report = world.unchecked_pass(&store, &CancellationToken::new()).await;
        locking.commit().await.expect("the lock is given back");
        assert_eq!(
            (report.outcome, report.failure),
            (RunOutcome::Failed, calmirror::sync::Failure::Unavailable),
            "{lock}"
        );
        let error = report.error.expect("it says why");
        for text in [
            "the database is busy: canceling statement due to lock timeout (55P03)",
            &format!("session {pid} of user"),
            "application \"a notebook\"",
            "end the session that holds the lock",
        ] {
            assert!(error.contains(text), "{lock}: no {text:?} in {error}");
        }
        assert_eq!(world.value::<i64>(fresh).await, before, "{lock}: freshness moved");
    }
    assert_eq!(world.pass().await.updated, 1);
    until(&world.pool, "select count(*) = 4 from managed_user_changes").await;
}
