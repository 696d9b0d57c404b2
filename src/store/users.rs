//! Reading and writing managed users, batch by batch.

use std::collections::HashMap;

use sqlx::types::Json as Jsonb;

use super::{Error, Run, Store, bookkeeping, channel::Versions, edited, forget, inserts::Inserts, tx::Tx};
use crate::{
    compare::{Change, ChangeKind, ChangeSet, Changed, Known, Mirrored, RecordedReject},
    crash_point::crash_point,
    model::{ClientId, JsonObject, ManagedUser, UserId},
};

impl Store {
    /// What the database knows of these users. Users of whom it knows nothing are left out.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a later pass has begun, so that an overtaken one ends also when it has nothing to write.
    pub async fn known(&self, run: &Run, ids: &[UserId]) -> Result<HashMap<UserId, Known>, Error> {
        self.known_to(&run.client_id, Some(run), ids).await
    }

    /// As [`Store::known`], also for a pass that only looks and so has no run.
    ///
    /// # Errors
    ///
    /// As [`Store::known`].
    pub async fn known_to(
        &self,
        client: &ClientId,
        run: Option<&Run>,
        ids: &[UserId],
    ) -> Result<HashMap<UserId, Known>, Error> {
        let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
        let mut tx = self.begin_batch().await?;
        if let Some(run) = run {
            run.look_at_fence(&mut tx).await?;
        }
        let rows = sqlx::query!(
            r#"
            select
                wanted.id as "id!",
                u.client_id as "client_id?",
                u.email as "email?",
                u.username, u.name, u.bio,
                u.time_zone as "time_zone?",
                u.week_start as "week_start?",
                u.created_date as "created_date?",
                u.time_format, u.default_schedule_id, u.locale, u.avatar_url,
                u.metadata as "metadata?: Jsonb<JsonObject>",
                u.extra as "extra?: Jsonb<JsonObject>",
                u.version as "version?",
                u.removed_at is not null as "removed!",
                m.user_id is not null as "missing!",
                f.user_id is not null as "forgotten!",
                r.reason as "reject_reason?",
                r.record as "reject_record?"
            from unnest($1::bigint[]) as wanted (id)
            -- Looked up one by one, whatever the plan.
            left join lateral (select * from managed_users where id = wanted.id limit 1) as u on true
            left join missing_users as m on m.client_id = $2 and m.user_id = wanted.id
            left join rejects as r on r.client_id = $2 and r.user_id = wanted.id
            left join forgotten_users as f on f.user_id = wanted.id
            where u.id is not null or m.user_id is not null or r.user_id is not null
                or f.user_id is not null
            "#,
            &ids,
            client.as_str(),
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        let known = rows.into_iter().map(|row| {
            let id = UserId(row.id);
            let mirrored = (|| {
                Some(Mirrored {
                    user: ManagedUser {
                        id,
                        email: row.email?,
                        username: row.username,
                        name: row.name,
                        bio: row.bio,
                        time_zone: row.time_zone?,
                        week_start: row.week_start?,
                        created_date: row.created_date?,
                        time_format: row.time_format,
                        default_schedule_id: row.default_schedule_id,
                        locale: row.locale,
                        avatar_url: row.avatar_url,
                        metadata: row.metadata.map(|json| json.0),
                        extra: row.extra?.0,
                    },
                    client_id: ClientId(row.client_id?),
                    version: row.version?,
                    removed: row.removed,
                })
            })();
            let reject = row
                .reject_reason
                .zip(row.reject_record)
                .map(|(reason, record)| RecordedReject { reason, record });
            (
                id,
                Known {
                    mirrored,
                    missing: row.missing,
                    forgotten: row.forgotten,
                    reject,
                },
            )
        });
        Ok(known.collect())
    }

    /// Writes a change set: rows, ledger, bookkeeping and the run's counts, in one transaction under the fence.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a later pass has begun, [`Error::Conflict`] when a row is not as it was compared or a
    /// user was forgotten since; nothing is written then. When the connection breaks, the set may or may not have been written: compare again.
    pub async fn apply(&self, run: &Run, set: &ChangeSet) -> Result<(), Error> {
        let inserts = Inserts::of(&run.client_id, set)?;
        self.apply_with(run, set, inserts).await
    }

    /// As [`Store::apply`], with what [`Inserts::of`] made of the set beforehand.
    ///
    /// # Errors
    ///
    /// As [`Store::apply`].
    pub async fn apply_with(
        &self,
        run: &Run,
        set: &ChangeSet,
        mut inserts: Option<Inserts>,
    ) -> Result<(), Error> {
        crash_point!("batch::before");
        let mut tx = self.begin_writing(run, set).await?;
        let mut written: &[UserId] = &[];
        if let Some(inserts) = &mut inserts {
            if inserts.write(&mut tx, run).await? {
                written = inserts.users();
            } else {
                // What is in the way is found out, and said, by the statement that meets it row by row.
                tx.rollback().await?;
                tx = self.begin_writing(run, set).await?;
            }
        }
        let is_due = |change: &&Change| written.is_empty() || change.kind != ChangeKind::Insert;
        let changes: Vec<&Change> = set.changes().filter(is_due).collect();
        let (ids, versions): (Vec<i64>, Vec<i32>) = changes
            .iter()
            .map(|change| (change.user_id().0, change.version))
            .unzip();
        edited::check(&mut tx, &ids, &versions).await?;
        if !changes.is_empty() {
            write_changes(&mut tx, run, &changes).await?;
        }
        crash_point!("batch::after_ledger");
        bookkeeping::write(&mut tx, run, &set.bookkeeping, written).await?;
        crash_point!("batch::after_bookkeeping");
        count_changes(&mut tx, run, set).await?;
        self.tell(&mut tx, &run.client_id, Versions::of(set)).await?;
        crash_point!("batch::before_commit");
        tx.commit().await?;
        crash_point!("batch::after_commit");
        Ok(())
    }

    /// A transaction in which the set may be written.
    async fn begin_writing(&self, run: &Run, set: &ChangeSet) -> Result<Tx, Error> {
        let mut tx = self.begin_batch().await?;
        run.check_fence(&mut tx).await?;
        forget::check(&mut tx, set).await?;
        Ok(tx)
    }
}

/// The fields of a batch, column by column, as `unnest` takes them.
#[derive(Default)]
struct Columns<'a> {
    id: Vec<i64>,
    email: Vec<&'a str>,
    username: Vec<Option<&'a str>>,
    name: Vec<Option<&'a str>>,
    bio: Vec<Option<&'a str>>,
    time_zone: Vec<&'a str>,
    week_start: Vec<&'a str>,
    created_date: Vec<chrono::DateTime<chrono::Utc>>,
    time_format: Vec<Option<i32>>,
    default_schedule_id: Vec<Option<i64>>,
    locale: Vec<Option<&'a str>>,
    avatar_url: Vec<Option<&'a str>>,
    metadata: Vec<Option<Jsonb<&'a JsonObject>>>,
    extra: Vec<Jsonb<&'a JsonObject>>,
    version: Vec<i32>,
    kind: Vec<&'static str>,
    changed: Vec<Jsonb<Changed<'a>>>,
}

impl<'a> Columns<'a> {
    fn of(changes: &[&'a Change]) -> Self {
        let mut columns = Self::default();
        for change in changes {
            let ManagedUser {
                id,
                email,
                username,
                name,
                bio,
                time_zone,
                week_start,
                created_date,
                time_format,
                default_schedule_id,
                locale,
                avatar_url,
                metadata,
                extra,
            } = &*change.after;
            columns.id.push(id.0);
            columns.email.push(email);
            columns.username.push(username.as_deref());
            columns.name.push(name.as_deref());
            columns.bio.push(bio.as_deref());
            columns.time_zone.push(time_zone);
            columns.week_start.push(week_start);
            columns.created_date.push(*created_date);
            columns.time_format.push(*time_format);
            columns.default_schedule_id.push(*default_schedule_id);
            columns.locale.push(locale.as_deref());
            columns.avatar_url.push(avatar_url.as_deref());
            columns.metadata.push(metadata.as_ref().map(Jsonb));
            columns.extra.push(Jsonb(extra));
            columns.version.push(change.version);
            columns.kind.push(change.kind.as_str());
            columns.changed.push(Jsonb(change.changed()));
        }
        columns
    }
}

/// Rows and ledger in one statement, so that what the ledger says a row became is the row itself.
async fn write_changes(tx: &mut Tx, run: &Run, changes: &[&Change]) -> Result<(), Error> {
    let c = Columns::of(changes);
    let written = sqlx::query_scalar!(
        r#"
        with incoming as (
            select * from unnest(
                $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                $10::timestamptz[], $11::integer[], $12::bigint[], $13::text[], $14::text[], $15::jsonb[],
                $16::jsonb[], $17::integer[], $18::text[], $19::jsonb[]
            ) as incoming (
                id, email, username, name, bio, time_zone, week_start, created_date, time_format,
                default_schedule_id, locale, avatar_url, metadata, extra, version, kind, changed
            )
        ),
        written as (
            insert into managed_users as m (
                id, client_id, email, username, name, bio, time_zone, week_start, created_date, time_format,
                default_schedule_id, locale, avatar_url, metadata, extra, version, first_seen_at, changed_at
            )
            select
                id, $2, email, username, name, bio, time_zone, week_start, created_date, time_format,
                default_schedule_id, locale, avatar_url, metadata, extra, version, now(), now()
            from incoming
            order by id
            on conflict (id) do update set
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
                changed_at = excluded.changed_at,
                removed_at = null
            where m.client_id = excluded.client_id and m.version = excluded.version - 1
            returning m.*
        ),
        logged as (
            insert into managed_user_changes (
                run_id, user_id, client_id, version, kind, observed_at, changed, after
            )
            select
                $1, w.id, w.client_id, w.version, i.kind, w.changed_at, i.changed,
                to_jsonb(w) - array['version', 'first_seen_at', 'changed_at', 'removed_at']
            from written as w
            join incoming as i on i.id = w.id
            order by w.id
            returning user_id
        )
        select count(*) as "count!" from logged
        "#,
        run.id,
        run.client_id.as_str(),
        &c.id,
        &c.email as &[&str],
        &c.username as &[Option<&str>],
        &c.name as &[Option<&str>],
        &c.bio as &[Option<&str>],
        &c.time_zone as &[&str],
        &c.week_start as &[&str],
        &c.created_date,
        &c.time_format as &[Option<i32>],
        &c.default_schedule_id as &[Option<i64>],
        &c.locale as &[Option<&str>],
        &c.avatar_url as &[Option<&str>],
        &c.metadata as &[Option<Jsonb<&JsonObject>>],
        &c.extra as &[Jsonb<&JsonObject>],
        &c.version,
        &c.kind as &[&str],
        &c.changed as &[Jsonb<Changed<'_>>],
    )
    .fetch_one(&mut *tx)
    .await?;
    // A row that another writer inserted or changed meanwhile is not written, and so not counted.
    if usize::try_from(written).ok() == Some(changes.len()) {
        Ok(())
    } else {
        Err(Error::Conflict)
    }
}

/// Adds what a batch changed to the run's row, so that the counts are right whatever becomes of the pass.
pub(super) async fn count_changes(tx: &mut Tx, run: &Run, set: &ChangeSet) -> Result<(), Error> {
    if set.is_empty() {
        return Ok(());
    }
    let count = |changes: usize| i64::try_from(changes).unwrap_or(i64::MAX);
    sqlx::query!(
        r#"
        update sync_runs set
            inserted = inserted + $2, updated = updated + $3, restored = restored + $4, removed = removed + $5
        where run_id = $1
        "#,
        run.id,
        count(set.inserts.len()),
        count(set.updates.len()),
        count(set.restores.len()),
        count(set.removals.len()),
    )
    .execute(&mut *tx)
    .await?;
    Ok(())
}
