//! Removals that wait for an operator: one set a client, that of its newest pass.

use super::{Error, Run, Store, forget, tx::Tx};
use crate::{
    compare::Removal,
    model::{ClientId, HeldReason, UserId},
};

/// What a run has to do with the sets that wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldBy {
    /// There is no such run.
    Unknown,
    /// The run held no set.
    Nothing,
    /// The set that the run held is over: it was let through, or a later pass found another or none.
    Expired {
        client_name: String,
        /// The run whose set waits now, if one does.
        waiting: Option<i64>,
    },
    /// The set that the run held waits.
    Waiting {
        client_id: ClientId,
        client_name: String,
        users: u64,
        /// Identity of the set, for [`Store::held_removals`].
        set_hash: String,
    },
}

impl Store {
    /// Puts a set of removals on hold in the place of the client's earlier one. A set that waits already is left as it is.
    ///
    /// # Errors
    ///
    /// As [`Store::apply`].
    pub async fn hold(
        &self,
        run: &Run,
        removals: &[Removal],
        live: u64,
        reason: HeldReason,
    ) -> Result<(), Error> {
        let (ids, versions): (Vec<i64>, Vec<i32>) = removals
            .iter()
            .map(|removal| (removal.user_id.0, removal.version))
            .unzip();
        let mut tx = self.begin().await?;
        run.check_fence(&mut tx).await?;
        forget::check_users(&mut tx, &ids).await?;
        let set_hash = sqlx::query_scalar!(
            r#"
            select encode(sha256(convert_to(string_agg(id || ':' || version, ',' order by id), 'UTF8')), 'hex') as "hash!"
            from unnest($1::bigint[], $2::integer[]) as removal (id, version)
            "#,
            &ids,
            &versions,
        )
        .fetch_one(&mut tx)
        .await?;
        let waits = sqlx::query_scalar!(
            "update held_sets set last_run_id = $2 where client_id = $1 and set_hash = $3 returning client_id",
            run.client_id.as_str(),
            run.id,
            set_hash,
        )
        .fetch_optional(&mut tx)
        .await?;
        if waits.is_none() {
            expire(&mut tx, &run.client_id).await?;
            sqlx::query!(
                r#"
                insert into held_sets (
                    client_id, set_hash, users, live, reason, first_run_id, last_run_id, held_since
                )
                values ($1, $2, $3, $4, $5, $6, $6, now())
                "#,
                run.client_id.as_str(),
                set_hash,
                i64::try_from(removals.len()).unwrap_or(i64::MAX),
                i64::try_from(live).unwrap_or(i64::MAX),
                reason.as_str(),
                run.id,
            )
            .execute(&mut tx)
            .await?;
            sqlx::query!(
                r#"
                insert into held_removals (client_id, user_id, version)
                select $1, id, version from unnest($2::bigint[], $3::integer[]) as removal (id, version)
                "#,
                run.client_id.as_str(),
                &ids,
                &versions,
            )
            .execute(&mut tx)
            .await?;
        }
        sqlx::query!(
            "update sync_runs set held_set = $2 where run_id = $1",
            run.id,
            set_hash
        )
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// Takes account of a user that answered while an approval asked for it: a sighting like any other.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn record_sighting(&self, client: &ClientId, user: UserId) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            "delete from missing_users where client_id = $1 and user_id = $2",
            client.as_str(),
            user.0,
        )
        .execute(&mut tx)
        .await?;
        expire_with(&mut tx, client, &[user.0]).await?;
        tx.commit().await
    }

    /// Keeps the client's waiting set as it is, for a run that has heard of only a part of it.
    ///
    /// # Errors
    ///
    /// As [`Store::apply`].
    pub async fn keep_holding(&self, run: &Run) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        run.check_fence(&mut tx).await?;
        sqlx::query!(
            r#"
            with kept as (
                update held_sets set last_run_id = $2 where client_id = $1 returning set_hash
            )
            update sync_runs set held_set = (select set_hash from kept) where run_id = $2
            "#,
            run.client_id.as_str(),
            run.id,
        )
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// Whether all of these removals are in the set that waits for the client, and no others are left of it.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn waits_with(&self, client: &ClientId, removals: &[Removal]) -> Result<bool, Error> {
        let ids: Vec<i64> = removals.iter().map(|removal| removal.user_id.0).collect();
        let mut tx = self.begin().await?;
        let waits = sqlx::query_scalar!(
            r#"
            select exists (select from held_sets where client_id = $1) and not exists (
                select unnest($2::bigint[])
                except
                select user_id from held_removals where client_id = $1
            ) as "waits!"
            "#,
            client.as_str(),
            &ids,
        )
        .fetch_one(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(waits)
    }

    /// Whether the set that a run held still waits.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn held_by(&self, run_id: i64) -> Result<HeldBy, Error> {
        let mut tx = self.begin().await?;
        let found = sqlx::query!(
            r#"
            select
                r.client_id, r.client_name, r.held_set,
                s.set_hash as "waiting_hash?", s.first_run_id as "first_run_id?", s.last_run_id as "waiting?",
                s.users as "users?"
            from sync_runs as r
            left join held_sets as s on s.client_id = r.client_id
            where r.run_id = $1
            "#,
            run_id
        )
        .fetch_optional(&mut tx)
        .await?;
        tx.rollback().await?;
        let Some(found) = found else {
            return Ok(HeldBy::Unknown);
        };
        let Some(set_hash) = found.held_set else {
            return Ok(HeldBy::Nothing);
        };
        // The same set may have come again after it was over.
        let is_later = found.first_run_id.is_some_and(|first| run_id < first);
        if found.waiting_hash.as_ref() != Some(&set_hash) || is_later {
            return Ok(HeldBy::Expired {
                client_name: found.client_name,
                waiting: found.waiting,
            });
        }
        Ok(HeldBy::Waiting {
            client_id: ClientId(found.client_id),
            client_name: found.client_name,
            users: u64::try_from(found.users.unwrap_or_default()).unwrap_or_default(),
            set_hash,
        })
    }

    /// The set of this hash, if it still is the one that waits for the client.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn held_removals(
        &self,
        client: &ClientId,
        set_hash: &str,
    ) -> Result<Option<Vec<Removal>>, Error> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query!(
            r#"
            select r.user_id, r.version
            from held_removals as r
            join held_sets as s on s.client_id = r.client_id
            where r.client_id = $1 and s.set_hash = $2
            order by r.user_id
            "#,
            client.as_str(),
            set_hash,
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        let removals: Vec<_> = rows
            .into_iter()
            .map(|row| Removal {
                user_id: UserId(row.user_id),
                version: row.version,
            })
            .collect();
        Ok((!removals.is_empty()).then_some(removals))
    }
}

/// Ends the wait of a client's set if one of these users is in it: it was seen, so the set is not what was proven any more.
pub(super) async fn expire_with(tx: &mut Tx, client: &ClientId, sighted: &[i64]) -> Result<(), Error> {
    sqlx::query!(
        "delete from held_sets as s where s.client_id = $1 and exists (
             select from held_removals as r where r.client_id = $1 and r.user_id = any($2)
         )",
        client.as_str(),
        sighted,
    )
    .execute(&mut *tx)
    .await?;
    Ok(())
}

/// Ends the wait of a client's set, whatever becomes of its users.
pub(super) async fn expire(tx: &mut Tx, client: &ClientId) -> Result<(), Error> {
    sqlx::query!("delete from held_sets where client_id = $1", client.as_str())
        .execute(&mut *tx)
        .await?;
    Ok(())
}
