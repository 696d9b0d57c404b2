//! A commit whose answer is lost: what the database did is found out, and neither lost nor doubled.

use super::stage::Stage;

/// The words on the wire by which each transaction of a pass is known, up to the commit whose answer is lost.
const MIGRATION: [&str; 2] = ["create table managed_users (", "COMMIT"];
const BEGINNING: [&str; 2] = ["insert into sync_runs", "commit\0"];
const BATCH: [&str; 2] = ["insert into managed_users as m", "commit\0"];
const CONFIRMATION: [&str; 2] = ["confirmations = m.confirmations +", "commit\0"];
const REMOVALS: [&str; 2] = ["set version = i.version", "commit\0"];
const END: [&str; 2] = ["outcome = coalesce($2", "commit\0"];

const COMPLETE_RUNS: &str = "select count(*) from sync_runs where outcome in ('applied', 'no_change')";

/// A pass that loses one answer, and is complete all the same, once.
async fn a_pass_without(stage: &Stage, words: &[&'static str], outcome: &str) {
    let before = stage.value::<i64>(COMPLETE_RUNS).await;
    stage.gate.lose_answer(words);
    let ended = stage.sync().await.expect(0);
    assert!(stage.gate.has_lost(), "{words:?} never came: {ended}");
    assert_eq!(ended.json()[0]["outcome"], outcome, "{words:?}: {ended}");
    assert_eq!(
        stage.value::<i64>(COMPLETE_RUNS).await,
        before + 1,
        "{words:?}: one pass was complete"
    );
    let open: i64 = stage
        .value("select count(*) from sync_runs where outcome is null")
        .await;
    assert_eq!(open, 0, "{words:?}: every run has an end");
}

#[tokio::test]
async fn no_commit_of_a_pass_needs_its_answer() {
    let stage = Stage::new(20).await;
    a_pass_without(&stage, &BEGINNING, "applied").await;
    stage.assert_true(20).await;

    stage.change(0, "Antarctica/Troll");
    a_pass_without(&stage, &BATCH, "applied").await;
    stage.assert_true(21).await;

    let gone = stage.client.users[1];
    stage
        .simulator
        .delete_user(gone)
        .expect("the user can be deleted");
    a_pass_without(&stage, &CONFIRMATION, "no_change").await;
    let confirmations: i32 = stage.value("select confirmations from missing_users").await;
    assert_eq!(confirmations, 1, "a pass confirms once");
    a_pass_without(&stage, &REMOVALS, "applied").await;
    stage.assert_true(22).await;

    stage.change(2, "Antarctica/Troll");
    a_pass_without(&stage, &END, "applied").await;
    stage.assert_true(23).await;
    let ended = stage.sync().await.expect(0);
    assert_eq!(ended.json()[0]["outcome"], "no_change", "{ended}");
    stage.assert_true(23).await;
}

/// A pass that loses an answer and its database with it: what was committed counts, though the pass never hears of it.
async fn a_pass_that_never_hears(stage: &mut Stage, words: &[&'static str], changes: i64) {
    stage.gate.lose_answer_and_shut(words);
    let ended = stage.sync().await.expect(75);
    assert!(stage.gate.has_lost(), "{words:?} never came: {ended}");
    let written: i64 = stage.value("select count(*) from managed_user_changes").await;
    assert_eq!(written, changes, "{words:?}: it was committed");
    stage.gate.open();
    let ended = stage.sync().await.expect(0);
    assert_eq!(
        ended.json()[0]["outcome"],
        "no_change",
        "{words:?}: nothing is left to do: {ended}"
    );
    stage.assert_true(changes).await;
}

#[tokio::test]
async fn what_was_committed_as_the_database_went_away_is_not_written_again() {
    let mut stage = Stage::new(20).await;
    a_pass_that_never_hears(&mut stage, &BATCH, 20).await;

    let gone = stage.client.users[1];
    stage
        .simulator
        .delete_user(gone)
        .expect("the user can be deleted");
    stage.sync().await.expect(0);
    a_pass_that_never_hears(&mut stage, &REMOVALS, 21).await;

    stage.change(2, "Antarctica/Troll");
    a_pass_that_never_hears(&mut stage, &END, 22).await;
}

#[tokio::test]
async fn tables_whose_making_was_not_answered_are_there() {
    let stage = Stage::new(5).await;
    stage
        .execute("drop schema public cascade; create schema public")
        .await;
    stage.gate.lose_answer(&MIGRATION);
    stage.sync().await.expect(0);
    assert!(stage.gate.has_lost());
    stage.assert_true(5).await;
}
