//! What people put together by hand: curl into files, jq into lines, psql into one anti-join. No history, no checks.

use std::{fmt::Write as _, fs};

use anyhow::ensure;
use serde::Serialize;
use sqlx::{Executor, PgConnection};

use crate::{
    arguments::Plan,
    source::Source,
    stage::{self, Stage},
    trials::{Seconds, trials},
    watched::Watched,
};

/// What came of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ByHand {
    Took(Seconds),
    /// Why.
    Skipped(String),
}

/// For each line that curl has brought: whether the table has the very same.
const JOIN: &str = r"\set ON_ERROR_STOP on
create temporary table incoming (record jsonb);
\copy incoming from 'lines' with (format csv, quote e'\x01', delimiter e'\x02')
select count(*) from incoming as i where not exists (
    select from by_hand as m where m.id = (i.record->>'id')::bigint and m.record = i.record
);
";

/// The first time: what has come is kept.
const KEEP: &str = r"\set ON_ERROR_STOP on
create temporary table incoming (record jsonb);
\copy incoming from 'lines' with (format csv, quote e'\x01', delimiter e'\x02')
create table by_hand as select (record->>'id')::bigint as id, record from incoming;
alter table by_hand add primary key (id);
select count(*) from by_hand;
";

/// Measures it on users of whom none has changed.
pub(crate) async fn measure(
    stage: &Stage,
    source: &Source,
    plan: Plan,
    database: &str,
    connection: &mut PgConnection,
) -> anyhow::Result<ByHand> {
    for tool in ["curl --parallel --version", "jq --version", "psql --version"] {
        let command = format!("{tool} >/dev/null");
        let ended = Watched::start(stage.dir(), "tool", &["/bin/sh", "-c", &command])?
            .end()
            .await?;
        if ended.code != 0 {
            let (name, _) = tool.split_once(' ').unwrap_or((tool, ""));
            return Ok(ByHand::Skipped(format!(
                "{name} is not there, or too old: {}",
                ended.stderr
            )));
        }
    }
    let users = source.people.users.len();
    let kept = run(stage, source, plan, database, KEEP).await?;
    ensure!(kept.1 == users, "{} users were kept of {users}", kept.1);
    stage::settle(connection).await?;
    let all = trials(async |_| {
        let (seconds, changed) = run(stage, source, plan, database, JOIN).await?;
        ensure!(changed == 0, "{changed} users seem to have changed");
        Ok(seconds)
    })
    .await?;
    connection.execute("drop table by_hand").await?;
    Ok(ByHand::Took(Seconds::of(all)))
}

/// Seconds, and the number that the SQL gives.
async fn run(
    stage: &Stage,
    source: &Source,
    plan: Plan,
    database: &str,
    sql: &str,
) -> anyhow::Result<(f64, usize)> {
    let dir = stage.new_dir("by_hand")?;
    fs::create_dir(dir.join("out"))?;
    let mut config = String::from("silent\nshow-error\nfail\nparallel\n");
    writeln!(config, "parallel-max = {}", plan.concurrency())?;
    for (name, value) in &source.people.headers()? {
        writeln!(config, "header = \"{name}: {}\"", value.to_str()?)?;
    }
    for (number, url) in source.urls(plan).iter().enumerate() {
        writeln!(config, "url = \"{url}\"\noutput = \"out/{number}\"")?;
    }
    fs::write(dir.join("curl"), config)?;
    fs::write(dir.join("sql"), sql)?;
    let records = match plan {
        Plan::Get => ".data",
        Plan::Bulk | Plan::List => ".data[]",
    };
    // Of this user and this server alone, whatever psqlrc says.
    let script = format!(
        "set -e
        cd {}
        curl --config curl
        find out -type f -exec cat {{}} + | jq --compact-output '{records}' >lines
        psql --no-psqlrc --quiet --tuples-only --no-align --file sql '{}'",
        dir.display(),
        stage.url(database)?,
    );
    let start = std::time::Instant::now();
    let ended = Watched::start(stage.dir(), "by_hand_run", &["/bin/sh", "-c", &script])?
        .end()
        .await?
        .expect_success()?;
    let seconds = start.elapsed().as_secs_f64();
    fs::remove_dir_all(&dir)?;
    Ok((seconds, ended.stdout.trim().parse()?))
}
