//! The database alone: the same rows, without anybody who asks, compares, or keeps promises.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::Serialize;
use sqlx::{Executor, PgConnection};

use crate::{
    copied::{self, Rows},
    trials::{Seconds, trials},
};

/// What is sent at once, and committed.
const BATCHES: [usize; 3] = [500, 2_000, 5_000];

const COLUMNS: &str = "id, client_id, email, username, name, bio, time_zone, week_start, created_date, time_format, \
    default_schedule_id, locale, avatar_url, metadata, extra, version, first_seen_at, changed_at, removed_at";

const LEDGER: &str = "run_id, user_id, client_id, version, kind, observed_at, changed, after";

const MAKE: &str = "
    create schema if not exists floor;
    drop table if exists floor.managed_users, floor.managed_user_changes, floor.record_fingerprints;
    create table floor.managed_users (like public.managed_users including all);
    create table floor.managed_user_changes (like public.managed_user_changes including all);
    create table floor.record_fingerprints (
        user_id bigint not null primary key, client_id text not null, fingerprint bytea not null
    );
    drop table if exists pg_temp.incoming;
    create temporary table incoming (like public.managed_users) on commit delete rows";

/// What the database takes at least.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Floors {
    /// COPY of id, address and fingerprint out of as many rows.
    pub(crate) read: Seconds,
    /// The same rows, with one of the ledger each, upserted as fast as it goes.
    pub(crate) write: Seconds,
    pub(crate) write_by: String,
    /// Each way that was tried, once; also those that cannot meet a row that is there.
    pub(crate) ways: Vec<(String, f64)>,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// Into a temporary table, and from there with ON CONFLICT; the ledger is made of what was written.
    Upsert,
    /// Straight into both tables, with a ledger that was made before. No upsert: a row that is there is an error.
    Copy,
}

/// Measures in a database that a pass has just filled.
pub(crate) async fn floors(connection: &mut PgConnection) -> anyhow::Result<Floors> {
    let users = Rows::of(
        connection,
        &format!("select {COLUMNS} from public.managed_users order by id"),
    )
    .await?;
    let ledger =
        format!("select {LEDGER} from public.managed_user_changes where version = 1 order by user_id");
    let ledger = Rows::of(connection, &ledger).await?;
    ensure!(
        users.len() == ledger.len(),
        "the database was not filled by one pass"
    );
    let mut ways = Vec::new();
    for way in [Way::Upsert, Way::Copy] {
        for batch in BATCHES {
            let seconds = fill(connection, &users, &ledger, way, batch).await?;
            ways.push((way, batch, seconds));
        }
    }
    ways.sort_by(|left, right| left.2.total_cmp(&right.2));
    let upsert = ways.iter().find(|(way, ..)| matches!(way, Way::Upsert));
    let &(best, batch, first) = upsert.context("no way was tried")?;
    let mut all = trials(async |_| fill(connection, &users, &ledger, best, batch).await).await?;
    all.push(first);
    let read = read(connection).await?;
    connection.execute("drop schema floor cascade").await?;
    Ok(Floors {
        read,
        write: Seconds::of(all),
        write_by: said(best, batch),
        ways: ways
            .into_iter()
            .map(|(way, batch, seconds)| (said(way, batch), seconds))
            .collect(),
    })
}

fn said(way: Way, batch: usize) -> String {
    match way {
        Way::Upsert => format!("upsert from a temporary table, {batch} rows at a time"),
        Way::Copy => format!("COPY into both tables, {batch} rows at a time"),
    }
}

async fn fill(
    connection: &mut PgConnection,
    users: &Rows,
    ledger: &Rows,
    way: Way,
    batch: usize,
) -> anyhow::Result<f64> {
    connection.execute(MAKE).await?;
    connection.execute("checkpoint").await?;
    let into = |table: &str, columns: &str| format!("copy {table} ({columns}) from stdin (format binary)");
    let upsert = upsert();
    let start = Instant::now();
    let mut from = 0;
    while from < users.len() {
        let rows = from..(from + batch).min(users.len());
        from = rows.end;
        connection.execute("begin").await?;
        match way {
            Way::Upsert => {
                users.send(rows, connection, &into("incoming", COLUMNS)).await?;
                connection.execute(sqlx::AssertSqlSafe(upsert.as_str())).await?;
            }
            Way::Copy => {
                let table = into("floor.managed_users", COLUMNS);
                users.send(rows.clone(), connection, &table).await?;
                let table = into("floor.managed_user_changes", LEDGER);
                ledger.send(rows, connection, &table).await?;
            }
        }
        connection.execute("commit").await?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn upsert() -> String {
    let set: Vec<_> = COLUMNS
        .split(", ")
        .filter(|column| *column != "id")
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    format!(
        "with written as (
            insert into floor.managed_users as m ({COLUMNS}) select {COLUMNS} from incoming
            on conflict (id) do update set {} where m.version = excluded.version - 1
            returning m.*
        )
        insert into floor.managed_user_changes ({LEDGER})
        select 1, id, client_id, version, 'insert', changed_at, '{{}}',
            to_jsonb(written) - array['version', 'first_seen_at', 'changed_at', 'removed_at']
        from written",
        set.join(", ")
    )
}

async fn read(connection: &mut PgConnection) -> anyhow::Result<Seconds> {
    connection
        .execute(
            "insert into floor.record_fingerprints
             select id, client_id, decode(md5(id::text), 'hex') from floor.managed_users order by id",
        )
        .await?;
    connection
        .execute("vacuum (analyze) floor.managed_users, floor.record_fingerprints")
        .await?;
    let all = trials(async |_| {
        let start = Instant::now();
        let query = "select u.id, u.email, f.fingerprint
            from floor.managed_users as u join floor.record_fingerprints as f on f.user_id = u.id
            where u.removed_at is null";
        copied::drain(connection, query).await?;
        Ok(start.elapsed().as_secs_f64())
    })
    .await?;
    Ok(Seconds::of(all))
}
