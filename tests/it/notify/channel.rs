//! Changes as they are told on the channel `managed_users`.

use calmirror::{
    model::{RunOutcome, UserId},
    store::{Settings, Store},
};
use serde_json::{Value, json};
use sqlx::postgres::PgListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{
    gate::Gate,
    pgbouncer::PgBouncer,
    world::{LIMIT, World, store_at},
};

const END: &str = "the end";

async fn listen(world: &World) -> PgListener {
    let mut listener = PgListener::connect_with(&world.pool).await.expect("it connects");
    listener.listen("managed_users").await.expect("it listens");
    listener
}

/// What has been told so far. Notifications come in the order of commits, so ours is the last of them.
async fn heard(world: &World, listener: &mut PgListener) -> Vec<Value> {
    sqlx::query("select pg_notify('managed_users', $1)")
        .bind(END)
        .execute(&world.pool)
        .await
        .expect("anybody may notify");
    let mut heard = Vec::new();
    loop {
        let notification = timeout(LIMIT, listener.recv()).await.expect("the end comes");
        let notification = notification.expect("the connection stays");
        if notification.payload() == END {
            return heard;
        }
        heard.push(serde_json::from_str(notification.payload()).expect("what is told is JSON"));
    }
}

fn told(world: &World, user: i64, kind: &str, version: i32) -> Value {
    json!({
        "id": user, "kind": kind, "version": version, "client_id": world.client_id(), "schema": "public",
    })
}

#[tokio::test]
async fn each_change_is_told_with_its_commit_and_nothing_else_is() {
    let world = World::new(80).await;
    let mut listener = listen(&world).await;
    let users = world.users();
    // These are so many that COPY writes them.
    world.pass().await;
    let mut all = heard(&world, &mut listener).await;
    all.sort_by_key(|told| told["id"].as_i64());
    let inserts: Vec<_> = users
        .iter()
        .map(|user| told(&world, *user, "insert", 1))
        .collect();
    assert_eq!(all, inserts);

    assert_eq!(world.pass().await.outcome, RunOutcome::NoChange);
    assert_eq!(heard(&world, &mut listener).await, Vec::<Value>::new());

    let record = world.simulator.user_json(users[1]).expect("the user is there");
    patch(&world, users[0]);
    world.simulator.delete_user(users[1]).expect("the user is there");
    world.pass().await;
    assert_eq!(
        heard(&world, &mut listener).await,
        [told(&world, users[0], "update", 2)]
    );
    world.pass().await;
    assert_eq!(
        heard(&world, &mut listener).await,
        [told(&world, users[1], "removal", 2)]
    );
    world
        .simulator
        .place_raw(world.client_id(), users[1], record)
        .expect("the user comes back");
    world.pass().await;
    assert_eq!(
        heard(&world, &mut listener).await,
        [told(&world, users[1], "restore", 3)]
    );
}

fn patch(world: &World, user: i64) {
    let name = json!({ "name": format!("N{}", fastrand::u64(..)) });
    world.simulator.patch_user(user, name).expect("the user is there");
}

#[tokio::test]
async fn what_is_set_back_and_whom_is_forgotten_is_told() {
    let world = World::new(3).await;
    let users = world.users();
    world.pass().await;
    let mut listener = listen(&world).await;
    // By hand.
    edit(&world, users[0]).await;
    let repair = world.store.begin_repair(&world.client.id, true).await;
    let repair = repair.expect("a repair can begin");
    let repaired = world.store.repair(&repair, &[UserId(users[0])]).await;
    assert_eq!(repaired.map(|repairs| repairs.len()), Ok(1));
    assert_eq!(
        heard(&world, &mut listener).await,
        [told(&world, users[0], "repair", 2)]
    );
    // By a pass that is about to write the row.
    edit(&world, users[1]).await;
    patch(&world, users[1]);
    world.pass().await;
    assert_eq!(
        heard(&world, &mut listener).await,
        [
            told(&world, users[1], "repair", 2),
            told(&world, users[1], "update", 3)
        ]
    );
    for _ in 0..2 {
        world
            .store
            .forget(UserId(users[2]))
            .await
            .expect("it can be erased");
    }
    let forgotten = json!({
        "id": users[2], "kind": "forget", "version": null, "client_id": null, "schema": "public",
    });
    assert_eq!(heard(&world, &mut listener).await, [forgotten]);
}

async fn edit(world: &World, user: i64) {
    sqlx::query("update managed_users set bio = 'edited' where id = $1")
        .bind(user)
        .execute(&world.pool)
        .await
        .expect("the row is there");
}

#[tokio::test]
async fn a_batch_that_is_rolled_back_is_not_told_and_is_told_once_when_it_is_written() {
    let world = World::new(10).await;
    let mut listener = listen(&world).await;
    let (mut gate, url) = Gate::before_database(&world.db);
    gate.open();
    let behind = store_at(&url, 1);
    // The connection is cut after everything was written and told, and before the commit.
    gate.lose_answer(&["pg_notify"]);
    let report = world.unchecked_pass(&behind, &CancellationToken::new()).await;
    assert!(gate.has_lost());
    assert_eq!((report.outcome, report.inserted), (RunOutcome::Applied, 10));
    let mut all = heard(&world, &mut listener).await;
    all.sort_by_key(|told| told["id"].as_i64());
    let inserts: Vec<_> = world
        .users()
        .iter()
        .map(|user| told(&world, *user, "insert", 1))
        .collect();
    assert_eq!(all, inserts);
    behind.close().await;
}

#[tokio::test]
async fn a_silent_store_tells_nobody() {
    let world = World::new(3).await;
    let mut listener = listen(&world).await;
    let silent = world.store.clone().silent();
    world.unchecked_pass(&silent, &CancellationToken::new()).await;
    silent
        .forget(UserId(world.users()[0]))
        .await
        .expect("it can be erased");
    assert_eq!(heard(&world, &mut listener).await, Vec::<Value>::new());
}

#[tokio::test]
async fn changes_are_told_through_pgbouncer_and_with_their_schema() {
    let world = World::new(70).await;
    let mut listener = listen(&world).await;
    let bouncer = PgBouncer::start(&world.db);
    let settings = Settings {
        schema: "cal".to_owned(),
        max_connections: 3,
        pgbouncer: true,
    };
    let pooled = Store::open(bouncer.connect_options(), &settings);
    pooled.migrate().await.expect("a second schema can be made");
    world.unchecked_pass(&pooled, &CancellationToken::new()).await;
    let told = heard(&world, &mut listener).await;
    assert_eq!(told.len(), 70);
    assert!(told.iter().all(|told| told["schema"] == "cal"), "{told:?}");
    pooled.close().await;
}
