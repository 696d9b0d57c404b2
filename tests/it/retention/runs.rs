//! Passes on record: those that changed nothing go, unless something refers to them.

use calmirror::config::Retention;

use super::{NOTHING, date_back, execute, prune, value};
use crate::support::world::World;

const DAYS: Retention = Retention {
    no_change_runs_days: 10,
    ..NOTHING
};

#[tokio::test]
async fn passes_that_changed_nothing_go_and_those_that_are_referred_to_stay() {
    let world = World::new(2).await;
    // The first inserts, and 29 change nothing.
    for _ in 0..30 {
        world.pass().await;
    }
    date_back(&world.pool, 1).await;
    execute(
        &world.pool,
        "update sync_state set last_run_id = 2, last_complete_run_id = 3;
         insert into missing_users values ('x', 1, 1, now(), now(), 4, 5, 0), ('x', 2, 0, now(), now(), 4, null, 0);
         insert into held_sets values ('x', 'hash', 1, 1, 'limit', 6, 7, now());
         insert into rejects values ('x', 1, 8, now(), now(), 'why', '{}', '');
         insert into extra_fields values ('pronouns', now(), 9);
         update sync_runs set outcome = 'skipped' where run_id in (10, 11);
         update sync_runs set outcome = 'partial' where run_id = 12;
         update sync_runs set outcome = 'held' where run_id = 13;
         update sync_runs set outcome = 'failed' where run_id = 14;
         update sync_runs set outcome = 'applied' where run_id = 15;
         update sync_runs set outcome = null, finished_at = null where run_id = 16;
         -- Whose counts are not those of a pass that changed nothing, and that is in the ledger whatever they say.
         update sync_runs set repaired = 1 where run_id = 17;
         update managed_user_changes set run_id = 18, observed_at = (select started_at from sync_runs where run_id = 18)
             where change_id = 1",
    )
    .await;
    let left = "select string_agg(run_id::text, ' ' order by run_id) from sync_runs";
    let pruned = prune(&world, DAYS).await;
    assert_eq!(
        pruned.deleted.sync_runs, 5,
        "10, 11, 19, 20, and 21, which is of ten days ago"
    );
    assert_eq!(
        value::<String>(&world.pool, left).await,
        "1 2 3 4 5 6 7 8 9 12 13 14 15 16 17 18 22 23 24 25 26 27 28 29 30"
    );
    assert_eq!(prune(&world, DAYS).await.deleted.sync_runs, 0);
}

#[tokio::test]
async fn many_passes_go_in_batches_and_the_client_goes_on() {
    let world = World::new(2).await;
    world.pass().await;
    execute(
        &world.pool,
        "insert into sync_runs (client_id, client_name, outcome, started_at, finished_at)
         select 'x', 'x', 'skipped', now() - n * interval '1 hour', now() - n * interval '1 hour'
         from generate_series(1, 1500) as n",
    )
    .await;
    assert_eq!(prune(&world, DAYS).await.deleted.sync_runs, 1500 - 240 + 1);
    assert_eq!(
        value::<i64>(&world.pool, "select deleted_runs from retention").await,
        1261
    );
    world.assert_quiet().await;
    assert_eq!(prune(&world, NOTHING).await.deleted.sync_runs, 0);
}
