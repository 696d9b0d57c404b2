//! Letting a held set of removals through.

use calmirror::{
    model::{RunOutcome, UserId},
    simulator::{Answer, Refusal, Script, Target},
    store::HeldBy,
};

use super::held::{held, held_now, live, run_of};
use crate::support::world::source;

#[tokio::test]
async fn approving_lets_exactly_the_held_set_through() {
    let (world, report) = held(8).await;
    let run = run_of(&report);
    assert_eq!(held_now(&world).await, [("limit".to_owned(), 8, 20, run, run)]);
    let before: Option<chrono::DateTime<chrono::Utc>> = world
        .value("select last_complete_at from managed_users_freshness")
        .await;
    world
        .simulator
        .patch_user(world.users()[12], serde_json::json!({ "name": "Not Now" }))
        .expect("changes");

    let approved = world.approve(run).await;
    assert_eq!(
        (
            approved.outcome,
            approved.removed,
            approved.updated,
            approved.missing
        ),
        (RunOutcome::Applied, 8, 0, 8),
        "{:?}",
        approved.error
    );
    assert_eq!(live(&world).await, 12);
    assert_eq!(held_now(&world).await, []);
    assert_eq!(world.value::<i64>("select count(*) from missing_users").await, 0);
    let approval = run_of(&approved);
    assert_eq!(
        world
            .value::<i64>(
                "select count(*) from managed_user_changes as c join sync_runs as r using (run_id)
                 where c.kind = 'removal' and r.trigger = 'approval' and r.outcome = 'applied'"
            )
            .await,
        8,
        "the ledger leads to the approval, run {approval}"
    );
    assert_eq!(
        world.value::<i64>("select max(approves) from sync_runs").await,
        run,
        "and the approval to the run that held the set"
    );
    let after = world
        .value("select last_complete_at from managed_users_freshness")
        .await;
    assert_eq!(
        before, after,
        "an approval looks at few users, and moves no freshness"
    );
    assert_eq!(world.pass().await.updated, 1);
    world.assert_quiet().await;
}

/// What an earlier process heard holds for whoever approves as well.
#[tokio::test]
async fn approving_asks_nobody_before_a_block_is_over() {
    let (mut world, report) = held(8).await;
    world.source = source(&world.simulator.base_url(), &world.client);
    sqlx::query(
        "insert into rate_limits (client_id, noted_at, blocked_until)
         select client_id, now(), now() + interval '2 s' from sync_state
         on conflict (client_id) do update set blocked_until = excluded.blocked_until",
    )
    .execute(&world.pool)
    .await
    .expect("a block can be noted");
    let approved = world.approve(run_of(&report)).await;
    assert_eq!(approved.removed, 8, "{:?}", approved.error);
    let is_over = "select now() > blocked_until from rate_limits";
    assert!(world.value::<bool>(is_over).await, "it was waited out");
}

#[tokio::test]
async fn a_set_that_stays_the_same_can_be_approved_by_each_run_that_held_it() {
    let (world, first) = held(8).await;
    let second = world.pass().await;
    let (first, second) = (run_of(&first), run_of(&second));
    assert_eq!(
        held_now(&world).await,
        [("limit".to_owned(), 8, 20, first, second)]
    );
    let approved = world.approve(first).await;
    assert_eq!(approved.removed, 8, "{:?}", approved.error);
}

#[tokio::test]
async fn a_user_that_answers_again_refuses_the_whole_set() {
    let (world, report) = held(8).await;
    let user = world.users()[7];
    let record = Answer::json(
        200,
        format!(
            r#"{{"status":"success","data":{{"id":{user},"email":"a@example.com","timeZone":"UTC","weekStart":"Monday","createdDate":"2024-01-01T00:00:00.000Z"}}}}"#
        ),
    );
    world.simulator.script(Target::User(user), 1, record);
    let refused = world.approve(run_of(&report)).await;
    assert_eq!((refused.outcome, refused.removed), (RunOutcome::Failed, 0));
    let error = refused.error.expect("it says why");
    assert!(
        error.contains(&format!("user {user}")) && error.contains("answers again"),
        "{error}"
    );
    assert_eq!(live(&world).await, 20);
    assert_eq!(held_now(&world).await, [], "the next pass decides");
}

#[tokio::test]
async fn nothing_is_approved_while_a_user_cannot_be_asked() {
    let (world, report) = held(8).await;
    for answer in [
        Answer::html(404),
        Answer::json(
            404,
            r#"{"status":"error","error":{"code":"NotFoundException","message":"Cannot GET /v2/x"}}"#,
        ),
        Answer::Refuse(Refusal::WrongSecret),
    ] {
        let user = world.users()[3];
        world.simulator.script(Target::User(user), Script::ALWAYS, answer);
        let refused = world.approve(run_of(&report)).await;
        assert_eq!(
            (refused.outcome, refused.removed),
            (RunOutcome::Failed, 0),
            "{:?}",
            refused.error
        );
        world.simulator.clear_scripts();
    }
    assert_eq!(live(&world).await, 20);
    assert_eq!(world.approve(run_of(&report)).await.removed, 8);
}

#[tokio::test]
async fn an_approval_wants_a_sign_that_the_client_is_still_there() {
    let (world, report) = held(8).await;
    for user in &world.users()[8..] {
        world.simulator.script(
            Target::User(*user),
            Script::ALWAYS,
            Answer::Refuse(Refusal::NotOurUser(*user)),
        );
    }
    let refused = world.approve(run_of(&report)).await;
    assert_eq!((refused.outcome, refused.removed), (RunOutcome::Failed, 0));
    assert!(refused.error.is_some_and(|error| error.contains("no other user")));
    assert_eq!(live(&world).await, 20);
}

#[tokio::test]
async fn all_of_a_clients_users_can_be_approved_and_only_so() {
    let (world, report) = held(20).await;
    let run = run_of(&report);
    assert_eq!(
        held_now(&world).await,
        [("no_control".to_owned(), 20, 20, run, run)]
    );
    assert_eq!(
        world
            .value::<i64>("select sum(confirmations) from missing_users")
            .await,
        0,
        "without a control nothing is proven"
    );
    let approved = world.approve(run).await;
    assert_eq!(
        (approved.outcome, approved.removed),
        (RunOutcome::Applied, 20),
        "{:?}",
        approved.error
    );
    assert_eq!(live(&world).await, 0);
}

#[tokio::test]
async fn an_approval_whose_commit_is_lost_removes_once() {
    use crate::support::{gate::Gate, world::store_at};
    let (mut world, report) = held(8).await;
    let (mut gate, url) = Gate::before_database(&world.db);
    gate.open();
    world.store = store_at(&url, 1);
    gate.lose_answer(&["set version = i.version", "commit\0"]);
    let approved = world.approve(run_of(&report)).await;
    assert!(gate.has_lost(), "the test means a commit");
    assert_eq!(
        (approved.outcome, approved.removed),
        (RunOutcome::Applied, 8),
        "{:?}",
        approved.error
    );
    assert_eq!(world.kinds(world.users()[0]).await, ["insert", "removal"]);
}

#[tokio::test]
async fn a_sighting_by_an_approval_counts_as_one() {
    let (world, report) = held(8).await;
    let user = world.users()[7];
    let record = format!(
        r#"{{"status":"success","data":{{"id":{user},"email":"a@example.com","timeZone":"UTC","weekStart":"Monday","createdDate":"2024-01-01T00:00:00.000Z"}}}}"#
    );
    world
        .simulator
        .script(Target::User(user), 1, Answer::json(200, record));
    assert_eq!(world.approve(run_of(&report)).await.outcome, RunOutcome::Failed);
    assert_eq!(held_now(&world).await, []);
    assert_eq!(world.value::<i64>("select count(*) from missing_users").await, 7);
    let next = world.pass().await;
    assert_eq!((next.outcome, next.removed), (RunOutcome::Held, 0));
    assert_eq!(
        held_now(&world).await[0].1,
        7,
        "the eighth has to be proven again"
    );
}

#[tokio::test]
async fn an_approval_ends_no_pass_under_way_unless_it_removes() {
    let (world, report) = held(8).await;
    world
        .simulator
        .set_forbidden(world.client_id(), true)
        .expect("the client is there");
    let epoch: i64 = world.value("select epoch from sync_state").await;
    assert_eq!(world.approve(run_of(&report)).await.outcome, RunOutcome::Failed);
    assert_eq!(world.value::<i64>("select epoch from sync_state").await, epoch);
}

#[tokio::test]
async fn one_users_trouble_does_not_refuse_an_approval() {
    let (world, report) = held(8).await;
    for user in &world.users()[8..19] {
        world.simulator.script(
            Target::User(*user),
            Script::ALWAYS,
            Answer::Refuse(Refusal::RecordMissing),
        );
    }
    assert_eq!(world.approve(run_of(&report)).await.removed, 8);
}

#[tokio::test]
async fn a_set_with_a_user_that_is_not_watched_any_more_is_refused() {
    let (mut world, report) = held(8).await;
    let gone = crate::support::world::watch(&mut world.client, |users| users.remove(0));
    let refused = world.approve(run_of(&report)).await;
    assert_eq!((refused.outcome, refused.removed), (RunOutcome::Failed, 0));
    assert!(
        refused
            .error
            .is_some_and(|error| error.contains(&format!("user {gone}")))
    );
}

#[tokio::test]
async fn forgetting_one_of_the_set_during_an_approval_refuses_it() {
    let (world, report) = held(8).await;
    let hanging = world.users()[5];
    world.simulator.script(Target::User(hanging), 1, Answer::Hang);
    let beside = crate::support::world::store(&world.db, 1);
    let forgetting = async {
        world.simulator.wait_until(|counts| counts.hanging == 1).await;
        beside
            .forget(UserId(world.users()[2]))
            .await
            .expect("the user can be forgotten");
        world.simulator.release();
    };
    let (refused, ()) = tokio::join!(world.approve(run_of(&report)), forgetting);
    assert_eq!(
        (refused.outcome, refused.removed),
        (RunOutcome::Failed, 0),
        "{refused:?}"
    );
    assert_eq!(live(&world).await, 19);
}

#[tokio::test]
async fn an_old_run_cannot_be_approved_when_its_set_comes_again() {
    let (world, first) = held(8).await;
    let records: Vec<_> = world.users()[..8].to_vec();
    for user in &records {
        let record = format!(
            r#"{{"status":"success","data":{{"id":{user},"email":"u{user}@example.com","timeZone":"UTC","weekStart":"Monday","createdDate":"2024-01-01T00:00:00.000Z"}}}}"#
        );
        world
            .simulator
            .script(Target::User(*user), 1, Answer::json(200, record));
    }
    world.pass().await;
    world.pass().await;
    let again = world.pass().await;
    assert_eq!(again.outcome, RunOutcome::Held, "{again:?}");
    let found = world
        .store
        .held_by(run_of(&first))
        .await
        .expect("the database answers");
    assert!(matches!(found, HeldBy::Expired { .. }), "{found:?}");
}
