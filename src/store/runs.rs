//! Passes on record: their fence, their counts, their end.

use std::time::Duration;

use super::{Error, Store, held, tx::Tx};
use crate::{
    crash_point::crash_point,
    model::{ClientId, RunOutcome},
};
use chrono::{DateTime, Utc};

/// What a pass says of itself when it begins.
#[derive(Clone, Debug)]
pub struct BeginRun<'a> {
    pub client_id: &'a ClientId,
    pub client_name: &'a str,
    /// The source: Cal.com's base address.
    pub base_url: &'a str,
    pub trigger: Trigger,
    /// Whether a source other than the recorded one is taken on.
    pub accept_source: bool,
    /// A random number of this process, whose own passes over a client never overlap: one that it left open is over.
    pub process: i64,
    /// A random number of the attempt: a beginning whose answer was lost is found again by it.
    pub token: i64,
    /// A pass that showed no sign of life for so long is dead.
    pub silence: Duration,
    /// A hash of the ids that are to be looked at: a pass over another list is no substitute for this one.
    pub watched: i64,
}

/// What asked for a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A tick, due at this time. Such a pass gives way to one that is under way, and to one that this very tick has had.
    Schedule(DateTime<Utc>),
    /// A person, who overtakes whatever is under way.
    Operator,
    /// A person who lets through what this run held.
    Approval(i64),
    /// A person who wants rows set back that were edited in Postgres.
    Repair,
}

impl Trigger {
    /// As `sync_runs.trigger` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Schedule(_) => "schedule",
            Self::Operator => "operator",
            Self::Approval(_) => "approval",
            Self::Repair => "repair",
        }
    }

    fn tick(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Schedule(tick) => Some(tick),
            _ => None,
        }
    }
}

/// How an attempt to begin a pass went.
#[derive(Clone, Debug)]
pub enum Begun {
    Run(Run),
    /// Another process is at it.
    UnderWay {
        run: i64,
        /// Its newest sign of life.
        heartbeat_at: DateTime<Utc>,
        /// It looks at the same users.
        is_alike: bool,
    },
    /// Another process made the pass of this tick.
    Done {
        run: i64,
    },
}

/// A pass under way: the right to write, until a later pass of the same client begins.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: i64,
    pub client_id: ClientId,
    pub epoch: i64,
    /// After a failover that lost the newest commits, another pass may have the same number and epoch.
    pub(super) token: i64,
}

/// What a pass did. The four kinds of change are counted by the database, batch by batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCounts {
    pub observed: u64,
    pub inserted: u64,
    pub updated: u64,
    pub removed: u64,
    pub restored: u64,
    pub unchanged: u64,
    pub rejected: u64,
    pub missing: u64,
    pub unanswered: u64,
    pub requests: u64,
}

impl RunCounts {
    /// Ledger rows written.
    pub fn changes(&self) -> u64 {
        self.inserted + self.updated + self.removed + self.restored
    }
}

/// How a pass ended, as far as the pass itself knows.
#[derive(Clone, Debug)]
pub struct Finish<'a> {
    pub observed: u64,
    pub rejected: u64,
    pub missing: u64,
    pub unanswered: u64,
    pub requests: u64,
    /// Why the pass was not complete; none if it was, and then its changes tell `Applied` from `NoChange`.
    pub shortfall: Option<RunOutcome>,
    pub error: Option<&'a str>,
    /// From now, if the pass was complete. None for a pass that does not look at every watched user.
    pub fresh_for: Option<Duration>,
}

/// A pass that ended.
#[derive(Clone, Copy, Debug)]
pub struct RunRecord {
    pub outcome: RunOutcome,
    pub counts: RunCounts,
}

impl Run {
    /// Locks the client's fence for the rest of the transaction, or finds that it has moved on.
    pub(super) async fn check_fence(&self, tx: &mut Tx) -> Result<(), Error> {
        let theirs = sqlx::query!(
            "select s.epoch, (select r.token from sync_runs as r where r.run_id = s.last_run_id) as token
             from sync_state as s where s.client_id = $1 for update",
            self.client_id.as_str(),
        )
        .fetch_optional(tx)
        .await?;
        self.compare_fence(theirs.map(|theirs| (theirs.epoch, theirs.token)))
    }

    /// Whether the fence is still ours, without a lock: it may move on at any moment.
    pub(super) async fn look_at_fence(&self, tx: &mut Tx) -> Result<(), Error> {
        let theirs = sqlx::query!(
            "select s.epoch, (select r.token from sync_runs as r where r.run_id = s.last_run_id) as token
             from sync_state as s where s.client_id = $1",
            self.client_id.as_str(),
        )
        .fetch_optional(tx)
        .await?;
        self.compare_fence(theirs.map(|theirs| (theirs.epoch, theirs.token)))
    }

    fn compare_fence(&self, theirs: Option<(i64, Option<i64>)>) -> Result<(), Error> {
        let (theirs, token) = theirs.unwrap_or_default();
        let ours = self.epoch;
        if theirs == ours && token == Some(self.token) {
            Ok(())
        } else {
            Err(Error::Fenced { ours, theirs })
        }
    }
}

impl Store {
    /// Begins a pass: takes the client's next epoch, which ends the right of every earlier pass to write.
    ///
    /// A pass of the schedule does so only if no other one is alive and the tick has not had its pass. Called again with the
    /// same token, it gives the same run.
    ///
    /// # Errors
    ///
    /// [`Error::SourceChanged`] when the client was mirrored from another base address.
    pub async fn begin_run(&self, begin: &BeginRun<'_>) -> Result<Begun, Error> {
        crash_point!("begin::before");
        let mut tx = self.begin().await?;
        // Nobody else begins one meanwhile, not even the client's very first.
        sqlx::query!(
            "select pg_advisory_xact_lock(hashtextextended('calmirror ' || current_schema() || ' ' || $1, 0))",
            begin.client_id.as_str(),
        )
        .execute(&mut tx)
        .await?;
        if let Some(newest) = newest_run(&mut tx, begin).await? {
            if newest.open && newest.token == Some(begin.token) {
                tx.rollback().await?;
                return Ok(Begun::Run(Run {
                    id: newest.id,
                    client_id: begin.client_id.clone(),
                    epoch: newest.epoch,
                    token: begin.token,
                }));
            }
            if let Some(tick) = begin.trigger.tick()
                && let Some(other) = in_the_way(&mut tx, begin, &newest, tick).await?
            {
                tx.rollback().await?;
                return Ok(other);
            }
        }
        let run = take_epoch(&mut tx, begin).await?;
        crash_point!("begin::inside");
        if begin.accept_source {
            // What another source said of a user proves nothing here.
            sqlx::query!(
                "delete from missing_users where client_id = $1",
                begin.client_id.as_str()
            )
            .execute(&mut tx)
            .await?;
            held::expire(&mut tx, begin.client_id).await?;
        }
        sqlx::query!(
            r#"
            update sync_runs set
                outcome = 'failed', finished_at = now(), error = 'the pass was cut off: the next one began after it'
            where client_id = $1 and outcome is null
            "#,
            begin.client_id.as_str(),
        )
        .execute(&mut tx)
        .await?;
        let approves = match begin.trigger {
            Trigger::Approval(run) => Some(run),
            _ => None,
        };
        sqlx::query!(
            r#"
            insert into sync_runs (
                run_id, client_id, client_name, epoch, tick, trigger, process, token, approves, watched,
                started_at, heartbeat_at
            )
            overriding system value
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now(), now())
            "#,
            run.id,
            begin.client_id.as_str(),
            begin.client_name,
            run.epoch,
            begin.trigger.tick(),
            begin.trigger.as_str(),
            begin.process,
            begin.token,
            approves,
            begin.watched,
        )
        .execute(&mut tx)
        .await?;
        crash_point!("begin::before_commit");
        tx.commit().await?;
        crash_point!("begin::after_commit");
        Ok(Begun::Run(run))
    }

    /// How many users a run has marked removed.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn removed_in(&self, run: &Run) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let removed = sqlx::query_scalar!("select removed from sync_runs where run_id = $1", run.id)
            .fetch_one(&mut tx)
            .await?;
        tx.rollback().await?;
        Ok(u64::try_from(removed).unwrap_or_default())
    }

    /// Shows that a pass is alive.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a later pass has begun.
    pub async fn heartbeat(&self, run: &Run) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        run.look_at_fence(&mut tx).await?;
        sqlx::query!(
            "update sync_runs set heartbeat_at = now() where run_id = $1 and outcome is null",
            run.id
        )
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// Ends a pass. Freshness moves if the pass was complete.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a later pass has begun: it has already said how this one ended.
    pub async fn finish_run(&self, run: &Run, finish: &Finish<'_>) -> Result<RunRecord, Error> {
        crash_point!("finish::before");
        let mut tx = self.begin().await?;
        run.check_fence(&mut tx).await?;
        let written = sqlx::query!(
            "select inserted, updated, removed, restored, repaired from sync_runs where run_id = $1",
            run.id,
        )
        .fetch_one(&mut tx)
        .await?;
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        let mut counts = RunCounts {
            observed: finish.observed,
            inserted: count(written.inserted),
            updated: count(written.updated),
            removed: count(written.removed),
            restored: count(written.restored),
            unchanged: 0,
            rejected: finish.rejected,
            missing: finish.missing,
            unanswered: finish.unanswered,
            requests: finish.requests,
        };
        let accounted = counts.inserted + counts.updated + counts.restored + counts.rejected + counts.missing;
        counts.unchanged = counts.observed.saturating_sub(accounted);
        let complete = if counts.changes() > 0 || written.repaired > 0 {
            RunOutcome::Applied
        } else {
            RunOutcome::NoChange
        };
        let outcome = finish.shortfall.unwrap_or(complete);
        let stored = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        sqlx::query!(
            r#"
            update sync_runs set
                outcome = $2, finished_at = now(), observed = $3, unchanged = $4, rejected = $5, missing = $6,
                unanswered = $7, requests = $8, error = $9
            where run_id = $1
            "#,
            run.id,
            outcome.as_str(),
            stored(counts.observed),
            stored(counts.unchanged),
            stored(counts.rejected),
            stored(counts.missing),
            stored(counts.unanswered),
            stored(counts.requests),
            finish.error,
        )
        .execute(&mut tx)
        .await?;
        crash_point!("finish::inside");
        if let Some(fresh_for) = finish.fresh_for.filter(|_| outcome.is_complete()) {
            // It found no removals, or made them.
            held::expire(&mut tx, &run.client_id).await?;
            sqlx::query!(
                r#"
                update sync_state as s set
                    last_complete_run_id = r.run_id,
                    last_complete_started_at = r.started_at,
                    last_complete_at = r.finished_at,
                    fresh_until = r.finished_at + (r.finished_at - r.started_at) + make_interval(secs => $2)
                from sync_runs as r
                where r.run_id = $1 and s.client_id = r.client_id
                "#,
                run.id,
                fresh_for.as_secs_f64(),
            )
            .execute(&mut tx)
            .await?;
        }
        crash_point!("finish::before_commit");
        tx.commit().await?;
        crash_point!("finish::after_commit");
        Ok(RunRecord { outcome, counts })
    }

    /// Records a pass that never began, or that ended without being able to say so itself.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn record_run(
        &self,
        client_id: &ClientId,
        client_name: &str,
        trigger: Trigger,
        outcome: RunOutcome,
        error: &str,
    ) -> Result<i64, Error> {
        let mut tx = self.begin().await?;
        let id = sqlx::query_scalar!(
            r#"
            insert into sync_runs (client_id, client_name, tick, trigger, outcome, started_at, finished_at, error)
            values ($1, $2, $3, $4, $5, now(), now(), $6)
            returning run_id
            "#,
            client_id.as_str(),
            client_name,
            trigger.tick(),
            trigger.as_str(),
            outcome.as_str(),
            error,
        )
        .fetch_one(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Closes the runs that passes of this process left open, because they panicked or were cut; of one client, or of all.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn close_open_runs(
        &self,
        process: i64,
        client_id: Option<&ClientId>,
        error: &str,
    ) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let closed = sqlx::query!(
            r#"
            update sync_runs set outcome = 'failed', finished_at = now(), error = $3
            where outcome is null and process = $1 and ($2::text is null or client_id = $2)
            "#,
            process,
            client_id.map(ClientId::as_str),
            error,
        )
        .execute(&mut tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        Ok(closed)
    }
}

/// The client's newest pass that began.
struct Newest {
    id: i64,
    epoch: i64,
    process: Option<i64>,
    token: Option<i64>,
    watched: Option<i64>,
    open: bool,
    /// None once it has been silent for too long.
    alive_at: Option<DateTime<Utc>>,
}

/// What a pass of the schedule gives way to.
async fn in_the_way(
    tx: &mut Tx,
    begin: &BeginRun<'_>,
    newest: &Newest,
    tick: DateTime<Utc>,
) -> Result<Option<Begun>, Error> {
    if newest.open
        && newest.process != Some(begin.process)
        && let Some(heartbeat_at) = newest.alive_at
    {
        let run = newest.id;
        let is_alike = newest.watched == Some(begin.watched);
        return Ok(Some(Begun::UnderWay {
            run,
            heartbeat_at,
            is_alike,
        }));
    }
    let made = sqlx::query_scalar!(
        r#"
        select run_id from sync_runs
        where client_id = $1 and tick = $2 and outcome not in ('skipped', 'failed')
            -- Our own ticks come again after our clock was set back.
            and process <> $3 and watched = $4
        limit 1
        "#,
        begin.client_id.as_str(),
        tick,
        begin.process,
        begin.watched,
    )
    .fetch_optional(&mut *tx)
    .await?;
    Ok(made.map(|run| Begun::Done { run }))
}

async fn newest_run(tx: &mut Tx, begin: &BeginRun<'_>) -> Result<Option<Newest>, Error> {
    let state = sqlx::query!(
        "select last_run_id, epoch from sync_state where client_id = $1 for update",
        begin.client_id.as_str(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(state) = state else { return Ok(None) };
    let newest = sqlx::query!(
        r#"
        select
            process, token, watched, outcome is null as "open!",
            -- One of the future was written before a failover to a clock that is behind.
            case when heartbeat_at between now() - make_interval(secs => $2) and now() + make_interval(secs => $2)
                then heartbeat_at
            end as alive_at
        from sync_runs
        where run_id = $1
        "#,
        state.last_run_id,
        begin.silence.as_secs_f64(),
    )
    .fetch_optional(&mut *tx)
    .await?;
    Ok(newest.map(|newest| Newest {
        id: state.last_run_id,
        epoch: state.epoch,
        process: newest.process,
        token: newest.token,
        watched: newest.watched,
        open: newest.open,
        alive_at: newest.alive_at,
    }))
}

async fn take_epoch(tx: &mut Tx, begin: &BeginRun<'_>) -> Result<Run, Error> {
    let id =
        sqlx::query_scalar!(r#"select nextval(pg_get_serial_sequence('sync_runs', 'run_id')) as "run_id!""#)
            .fetch_one(&mut *tx)
            .await?;
    let state = sqlx::query!(
        r#"
        insert into sync_state as s (client_id, client_name, epoch, base_url, last_run_id)
        values ($1, $2, 1, $3, $4)
        on conflict (client_id) do update set
            client_name = excluded.client_name,
            epoch = s.epoch + 1,
            -- Until something was mirrored, no source is another one.
            base_url = case
                when $5 or not exists (select from managed_user_changes where client_id = $1)
                    then excluded.base_url
                else s.base_url
            end,
            last_run_id = excluded.last_run_id
        returning epoch, base_url
        "#,
        begin.client_id.as_str(),
        begin.client_name,
        begin.base_url,
        id,
        begin.accept_source,
    )
    .fetch_one(&mut *tx)
    .await?;
    if state.base_url != begin.base_url {
        return Err(Error::SourceChanged {
            client: begin.client_name.to_owned(),
            recorded: state.base_url,
            configured: begin.base_url.to_owned(),
        });
    }
    Ok(Run {
        id,
        client_id: begin.client_id.clone(),
        epoch: state.epoch,
        token: begin.token,
    })
}
