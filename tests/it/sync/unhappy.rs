//! Cal.com's unhappy days: nothing false is written, and freshness stands still.

use calmirror::{
    model::RunOutcome,
    simulator::{Answer, Faults, Refusal, Target},
    sync::Failure,
};
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use crate::support::world::{World, source};

async fn last_complete(world: &World) -> DateTime<Utc> {
    world
        .value("select last_complete_at from managed_users_freshness")
        .await
}

#[tokio::test]
async fn records_that_cannot_be_stored_are_rejected_and_all_others_mirrored() {
    let world = World::new(10).await;
    let users = world.users();
    let broken = [
        r#""name":"nul \u0000 inside""#,
        r#""name":"lone \ud800 surrogate""#,
        r#""timeZone":null"#,
        r#""metadata":{"n":1e999999}"#,
    ];
    for (user, field) in users.iter().zip(broken) {
        let record = format!(
            r#"{{"id":{user},"email":"a@b.c","timeZone":"UTC","weekStart":"Sunday",
                "createdDate":"2024-04-01T00:00:00.000Z",{field}}}"#
        );
        world
            .simulator
            .place_raw(world.client_id(), *user, record)
            .expect("the record can be placed");
    }
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.rejected, report.inserted),
        (RunOutcome::Partial, 4, 6)
    );
    let fields: Vec<String> = sqlx::query_scalar("select fields[1] from rejects order by user_id")
        .fetch_all(&world.pool)
        .await
        .expect("rejects can be read");
    assert_eq!(fields, ["name", "name", "timeZone", "metadata"]);

    let before = world.tuples().await;
    assert_eq!(world.pass().await.outcome, RunOutcome::Partial);
    assert_eq!(
        world.tuples().await,
        before,
        "the same rejects are not written again"
    );
    assert_eq!(
        world
            .store
            .rejects(10)
            .await
            .expect("rejects can be listed")
            .len(),
        4
    );

    let mended = format!(
        r#"{{"id":{},"email":"a@b.c","timeZone":"UTC","weekStart":"Sunday","createdDate":"2024-04-01T00:00:00Z"}}"#,
        users[0]
    );
    world
        .simulator
        .place_raw(world.client_id(), users[0], mended)
        .expect("the record can be placed");
    let report = world.pass().await;
    assert_eq!((report.inserted, report.rejected), (1, 3));
    assert_eq!(world.value::<i64>("select count(*) from rejects").await, 3);
}

#[tokio::test]
async fn a_record_that_could_not_be_read_again_spoils_nobody_elses() {
    let world = World::new(20).await;
    let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    let extra = [
        format!(r#""new":{deep}"#),
        r#""metadata":{"n":0e99999999999}"#.to_owned(),
        format!(r#""metadata":{{"n":[{}1]}}"#, "1e131071,".repeat(500)),
    ];
    for (user, field) in world.users().iter().zip(&extra) {
        let record = format!(
            r#"{{"id":{user},"email":"a@b.c","timeZone":"UTC","weekStart":"Sunday",
                "createdDate":"2024-04-01T00:00:00.000Z",{field}}}"#
        );
        world
            .simulator
            .place_raw(world.client_id(), *user, record)
            .expect("the record can be placed");
    }
    for _ in 0..2 {
        let report = world.pass().await;
        assert_eq!(
            (report.outcome, report.rejected),
            (RunOutcome::Partial, 3),
            "{:?}",
            report.error
        );
    }
    assert_eq!(
        world
            .value::<i64>("select count(*) from managed_users_live")
            .await,
        17
    );
}

#[tokio::test]
async fn a_page_instead_of_answers_ends_the_pass_early() {
    let world = World::new(200).await;
    world.simulator.script(Target::Any, 10_000, Answer::html(200));
    let report = world.pass().await;
    assert_eq!(report.outcome, RunOutcome::Failed);
    assert!(
        report.requests < 100,
        "{} requests to what is not Cal.com",
        report.requests
    );
}

#[tokio::test]
async fn a_mirrored_user_that_turns_unreadable_keeps_its_row() {
    let world = World::new(5).await;
    world.pass().await;
    let before = last_complete(&world).await;
    let user = world.users()[2];
    world
        .simulator
        .place_raw(world.client_id(), user, "{}")
        .expect("the record can be placed");
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.rejected, report.unchanged),
        (RunOutcome::Partial, 1, 4)
    );
    assert_eq!(
        world
            .value::<i64>("select count(*) from managed_users_live")
            .await,
        5
    );
    assert_eq!(last_complete(&world).await, before);
}

#[tokio::test]
async fn one_user_without_an_answer_makes_the_pass_partial() {
    let world = World::new(12).await;
    world.pass().await;
    let before = last_complete(&world).await;
    let users = world.users();
    let answers = [
        Answer::text(500, "boom"),
        Answer::html(502),
        Answer::json(500, r#"{"statusCode":500,"message":"Internal server error"}"#),
        Answer::CutShort {
            declared_bytes: 900,
            sent: r#"{"status":"success","data":{"id":"#.into(),
        },
        Answer::Close,
        Answer::json(200, r#"{"status":"error","data":{}}"#),
        Answer::GzipBomb {
            inflated_bytes: 16 << 20,
        },
    ];
    for (user, answer) in users.iter().zip(answers) {
        world
            .simulator
            .patch_user(users[11], serde_json::json!({ "bio": format!("after {user}") }))
            .expect("ok");
        world.simulator.script(Target::User(*user), 3, answer.clone());
        let report = world.pass().await;
        assert_eq!(
            report.outcome,
            RunOutcome::Partial,
            "{answer:?}: {:?}",
            report.error
        );
        assert_eq!(
            (report.observed, report.updated),
            (11, 1),
            "{answer:?}: the others are mirrored"
        );
        let error = report.error.expect("a partial pass says why");
        assert!(error.contains(&user.to_string()), "{error}");
        world.simulator.clear_scripts();
    }
    assert_eq!(
        last_complete(&world).await,
        before,
        "an answer that proves nothing is no freshness"
    );
    assert_eq!(world.pass().await.outcome, RunOutcome::NoChange);
    assert!(last_complete(&world).await > before);
}

#[tokio::test]
async fn a_hiccup_is_tried_again_and_seen_by_nobody() {
    let world = World::new(5).await;
    world
        .simulator
        .script(Target::User(world.users()[0]), 2, Answer::text(500, "cold start"));
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.inserted, report.requests),
        (RunOutcome::Applied, 5, 7)
    );
}

#[tokio::test]
async fn a_refused_client_fails_at_once_with_the_remedy() {
    let world = World::new(50).await;
    world.pass().await;
    let tuples = world.tuples().await;
    let cases: [(Answer, &str); 5] = [
        (Answer::Refuse(Refusal::WrongSecret), "secret"),
        (Answer::Refuse(Refusal::UnknownClient("x".to_owned())), "id"),
        (Answer::Refuse(Refusal::Forbidden("x".to_owned())), "403"),
        (
            Answer::Refuse(Refusal::NoRoute {
                method: "GET".to_owned(),
                path: "/v2/x".to_owned(),
            }),
            "base_url",
        ),
        (
            Answer::Respond {
                status: 301,
                headers: vec![("location", "https://elsewhere.example/v2".to_owned())],
                body: "".into(),
            },
            "elsewhere.example",
        ),
    ];
    for (answer, said) in cases {
        world.simulator.script(Target::Any, 100, answer.clone());
        let report = world.pass().await;
        assert_eq!(
            (report.outcome, report.failure),
            (
                RunOutcome::Failed,
                if matches!(said, "secret" | "id" | "403") {
                    Failure::Refused
                } else {
                    Failure::Fault
                }
            ),
            "{answer:?}"
        );
        let error = report.error.expect("a failed pass says why");
        assert!(error.contains(said), "{error} does not speak of {said}");
        assert!(
            report.requests < 20,
            "{} requests although the first says it all",
            report.requests
        );
        assert!(!error.contains(&world.simulator.clients()[0].secret));
        world.simulator.clear_scripts();
    }
    assert_eq!(world.tuples().await, tuples);
}

#[tokio::test]
async fn a_server_that_is_away_ends_the_pass_early() {
    let mut world = World::new(60).await;
    world.pass().await;
    world.simulator.set_faults(Faults {
        error_rate: 1.0,
        ..Faults::default()
    });
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.failure),
        (RunOutcome::Failed, Failure::Unavailable)
    );
    assert!(
        report.requests < 60,
        "{} requests to a server that is away",
        report.requests
    );
    world.simulator.set_faults(Faults::default());

    world.source = source("http://127.0.0.1:1", &world.client);
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.failure),
        (RunOutcome::Failed, Failure::Unavailable)
    );
    assert_eq!(
        world
            .value::<i64>("select count(*) from managed_users_live")
            .await,
        60
    );
}

#[tokio::test]
async fn a_pass_that_is_cut_keeps_what_it_has_and_the_next_converges() {
    let world = World::new(30).await;
    let hanging = world.users()[29];
    world.simulator.script(Target::User(hanging), 1, Answer::Hang);
    let cancel = CancellationToken::new();
    let (report, ()) = tokio::join!(world.pass_until(&cancel), async {
        world.simulator.wait_for_requests(30).await;
        cancel.cancel();
    });
    assert_eq!(report.outcome, RunOutcome::Partial);
    assert!(report.inserted < 30);
    assert_eq!(report.inserted, report.observed, "what was observed is written");
    world.simulator.release();
    let report = world.pass().await;
    assert_eq!(report.outcome, RunOutcome::Applied);
    world.assert_quiet().await;
    assert_eq!(
        world
            .value::<i64>("select count(*) from managed_users_live")
            .await,
        30
    );
}

#[tokio::test]
async fn another_base_address_is_refused_until_it_is_accepted() {
    let mut world = World::new(3).await;
    world.pass().await;
    sqlx::query("update sync_state set base_url = 'https://elsewhere.example'")
        .execute(&world.pool)
        .await
        .expect("the source can be moved");
    let report = world.pass().await;
    assert_eq!(report.outcome, RunOutcome::Failed);
    assert!(
        report
            .error
            .is_some_and(|error| error.contains("--accept-source"))
    );
    assert_eq!(
        report.requests, 0,
        "nothing is asked of a source that may be the wrong one"
    );
    world.accept_source = true;
    assert_eq!(world.pass().await.outcome, RunOutcome::NoChange);
    world.accept_source = false;
    assert_eq!(world.pass().await.outcome, RunOutcome::NoChange, "once is enough");
}
