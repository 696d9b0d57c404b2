//! What `[retention]` does not keep, and that everything else is as it was.

mod bounds;
mod command;
mod folding;
mod horizon;
mod pasts;
mod rejects;
mod runs;
mod turns;

use calmirror::{
    config::Retention,
    model::ClientId,
    retention::{Attempt, Pruned, Upkeep, When},
    store::{Deleted, Error, Instants, Store},
};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use tokio_util::sync::CancellationToken;

use crate::support::world::World;

const NOTHING: Retention = Retention {
    no_change_runs_days: 0,
    rejects_days: 0,
    ledger_days: 0,
};

fn ledger_days(ledger_days: u32) -> Retention {
    Retention {
        ledger_days,
        ..NOTHING
    }
}

fn upkeep(store: &Store, retention: Retention, clients: &[&ClientId]) -> Upkeep {
    Upkeep {
        store: store.clone(),
        retention,
        clients: clients.iter().map(|client| (*client).clone()).collect(),
    }
}

/// By a world's store, with its client configured.
async fn prune(world: &World, retention: Retention) -> Pruned {
    let upkeep = upkeep(&world.store, retention, &[&world.client.id]);
    let token = CancellationToken::new();
    let seen = upkeep.look(&token).await.expect("it can be looked at");
    let pruned = pruned(upkeep.prune(When::Now, &token).await);
    assert!(seen.is_complete && pruned.is_complete);
    let whatever = |pruned: Pruned| (pruned.deleted, pruned.folded_users, pruned.users_in_doubt);
    assert_eq!(
        whatever(seen),
        whatever(pruned),
        "what was shown is what was done"
    );
    let again = upkeep.look(&token).await.expect("it can be looked at");
    assert_eq!(again.deleted, Deleted::default(), "nothing is left");
    pruned
}

fn pruned(attempt: Result<Attempt, Error>) -> Pruned {
    match attempt {
        Ok(Attempt::Pruned(pruned)) => pruned,
        other => panic!("{other:?}"),
    }
}

async fn execute(pool: &PgPool, statement: impl Into<String>) {
    let statement = statement.into();
    sqlx::raw_sql(AssertSqlSafe(statement.clone()))
        .execute(pool)
        .await
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
}

async fn value<T>(pool: &PgPool, query: impl Into<String>) -> T
where
    T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + 'static,
{
    let query = query.into();
    sqlx::query_scalar(AssertSqlSafe(query.clone()))
        .fetch_one(pool)
        .await
        .unwrap_or_else(|error| panic!("{query}: {error}"))
}

/// Moves all that passes wrote into the past, each a day further than the one after it; the newest to so many days ago.
pub(crate) async fn date_back(pool: &PgPool, newest: i64) {
    execute(
        pool,
        format!(
            "create temporary table age on commit drop as
                 select run_id, make_interval(days => ({newest} + rank() over (order by run_id desc) - 1)::integer) as age
                 from sync_runs;
             update managed_user_changes as c set observed_at = c.observed_at - a.age
                 from age as a where a.run_id = c.run_id;
             update sync_runs as r set started_at = r.started_at - a.age, finished_at = r.finished_at - a.age,
                 began_at = r.began_at - a.age, heartbeat_at = r.heartbeat_at - a.age
                 from age as a where a.run_id = r.run_id;
             update rejects as j set first_seen_at = j.first_seen_at - a.age, changed_at = j.changed_at - a.age
                 from age as a where a.run_id = j.run_id;
             update sync_state as s set last_complete_started_at = r.began_at, last_complete_at = r.finished_at
                 from sync_runs as r where r.run_id = s.last_complete_run_id;
             update managed_users as m set first_seen_at = a.first_seen_at, changed_at = a.changed_at,
                 removed_at = a.removed_at
                 from managed_users_as_of('infinity') as a where a.id = m.id"
        ),
    )
    .await;
}

/// That ledger, mirror, function and view prove each other.
pub(crate) async fn assert_verified(store: &Store, seed: u64) {
    let instants = Instants { count: 30, seed };
    let mut verification = store
        .begin_verification(instants, None)
        .await
        .expect("the ledger can be read");
    let mut found = Vec::new();
    while let Some(finding) = verification.next().await.expect("the ledger can be read") {
        // A row that was edited and written over by a pass says so for ever.
        if finding.is_difference() {
            found.push(serde_json::to_value(finding).expect("a finding is JSON"));
        }
    }
    assert_eq!(found, Vec::<Value>::new());
    verification.end().await.expect("reading ends");
}
