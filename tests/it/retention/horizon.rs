//! Times of which the ledger has not everything any more: no answer is better than one that lacks users.

use calmirror::{
    model::UserId,
    store::{Instants, PastWanted},
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::{assert_verified, date_back, ledger_days, prune, value};
use crate::support::world::World;

#[tokio::test]
async fn as_of_an_instant_that_is_not_known_any_more_is_an_error_and_no_answer() {
    let world = World::new(3).await;
    world.pass().await;
    let user = world.users()[1];
    for name in ["One", "Two"] {
        world
            .simulator
            .patch_user(user, json!({ "name": name }))
            .expect("the user can be changed");
        world.pass().await;
    }
    // Three passes, of 12, 11 and 10 days ago.
    date_back(&world.pool, 10).await;
    let as_of = async |days: &str| -> Result<i64, String> {
        let query = format!("select count(*) from managed_users_as_of(now() - interval '{days} days')");
        sqlx::query_scalar(sqlx::AssertSqlSafe(query))
            .fetch_one(&world.pool)
            .await
            .map_err(|error| error.to_string())
    };
    for (days, users) in [("13", 0), ("11.5", 3), ("10.5", 3), ("9.5", 3)] {
        assert_eq!(as_of(days).await, Ok(users), "{days}");
    }
    let pruned = prune(&world, ledger_days(5)).await;
    assert_eq!((pruned.folded_users, pruned.deleted.managed_user_changes), (1, 2));
    assert_eq!(as_of("13").await, Ok(0), "nobody was mirrored then");
    for days in ["11.5", "10.5"] {
        let error = as_of(days).await.expect_err("a user is not known as of then");
        assert!(error.contains("managed_users is not known as of 20"), "{error}");
    }
    for days in ["9.5", "5", "0"] {
        assert_eq!(as_of(days).await, Ok(3), "{days}");
    }
    assert_verified(&world.store, 1).await;
    // Everything is older than where the ledger is whole, and is proven all the same.
    let verification = world
        .store
        .begin_verification(Instants { count: 5, seed: 1 }, None)
        .await
        .expect("the ledger can be read");
    assert!(!verification.instants().is_empty());
    verification.end().await.expect("reading ends");

    // One user's past says so as well.
    let now: DateTime<Utc> = value(&world.pool, "select now()").await;
    let at = |days: i64| PastWanted {
        at: Some(now - TimeDelta::hours(24 * days + 12)),
        before: None,
        limit: 10,
    };
    let base: DateTime<Utc> = value(
        &world.pool,
        format!("select observed_at from managed_user_changes where user_id = {user}"),
    )
    .await;
    for (days, known_from, version) in [(12, None, None), (11, Some(base), None), (9, None, Some(3))] {
        let past = world
            .store
            .past(UserId(user), at(days))
            .await
            .expect("it can be read");
        assert_eq!(past.known_from, known_from, "{days}");
        assert_eq!(past.state.map(|state| state.version), version, "{days}");
        assert!(past.versions[0].folded);
    }
}
