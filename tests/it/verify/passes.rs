//! Passes that are about to write rows which somebody has edited.

use calmirror::model::RunOutcome;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::Mirrored;

/// Whatever somebody does to a row: a pass that writes it sets it back first, and the ledger stays right.
#[tokio::test]
async fn a_pass_sets_back_what_it_is_about_to_write() {
    for (edit, kinds) in [
        // The user came in the same bytes as before, so nothing is about to be written: `verify` finds such an edit.
        (
            "update managed_users set name = 'Edited' where id = {}",
            &["insert"][..],
        ),
        // Once it is read, it is compared.
        (
            "with unknown as (delete from record_fingerprints)
             update managed_users set name = 'Edited' where id = {}",
            &["insert", "repair"],
        ),
        (
            "update managed_users set removed_at = now() where id = {}",
            &["insert", "repair"],
        ),
        (
            "update managed_users set version = 7, bio = 'x' where id = {}",
            &["insert", "repair"],
        ),
        (
            "update managed_users set client_id = 'another' where id = {}",
            &["insert"],
        ),
        ("delete from managed_users where id = {}", &["insert", "repair"]),
    ] {
        let mirrored = Mirrored::new(5).await;
        let user = mirrored.user(0);
        mirrored.edit(edit.replace("{}", &user.to_string())).await;
        let world = &mirrored.world;
        let report = world
            .unchecked_pass(&world.store, &CancellationToken::new())
            .await;
        assert_eq!(
            report.changes(),
            0,
            "{edit}: nothing changed at Cal.com: {report:?}"
        );
        assert_eq!(world.kinds(user).await, kinds, "{edit}");
        if kinds.len() > 1 {
            assert_eq!(report.outcome, RunOutcome::Applied, "{edit}: {report:?}");
            assert_eq!(world.value::<i64>("select max(repaired) from sync_runs").await, 1);
            mirrored.assert_right().await;
        }
    }
}

#[tokio::test]
async fn a_change_of_an_edited_row_is_told_from_the_edit() {
    let mirrored = Mirrored::new(5).await;
    let (world, user) = (&mirrored.world, mirrored.user(0));
    mirrored
        .edit(format!(
            "update managed_users set name = 'Edited', time_zone = 'Mars/Olympus' where id = {user}"
        ))
        .await;
    world
        .simulator
        .patch_user(user, json!({ "timeZone": "Asia/Tokyo" }))
        .expect("the user can be changed");
    assert_eq!(world.pass().await.updated, 1);
    assert_eq!(world.kinds(user).await, ["insert", "repair", "update"]);
    let fields: String = world
        .value("select string_agg(key, ' ') from managed_user_changes, jsonb_object_keys(changed) as key where kind = 'update'")
        .await;
    assert_eq!(fields, "time_zone", "the update is what changed at Cal.com");
    mirrored.assert_right().await;
}

#[tokio::test]
async fn a_removal_of_an_edited_row_sets_it_back_first() {
    let mirrored = Mirrored::new(6).await;
    let (world, user) = (&mirrored.world, mirrored.user(0));
    world.simulator.delete_user(user).expect("the user is there");
    world.pass().await;
    mirrored
        .edit(format!(
            "update managed_users set name = 'Edited' where id = {user}"
        ))
        .await;
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.removed),
        (RunOutcome::Applied, 1),
        "{report:?}"
    );
    assert_eq!(world.kinds(user).await, ["insert", "repair", "removal"]);
    mirrored.assert_right().await;
}

#[tokio::test]
async fn a_removal_that_was_undone_by_hand_is_no_second_removal() {
    let mirrored = Mirrored::new(6).await;
    let (world, user) = (&mirrored.world, mirrored.user(0));
    world.simulator.delete_user(user).expect("the user is there");
    world.pass().await;
    assert_eq!(world.pass().await.removed, 1);
    mirrored
        .edit(format!(
            "update managed_users set removed_at = null where id = {user}"
        ))
        .await;
    for _ in 0..2 {
        let report = world
            .unchecked_pass(&world.store, &CancellationToken::new())
            .await;
        assert_eq!(report.removed, 0, "{report:?}");
    }
    assert_eq!(world.kinds(user).await, ["insert", "removal", "repair"]);
    mirrored.assert_right().await;
}

#[tokio::test]
async fn a_pass_fails_where_the_ledger_is_in_doubt_and_deletes_nothing() {
    let mirrored = Mirrored::new(6).await;
    let (world, user) = (&mirrored.world, mirrored.user(0));
    mirrored
        .edit(format!("delete from managed_user_changes where user_id = {user}"))
        .await;
    world
        .simulator
        .patch_user(user, json!({ "timeZone": "Asia/Tokyo" }))
        .expect("the user can be changed");
    let report = world
        .unchecked_pass(&world.store, &CancellationToken::new())
        .await;
    assert_eq!(report.outcome, RunOutcome::Failed);
    let error = report.error.unwrap_or_default();
    assert!(
        error.contains(&format!("users {user}")) && error.contains("`calmirror verify`"),
        "{error}"
    );
    let rows =
        "select (select count(*) from managed_users) || ' ' || (select count(*) from managed_user_changes)";
    assert_eq!(world.value::<String>(rows).await, "6 5");
}
