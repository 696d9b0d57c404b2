//! Whom to ask for, held against plain queries.

use std::collections::HashSet;

use calmirror::{
    model::{ClientId, Fingerprint, UserId},
    store::{KnownTarget, Settings, Store, Unsettled},
};
use chrono::{DateTime, Utc};
use sqlx::PgPool;

use super::{settings, store};
use crate::support::{TestDb, pgbouncer::PgBouncer};

const CLIENT: &str = r"it's \ one";

/// Two clients' users in turns, and of each kind some: removed, missing, rejected, without a fingerprint or with somebody else's.
const USERS: &str = r"
    insert into managed_users (
        id, client_id, email, time_zone, week_start, created_date, version, first_seen_at, changed_at, removed_at
    )
    select
        n * 3 - 600, case when n % 4 = 0 then 'other' else E'it''s \\ one' end, 'é' || n || '@example.com', 'UTC', 'Monday',
        now(), 1, now(), timestamptz '2025-01-01' + n * interval '1 microsecond', case when n % 7 = 0 then now() end
    from generate_series(1, 3000) as n;
    insert into record_fingerprints (user_id, client_id, version, fingerprint)
    select id, case when id % 13 = 0 then 'third' else client_id end, case when id % 23 = 0 then 2 else 1 end,
        decode(md5(id::text), 'hex')
    from managed_users where id % 11 <> 0;
    insert into managed_user_changes (run_id, user_id, client_id, version, kind, observed_at, changed, after)
    select 1, id, client_id, 1, case when id % 5 = 0 then 'repair' else 'insert' end, now(), '{}', '{}'
    from managed_users where id % 2 = 0;
    insert into missing_users (client_id, user_id, confirmations, first_missing_at, last_missing_at, last_run_id)
    select case when id % 2 = 0 then 'third' else client_id end, id, 0, now(), now(), 1
    from managed_users where id % 17 = 0;
    insert into rejects (client_id, user_id, run_id, first_seen_at, changed_at, reason, fields, record)
    select case when id % 2 = 0 then 'third' else client_id end, id, 1, now(), now(), '', '{}', ''
    from managed_users where id % 19 = 0;
    insert into forgotten_users (user_id, forgotten_at) values (7, now()), (-3, now())";

fn since() -> DateTime<Utc> {
    "2025-01-01T00:00:00.001700Z".parse().expect("the time is one")
}

async fn plainly(pool: &PgPool) -> Vec<KnownTarget> {
    let rows: Vec<(i64, String, Option<Vec<u8>>, bool)> = sqlx::query_as(
        "select id, email, (
            select fingerprint from record_fingerprints as f where f.user_id = id and f.client_id = m.client_id
                and f.version = m.version
                and not exists (select from missing_users as x where x.user_id = id and x.client_id = m.client_id)
                and not exists (select from rejects as r where r.user_id = id and r.client_id = m.client_id)
        ), changed_at >= $2 and not exists (
            select from managed_user_changes as c where c.user_id = id and c.version = m.version and c.kind = 'repair'
        )
        from managed_users as m where client_id = $1 and removed_at is null order by id",
    )
    .bind(CLIENT)
    .bind(since())
    .fetch_all(pool)
    .await
    .expect("rows can be read");
    rows.into_iter()
        .map(|(id, email, fingerprint, changed_since)| KnownTarget {
            id: UserId(id),
            email,
            fingerprint: fingerprint
                .map(|bytes| Fingerprint::from_bytes(bytes.try_into().expect("there are 16 bytes"))),
            changed_since,
        })
        .collect()
}

fn every(step: usize) -> Vec<UserId> {
    (-700..9000).step_by(step).map(UserId).collect()
}

async fn compare(store: &Store, all: &[KnownTarget]) {
    let client = ClientId(CLIENT.to_owned());
    let prior = store.prior(&client).await.expect("the tables can be read");
    assert_eq!(prior.forgotten, [UserId(-3), UserId(7)].into());
    let Unsettled::These(users) = &prior.unsettled else {
        panic!("there are few of them");
    };
    assert!(!users.is_empty());
    for unsettled in [&prior.unsettled, &Unsettled::Many] {
        compare_by(store, &client, all, unsettled).await;
    }
}

async fn compare_by(store: &Store, client: &ClientId, all: &[KnownTarget], unsettled: &Unsettled) {
    let live: Vec<UserId> = all.iter().map(|target| target.id).collect();
    for watched in [
        live.clone(),
        live[..1].to_vec(),
        live[1000..1500].to_vec(),
        live.iter().copied().step_by(2).collect(),
        live.iter().copied().step_by(40).collect(),
        // Others come first, and then only those.
        live[..1000]
            .iter()
            .step_by(50)
            .chain(&live[1000..])
            .copied()
            .collect(),
        every(1),
        every(7),
        every(9000),
        vec![UserId(i64::MIN), UserId(0), UserId(i64::MAX)],
        Vec::new(),
    ] {
        let wanted: HashSet<UserId> = watched.iter().copied().collect();
        let expected: Vec<&KnownTarget> = all.iter().filter(|target| wanted.contains(&target.id)).collect();
        let read = store
            .targets(client, &watched, unsettled, Some(since()))
            .await
            .expect("targets can be read");
        assert!(
            read.iter().eq(expected.iter().copied()),
            "{} watched",
            watched.len()
        );
    }
    for limit in [1, 1000, all.len(), 10_000] {
        let mut read: Vec<KnownTarget> = Vec::new();
        loop {
            let after = read.last().map(|target| target.id);
            let more = store
                .live_targets(client, after, limit, unsettled, Some(since()))
                .await
                .expect("targets can be read");
            let was_all = more.len() < limit;
            read.extend(more);
            if was_all || limit == 1 && read.len() > 20 {
                break;
            }
        }
        assert_eq!(read, all[..read.len()], "{limit} at a time");
        assert!(limit == 1 || read.len() == all.len());
    }
    let undated = store
        .targets(client, &live[..900], unsettled, None)
        .await
        .expect("targets can be read");
    assert!(undated.iter().all(|target| !target.changed_since));
    assert_eq!(undated.len(), 900);
    let stranger = ClientId("nobody".to_owned());
    assert_eq!(
        store.targets(&stranger, &live, unsettled, None).await,
        Ok(Vec::new())
    );
    assert_eq!(
        store.live_targets(&stranger, None, 10, unsettled, None).await,
        Ok(Vec::new())
    );
}

#[tokio::test]
async fn targets_are_the_live_users_with_their_fingerprints() {
    let db = TestDb::new().await;
    let pool = db.pool().await;
    sqlx::raw_sql(USERS)
        .execute(&pool)
        .await
        .expect("users can be made");
    let all = plainly(&pool).await;
    assert!(all.len() > 1500);
    let (with, without): (Vec<_>, Vec<_>) = all.iter().partition(|target| target.fingerprint.is_some());
    assert!(with.len() > 500 && without.len() > 100);
    assert!(all.iter().any(|target| target.changed_since) && all.iter().any(|target| !target.changed_since));

    let direct = store(&db, "public");
    compare(&direct, &all).await;
    compare(&direct.read_only(), &all).await;
    let bouncer = PgBouncer::start(&db);
    let settings = Settings {
        pgbouncer: true,
        ..settings("public")
    };
    let bounced = Store::open(bouncer.connect_options(), &settings);
    compare(&bounced, &all).await;
    compare(&bounced.read_only(), &all).await;
    sqlx::raw_sql("analyze")
        .execute(&pool)
        .await
        .expect("statistics can be made");
    compare(&direct, &all).await;
    bounced.close().await;
    direct.close().await;
    pool.close().await;
}
