//! What is judged of a client by what its passes have left behind.

use std::time::Duration;

use calmirror::{
    health::{self, ClientHealth, Condition, Reason},
    model::{Failure, RunOutcome},
    simulator::{Answer, Faults, Refusal, Target},
};
use tokio_util::sync::CancellationToken;

use crate::support::world::{World, source};

async fn health(world: &World) -> ClientHealth {
    let clients = [world.client.clone()];
    let mut healths = health::read(&world.store, &clients)
        .await
        .expect("the database answers");
    assert_eq!(healths.len(), 1);
    healths.remove(0)
}

async fn age(world: &World) {
    sqlx::query("update sync_state set fresh_until = last_complete_at")
        .execute(&world.pool)
        .await
        .expect("freshness can be dated back");
}

async fn newest_failure(world: &World) -> Option<String> {
    world
        .value("select failure from sync_runs order by run_id desc limit 1")
        .await
}

#[tokio::test]
async fn a_client_is_never_then_well_then_stale() {
    let world = World::new(3).await;
    assert_eq!(health(&world).await.condition, Condition::Never);
    world.pass().await;
    let well = health(&world).await;
    assert_eq!((well.condition, well.fresh), (Condition::Well, true));
    assert!(well.lag_s.is_some() && well.last_complete_at.is_some());
    age(&world).await;
    let stale = health(&world).await;
    assert_eq!((stale.condition, stale.fresh), (Condition::Stale, false));
    let since = well.last_complete_at.expect("a pass was complete");
    assert_eq!(stale.reasons, [Reason::Stale { since }]);
    world.pass().await;
    assert_eq!(health(&world).await.condition, Condition::Well);
}

#[tokio::test]
async fn a_client_is_refused_until_cal_com_takes_it_back() {
    let world = World::new(3).await;
    world.pass().await;
    assert_eq!(newest_failure(&world).await, None);
    let wrong_secret = Answer::Refuse(Refusal::WrongSecret);
    world.simulator.script(Target::Any, 100, wrong_secret);
    let refused = world.pass().await;
    assert_eq!(
        (refused.outcome, refused.failure),
        (RunOutcome::Failed, Failure::Refused)
    );
    assert_eq!(newest_failure(&world).await.as_deref(), Some("refused"));
    let judged = health(&world).await;
    assert_eq!(judged.condition, Condition::Refused);
    assert!(judged.fresh, "the mirror is as fresh as it was");
    let [Reason::Refused { error, run_id, at }] = &judged.reasons[..] else {
        panic!("one reason: {judged:?}");
    };
    assert!(error.contains("secret"), "{error}");
    assert_eq!((Some(*run_id), at.is_some()), (refused.run_id, true));
    world.simulator.clear_scripts();

    // Neither a server that is away nor an early end says anything of the credentials.
    world.simulator.set_faults(Faults {
        error_rate: 1.0,
        ..Faults::default()
    });
    let away = world.pass().await;
    assert_eq!(away.failure, Failure::Unavailable);
    assert_eq!(newest_failure(&world).await.as_deref(), Some("unavailable"));
    assert_eq!(health(&world).await.condition, Condition::Refused);
    world.simulator.set_faults(Faults::default());
    let stopped = CancellationToken::new();
    stopped.cancel();
    assert_eq!(world.pass_until(&stopped).await.outcome, RunOutcome::Partial);
    assert_eq!(health(&world).await.condition, Condition::Refused);
    // Nor does a pass under way, until it ends.
    world.begin().await;
    assert_eq!(health(&world).await.condition, Condition::Refused);

    world.pass().await;
    assert_eq!(health(&world).await.condition, Condition::Well);
    assert_eq!(newest_failure(&world).await, None);
}

#[tokio::test]
async fn a_client_of_another_source_is_refused() {
    let mut world = World::new(3).await;
    world.pass().await;
    sqlx::query("update sync_state set base_url = 'https://elsewhere.example'")
        .execute(&world.pool)
        .await
        .expect("the source can be moved");
    assert_eq!(world.pass().await.failure, Failure::Refused);
    assert_eq!(newest_failure(&world).await.as_deref(), Some("refused"));
    let judged = health(&world).await;
    assert!(
        matches!(&judged.reasons[..], [Reason::Refused { error, .. }] if error.contains("--accept-source")),
        "{judged:?}"
    );
    world.accept_source = true;
    world.pass().await;
    assert_eq!(health(&world).await.condition, Condition::Well);
}

#[tokio::test]
async fn a_held_client_names_the_run_to_approve() {
    let world = World::new(20).await;
    world.pass().await;
    for user in &world.users()[..8] {
        world.simulator.delete_user(*user).expect("the user is there");
    }
    world.pass().await;
    let counts = world.store.user_counts().await.expect("the database answers");
    assert_eq!((counts[0].live, counts[0].removed, counts[0].missing), (20, 0, 8));
    let held = world.pass().await;
    let judged = health(&world).await;
    assert_eq!(judged.condition, Condition::Held);
    let [Reason::Held { users, run_id, .. }] = judged.reasons[..] else {
        panic!("one reason: {judged:?}");
    };
    assert_eq!((users, Some(run_id)), (8, held.run_id));
    world.approve(run_id).await;
    assert_eq!(health(&world).await.reasons, []);
    let counts = world.store.user_counts().await.expect("the database answers");
    assert_eq!((counts[0].live, counts[0].removed, counts[0].missing), (12, 8, 0));
}

#[tokio::test]
async fn a_fault_is_on_record_as_one_and_refuses_nobody() {
    let mut world = World::new(3).await;
    world.pass().await;
    world.client.watch.sql = Some("select nonsense".to_owned());
    assert_eq!(world.pass().await.failure, Failure::Fault);
    assert_eq!(newest_failure(&world).await.as_deref(), Some("fault"));
    assert_eq!(health(&world).await.condition, Condition::Well);
    world.client.watch.sql = None;
    world.source = source("http://127.0.0.1:1", &world.client);
    world.beat = Duration::from_secs(1);
    assert_eq!(world.pass().await.failure, Failure::Unavailable);
}
