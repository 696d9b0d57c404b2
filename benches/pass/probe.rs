//! The bare probe: ask, hash each record's bytes, compare with what COPY gives. It keeps no promise at all.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::value::RawValue;
use sqlx::{Executor, PgConnection};

use crate::{arguments::Plan, copied::Rows, requests::Asking};

type Known = HashMap<u64, i64, BuildHasherDefault<AsItIs>>;

/// What was hashed already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {}

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

#[derive(Deserialize)]
struct One<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Many<'a> {
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

/// Asks for all users, and counts those whose fingerprints are known. Seconds.
pub(crate) async fn measure(
    asking: &Asking,
    users: usize,
    connection: &mut PgConnection,
) -> anyhow::Result<f64> {
    let start = Instant::now();
    let unchanged = compare(asking, connection).await?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(
        unchanged == users,
        "the probe sees {unchanged} unchanged of {users}"
    );
    Ok(seconds)
}

async fn compare(asking: &Asking, connection: &mut PgConnection) -> anyhow::Result<usize> {
    let rows = Rows::of(connection, "select id, fingerprint from probe").await?;
    let mut known = Known::with_capacity_and_hasher(rows.len(), BuildHasherDefault::default());
    for pair in rows.pairs() {
        let (id, fingerprint) = pair?;
        known.insert(fingerprint, id);
    }
    let (known, unchanged) = (Arc::new(known), Arc::new(AtomicUsize::new(0)));
    let counter = unchanged.clone();
    ask(asking, move |records| {
        let same = |record: &&&RawValue| known.contains_key(&hash(record.get().as_bytes()));
        counter.fetch_add(records.iter().filter(same).count(), Ordering::Relaxed);
    })
    .await?;
    Ok(unchanged.load(Ordering::Relaxed))
}

/// Puts fingerprints of all users into a table of their own.
pub(crate) async fn learn(asking: &Asking, connection: &mut PgConnection) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Identity {
        id: i64,
    }
    let learned = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let notes = learned.clone();
    ask(asking, move |records| {
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            // One that has no id is missed when the users are counted.
            if let Ok(identity) = serde_json::from_str::<Identity>(record.get()) {
                notes.0.push(identity.id);
                notes.1.push(hash(record.get().as_bytes()).cast_signed());
            }
        }
    })
    .await?;
    connection
        .execute("create table probe (id bigint not null primary key, fingerprint bigint not null)")
        .await?;
    let (ids, fingerprints) = {
        let mut learned = learned.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *learned)
    };
    sqlx::query("insert into probe select * from unnest($1::bigint[], $2::bigint[])")
        .bind(ids)
        .bind(fingerprints)
        .execute(&mut *connection)
        .await?;
    connection.execute("vacuum (analyze) probe").await?;
    Ok(())
}

async fn ask(
    asking: &Asking,
    each: impl Fn(&[&RawValue]) + Clone + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let plan = asking.plan;
    asking
        .each(move |response| {
            let each = each.clone();
            async move {
                let body = response.bytes().await?;
                let records = match plan {
                    Plan::Get => serde_json::from_slice::<One<'_>>(&body).map(|one| vec![one.data]),
                    Plan::Bulk | Plan::List => {
                        serde_json::from_slice::<Many<'_>>(&body).map(|many| many.data)
                    }
                };
                each(&records.context("an answer of another shape")?);
                Ok(())
            }
        })
        .await
}

/// Fast, and good for nothing but telling apart what nobody has made to look alike.
fn hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(FACTOR);
        (product as u64) ^ ((product >> 64) as u64)
    };
    let mut words = bytes.chunks_exact(8);
    let state = words.by_ref().fold(bytes.len() as u64, |state, word| {
        mix(state, u64::from_le_bytes(word.try_into().unwrap_or_default()))
    });
    let rest = words
        .remainder()
        .iter()
        .fold(0, |rest, byte| rest << 8 | u64::from(*byte));
    mix(mix(state, rest), FACTOR)
}
