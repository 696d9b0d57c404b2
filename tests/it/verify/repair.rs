//! `--repair`: under the fence, through the ledger, and nothing else.

use calmirror::{
    model::{RunOutcome, UserId},
    simulator::{Answer, Target},
    store::Error,
};
use serde_json::json;

use super::{Mirrored, findings, summary};

#[tokio::test]
async fn a_removed_user_stays_removed_since_when_it_was() {
    let mirrored = Mirrored::new(12).await;
    let user = mirrored.user(4);
    let world = &mirrored.world;
    let record = world.simulator.user_json(user).expect("the user is there");
    world.simulator.delete_user(user).expect("the user can go");
    world.pass().await;
    assert_eq!(world.pass().await.removed, 1);
    let removed_at = "select removed_at::text from managed_users where version > 1";
    let since: String = world.value(removed_at).await;
    for (column, value) in [
        ("removed_at", "null"),
        ("removed_at", "now()"),
        ("name", "'Edited'"),
    ] {
        mirrored
            .edit(format!(
                "update managed_users set {column} = {value} where id = {user}"
            ))
            .await;
        let lines = mirrored.verify(&["--repair"], 0).await;
        assert_eq!(findings(&lines)[0]["fields"][0]["field"], column);
        assert_eq!(world.value::<String>(removed_at).await, since);
        mirrored.verify(&["--instants", "30"], 0).await;
        world.assert_replay().await;
    }
    assert_eq!(
        world.kinds(user).await,
        ["insert", "removal", "repair", "repair", "repair"]
    );
    // It is missing at the source as before; and comes back as before.
    world.assert_quiet().await;
    world
        .simulator
        .place_raw(world.client_id(), user, record)
        .expect("and come back");
    assert_eq!(world.pass().await.restored, 1);
    assert_eq!(
        world.kinds(user).await.last().map(String::as_str),
        Some("restore")
    );
    mirrored.assert_right().await;
}

#[tokio::test]
async fn a_repair_is_on_record_and_moves_no_freshness() {
    let mirrored = Mirrored::new(3).await;
    let world = &mirrored.world;
    let freshness = "select (last_complete_run_id, last_complete_at, fresh_until)::text from sync_state";
    let before: String = world.value(freshness).await;
    let outcomes = "select string_agg(trigger || ' ' || outcome, ', ' order by run_id) from sync_runs";
    mirrored.verify(&["--repair"], 0).await;
    assert_eq!(
        world.value::<String>(outcomes).await,
        "operator applied",
        "where nothing is wrong, nothing is begun"
    );
    mirrored.edit("update managed_users set bio = 'edited'").await;
    let lines = mirrored.verify(&["--repair"], 0).await;
    assert_eq!(summary(&lines)["summary"], "repaired");
    assert_eq!(world.value::<String>(freshness).await, before);
    assert_eq!(
        world.value::<String>(outcomes).await,
        "operator applied, repair applied"
    );
    let unaccounted = "select count(*) from managed_user_changes
        where (kind = 'repair') <> (run_id = (select max(run_id) from sync_runs))";
    assert_eq!(world.value::<i64>(unaccounted).await, 0);
    mirrored.assert_right().await;
}

#[tokio::test]
async fn a_pass_under_way_is_fenced_by_a_repair() {
    let mirrored = Mirrored::new(6).await;
    let world = &mirrored.world;
    let (edited, changed, hanging) = (mirrored.user(0), mirrored.user(1), mirrored.user(5));
    mirrored
        .edit(format!(
            "update managed_users set locale = 'xx' where id = {edited}"
        ))
        .await;
    world
        .simulator
        .patch_user(changed, json!({ "timeZone": "Antarctica/Troll" }))
        .expect("the user can be changed");
    world.simulator.script(Target::User(hanging), 1, Answer::Hang);
    let so_far = world.simulator.requests().total;
    let (report, ()) = tokio::join!(world.pass(), async {
        world.simulator.wait_for_requests(so_far + 6).await;
        mirrored.verify(&["--repair"], 0).await;
        world.simulator.release();
    });
    assert_eq!(report.outcome, RunOutcome::Failed, "{report:?}");
    assert!(
        report
            .error
            .is_some_and(|error| error.contains("another pass over this client began"))
    );
    assert_eq!(world.kinds(edited).await, ["insert", "repair"]);
    assert_eq!(world.pass().await.updated, 1, "what it had seen is seen again");
    mirrored.assert_right().await;
}

#[tokio::test]
async fn rows_of_a_client_without_state_are_repaired_as_well() {
    let mirrored = Mirrored::new(4).await;
    mirrored
        .edit(
            "delete from sync_state;
             update managed_users set email = 'edited@example.com';
             insert into managed_users select (jsonb_populate_record(u, '{\"id\": 900001, \"client_id\": \"nobody\"}')).*
             from managed_users as u limit 1",
        )
        .await;
    let lines = mirrored.verify(&["--repair"], 0).await;
    assert_eq!(summary(&lines)["repaired"], 5, "{lines:#?}");
    let runs =
        "select count(*) from sync_runs where trigger = 'repair' and epoch is null and outcome = 'applied'";
    assert_eq!(mirrored.world.value::<i64>(runs).await, 1);
    mirrored.verify(&[], 0).await;
    mirrored.world.assert_replay().await;
    assert_eq!(mirrored.world.pass().await.outcome, RunOutcome::NoChange);
}

#[tokio::test]
async fn a_user_that_was_given_to_another_client_comes_back() {
    let mirrored = Mirrored::new(4).await;
    let user = mirrored.user(0);
    mirrored
        .edit(format!(
            "insert into sync_state (client_id, client_name, epoch, base_url, last_run_id)
             values ('other', 'other', 4, 'https://api.example', 1);
             update managed_users set client_id = 'other', name = null where id = {user}"
        ))
        .await;
    mirrored.verify(&["--repair"], 0).await;
    let epochs = "select string_agg(epoch::text, ' ' order by client_name = 'other') from sync_state";
    assert_eq!(
        mirrored.world.value::<String>(epochs).await,
        "2 4",
        "it is the owner whose fence was taken"
    );
    mirrored.assert_right().await;
}

/// More rows than one batch, and an edit that is part of none.
#[tokio::test]
async fn many_rows_are_repaired_in_batches() {
    let mirrored = Mirrored::new(250).await;
    mirrored
        .edit("update managed_users set week_start = 'Someday' where id % 8 <> 0")
        .await;
    let lines = mirrored.verify(&["--repair", "--instants", "1"], 0).await;
    let found = findings(&lines).len();
    assert!(found > 200, "{found}");
    assert_eq!(summary(&lines)["repaired"], found);
    mirrored.assert_right().await;
}

#[tokio::test]
async fn a_repair_that_was_overtaken_writes_nothing() {
    let mirrored = Mirrored::new(3).await;
    let (world, user) = (&mirrored.world, UserId(mirrored.user(0)));
    mirrored.edit("update managed_users set bio = 'edited'").await;
    let repair = world
        .store
        .begin_repair(&world.client.id, true)
        .await
        .expect("a repair can begin");
    let newer = world
        .store
        .begin_repair(&world.client.id, true)
        .await
        .expect("another can, too");
    let tuples = world.tuples().await;
    let refused = world.store.repair(&repair, &[user]).await;
    assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    assert_eq!(world.tuples().await, tuples);
    let repairs = world
        .store
        .repair(&newer, &[user])
        .await
        .expect("the newer one may");
    assert_eq!(repairs.len(), 1);
    assert_eq!(
        world.store.repair(&newer, &[user]).await,
        Ok(Vec::new()),
        "what was repaired is not repaired again"
    );
}

/// Neither its client's fence nor anybody else's is taken for a row that is not the client's.
#[tokio::test]
async fn a_repair_leaves_rows_of_other_clients_alone() {
    let mirrored = Mirrored::new(3).await;
    let (world, user) = (&mirrored.world, UserId(mirrored.user(0)));
    mirrored
        .edit(
            "update managed_users set bio = 'edited';
             insert into sync_state (client_id, client_name, epoch, base_url, last_run_id)
             values ('other', 'other', 4, 'https://api.example', 1)",
        )
        .await;
    let other = calmirror::model::ClientId("other".to_owned());
    let repair = world
        .store
        .begin_repair(&other, true)
        .await
        .expect("a repair can begin");
    assert_eq!(
        world.store.repair(&repair, &[user]).await,
        Ok(vec![calmirror::store::Repair::Left { user_id: user }])
    );
    assert_eq!(world.kinds(user.0).await, ["insert"]);
}
