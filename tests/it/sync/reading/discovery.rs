//! Users whom nobody lists.

use calmirror::{
    config::{FetchPlan, Listed},
    model::{RunOutcome, UserId},
    simulator::{ListRoute, Lists, RateLimit, Simulator, SimulatorConfig},
};
use serde_json::json;

use crate::support::{TestDb, world::World};

async fn everyone(users: usize, fetch: FetchPlan) -> World {
    let mut world = World::new(users).await;
    world.client.watch.listed = Listed::default();
    world.client.watch.all = true;
    world.client.fetch = fetch;
    world
}

/// The simulator's users, not the configuration's.
fn users(world: &World) -> Vec<i64> {
    world.simulator.clients()[0].users.clone()
}

#[tokio::test]
async fn everyone_is_found_by_the_list_and_followed() {
    for fetch in [FetchPlan::Auto, FetchPlan::Get, FetchPlan::Bulk, FetchPlan::List] {
        let world = everyone(300, fetch).await;
        let report = world.pass().await;
        assert_eq!(
            (report.outcome, report.inserted),
            (RunOutcome::Applied, 300),
            "{fetch:?}: {:?}",
            report.error
        );
        assert_eq!(report.requests, 2, "{fetch:?}");
        let id = world
            .simulator
            .create_user(
                world.client_id(),
                json!({ "name": "New", "email": "new@example.com" }),
            )
            .expect("the user can be created");
        let gone = users(&world)[7];
        world.simulator.delete_user(gone).expect("the user is there");
        let report = world.pass().await;
        assert_eq!(
            (report.inserted, report.missing, report.unchanged),
            (1, 1, 299),
            "{fetch:?}"
        );
        assert_eq!(report.requests, 3, "two pages, and the one who is not on them");
        assert_eq!(world.kinds(id).await, ["insert"]);
        assert_eq!(world.pass().await.removed, 1);
        world.assert_quiet().await;
    }
}

#[tokio::test]
async fn more_users_than_can_be_listed_are_said_to_be_partial() {
    let world = everyone(520, FetchPlan::Auto).await;
    let report = world.pass().await;
    assert_eq!((report.outcome, report.inserted), (RunOutcome::Partial, 500));
    let error = report.error.expect("it says why");
    for word in [
        "500",
        "organization_id",
        "users_file",
        "users_sql",
        "instead of `users = \"all\"`",
    ] {
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(fresh(&world).await, 0);
}

async fn fresh(world: &World) -> i64 {
    world
        .value("select count(*) from managed_users_freshness where verdict = 'fresh'")
        .await
}

#[tokio::test]
async fn ids_instead_of_everyone_make_the_pass_complete() {
    let mut world = everyone(520, FetchPlan::Auto).await;
    assert_eq!(world.pass().await.outcome, RunOutcome::Partial);
    world.client.watch.listed = Listed::of(users(&world).into_iter().map(UserId).collect());
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.inserted),
        (RunOutcome::Partial, 20),
        "beside everyone"
    );
    assert_eq!(fresh(&world).await, 0);
    world.client.watch.all = false;
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.unchanged),
        (RunOutcome::NoChange, 520),
        "{:?}",
        report.error
    );
    assert_eq!(fresh(&world).await, 1);
}

/// A client of an organisation, everyone of whom is watched.
pub(super) async fn organization(users: usize, plain_members: usize) -> World {
    let simulator = Simulator::start(SimulatorConfig {
        users_per_client: users,
        clients: 2,
        plain_members,
        organization_id: 77,
        rate_limit: RateLimit::OFF,
        ..SimulatorConfig::default()
    })
    .await
    .expect("the simulator starts");
    let mut world = World::with(simulator, TestDb::new().await).await;
    world.client.watch.listed = Listed::default();
    world.client.watch.all = true;
    world.client.watch.organization_id = Some(77);
    world.client.fetch = FetchPlan::Auto;
    world
}

#[tokio::test]
async fn an_organisations_list_finds_everyone_of_the_client_and_nobody_else() {
    let world = organization(1_200, 300).await;
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.inserted),
        (RunOutcome::Applied, 1_200),
        "{:?}",
        report.error
    );
    let ids: Vec<i64> = sqlx::query_scalar("select id from managed_users order by id")
        .fetch_all(&world.pool)
        .await
        .expect("the mirror can be read");
    assert_eq!(ids, users(&world));
    assert!(report.requests < 20, "{} requests", report.requests);
    let id = world
        .simulator
        .create_user(
            world.client_id(),
            json!({ "name": "New", "email": "new@example.com" }),
        )
        .expect("the user can be created");
    let report = world.pass().await;
    assert_eq!((report.inserted, report.unchanged), (1, 1_200));
    assert_eq!(world.kinds(id).await, ["insert"]);
    world.assert_quiet().await;
}

#[tokio::test]
async fn an_organisation_whose_list_cannot_be_had_leaves_the_pass_partial() {
    let world = organization(600, 0).await;
    world.pass().await;
    world.simulator.set_lists(Lists {
        organization: ListRoute::Forbidden,
        ..Lists::default()
    });
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.observed),
        (RunOutcome::Partial, 600),
        "{:?}",
        report.error
    );
}

#[tokio::test]
async fn a_client_whose_list_cannot_be_had_is_no_client_without_users() {
    let world = everyone(5, FetchPlan::Auto).await;
    world.simulator.set_lists(Lists {
        users: ListRoute::Forbidden,
        ..Lists::default()
    });
    let report = world.pass().await;
    assert_eq!((report.outcome, report.observed), (RunOutcome::Failed, 0));
}

#[tokio::test]
async fn a_query_gives_users_and_their_addresses() {
    let mut world = World::new(300).await;
    sqlx::raw_sql("create table public.customers (cal_id bigint, mail text)")
        .execute(&world.pool)
        .await
        .expect("the table can be made");
    for (id, email) in world
        .simulator
        .addresses(world.client_id())
        .expect("the client is there")
    {
        sqlx::query("insert into public.customers values ($1, $2)")
            .bind(id)
            .bind(email)
            .execute(&world.pool)
            .await
            .expect("the row can be written");
    }
    world.client.watch.listed = Listed::default();
    world.client.watch.sql =
        Some("select cal_id as user_id, mail as email from customers -- all of them".to_owned());
    world.client.fetch = FetchPlan::Bulk;
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.inserted),
        (RunOutcome::Applied, 300),
        "{:?}",
        report.error
    );
    assert!(
        report.requests <= 3,
        "{} requests for a first fill",
        report.requests
    );
    world.client.watch.sql = Some("select cal_id as user_id from customers".to_owned());
    assert_eq!(world.pass().await.unchanged, 300);
}

#[tokio::test]
async fn a_query_at_fault_fails_the_pass_and_says_why() {
    let mut world = World::new(2).await;
    world.client.watch.listed = Listed::default();
    for (sql, expected) in [
        ("select 1", "user_id"),
        ("select null::bigint as user_id", "null"),
        ("select -1 as user_id", "-1"),
        ("select 'x' as user_id", "bigint"),
        ("select 1 as user_id where false", "no user"),
        ("select id as user_id from nowhere", "nowhere"),
        ("delete from managed_users returning id as user_id", "syntax"),
    ] {
        world.client.watch.sql = Some(sql.to_owned());
        let report = world.pass().await;
        assert_eq!(report.outcome, RunOutcome::Failed, "{sql}");
        let error = report.error.expect("it says why");
        assert!(error.contains(expected), "{sql}: {error}");
    }
}
