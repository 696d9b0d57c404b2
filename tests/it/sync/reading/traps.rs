//! Histories in which reading less could make the mirror wrong, or a pass never end.

use std::collections::HashSet;

use calmirror::{
    config::{FetchPlan, Listed},
    model::{RunOutcome, UserId},
    simulator::{Answer, ListRoute, Lists, MaxLimit, RouteKind, Script, Target},
};
use chrono::DateTime;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{discovery::organization, filled};
use crate::support::world::World;

/// No row of `managed_users` can be written until it is dropped.
const REFUSE_WRITES: &str = "
    create function refuse() returns trigger language plpgsql as $$
    begin raise exception 'no' using errcode = '55P03'; end $$;
    create trigger refuse before insert or update on managed_users for each row execute function refuse()";

async fn execute(world: &World, sql: &'static str) {
    sqlx::raw_sql(sql)
        .execute(&world.pool)
        .await
        .expect("the statement works");
}

fn record(world: &World, id: i64) -> Value {
    let record = world.simulator.user_json(id).expect("the user is there");
    serde_json::from_slice(&record).expect("it is JSON")
}

fn page(records: &[Value]) -> Answer {
    Answer::json(200, json!({ "status": "success", "data": records }).to_string())
}

#[tokio::test]
async fn what_was_listed_and_not_written_is_asked_for_again() {
    let mut world = World::new(300).await;
    world.resume_since = Some(DateTime::UNIX_EPOCH);
    world.client.fetch = FetchPlan::Auto;
    execute(&world, REFUSE_WRITES).await;
    assert_eq!(world.pass().await.outcome, RunOutcome::Failed);
    execute(&world, "drop trigger refuse on managed_users").await;
    world.simulator.set_lists(Lists {
        users: ListRoute::Missing,
        ..Lists::default()
    });
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.inserted),
        (RunOutcome::Applied, 300),
        "{:?}",
        report.error
    );
}

#[tokio::test]
async fn a_list_of_a_server_that_gives_few_users_at_once_is_read_to_its_end() {
    for (cap, users) in [(100, 300), (25, 60), (64, 200), (30, 30)] {
        let mut world = World::new(users).await;
        world.client.watch.listed = Listed::default();
        world.client.watch.all = true;
        world.client.fetch = FetchPlan::Auto;
        world.simulator.set_lists(Lists {
            max_limit: MaxLimit::Clamp(cap),
            ..Lists::default()
        });
        let report = world.pass().await;
        assert_eq!(
            (report.outcome, report.inserted),
            (RunOutcome::Applied, users as u64),
            "{cap} at once of {users}: {:?}",
            report.error
        );
    }
}

#[tokio::test]
async fn a_list_of_an_organisation_that_gives_few_users_at_once_is_read_to_its_end() {
    let world = organization(600, 0).await;
    world.simulator.set_lists(Lists {
        users: ListRoute::Forbidden,
        ..Lists::default()
    });
    let users = world.simulator.clients()[0].users.clone();
    let first: Vec<Value> = users[..250].iter().map(|id| record(&world, *id)).collect();
    world
        .simulator
        .script(Target::Route(RouteKind::ListOrganizationUsers), 1, page(&first));
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.inserted),
        (RunOutcome::Applied, 600),
        "{:?}",
        report.error
    );
}

#[tokio::test]
async fn a_user_on_two_pages_is_written_once() {
    let world = organization(600, 0).await;
    world.pass().await;
    let new = world
        .simulator
        .create_user(
            world.client_id(),
            json!({ "name": "New", "email": "new@example.com" }),
        )
        .expect("the user can be created");
    let others = world.simulator.clients()[1].users.clone();
    let mut first: Vec<Value> = others[..99].iter().map(|id| record(&world, *id)).collect();
    first.push(record(&world, new));
    let route = Target::Route(RouteKind::ListOrganizationUsers);
    world.simulator.script(route.clone(), 1, page(&first));
    world.simulator.script(route, 1, page(&[record(&world, new)]));
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.inserted),
        (RunOutcome::Applied, 1),
        "{:?}",
        report.error
    );
}

#[tokio::test]
async fn an_organisation_that_gives_the_same_page_again_and_again_is_left() {
    let world = organization(600, 0).await;
    world.pass().await;
    let members: Vec<Value> = (1..=1000)
        .map(|id| json!({ "id": id, "email": "x@example.com" }))
        .collect();
    let route = Target::Route(RouteKind::ListOrganizationUsers);
    world.simulator.script(route, Script::ALWAYS, page(&members));
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.observed),
        (RunOutcome::Partial, 600),
        "{:?}",
        report.error
    );
}

#[tokio::test]
async fn a_resumed_pass_with_none_left_but_a_missing_user_has_its_control() {
    let mut world = organization(600, 0).await;
    world.resume_since = Some(DateTime::UNIX_EPOCH);
    world.pass().await;
    let gone = world.simulator.clients()[0].users[5];
    world.simulator.delete_user(gone).expect("the user is there");
    // The pass is stuck when all but the new users are dealt with.
    let route = Target::Route(RouteKind::ListOrganizationUsers);
    world.simulator.script(route, Script::ALWAYS, Answer::Hang);
    let cancel = CancellationToken::new();
    let stop = async {
        world.simulator.wait_until(|counts| counts.hanging == 1).await;
        let missing = async || world.value::<i64>("select count(*) from missing_users").await;
        while missing().await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        cancel.cancel();
    };
    let (report, ()) = tokio::join!(world.pass_until(&cancel), stop);
    assert_eq!(report.outcome, RunOutcome::Partial);
    world.simulator.release();
    world.simulator.clear_scripts();
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.missing),
        (RunOutcome::NoChange, 1),
        "{:?}",
        report.error
    );
    let unproven: i32 = world.value("select unproven from missing_users").await;
    assert_eq!(unproven, 0);
}

#[tokio::test]
async fn another_list_of_users_is_another_pass_whatever_the_ids_are() {
    let mut world = World::new(600).await;
    let all = world.users();
    // Ids whose sums are the same, and those of many a hash of them.
    let (out, new) = ([all[1], all[4]], [all[2], all[3]]);
    let but = |left_out: [i64; 2]| {
        let left_out = HashSet::from(left_out);
        Listed::of(
            all.iter()
                .filter(|id| !left_out.contains(id))
                .map(|id| UserId(*id))
                .collect(),
        )
    };
    world.resume_since = Some(DateTime::UNIX_EPOCH);
    world.client.watch.listed = but(new);
    world.simulator.script(Target::User(all[560]), 1, Answer::Hang);
    let cancel = CancellationToken::new();
    let stop = async {
        world.simulator.wait_until(|counts| counts.get_user >= 598).await;
        cancel.cancel();
    };
    let (_, ()) = tokio::join!(world.pass_until(&cancel), stop);
    world.simulator.release();
    world.client.watch.listed = but(out);
    world.pass().await;
    for user in new {
        assert_eq!(world.kinds(user).await, ["insert"]);
    }
}

#[tokio::test]
async fn a_row_that_was_set_back_is_no_observation() {
    let mut world = World::new(600).await;
    world.pass().await;
    world.resume_since = Some(DateTime::UNIX_EPOCH);
    let user = world.users()[550];
    world
        .simulator
        .patch_user(user, json!({ "name": "Ada" }))
        .expect("the user can be changed");
    sqlx::query("update managed_users set bio = 'edited' where id = $1")
        .bind(user)
        .execute(&world.pool)
        .await
        .expect("the row can be edited");
    execute(
        &world,
        "create function refuse() returns trigger language plpgsql as $$
         begin
             if new.name = 'Ada' then raise exception 'no' using errcode = '55P03'; end if;
             return new;
         end $$;
         create trigger refuse before insert or update on managed_users for each row execute function refuse()",
    )
    .await;
    let report = world
        .unchecked_pass(&world.store, &CancellationToken::new())
        .await;
    assert_eq!(report.outcome, RunOutcome::Failed);
    execute(&world, "drop trigger refuse on managed_users").await;
    world.pass().await;
    assert_eq!(world.kinds(user).await, ["insert", "repair", "update"]);
}

#[tokio::test]
async fn rows_that_are_older_than_their_fingerprints_are_read() {
    let world = World::new(5).await;
    world.pass().await;
    execute(
        &world,
        "create table old_users as table managed_users; create table old_changes as table managed_user_changes",
    )
    .await;
    let user = world.users()[2];
    world
        .simulator
        .patch_user(user, json!({ "name": "Ada" }))
        .expect("the user can be changed");
    assert_eq!(world.pass().await.updated, 1);
    execute(
        &world,
        "delete from managed_user_changes; delete from managed_users;
         insert into managed_users select * from old_users;
         insert into managed_user_changes overriding system value select * from old_changes",
    )
    .await;
    assert_eq!(world.pass().await.updated, 1);
}

#[tokio::test]
async fn a_few_users_who_come_late_teach_no_cap() {
    let world = filled(250).await;
    let few: Vec<Value> = world.users()[..2].iter().map(|id| record(&world, *id)).collect();
    world
        .simulator
        .script(Target::Route(RouteKind::ListUsers), 1, page(&few));
    assert_eq!(world.pass().await.outcome, RunOutcome::NoChange);
    let report = world.pass().await;
    assert!(report.requests <= 3, "{} requests", report.requests);
}

#[tokio::test]
async fn a_server_that_is_away_is_not_asked_for_every_half() {
    for rest in [None, Some("60".to_owned())] {
        let world = filled(2_000).await;
        let before = world.simulator.requests().total;
        world.simulator.script(
            Target::Any,
            Script::ALWAYS,
            Answer::Respond {
                status: 503,
                headers: rest.map(|rest| ("retry-after", rest)).into_iter().collect(),
                body: "{}".into(),
            },
        );
        assert_eq!(world.pass().await.outcome, RunOutcome::Failed);
        let requests = world.simulator.requests().total - before;
        assert!(requests <= 90, "{requests} requests");
    }
}

#[tokio::test]
async fn a_writer_that_fails_ends_the_fetching_of_unchanged_users() {
    let world = filled(10_000).await;
    let user = world.users()[0];
    world
        .simulator
        .patch_user(user, json!({ "name": "Ada" }))
        .expect("the user can be changed");
    execute(&world, "alter table managed_users rename column bio to biography").await;
    let report = world
        .unchecked_pass(&world.store, &CancellationToken::new())
        .await;
    assert_eq!(report.outcome, RunOutcome::Failed);
    assert!(report.requests < 42, "{} requests", report.requests);
}

#[tokio::test]
async fn new_users_of_a_query_are_asked_for_by_their_addresses_beside_everyone() {
    let mut world = organization(600, 0).await;
    world.pass().await;
    let template = record(&world, world.simulator.clients()[0].users[0]);
    execute(
        &world,
        "create table public.customers (user_id bigint, email text)",
    )
    .await;
    for id in 1..=100_i64 {
        let mut new = template.clone();
        new["id"] = json!(id);
        new["email"] = json!(format!("low{id}+{}@example.com", world.client_id()));
        world
            .simulator
            .place_raw(world.client_id(), id, new.to_string())
            .expect("the record can be placed");
        sqlx::query("insert into public.customers values ($1, $2)")
            .bind(id)
            .bind(format!("low{id}@example.com"))
            .execute(&world.pool)
            .await
            .expect("the row can be written");
    }
    world.client.watch.sql = Some("select * from customers".to_owned());
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.inserted),
        (RunOutcome::Applied, 100),
        "{:?}",
        report.error
    );
    assert!(report.requests < 12, "{} requests", report.requests);
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_on_record() {
    let mut world = World::new(2).await;
    execute(
        &world,
        "create function slow() returns bigint language plpgsql as $$
         begin raise exception 'canceling statement due to statement timeout' using errcode = '57014'; end $$",
    )
    .await;
    world.client.watch.sql = Some("select slow() as user_id".to_owned());
    let report = world.pass().await;
    assert_eq!(report.outcome, RunOutcome::Failed);
    assert!(report.run_id.is_some());
    let error = report.error.expect("it says why");
    assert!(error.contains("users_sql"), "{error}");
}
