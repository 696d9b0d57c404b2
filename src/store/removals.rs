//! The end of a pass: which users are proven gone, and marking them removed.

use std::time::Duration;

use super::{Error, Run, Store, channel::Versions, edited, forget, held, users::count_changes};
use crate::{
    compare::{ChangeSet, Removal},
    crash_point::crash_point,
    model::{ClientId, UserId, UserSet},
};

/// A live user that Cal.com says is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The removal as it would be.
    pub removal: Removal,
    /// In how many passes Cal.com said so, the one under way included. Those in which no other user answered count only if
    /// this is one of them.
    pub confirmations: u32,
    /// From the first time that it said so to the last.
    pub age: Duration,
}

impl Candidate {
    fn new(user_id: i64, version: i32, confirmations: i32, age_us: i64) -> Self {
        Self {
            removal: Removal {
                user_id: UserId(user_id),
                version: version + 1,
            },
            confirmations: u32::try_from(confirmations).unwrap_or_default(),
            age: Duration::from_micros(u64::try_from(age_us).unwrap_or_default()),
        }
    }

    /// Whether that was often enough, and far enough apart.
    pub fn is_proven(&self, confirmations: u32, min_age: Duration) -> bool {
        self.confirmations >= confirmations && self.age >= min_age
    }
}

impl Store {
    /// Counts one confirmation for each live user that Cal.com said is gone in this run, or, without a control, one unproven
    /// saying. Counts once, however often called.
    ///
    /// # Errors
    ///
    /// As [`Store::apply`].
    pub async fn confirm_missing(&self, run: &Run, controlled: bool) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        run.check_fence(&mut tx).await?;
        sqlx::query!(
            r#"
            update missing_users as m set
                confirmations = m.confirmations + case when $3 then 1 else 0 end,
                unproven = m.unproven + case when $3 then 0 else 1 end,
                confirmed_run_id = $2
            from managed_users as u
            where m.client_id = $1 and m.last_run_id = $2 and m.confirmed_run_id is distinct from $2
                and u.id = m.user_id and u.client_id = $1 and u.removed_at is null
            "#,
            run.client_id.as_str(),
            run.id,
            controlled,
        )
        .execute(&mut tx)
        .await?;
        crash_point!("confirmation::before_commit");
        tx.commit().await?;
        crash_point!("confirmation::after_commit");
        Ok(())
    }

    /// The live users of the run's client that Cal.com said are gone, in this pass and in enough others before it. Without a
    /// control, passes that had none count as well: such users may be held, and are not proven gone.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn confirmed_gone(
        &self,
        run: &Run,
        confirmations: u32,
        min_age: Duration,
        controlled: bool,
    ) -> Result<Vec<Removal>, Error> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query!(
            r#"
            select
                m.user_id, u.version,
                m.confirmations + case when $3 then 0 else m.unproven end as "confirmations!",
                (extract(epoch from m.last_missing_at - m.first_missing_at) * 1000000)::bigint as "age_us!"
            from missing_users as m
            join managed_users as u on u.id = m.user_id
            where m.client_id = $1 and m.confirmed_run_id = $2 and u.client_id = $1 and u.removed_at is null
            order by m.user_id
            "#,
            run.client_id.as_str(),
            run.id,
            controlled,
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        let candidates = rows
            .into_iter()
            .map(|row| Candidate::new(row.user_id, row.version, row.confirmations, row.age_us));
        Ok(candidates
            .filter(|candidate| candidate.is_proven(confirmations, min_age))
            .map(|candidate| candidate.removal)
            .collect())
    }

    /// What missing users would be if a pass that says so once more counted now, those that are live in the mirror. For a
    /// pass that only looks.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn candidates(
        &self,
        client: &ClientId,
        gone: &[UserId],
        controlled: bool,
    ) -> Result<Vec<Candidate>, Error> {
        let ids: Vec<i64> = gone.iter().map(|id| id.0).collect();
        let mut tx = self.begin().await?;
        let rows = sqlx::query!(
            r#"
            select
                u.id, u.version,
                coalesce(m.confirmations + case when $3 then 0 else m.unproven end, 0) + 1 as "confirmations!",
                coalesce((extract(epoch from now() - m.first_missing_at) * 1000000)::bigint, 0) as "age_us!"
            from unnest($2::bigint[]) as gone (id)
            join managed_users as u on u.id = gone.id
            left join missing_users as m on m.client_id = $1 and m.user_id = u.id
            where u.client_id = $1 and u.removed_at is null
            order by u.id
            "#,
            client.as_str(),
            &ids,
            controlled,
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        let candidates = rows
            .into_iter()
            .map(|row| Candidate::new(row.id, row.version, row.confirmations, row.age_us));
        Ok(candidates.collect())
    }

    /// How many of these users, or of everyone, the mirror holds as live users of the client.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn live_users(&self, client: &ClientId, users: Option<&UserSet>) -> Result<u64, Error> {
        let mut tx = self.begin().await?;
        let mut live = 0;
        for page in pages(users) {
            live += sqlx::query_scalar!(
                r#"
                select count(*) as "count!" from managed_users
                where client_id = $1 and removed_at is null and ($2::bigint[] is null or id = any($2))
                "#,
                client.as_str(),
                page.as_deref(),
            )
            .fetch_one(&mut tx)
            .await?;
        }
        tx.rollback().await?;
        Ok(u64::try_from(live).unwrap_or_default())
    }

    /// Those of these users, or of everyone, that the mirror holds as live, and of whom Cal.com says that they are gone: in whatever
    /// pass, proven or not. A sighting takes a user out of them. Ascending.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn said_gone(&self, client: &ClientId, users: Option<&UserSet>) -> Result<Vec<UserId>, Error> {
        let mut tx = self.begin().await?;
        let gone = sqlx::query_scalar!(
            r#"
            select u.id as "id!" from missing_users as m
            join managed_users as u on u.id = m.user_id
            where m.client_id = $1 and u.client_id = $1 and u.removed_at is null
            order by u.id
            "#,
            client.as_str(),
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        let is_watched = |user: &UserId| users.is_none_or(|users| users.contains(*user));
        Ok(gone.into_iter().map(UserId).filter(is_watched).collect())
    }

    /// Whether the mirror holds users of the client, all of them removed.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn has_only_removed(&self, client: &ClientId, users: Option<&UserSet>) -> Result<bool, Error> {
        if self.live_users(client, users).await? > 0 {
            return Ok(false);
        }
        let mut tx = self.begin().await?;
        let removed = sqlx::query_scalar!(
            r#"select exists (select from managed_users where client_id = $1 and removed_at is not null) as "removed!""#,
            client.as_str(),
        )
        .fetch_one(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(removed)
    }

    /// Those of these users, or of everyone, that the mirror holds as live users of the client, but for the given ones; at most so
    /// many. Those of whom there is nothing bad on record. Lists are ascending.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn live_among(
        &self,
        client: &ClientId,
        users: Option<&UserSet>,
        but: &[UserId],
        at_most: usize,
    ) -> Result<Vec<UserId>, Error> {
        let but: Vec<i64> = but.iter().map(|user| user.0).collect();
        let mut tx = self.begin().await?;
        let mut found = Vec::new();
        for page in pages(users) {
            let live = sqlx::query_scalar!(
                r#"
                select id as "id!" from (
                    select id from managed_users
                    where client_id = $1 and removed_at is null and ($2::bigint[] is null or id = any($2))
                    except
                    (select user_id from missing_users where client_id = $1
                     union all select user_id from rejects where client_id = $1
                     union all select unnest($3::bigint[]))
                ) as fit
                limit $4
                "#,
                client.as_str(),
                page.as_deref(),
                &but,
                i64::try_from(at_most - found.len()).unwrap_or(i64::MAX),
            )
            .fetch_all(&mut tx)
            .await?;
            found.extend(live.into_iter().map(UserId));
            if found.len() >= at_most {
                break;
            }
        }
        tx.rollback().await?;
        Ok(found)
    }

    /// Marks the users of a set's removals removed, all of them or none, under the fence.
    ///
    /// # Errors
    ///
    /// As [`Store::apply`].
    pub async fn apply_removals(&self, run: &Run, set: &ChangeSet) -> Result<(), Error> {
        crash_point!("removals::before");
        let (ids, versions): (Vec<i64>, Vec<i32>) = set
            .removals
            .iter()
            .map(|removal| (removal.user_id.0, removal.version))
            .unzip();
        let mut tx = self.begin().await?;
        run.check_fence(&mut tx).await?;
        forget::check(&mut tx, set).await?;
        edited::check(&mut tx, &ids, &versions).await?;
        let written = sqlx::query_scalar!(
            r#"
            with incoming as (
                select * from unnest($3::bigint[], $4::integer[]) as incoming (id, version)
            ),
            written as (
                update managed_users as m
                set version = i.version, changed_at = now(), removed_at = now()
                from incoming as i
                where m.id = i.id and m.client_id = $2 and m.version = i.version - 1 and m.removed_at is null
                returning m.*
            ),
            logged as (
                insert into managed_user_changes (
                    run_id, user_id, client_id, version, kind, observed_at, changed, after
                )
                select
                    $1, id, client_id, version, 'removal', changed_at, '{}',
                    to_jsonb(written) - array['version', 'first_seen_at', 'changed_at', 'removed_at']
                from written
                order by id
                returning user_id
            )
            select count(*) as "count!" from logged
            "#,
            run.id,
            run.client_id.as_str(),
            &ids,
            &versions,
        )
        .fetch_one(&mut tx)
        .await?;
        if usize::try_from(written).ok() != Some(set.removals.len()) {
            return Err(Error::Conflict);
        }
        crash_point!("removals::after_ledger");
        sqlx::query!(
            "delete from missing_users where client_id = $1 and user_id = any($2)",
            run.client_id.as_str(),
            &ids,
        )
        .execute(&mut tx)
        .await?;
        // A rejected record of a user that is gone concerns nobody any more.
        sqlx::query!(
            "delete from rejects where client_id = $1 and user_id = any($2)",
            run.client_id.as_str(),
            &ids,
        )
        .execute(&mut tx)
        .await?;
        held::expire(&mut tx, &run.client_id).await?;
        count_changes(&mut tx, run, set).await?;
        self.tell(&mut tx, &run.client_id, Versions::of(set)).await?;
        crash_point!("removals::before_commit");
        tx.commit().await?;
        crash_point!("removals::after_commit");
        Ok(())
    }
}

/// Ids as the database takes them, so many at a time; once nothing, which stands for everyone.
fn pages(users: Option<&UserSet>) -> impl Iterator<Item = Option<Vec<i64>>> {
    const PAGE: usize = 20_000;
    let everyone = users.is_none().then_some(None);
    let of_set = users.into_iter().flat_map(|users| users.pages(PAGE));
    everyone
        .into_iter()
        .chain(of_set.map(|page| Some(page.into_iter().map(|user| user.0).collect())))
}
