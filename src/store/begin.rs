//! The beginning of a pass: its client's fence, and whose turn it is.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Error, Resumed, Run, Store, held, resumed, tx::Tx};
use crate::{
    crash_point::crash_point,
    model::{ClientId, UserId},
};

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
    /// A pass that was cut and showed its last sign of life after this is gone on from; none: begin from the start.
    pub resume_since: Option<DateTime<Utc>>,
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

    pub(super) fn tick(self) -> Option<DateTime<Utc>> {
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
        let newest = newest_run(&mut tx, begin).await?;
        if let Some(newest) = &newest {
            if newest.open && newest.token == Some(begin.token) {
                tx.rollback().await?;
                return Ok(Begun::Run(Run {
                    id: newest.id,
                    client_id: begin.client_id.clone(),
                    epoch: newest.epoch,
                    resumed: newest.resumed,
                    token: begin.token,
                }));
            }
            if begin.trigger.tick().is_some()
                && let Some(other) = in_the_way(begin, newest)
            {
                tx.rollback().await?;
                return Ok(other);
            }
        }
        let resumed = match &newest {
            Some(newest) if newest.was_cut => resumed::find(&mut tx, begin, newest.id).await?,
            _ => None,
        };
        let run = take_epoch(&mut tx, begin, resumed).await?;
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
        let approves = match begin.trigger {
            Trigger::Approval(run) => Some(run),
            _ => None,
        };
        sqlx::query!(
            r#"
            with closed as (
                update sync_runs set
                    outcome = 'failed', finished_at = now(),
                    error = 'the pass was cut off: the next one began after it'
                where client_id = $2 and outcome is null
            )
            insert into sync_runs (
                run_id, client_id, client_name, epoch, tick, trigger, process, token, approves, watched,
                started_at, heartbeat_at, began_at, resumes, done_to
            )
            overriding system value
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now(), now(), coalesce($11, now()), $12, $13)
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
            resumed.map(|resumed| resumed.began_at),
            resumed.map(|resumed| resumed.run),
            resumed.and_then(|resumed| resumed.done_to).map(|user| user.0),
        )
        .execute(&mut tx)
        .await?;
        crash_point!("begin::before_commit");
        tx.commit().await?;
        crash_point!("begin::after_commit");
        Ok(Begun::Run(run))
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
    /// It noted how far it came, which no pass does that is complete: it may have been cut.
    was_cut: bool,
    resumed: Option<Resumed>,
    /// None once it has been silent for too long.
    alive_at: Option<DateTime<Utc>>,
    /// The pass that another process made of the tick.
    made: Option<i64>,
}

/// What a pass of the schedule gives way to.
fn in_the_way(begin: &BeginRun<'_>, newest: &Newest) -> Option<Begun> {
    if newest.open
        && newest.process != Some(begin.process)
        && let Some(heartbeat_at) = newest.alive_at
    {
        let run = newest.id;
        let is_alike = newest.watched == Some(begin.watched);
        return Some(Begun::UnderWay {
            run,
            heartbeat_at,
            is_alike,
        });
    }
    newest.made.map(|run| Begun::Done { run })
}

async fn newest_run(tx: &mut Tx, begin: &BeginRun<'_>) -> Result<Option<Newest>, Error> {
    // A statement of its own: another one may hold the row, and what it did is seen by the next statement only.
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
            process, token, watched, outcome is null as "open!", resumes, began_at, done_to,
            -- One of the future was written before a failover to a clock that is behind.
            case when heartbeat_at between now() - make_interval(secs => $2) and now() + make_interval(secs => $2)
                then heartbeat_at
            end as alive_at,
            (
                select made.run_id from sync_runs as made
                where made.client_id = $3 and made.tick = $4 and made.outcome not in ('skipped', 'failed')
                    -- Our own ticks come again after our clock was set back.
                    and made.process <> $5 and made.watched = $6
                limit 1
            ) as made
        from sync_runs
        where run_id = $1
        "#,
        state.last_run_id,
        begin.silence.as_secs_f64(),
        begin.client_id.as_str(),
        begin.trigger.tick(),
        begin.process,
        begin.watched,
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
        was_cut: newest.done_to.is_some(),
        resumed: newest
            .resumes
            .zip(newest.began_at)
            .map(|(run, began_at)| Resumed {
                run,
                began_at,
                done_to: newest.done_to.map(UserId),
            }),
        alive_at: newest.alive_at,
        made: newest.made,
    }))
}

async fn take_epoch(tx: &mut Tx, begin: &BeginRun<'_>, resumed: Option<Resumed>) -> Result<Run, Error> {
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
        resumed,
        token: begin.token,
    })
}
