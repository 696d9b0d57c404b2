//! Setting rows that were edited in Postgres back to what the ledger says, through the ledger.

use std::time::Duration;

use serde::Serialize;
use sqlx::types::Json as Jsonb;

use super::{
    BeginRun, Begun, Error, Run, Store, Trigger,
    tx::Tx,
    verify::{Scan, Step, Users, read_shape},
};
use crate::{
    model::{ClientId, JsonObject, RunOutcome, UserId},
    verify::{Truth, Verdict, changed_by_repair},
};

/// The right to repair rows of one client, until a pass of it begins.
#[derive(Clone, Debug)]
pub struct RepairRun {
    client_id: ClientId,
    /// None for a client that never had a pass, or whose state was deleted: no pass of it can write then either.
    run: Option<Run>,
    /// Rows that the ledger does not know are deleted. Not where it may be the ledger that lost something.
    pub deletes_unknown: bool,
}

/// What became of a row. Serialized as `verify --repair --output json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "repair", rename_all = "snake_case")]
pub enum Repair {
    /// The row is as the ledger has it again, which made this version.
    SetBack {
        user_id: UserId,
        version: i32,
        run_id: i64,
    },
    /// The row, of which the ledger knew nothing, is gone. A pass observes the user anew if there is one.
    Deleted { user_id: UserId },
    /// The row is not as it was when it was found; nothing was done.
    Left { user_id: UserId },
}

/// Rows that are to be written, column by column, as `unnest` takes them.
#[derive(Default)]
struct Columns {
    id: Vec<i64>,
    truth: Vec<Jsonb<JsonObject>>,
    changed: Vec<Jsonb<JsonObject>>,
}

impl Store {
    /// Takes a client's fence, as a pass does: one that is under way can write nothing more.
    ///
    /// # Errors
    ///
    /// As [`Store::begin_run`].
    pub async fn begin_repair(
        &self,
        client_id: &ClientId,
        deletes_unknown: bool,
    ) -> Result<RepairRun, Error> {
        let mut tx = self.begin().await?;
        let state = sqlx::query!(
            "select client_name, base_url from sync_state where client_id = $1",
            client_id.as_str(),
        )
        .fetch_optional(&mut tx)
        .await?;
        tx.rollback().await?;
        let client_id = client_id.clone();
        let Some(state) = state else {
            return Ok(RepairRun {
                client_id,
                run: None,
                deletes_unknown,
            });
        };
        let begin = BeginRun {
            client_id: &client_id,
            client_name: &state.client_name,
            base_url: &state.base_url,
            trigger: Trigger::Repair,
            accept_source: false,
            process: fastrand::i64(..),
            token: fastrand::i64(..),
            silence: Duration::ZERO,
            watched: 0,
            resume_since: None,
        };
        match self.begin_run(&begin).await? {
            Begun::Run(run) => Ok(RepairRun {
                client_id,
                run: Some(run),
                deletes_unknown,
            }),
            // Whoever repairs gives way to nobody.
            Begun::UnderWay { .. } | Begun::Done { .. } => Err(Error::Conflict),
        }
    }

    /// Sets rows of the run's client right, as far as they are still wrong and the ledger can be relied on: all of them, or
    /// none.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a pass has begun since, [`Error::Conflict`] when one began that was the client's first.
    pub async fn repair(&self, repair: &RepairRun, users: &[UserId]) -> Result<Vec<Repair>, Error> {
        let ids: Vec<i64> = users.iter().map(|id| id.0).collect();
        let mut tx = self.begin().await?;
        repair.lock(&mut tx).await?;
        // A row that was given to another client could be written by a pass of that one.
        sqlx::query!(
            "select id from managed_users where id = any($1) order by id for update",
            &ids,
        )
        .fetch_all(&mut tx)
        .await?;

        let mut repairs = Vec::new();
        let mut columns = Columns::default();
        let mut unknown = Vec::new();
        let shape = read_shape(&mut tx).await?;
        let mut scan = Scan::open(&mut tx, shape, Vec::new(), Users::These(&ids)).await?;
        while let Some(step) = scan.step(&mut tx).await? {
            let Step::User { id, verdict, .. } = step else {
                continue;
            };
            let ours = |truth: &Truth| truth.is_sound && truth.client_id == repair.client_id.as_str();
            match verdict {
                Verdict::Agrees => {}
                Verdict::Edited { truth, differences } if ours(&truth) => {
                    columns.push(id, truth, changed_by_repair(&differences));
                }
                Verdict::Missing { truth } if ours(&truth) => {
                    columns.push(id, truth, JsonObject::default());
                }
                Verdict::Unknown {
                    client_id,
                    version: 1,
                } if client_id == repair.client_id.as_str() && repair.deletes_unknown => {
                    unknown.push(id.0);
                    repairs.push(Repair::Deleted { user_id: id });
                }
                Verdict::Edited { .. } | Verdict::Missing { .. } | Verdict::Unknown { .. } => {
                    repairs.push(Repair::Left { user_id: id });
                }
            }
        }
        if !unknown.is_empty() {
            sqlx::query!("delete from managed_users where id = any($1)", &unknown)
                .execute(&mut tx)
                .await?;
        }
        if !columns.id.is_empty() {
            let run_id = match &repair.run {
                Some(run) => run.id,
                None => record_run(&mut tx, &repair.client_id).await?,
            };
            let set_back = write(&mut tx, run_id, &columns).await?;
            let versions = set_back.iter().filter_map(Repair::version).collect();
            self.tell(&mut tx, &repair.client_id, versions).await?;
            repairs.extend(set_back);
        }
        if let Some(run) = &repair.run {
            let rows = unknown.len() + columns.id.len();
            sqlx::query!(
                "update sync_runs set repaired = repaired + $2, heartbeat_at = now() where run_id = $1",
                run.id,
                i64::try_from(rows).unwrap_or(i64::MAX),
            )
            .execute(&mut tx)
            .await?;
        }
        tx.commit().await?;
        Ok(repairs)
    }

    /// Ends a repair. Freshness stays where it was: nobody was asked anything.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a pass has begun since: it has already said how this ended.
    pub async fn finish_repair(
        &self,
        repair: &RepairRun,
        outcome: RunOutcome,
        error: Option<&str>,
    ) -> Result<(), Error> {
        let Some(run) = &repair.run else { return Ok(()) };
        let mut tx = self.begin().await?;
        run.check_fence(&mut tx).await?;
        sqlx::query!(
            "update sync_runs set outcome = $2, finished_at = now(), error = $3 where run_id = $1",
            run.id,
            outcome.as_str(),
            error,
        )
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }
}

impl Repair {
    /// What it adds to the ledger, as the channel tells it.
    fn version(&self) -> Option<(i64, &'static str, i32)> {
        match self {
            Self::SetBack { user_id, version, .. } => Some((user_id.0, "repair", *version)),
            Self::Deleted { .. } | Self::Left { .. } => None,
        }
    }
}

impl RepairRun {
    /// By a pass, of rows that it is about to write.
    pub fn within(run: &Run) -> Self {
        Self {
            client_id: run.client_id.clone(),
            run: Some(run.clone()),
            deletes_unknown: false,
        }
    }

    /// Keeps passes of the client from writing for the rest of the transaction.
    async fn lock(&self, tx: &mut Tx) -> Result<(), Error> {
        if let Some(run) = &self.run {
            return run.check_fence(tx).await;
        }
        // No pass can begin, of whatever client; those under way go on with their batches.
        sqlx::query!("lock table sync_state in share row exclusive mode")
            .execute(&mut *tx)
            .await?;
        let has_begun = sqlx::query_scalar!(
            r#"select exists (select from sync_state where client_id = $1) as "exists!""#,
            self.client_id.as_str(),
        )
        .fetch_one(&mut *tx)
        .await?;
        if has_begun { Err(Error::Conflict) } else { Ok(()) }
    }
}

impl Columns {
    fn push(&mut self, id: UserId, truth: Truth, changed: JsonObject) {
        self.id.push(id.0);
        self.truth.push(Jsonb(truth.row));
        self.changed.push(Jsonb(changed));
    }
}

/// What a repair of a client without state is on record as.
async fn record_run(tx: &mut Tx, client_id: &ClientId) -> Result<i64, Error> {
    let id = sqlx::query_scalar!(
        r#"
        insert into sync_runs (client_id, client_name, trigger, outcome, started_at, finished_at)
        values ($1, $1, 'repair', 'applied', now(), now())
        returning run_id
        "#,
        client_id.as_str(),
    )
    .fetch_one(tx)
    .await?;
    Ok(id)
}

/// Rows and ledger in one statement, as passes write them.
async fn write(tx: &mut Tx, run_id: i64, columns: &Columns) -> Result<Vec<Repair>, Error> {
    let written = sqlx::query!(
        r#"
        with incoming as (
            select * from unnest($2::bigint[], $3::jsonb[], $4::jsonb[]) as incoming (id, truth, changed)
        ),
        written as (
            insert into managed_users as m (
                id, client_id, email, username, name, bio, time_zone, week_start, created_date, time_format,
                default_schedule_id, locale, avatar_url, metadata, extra, version, first_seen_at, changed_at,
                removed_at
            )
            select
                i.id, t.client_id, t.email, t.username, t.name, t.bio, t.time_zone, t.week_start, t.created_date,
                t.time_format, t.default_schedule_id, t.locale, t.avatar_url, t.metadata, t.extra, t.version + 1,
                t.first_seen_at, now(), t.removed_at
            from incoming as i
            cross join lateral jsonb_populate_record(null::managed_users, i.truth) as t
            order by i.id
            on conflict (id) do update set
                client_id = excluded.client_id,
                email = excluded.email,
                username = excluded.username,
                name = excluded.name,
                bio = excluded.bio,
                time_zone = excluded.time_zone,
                week_start = excluded.week_start,
                created_date = excluded.created_date,
                time_format = excluded.time_format,
                default_schedule_id = excluded.default_schedule_id,
                locale = excluded.locale,
                avatar_url = excluded.avatar_url,
                metadata = excluded.metadata,
                extra = excluded.extra,
                version = excluded.version,
                first_seen_at = excluded.first_seen_at,
                changed_at = excluded.changed_at,
                removed_at = excluded.removed_at
            returning m.*
        )
        insert into managed_user_changes (
            run_id, user_id, client_id, version, kind, observed_at, changed, after
        )
        select
            $1, w.id, w.client_id, w.version, 'repair', w.changed_at, i.changed,
            to_jsonb(w) - array['version', 'first_seen_at', 'changed_at', 'removed_at']
        from written as w
        join incoming as i on i.id = w.id
        order by w.id
        returning user_id, version
        "#,
        run_id,
        &columns.id,
        &columns.truth as &[Jsonb<JsonObject>],
        &columns.changed as &[Jsonb<JsonObject>],
    )
    .fetch_all(tx)
    .await?;
    Ok(written
        .into_iter()
        .map(|row| Repair::SetBack {
            user_id: UserId(row.user_id),
            version: row.version,
            run_id,
        })
        .collect())
}
