//! Answers that refuse: 3xx and 4xx.

use calmirror::simulator::{Answer, Refusal};
use serde_json::json;

use super::{
    Expected, Upstream,
    case::{Case, fault, partial},
};
use crate::support::scripted::{Scripted, Step};

/// Every user of the client would get the same, and so the first one ends the pass.
async fn stops(answer: impl Fn(i64) -> Answer, says: &'static [&'static str]) {
    let all = fault(says);
    Case {
        answer,
        all,
        one: all,
    }
    .check()
    .await;
}

/// The others may do better.
async fn skips(answer: impl Fn(i64) -> Answer, says: &'static [&'static str]) {
    Case {
        answer,
        all: fault(says),
        one: partial(says),
    }
    .check()
    .await;
}

/// Cal.com's envelope of an error.
fn envelope(status: u16, code: &str, message: &str) -> Answer {
    let error = json!({ "code": code, "message": message, "details": { "message": message } });
    let body =
        json!({ "status": "error", "timestamp": "2025-12-01T00:00:00.000Z", "path": "/v2", "error": error });
    Answer::json(status, body.to_string())
}

fn gone(user: i64) -> String {
    format!("User with ID {user} is not part of this OAuth client.")
}

#[tokio::test]
async fn a_401_for_a_wrong_secret_ends_the_pass_and_names_the_secret() {
    stops(
        |_| Answer::Refuse(Refusal::WrongSecret),
        &["401", "the secret is wrong", "compare the client's `secret`"],
    )
    .await;
}

#[tokio::test]
async fn a_401_for_an_unknown_client_ends_the_pass_and_names_the_id() {
    stops(
        |_| Answer::Refuse(Refusal::UnknownClient("x".to_owned())),
        &["401", "there is no client of this id", "check the client's `id`"],
    )
    .await;
}

#[tokio::test]
async fn a_401_without_a_word_ends_the_pass() {
    stops(|_| Answer::text(401, "no"), &["401", "`id` and `secret`"]).await;
}

#[tokio::test]
async fn a_403_ends_the_pass_and_names_the_organisation() {
    stops(
        |_| Answer::Refuse(Refusal::Forbidden("x".to_owned())),
        &["403", "it may not read these users", "organisation"],
    )
    .await;
}

#[tokio::test]
async fn a_400_ends_the_pass() {
    stops(
        |_| Answer::Refuse(Refusal::NotNumeric),
        &["400", "numeric string is expected", "`calcom.base_url`"],
    )
    .await;
}

#[tokio::test]
async fn a_404_cannot_get_is_the_end_of_the_service_and_of_no_user() {
    let route = |user| Refusal::NoRoute {
        method: "GET".to_owned(),
        path: format!("/v2/oauth-clients/x/users/{user}"),
    };
    stops(
        move |user| Answer::Refuse(route(user)),
        &[
            "does not know the address",
            "Cannot GET",
            "check `calcom.base_url`",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_404_of_a_missing_record_is_no_user_gone() {
    skips(
        |_| Answer::Refuse(Refusal::RecordMissing),
        &["lacks a record", "404"],
    )
    .await;
}

#[tokio::test]
async fn a_404_with_other_words_is_no_user_gone() {
    let almost = |user| envelope(404, "NotFoundException", &format!("User {user} not found"));
    skips(almost, &["404", "saying: User"]).await;
}

#[tokio::test]
async fn a_404_that_says_gone_of_another_user_is_no_user_gone() {
    let other = |user| envelope(404, "NotFoundException", &gone(user + 1));
    skips(other, &["404", "is not part of this OAuth client"]).await;
}

#[tokio::test]
async fn the_sentence_that_means_gone_under_another_status_is_no_user_gone() {
    let other = |user| envelope(418, "NotFoundException", &gone(user));
    skips(other, &["418"]).await;
}

#[tokio::test]
async fn a_404_page_is_not_cal_coms_and_ends_the_pass() {
    stops(
        |_| Answer::html(404),
        &[
            "404 that is not cal.com's",
            "what answers there is not Cal.com's API",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_410_is_the_end_of_the_service_and_of_no_user() {
    stops(
        |_| envelope(410, "GoneException", "Managed users have been sunset."),
        &["410", "have been sunset", "Cal.com has ended its API"],
    )
    .await;
}

/// The one answer that means it: still nobody is removed while no other user answers, nor at the first time.
#[tokio::test]
async fn the_404_of_every_user_removes_nobody_and_is_held() {
    let mut upstream = Upstream::new().await;
    upstream.settings.removal = "confirmations = 2\nmin_age_s = 0";
    upstream.configure();
    upstream.fill().await;
    let before = upstream.state().await;
    let live = "select id::text from managed_users_live order by id";
    let users = super::texts(&upstream.pool, live).await;
    let acme = upstream.acme.clone();
    let delete = |users: &[i64]| {
        for user in users {
            let answer = Answer::Refuse(Refusal::NotOurUser(*user));
            upstream
                .simulator
                .script(calmirror::simulator::Target::User(*user), u32::MAX, answer);
        }
    };
    delete(&acme.users);
    for _ in 0..3 {
        let seen = upstream.sync().await;
        upstream.simulator.clear_scripts();
        delete(&acme.users);
        let held = Expected {
            code: 3,
            outcome: "held",
            says: &["client"],
        };
        seen.ended.check(&acme, held);
        let after = upstream.state().await;
        assert_eq!(after.acme, before.acme, "nothing is concluded from it");
        assert_eq!(super::texts(&upstream.pool, live).await, users);
    }
    upstream.simulator.clear_scripts();
    delete(&acme.users[..1]);
    upstream.sync().await.ended.expect_all_complete();
    assert_eq!(
        super::texts(&upstream.pool, live).await,
        users,
        "once is not enough"
    );
    upstream.simulator.clear_scripts();
    upstream.sync().await.ended.expect_all_complete();
    assert_eq!(super::texts(&upstream.pool, live).await, users);
}

#[tokio::test]
async fn a_301_is_not_followed_and_its_host_never_sees_the_secret() {
    let elsewhere = Scripted::play([Step::answer(200, "", "{}")]).await;
    let location = format!("http://{}/v2/oauth-clients/x?key=1", elsewhere.addr);
    let moved = |_| Answer::Respond {
        status: 301,
        headers: vec![("location", location.clone())],
        body: "".into(),
    };
    stops(
        moved,
        &["redirect (301", "to http://127.0.0.1:", "`calcom.base_url`"],
    )
    .await;
    assert_eq!(elsewhere.requests(), [] as [String; 0]);
}
