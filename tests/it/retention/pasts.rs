//! Random pasts, folded: whatever comes after the cutoff is as it was, value for value.

use std::collections::HashMap;

use calmirror::{
    model::UserId,
    simulator::{RateLimit, Simulator, SimulatorConfig},
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::PgPool;

use super::{assert_verified, date_back, execute, ledger_days, prune, value};
use crate::support::{TestDb, world::World};

const USERS: usize = 10;

/// Users come, change, go and come back; rows are edited and set back in between.
struct Past {
    world: World,
    random: fastrand::Rng,
    gone: HashMap<i64, tokio_util::bytes::Bytes>,
}

impl Past {
    async fn new(seed: u64) -> Self {
        let simulator = Simulator::start(SimulatorConfig {
            users_per_client: USERS,
            rate_limit: RateLimit::OFF,
            ..SimulatorConfig::default()
        })
        .await
        .expect("the simulator starts");
        let mut past = Self {
            world: World::with(simulator, TestDb::new().await).await,
            random: fastrand::Rng::with_seed(seed),
            gone: HashMap::new(),
        };
        past.world.removal.max_count = 100;
        past.world.pass().await;
        past
    }

    async fn round(&mut self) {
        let (world, random) = (&self.world, &mut self.random);
        for user in world.users() {
            match random.u8(0..10) {
                0..3 if !self.gone.contains_key(&user) => world
                    .simulator
                    .patch_user(
                        user,
                        json!({ "name": random.u16(..).to_string(), "metadata": { "n": random.u8(..) } }),
                    )
                    .expect("the user can be changed"),
                3 if !self.gone.contains_key(&user) && self.gone.len() < 4 => {
                    self.gone
                        .insert(user, world.simulator.user_json(user).expect("the user is there"));
                    world.simulator.delete_user(user).expect("the user can go");
                }
                4 | 5 => {
                    if let Some(record) = self.gone.remove(&user) {
                        world
                            .simulator
                            .place_raw(world.client_id(), user, record)
                            .expect("and come back");
                    }
                }
                _ => {}
            }
        }
        world.pass().await;
        if random.u8(0..3) == 0 {
            let user = world.users()[random.usize(0..USERS)];
            self.edit_and_repair(user).await;
        }
    }

    async fn edit_and_repair(&self, user: i64) {
        let world = &self.world;
        execute(
            &world.pool,
            format!("update managed_users set locale = 'xx', removed_at = null where id = {user}"),
        )
        .await;
        let repair = world
            .store
            .begin_repair(&world.client.id, true)
            .await
            .expect("a repair can begin");
        let repaired = world
            .store
            .repair(&repair, &[UserId(user)])
            .await
            .expect("the row can be set back");
        assert_eq!(repaired.len(), 1);
        world
            .store
            .finish_repair(&repair, calmirror::model::RunOutcome::Applied, None)
            .await
            .expect("a repair can end");
    }
}

/// What is shown of the time after a cutoff.
async fn shown(pool: &PgPool, cutoff: DateTime<Utc>, instants: &[DateTime<Utc>]) -> Vec<Value> {
    let mut shown = Vec::new();
    for instant in instants {
        let rows: Value = sqlx::query_scalar(
            "select coalesce(jsonb_agg(to_jsonb(u) order by u.id), '[]') from managed_users_as_of($1) as u",
        )
        .bind(instant)
        .fetch_one(pool)
        .await
        .expect("the function can be called");
        shown.push(rows);
    }
    // How the version came about that was the newest at the cutoff was before the cutoff. Whether the user was removed then is
    // shown as before.
    let history: Value = sqlx::query_scalar(
        "select jsonb_agg(
             case when valid_from < $1 then to_jsonb(h) - array['kind', 'changed', 'folded_at'] else to_jsonb(h) end
             order by user_id, version
         )
         from managed_users_history as h where coalesce(valid_to, 'infinity') >= $1",
    )
    .bind(cutoff)
    .fetch_one(pool)
    .await
    .expect("the view can be read");
    shown.push(history);
    shown
}

/// Those of changes after a cutoff, to the microsecond and just before, and the cutoff itself.
async fn instants(pool: &PgPool, cutoff: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let mut instants: Vec<DateTime<Utc>> =
        sqlx::query_scalar("select distinct observed_at from managed_user_changes where observed_at > $1")
            .bind(cutoff)
            .fetch_all(pool)
            .await
            .expect("the ledger can be read");
    let before: Vec<_> = instants
        .iter()
        .map(|instant| *instant - TimeDelta::microseconds(1))
        .collect();
    instants.extend(before);
    instants.push(cutoff);
    instants.push(value(pool, "select now()").await);
    instants.sort_unstable();
    instants
}

const MIRROR: &str = "select string_agg(m::text || ctid::text || xmin::text || xmax::text, ' ' order by id)
    from managed_users as m";
const LEDGER: &str = "select string_agg(c::text || ctid::text || xmin::text, ' ' order by change_id)
    from managed_user_changes as c";

async fn a_random_past_is_folded(seed: u64) {
    let mut past = Past::new(seed).await;
    for _ in 0..10 {
        past.round().await;
    }
    date_back(&past.world.pool, 1).await;
    let newest = value::<i64>(&past.world.pool, "select max(run_id) from sync_runs").await;
    let mut days = u32::try_from(newest).expect("a few passes") + 1;
    let mut deleted = 0;
    while days > 0 {
        days = days.saturating_sub(past.random.u32(1..5));
        let days = days.max(1);
        let world = &past.world;
        // A moment after the cutoff that the database is about to choose.
        let cutoff = value::<DateTime<Utc>>(
            &world.pool,
            format!("select now() - interval '{days} days' + interval '10 s'"),
        )
        .await;
        let instants = instants(&world.pool, cutoff).await;
        let (before, mirror) = (
            shown(&world.pool, cutoff, &instants).await,
            value::<String>(&world.pool, MIRROR).await,
        );
        let pruned = prune(world, ledger_days(days)).await;
        assert_eq!(pruned.users_in_doubt, 0);
        deleted += pruned.deleted.managed_user_changes;
        assert_eq!(
            shown(&world.pool, cutoff, &instants).await,
            before,
            "{seed}, {days} days"
        );
        assert_eq!(value::<String>(&world.pool, MIRROR).await, mirror);
        assert_verified(&world.store, seed).await;
        world.assert_replay().await;
        let old = format!(
            "select count(*) from (
                 select from managed_user_changes where observed_at < now() - interval '{days} days'
                 group by user_id having count(*) > 1
             ) as several"
        );
        assert_eq!(
            value::<i64>(&world.pool, old).await,
            0,
            "one is left of each user"
        );
        let ledger = value::<String>(&world.pool, LEDGER).await;
        prune(world, ledger_days(days)).await;
        assert_eq!(
            value::<String>(&world.pool, LEDGER).await,
            ledger,
            "nothing is written again"
        );
        if days == 1 {
            break;
        }
    }
    assert!(deleted > 20, "{seed}: only {deleted}");
    let removed =
        "select count(*) from managed_user_changes where folded_at is not null and removed_at is not null";
    let removed = value::<i64>(&past.world.pool, removed).await;

    // The world goes on: changes, removals, restores and repairs over what is folded.
    past.edit_and_repair(past.world.users()[0]).await;
    assert_verified(&past.world.store, seed).await;
    for _ in 0..3 {
        past.round().await;
        assert_verified(&past.world.store, seed).await;
    }
    for (user, record) in past.gone.drain() {
        past.world
            .simulator
            .place_raw(past.world.client_id(), user, record)
            .expect("and come back");
    }
    past.world.pass().await;
    past.world.assert_quiet().await;
    assert_verified(&past.world.store, seed).await;
    let user = past.world.users()[1];
    let forgot = past.world.store.forget(UserId(user)).await;
    assert!(forgot.is_ok_and(|forgot| forgot.is_some()));
    let left = format!("select count(*) from managed_user_changes where user_id = {user}");
    assert_eq!(value::<i64>(&past.world.pool, left).await, 0);
    assert_verified(&past.world.store, seed).await;
    assert!(removed <= 4);
}

#[tokio::test]
async fn random_pasts_are_folded_and_nothing_after_the_cutoff_changes() {
    for seed in 1..4 {
        a_random_past_is_folded(seed).await;
    }
}
