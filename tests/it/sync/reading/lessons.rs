//! What passes learn of a server, and what they must not learn of somebody in between.

use calmirror::{
    model::RunOutcome,
    simulator::{Answer, EmailFilter, Lists, Refusal, RouteKind, Script, Target},
};

use serde_json::{Value, json};

use super::filled;
use crate::support::world::World;

const USERS: u64 = 600;

/// 250 addresses are more than a request line holds.
const BATCHES: u64 = 4;

/// A pass over everyone in as few requests as there are: nothing was learned.
async fn assert_bulk(world: &World, why: &str) {
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.unchanged),
        (RunOutcome::NoChange, USERS),
        "{why}: {:?}",
        report.error
    );
    assert!(report.requests <= BATCHES, "{why}: {} requests", report.requests);
}

#[tokio::test]
async fn whoever_answers_for_cal_com_for_a_while_teaches_nothing() {
    let in_between = [
        Answer::html(404),
        Answer::html(403),
        Answer::html(400),
        Answer::html(418),
    ];
    for answer in in_between {
        let why = format!("{answer:?}");
        let world = filled(600).await;
        world.simulator.script(Target::Any, Script::ALWAYS, answer);
        let report = world.pass().await;
        assert_ne!(report.outcome, RunOutcome::NoChange, "{why}");
        world.simulator.clear_scripts();
        assert_bulk(&world, &why).await;
    }
}

#[tokio::test]
async fn stray_answers_to_requests_by_addresses_are_told_from_a_refusal() {
    let world = filled(600).await;
    let (list, get) = (
        Target::Route(RouteKind::ListUsers),
        Target::Route(RouteKind::GetUser),
    );
    world.simulator.script(list, Script::ALWAYS, Answer::html(404));
    world.simulator.script(get, 1, Answer::Hang);
    let over = async {
        world.simulator.wait_until(|counts| counts.hanging == 1).await;
        world.simulator.clear_scripts();
        world.simulator.release();
    };
    let (report, ()) = tokio::join!(world.pass(), over);
    assert_eq!(
        (report.outcome, report.unchanged),
        (RunOutcome::NoChange, USERS),
        "{:?}",
        report.error
    );
    assert!(report.requests <= 2 * BATCHES + 1, "{} requests", report.requests);
    assert_bulk(&world, "stray answers").await;
}

#[tokio::test]
async fn a_server_that_refuses_addresses_again_when_a_user_is_found_is_learned() {
    for why in ["alone", "beside a user of whom nothing is learned"] {
        let world = filled(600).await;
        world.simulator.set_lists(Lists {
            emails: EmailFilter::Refused,
            ..Lists::default()
        });
        let mut unanswered = 0;
        if why != "alone" {
            unanswered = 1;
            let first = Target::User(world.users()[0]);
            world
                .simulator
                .script(first, 1, Answer::Refuse(Refusal::RecordMissing));
        }
        let report = world.pass().await;
        assert_eq!(report.unchanged, USERS - unanswered, "{why}: {:?}", report.error);
        assert!(
            report.requests <= USERS + BATCHES + 1,
            "{why}: {} requests",
            report.requests
        );
        let report = world.pass().await;
        assert_eq!((report.unchanged, report.requests), (USERS, USERS), "{why}");
    }
}

#[tokio::test]
async fn a_refused_request_none_of_whose_users_is_found_teaches_nothing() {
    let world = filled(4).await;
    world
        .simulator
        .script(Target::Any, 5, Answer::Refuse(Refusal::RecordMissing));
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.requests),
        (RunOutcome::Failed, 5),
        "{:?}",
        report.error
    );
    let report = world.pass().await;
    assert_eq!((report.unchanged, report.requests), (4, 1));
}

/// Gives a user another address, whatever the server would say of it.
fn readdress(world: &World, user: i64, email: &str) {
    let record = world.simulator.user_json(user).expect("the user is there");
    let mut record: Value = serde_json::from_slice(&record).expect("it is JSON");
    record["email"] = json!(email);
    world
        .simulator
        .place_raw(world.client_id(), user, record.to_string())
        .expect("the record can be placed");
}

#[tokio::test]
async fn addresses_that_the_server_refuses_are_narrowed_down_once_a_day() {
    let mut world = filled(600).await;
    let users = world.users();
    let culprits = [users[3], users[4], users[300], users[599]];
    for (user, email) in
        culprits
            .iter()
            .zip(["no@", ".dots.@example.com", "@example.com", "a..b@example.com"])
    {
        readdress(&world, *user, email);
    }
    assert_eq!(world.pass().await.updated, 4);
    let report = world.pass().await;
    assert_eq!((report.outcome, report.unchanged), (RunOutcome::NoChange, USERS));
    assert!(
        report.requests > 30,
        "each is searched for: {} requests",
        report.requests
    );
    let others = async |most, why| {
        let report = world.pass().await;
        assert_eq!(report.observed, USERS, "{why}");
        assert!(report.requests <= most, "{why}: {} requests", report.requests);
    };
    others(BATCHES + 4, "all four are known").await;
    // Another address is tried again.
    readdress(
        &world,
        users[4],
        &format!("fine+{}@example.com", world.client_id()),
    );
    others(BATCHES + 4, "it is not known yet that one is fine").await;
    others(BATCHES + 3, "it is known").await;
    // What a pass foretells has them.
    world.client.requests_per_minute = 1;
    world.client.fetch = calmirror::config::FetchPlan::Bulk;
    let foretold = async || {
        world.pass().await;
        world
            .value::<i64>("select planned_requests from sync_runs order by run_id desc limit 1")
            .await
    };
    let planned = foretold().await;
    assert!((6..=8).contains(&planned), "{planned}");
}

#[tokio::test]
async fn an_address_that_is_too_long_for_the_server_is_not_asked_for() {
    let world = filled(600).await;
    for (user, bytes) in [(5, 64), (6, 65), (7, 200)] {
        let email = format!("{}+{}@example.com", "x".repeat(bytes), world.client_id());
        readdress(&world, world.users()[user], &email);
    }
    assert_eq!(world.pass().await.updated, 3);
    let report = world.pass().await;
    assert_eq!((report.outcome, report.unchanged), (RunOutcome::NoChange, USERS));
    assert!(report.requests <= BATCHES + 2, "{} requests", report.requests);
}
