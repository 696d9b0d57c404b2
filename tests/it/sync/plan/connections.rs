//! A plan's connections: they cannot write, and need not be able to.

use std::collections::BTreeMap;

use calmirror::{
    model::RunOutcome,
    store::{Error, Settings, Store},
    sync::Fate,
};
use serde_json::json;

use super::{everything, plan};
use crate::support::{gate::Gate, pgbouncer::PgBouncer, world::World};

#[tokio::test]
async fn a_store_that_only_reads_is_refused_every_write() {
    let world = World::new(3).await;
    world.pass().await;
    let bouncer = PgBouncer::start(&world.db);
    let settings = Settings {
        schema: "public".to_owned(),
        max_connections: 2,
        pgbouncer: true,
    };
    let before = everything(&world).await;
    for store in [
        world.store.read_only(),
        Store::open(bouncer.connect_options(), &settings).read_only(),
    ] {
        // Refused before a row is looked for.
        let Err(Error::ReadOnly(said)) = store.close_open_runs(1, None, "").await else {
            panic!("a write went through")
        };
        assert!(said.contains("25006"), "{said}");
        store.source_of(&world.client.id).await.expect("reading is fine");
        store.close().await;
    }
    assert_eq!(everything(&world).await, before);
}

#[tokio::test]
async fn a_connection_that_only_reads_begins_as_one() {
    let world = World::new(1).await;
    let (mut gate, url) = Gate::before_database(&world.db);
    gate.open();
    gate.lose_answer(&["default_transaction_read_only=on"]);
    let settings = Settings {
        schema: "public".to_owned(),
        max_connections: 1,
        pgbouncer: false,
    };
    let writing = Store::open_url(&url.into(), &settings).expect("the address is one");
    writing
        .pending_migrations()
        .await
        .expect("a store that writes does not say so");
    assert!(!gate.has_lost());
    // Whether this one comes through after its first connection was lost is all the same.
    drop(writing.read_only().pending_migrations().await);
    assert!(gate.has_lost());
}

#[tokio::test]
async fn whoever_may_read_the_tables_may_plan() {
    let mut world = World::new(4).await;
    world.pass().await;
    let user = world.users()[0];
    world.simulator.delete_user(user).expect("it can go");
    let settings = Settings {
        schema: "public".to_owned(),
        max_connections: 1,
        pgbouncer: false,
    };
    let options = world.db.connect_options().options([("role", "pg_read_all_data")]);
    world.store = Store::open(options, &settings);
    let (plan, said) = plan(&world).await;
    assert_eq!(
        plan.report.outcome,
        RunOutcome::NoChange,
        "{:?}",
        plan.report.error
    );
    assert_eq!(said.gone, BTreeMap::from([(user, Fate::Waits)]));
}

#[tokio::test]
async fn a_plan_through_pgbouncer_leaves_everything_as_it_is() {
    let mut world = World::new(20).await;
    world.pass().await;
    let bouncer = PgBouncer::start(&world.db);
    let settings = Settings {
        schema: "public".to_owned(),
        max_connections: 2,
        pgbouncer: true,
    };
    world.store = Store::open(bouncer.connect_options(), &settings);
    world.removal.confirmations = 1;
    let users = world.users();
    world.simulator.delete_user(users[0]).expect("it can go");
    world
        .simulator
        .patch_user(users[1], json!({ "bio": "Hunts snarks." }))
        .expect("it can be changed");
    let before = everything(&world).await;
    for _ in 0..2 {
        let (plan, said) = plan(&world).await;
        assert_eq!(
            plan.report.outcome,
            RunOutcome::Applied,
            "{:?}",
            plan.report.error
        );
        assert_eq!((plan.report.updated, plan.report.removed), (1, 1));
        assert_eq!(said.changes.keys().copied().collect::<Vec<_>>(), users[..2]);
    }
    assert_eq!(everything(&world).await, before);
    let report = world.pass().await;
    assert_eq!((report.updated, report.removed), (1, 1));
}
