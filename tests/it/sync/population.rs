//! What the database counts of a client's users before a pass.

use calmirror::{
    model::{ClientId, UserId, UserSet},
    store::Counted,
};

use crate::support::{TestDb, world::store};

const CLIENT: &str = "clx0acme";

/// As addresses go into a URL, and a separator each.
fn encoded(addresses: &[&str]) -> u64 {
    let of_one = |address: &&str| {
        let bytes = address.bytes().map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'~' | b'@' | b'-' => 1,
            _ => 3,
        });
        bytes.sum::<u64>() + 1
    };
    addresses.iter().map(of_one).sum()
}

fn ids(ids: impl IntoIterator<Item = i64>) -> UserSet {
    ids.into_iter().map(UserId).collect()
}

fn no_addresses(_: &[UserId]) -> Vec<(UserId, String)> {
    Vec::new()
}

#[tokio::test]
async fn users_are_counted_with_the_bytes_of_their_addresses() {
    let db = TestDb::new().await;
    let store = store(&db, 1);
    let pool = db.pool().await;
    let addresses = [
        "ada@example.com",
        "ada+news@example.com",
        "o'hara!#$%&*@example.com",
        "jürgen@münchen.example",
        "ада@пример.example",
    ];
    for (id, address) in (1..).zip(addresses) {
        let mirrored = address.replacen('@', &format!("+{CLIENT}@"), 1);
        insert(&pool, id, CLIENT, &mirrored, false).await;
    }
    insert(&pool, 6, CLIENT, "a,b+clx0acme@example.com", false).await;
    insert(&pool, 7, CLIENT, "\"a b\"+clx0acme@example.com", false).await;
    insert(&pool, 8, CLIENT, "gone+clx0acme@example.com", true).await;
    insert(&pool, 9, "another", "other+another@example.com", false).await;
    sqlx::raw_sql("insert into forgotten_users (user_id, forgotten_at) values (10, now())")
        .execute(&pool)
        .await
        .expect("a user can be forgotten");
    let client = ClientId(CLIENT.to_owned());
    let counted = store
        .population(&client, &ids(1..=11), no_addresses, false, None)
        .await
        .expect("the database answers");
    let mirrored = encoded(&addresses);
    assert_eq!(
        counted,
        Counted {
            users: 10,
            with_address: 5,
            address_bytes: mirrored
        },
        "the forgotten user is not asked for; the removed one and another client's are, without their addresses"
    );
    // An address that is given counts where the mirror has none.
    let given = |users: &[UserId]| {
        assert_eq!(users, ids(1..=11).iter().collect::<Vec<_>>());
        vec![
            (UserId(2), "not.this.one@example.com".to_owned()),
            (UserId(8), "back@example.com".to_owned()),
            (UserId(10), "forgotten@example.com".to_owned()),
            (UserId(11), "new@example.com".to_owned()),
        ]
    };
    let counted = store
        .population(&client, &ids(1..=11), given, false, None)
        .await
        .expect("the database answers");
    assert_eq!(counted.with_address, 7);
    assert_eq!(
        counted.address_bytes,
        mirrored + encoded(&["back@example.com", "new@example.com"])
    );
    // Everyone: the mirror's live users, and who else is listed.
    let counted = store
        .population(&client, &ids([2, 8, 10, 11]), given_to_eight, true, None)
        .await
        .expect("the database answers");
    assert_eq!(
        counted,
        Counted {
            users: 7 + 2,
            with_address: 5 + 1,
            address_bytes: mirrored + encoded(&["back@example.com"])
        }
    );
    store.close().await;
}

fn given_to_eight(_: &[UserId]) -> Vec<(UserId, String)> {
    vec![(UserId(8), "back@example.com".to_owned())]
}

#[tokio::test]
async fn any_number_of_users_is_counted_slice_by_slice() {
    let db = TestDb::new().await;
    let store = store(&db, 1);
    sqlx::query(
        "insert into managed_users (id, client_id, email, time_zone, week_start, created_date, version, first_seen_at,
             changed_at)
         select n, $1, 'p' || n || '+' || $1 || '@example.com', 'UTC', 'Sunday', now(), 1, now(), now()
         from generate_series(100001, 125000) as n",
    )
    .bind(CLIENT)
    .execute(&db.pool().await)
    .await
    .expect("rows can be made");
    let client = ClientId(CLIENT.to_owned());
    let bytes = 25_000 * encoded(&["p100001@example.com"]);
    for (listed, everyone, users) in [
        (90_000..=130_000, false, 40_001),
        (125_000..=130_000, true, 30_000),
    ] {
        let counted = store
            .population(&client, &ids(listed), no_addresses, everyone, None)
            .await
            .expect("the database answers");
        let expected = Counted {
            users,
            with_address: 25_000,
            address_bytes: bytes,
        };
        assert_eq!(counted, expected, "everyone: {everyone}");
    }
    // Of a pass that goes on: of everyone the listed ones that are not live are all still to be asked for.
    for (everyone, users) in [(false, 8_000), (true, 5_000 + 10_001)] {
        let counted = store
            .population(
                &client,
                &ids(90_000..=128_000),
                no_addresses,
                everyone,
                Some(UserId(120_000)),
            )
            .await
            .expect("the database answers");
        let known = 5_000;
        let expected = Counted {
            users: if everyone { users + 3_000 } else { users },
            with_address: known,
            address_bytes: bytes / 5,
        };
        assert_eq!(counted, expected, "everyone: {everyone}");
    }
    store.close().await;
}

async fn insert(pool: &sqlx::PgPool, id: i64, client: &str, email: &str, removed: bool) {
    sqlx::query(
        "insert into managed_users (id, client_id, email, time_zone, week_start, created_date, version, first_seen_at,
             changed_at, removed_at)
         values ($1, $2, $3, 'UTC', 'Sunday', now(), 1, now(), now(), case when $4 then now() end)",
    )
    .bind(id)
    .bind(client)
    .bind(email)
    .bind(removed)
    .execute(pool)
    .await
    .expect("a row can be made");
}
