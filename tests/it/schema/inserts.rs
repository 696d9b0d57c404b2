//! Many new users at once, which are written another way than a few.

use std::sync::Arc;

use calmirror::{
    compare::{ChangeSet, VersionFingerprint, diff},
    model::{Fingerprint, JsonObject, ManagedUser, Observation, UserId},
    store::{Error, Instants, Run, Settings, Store},
};
use sqlx::PgPool;

use super::{count, settings, store, texts};
use crate::support::{
    TestDb,
    pgbouncer::PgBouncer,
    story::{self, ACME, GLOBEX},
};

const MANY: i64 = 200;

fn object(text: &str) -> JsonObject {
    serde_json::from_str(text).expect("the text is an object")
}

/// Texts and objects that go wrong easily on their way.
const TEXTS: [&str; 12] = [
    "",
    " ",
    "\\N",
    "\\.",
    "it's \"quoted\" \\ \\\\ \\u0041",
    "tab\tnewline\nreturn\rbell\u{7}delete\u{7f}",
    "Ærøskøbing – 東京 – 🦀\u{200d}",
    "e\u{301} is not é",
    "null",
    "{1,2}",
    "$1; drop table managed_users; --",
    "\u{feff}\u{10ffff}",
];
const OBJECTS: [&str; 6] = [
    "{}",
    r#"{"": "", "a\"b\\c": "\u0001\n\\ud800"}"#,
    r#"{"n": [0, -0, 1.0, 1.50, 1e3, 1E-7, 12345678901234567890123456789, 0.1000000000000000055511151231257827]}"#,
    r#"{"b": {"z": [[], {}, null, true, false], "a": "Ærø 🦀"}, "a": 1e-300}"#,
    r#"{"verified": null}"#,
    r#"{"id": 7, "version": "no", "changed_at": [], "removed_at": {}}"#,
];
const TIMES: [&str; 7] = [
    "2024-04-01T00:00:00Z",
    "1969-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00Z",
    "1900-02-28T12:00:00.000001Z",
    "1999-12-31T23:59:59.123400Z",
    "9999-12-31T23:59:59.999990Z",
    "+12025-01-01T00:00:00.500Z",
];

/// The `n`th of many, each unlike the others.
fn user(n: i64) -> ManagedUser {
    let at = usize::try_from(n).expect("n is not negative");
    let text = |step: usize| TEXTS[(at * step + step) % TEXTS.len()].to_owned();
    let some = |step: usize| (at % (step + 1) != 0).then(|| text(step));
    ManagedUser {
        // Not in the order of n.
        id: UserId((n * 7919) % 1_000_003 - 500 + (n % 3) * i64::from(u32::MAX)),
        email: text(1),
        username: some(2),
        name: some(3),
        bio: some(4),
        time_zone: text(5),
        week_start: text(6),
        created_date: TIMES[at % TIMES.len()].parse().expect("the time is one"),
        time_format: [None, Some(12), Some(-1), Some(i32::MAX), Some(i32::MIN)][at % 5],
        default_schedule_id: [None, Some(0), Some(i64::MAX), Some(i64::MIN)][at % 4],
        locale: some(7),
        avatar_url: some(8),
        metadata: (at % 3 != 0).then(|| object(OBJECTS[at % OBJECTS.len()])),
        extra: object(OBJECTS[(at + 1) % OBJECTS.len()]),
    }
}

fn many() -> Vec<ManagedUser> {
    (0..MANY).map(user).collect()
}

async fn set_of(store: &Store, run: &Run, users: &[ManagedUser]) -> ChangeSet {
    let ids: Vec<UserId> = users.iter().map(|user| user.id).collect();
    let known = store.known(run, &ids).await.expect("users can be read");
    let observed = users.iter().map(story::present).collect::<Vec<Observation>>();
    let mut set = diff(&run.client_id, observed, &known);
    set.bookkeeping.fingerprints = ids
        .iter()
        .map(|id| VersionFingerprint {
            user_id: *id,
            version: 1,
            fingerprint: Fingerprint::of(&id.0.to_be_bytes()),
        })
        .collect();
    set
}

/// A store on a database that notes which statements have inserted.
async fn noting() -> (TestDb, Store, PgPool) {
    let db = TestDb::new().await;
    let pool = db.pool().await;
    sqlx::raw_sql(
        "create schema notes; create table notes.note (relation text, query text);
         create function notes.note() returns trigger language plpgsql as $$
         begin insert into notes.note values (tg_table_name, current_query()); return null; end $$;
         create trigger note before insert on managed_users for each statement execute function notes.note();
         create trigger note before insert on managed_user_changes for each statement execute function notes.note();
         create trigger note before insert on record_fingerprints for each statement execute function notes.note();",
    )
    .execute(&pool)
    .await
    .expect("triggers can be made");
    let store = store(&db, "public");
    (db, store, pool)
}

/// By which statements the mirror's rows came.
async fn ways(pool: &PgPool) -> Vec<String> {
    let ways = "select distinct relation || ' by ' || substring(query, '\\w+') from notes.note order by 1";
    texts(pool, ways).await
}

/// What the tables hold, but for times and runs.
async fn contents(pool: &PgPool) -> Vec<String> {
    let contents = "
        select (to_jsonb(m) - array['first_seen_at', 'changed_at'])::text from managed_users as m
        union all
        select concat_ws(' ', user_id, client_id, version, kind, changed, after::text) from managed_user_changes
        union all
        select f::text from record_fingerprints as f
        union all
        select concat_ws(' ', inserted, updated, restored, removed) from sync_runs where outcome is null
        order by 1";
    texts(pool, contents).await
}

async fn assert_sound(store: &Store, pool: &PgPool) {
    let instants = Instants { count: 3, seed: 1 };
    let mut verification = store
        .begin_verification(instants, None)
        .await
        .expect("a verification can begin");
    assert_eq!(verification.next().await, Ok(None), "nothing is found");
    verification.end().await.expect("and end");
    let dated_otherwise = "
        select count(*) from managed_users as m join managed_user_changes as c on c.user_id = m.id
        where c.version = m.version and (c.observed_at, c.observed_at) <> (m.changed_at, m.first_seen_at)";
    assert_eq!(count(pool, dated_otherwise).await, 0);
}

#[tokio::test]
async fn many_users_are_written_as_a_few_are() {
    let (few_db, few, few_pool) = noting().await;
    let run = story::begin(&few, ACME).await;
    for users in many().chunks(50) {
        let set = set_of(&few, &run, users).await;
        few.apply(&run, &set).await.expect("a few can be written");
    }
    assert_eq!(
        ways(&few_pool).await,
        [
            "managed_user_changes by with",
            "managed_users by with",
            "record_fingerprints by insert"
        ],
    );
    let expected = contents(&few_pool).await;
    assert_eq!(expected.len(), 3 * many().len() + 1);
    assert_sound(&few, &few_pool).await;

    let (direct_db, direct, direct_pool) = noting().await;
    let (bounced_db, unused, bounced_pool) = noting().await;
    let bouncer = PgBouncer::start(&bounced_db);
    let settings = Settings {
        pgbouncer: true,
        ..settings("public")
    };
    let bounced = Store::open(bouncer.connect_options(), &settings);
    for (store, pool) in [(&direct, &direct_pool), (&bounced, &bounced_pool)] {
        let run = story::begin(store, ACME).await;
        let set = set_of(store, &run, &many()).await;
        store.apply(&run, &set).await.expect("many can be written");
        assert_eq!(
            ways(pool).await,
            [
                "managed_user_changes by insert",
                "managed_users by copy",
                "record_fingerprints by copy"
            ],
        );
        assert_eq!(contents(pool).await, expected);
        assert_sound(store, pool).await;

        // Nobody is new any more.
        let again = set_of(store, &run, &many()).await;
        assert!(again.is_empty(), "what was written is read as it was");
    }
    for store in [few, direct, unused, bounced] {
        store.close().await;
    }
    for pool in [few_pool, direct_pool, bounced_pool] {
        pool.close().await;
    }
    drop((few_db, direct_db));
}

#[tokio::test]
async fn new_users_and_others_are_written_together() {
    let (_db, store, pool) = noting().await;
    let run = story::begin(&store, ACME).await;
    let mut users = many();
    let set = set_of(&store, &run, &users[..20]).await;
    store.apply(&run, &set).await.expect("some can be written");
    for user in &mut users[..10] {
        user.week_start = "Tuesday".to_owned();
    }
    let set = set_of(&store, &run, &users).await;
    assert_eq!(
        (set.inserts.len(), set.updates.len(), set.unchanged),
        (180, 10, 10)
    );
    store.apply(&run, &set).await.expect("all of them can be written");
    assert!(ways(&pool).await.contains(&"managed_users by copy".to_owned()));
    let counted = "select inserted || ' ' || updated from sync_runs";
    assert_eq!(texts(&pool, counted).await, ["200 10"]);
    assert_eq!(
        count(&pool, "select count(*) from record_fingerprints").await,
        200
    );
    assert_eq!(
        count(&pool, "select count(*) from managed_user_changes").await,
        210
    );
    let again = set_of(&store, &run, &users).await;
    assert!(again.is_empty());
    store.close().await;
    pool.close().await;
}

#[tokio::test]
async fn what_is_in_the_way_of_many_is_met_as_by_a_few() {
    let (_db, store, pool) = noting().await;
    let run = story::begin(&store, ACME).await;
    let users = many();
    let set = set_of(&store, &run, &users).await;
    let edit = async |statement: &'static str| {
        sqlx::raw_sql(statement)
            .execute(&pool)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"))
    };
    let nothing = "select (select count(*) from managed_users) + (select count(*) from record_fingerprints)";

    // Another client's pass has written one of them meanwhile.
    let other = story::begin(&store, GLOBEX).await;
    let theirs = set_of(&store, &other, &users[70..71]).await;
    store.apply(&other, &theirs).await.expect("one can be written");
    assert_eq!(store.apply(&run, &set).await, Err(Error::Conflict));
    assert_eq!(count(&pool, nothing).await, 2, "the one and its fingerprint");

    // Its ledger without its row.
    edit("delete from managed_users; delete from record_fingerprints").await;
    let edited = Error::Edited(vec![users[70].id]);
    assert_eq!(store.apply(&run, &set).await, Err(edited.clone()));
    edit("update managed_user_changes set version = 3").await;
    assert_eq!(store.apply(&run, &set).await, Err(edited));
    assert_eq!(count(&pool, nothing).await, 0);

    edit("delete from managed_user_changes").await;
    store.forget(users[90].id).await.expect("a user can be forgotten");
    edit("insert into forgotten_users select 7, now() on conflict do nothing").await;
    let mut with_forgotten = set.clone();
    Arc::make_mut(&mut with_forgotten.inserts[3].after).id = UserId(7);
    assert_eq!(store.apply(&run, &with_forgotten).await, Err(Error::Conflict));
    assert_eq!(count(&pool, nothing).await, 0);

    // A fingerprint is a cache, and whatever it says is no reason.
    edit("insert into record_fingerprints values (7, 'nobody', 1, decode(md5('7'), 'hex'))").await;
    edit("delete from forgotten_users").await;
    let mut with_fingerprint = set.clone();
    with_fingerprint.bookkeeping.fingerprints[3].user_id = UserId(7);
    Arc::make_mut(&mut with_fingerprint.inserts[3].after).id = UserId(7);
    store
        .apply(&run, &with_fingerprint)
        .await
        .expect("all can be written");
    assert_eq!(count(&pool, "select count(*) from managed_users").await, MANY);
    let replaced = "select count(*) from record_fingerprints where client_id = 'nobody'";
    assert_eq!(count(&pool, replaced).await, 0);
    assert_sound(&store, &pool).await;
    store.close().await;
    pool.close().await;
}

#[tokio::test]
async fn a_column_that_somebody_added_is_in_the_ledger_of_many_too() {
    let (_db, store, pool) = noting().await;
    sqlx::raw_sql("alter table managed_users add column note text default 'none'")
        .execute(&pool)
        .await
        .expect("a column can be added");
    let run = story::begin(&store, ACME).await;
    let set = set_of(&store, &run, &many()).await;
    store.apply(&run, &set).await.expect("many can be written");
    let noted = "select count(*) from managed_user_changes where after ->> 'note' = 'none'";
    assert_eq!(count(&pool, noted).await, MANY);
    store.close().await;
    pool.close().await;
}
