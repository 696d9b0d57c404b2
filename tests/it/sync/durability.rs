//! Which commits wait for the disk.

use std::{collections::BTreeSet, time::Duration};

use calmirror::{
    model::{RateState, RunOutcome},
    store::Beat,
};

use crate::support::world::{World, store};

/// Keeps how each change of each table of a pass is committed. The servers of tests do without the disk, which an operator's does not.
const WATCH: &str = "
    do $$ begin execute format('alter database %I set synchronous_commit = on', current_database()); end $$;
    create table seen (what text, synchronous boolean);
    create function see() returns trigger language plpgsql as $$
    declare
        was jsonb := case tg_op when 'UPDATE' then to_jsonb(old) end;
        is_now jsonb := to_jsonb(new);
    begin
        insert into seen values (
            tg_table_name || coalesce((
                select ': ' || min(field) from unnest(array['outcome', 'planned_users', 'heartbeat_at', 'inserted']) as field
                where tg_table_name = 'sync_runs' and was -> field <> is_now -> field
            ), ''),
            current_setting('synchronous_commit') = 'on'
        );
        return new;
    end $$;
    create trigger see after insert or update on managed_users for each row execute function see();
    create trigger see after insert or update on managed_user_changes for each row execute function see();
    create trigger see after insert or update on record_fingerprints for each row execute function see();
    create trigger see after insert or update on sync_state for each row execute function see();
    create trigger see after insert or update on sync_runs for each row execute function see();
    create trigger see after insert or update on rate_limits for each row execute function see()";

async fn watched() -> World {
    let mut world = World::new(3).await;
    sqlx::raw_sql(WATCH)
        .execute(&world.pool)
        .await
        .expect("a database can be watched");
    // Connections from before know nothing of it.
    world.store = store(&world.db, 2);
    world
}

/// What was committed since the last look, and whether it waited for the disk.
async fn seen(world: &World) -> BTreeSet<(String, bool)> {
    sqlx::query_as("with seen as (delete from seen returning *) select * from seen")
        .fetch_all(&world.pool)
        .await
        .expect("it can be read")
        .into_iter()
        .collect()
}

fn all<const N: usize>(expected: [(&str, bool); N]) -> BTreeSet<(String, bool)> {
    expected
        .map(|(what, synchronous)| (what.to_owned(), synchronous))
        .into()
}

#[tokio::test]
async fn what_a_pass_writes_waits_for_the_disk_and_what_it_notes_of_itself_does_not() {
    let world = watched().await;
    assert_eq!(world.pass().await.outcome, RunOutcome::Applied);
    let written = all([
        ("managed_user_changes", true),
        ("managed_users", true),
        ("record_fingerprints", true),
        ("sync_runs", true),
        ("sync_runs: inserted", true),
        ("sync_runs: outcome", true),
        ("sync_runs: planned_users", false),
        ("sync_state", true),
    ]);
    assert_eq!(seen(&world).await, written);
    let run = world.begin().await;
    seen(&world).await;
    let alive = world.store.heartbeat(&run, Beat::default()).await;
    alive.expect("nobody is in its way");
    assert_eq!(seen(&world).await, all([("sync_runs: heartbeat_at", false)]));
}

#[tokio::test]
async fn the_note_of_a_rate_limit_waits_for_the_disk_where_it_may_keep_us_from_a_block() {
    let world = watched().await;
    let minute = Some(Duration::from_secs(60));
    for (remaining, blocked_for, ahead, synchronous) in [
        (Some(300), None, 100, false),
        (Some(100), None, 100, true),
        (Some(0), None, 0, true),
        (Some(300), minute, 0, true),
        (None, minute, 0, true),
    ] {
        let state = RateState {
            remaining,
            resets_in: minute,
            blocked_for,
        };
        let noted = world.store.note_rate_limit(&world.client.id, &state, ahead).await;
        noted.expect("it can be noted");
        assert_eq!(
            seen(&world).await,
            all([("rate_limits", synchronous)]),
            "{state:?}, {ahead} ahead"
        );
    }
}
