//! Whether rows are as the ledger left them.

use super::{Error, tx::Tx};
use crate::model::UserId;

/// That each of these users' rows, which are about to become these versions, is as its newest entry in the ledger. Rows that
/// somebody else has written since they were read are left to the write, which finds a conflict. One that finds no row to update
/// would insert it, as if the user were new.
///
/// # Errors
///
/// [`Error::Edited`] with those that are not; [`Error::Conflict`] when neither row nor ledger is left of a user that had both.
pub(super) async fn check(tx: &mut Tx, users: &[i64], versions: &[i32]) -> Result<(), Error> {
    if users.is_empty() {
        return Ok(());
    }
    let edited = sqlx::query!(
        r#"
        select due.id as "id!", m.id is null and newest.version is null as "is_gone!"
        from unnest($1::bigint[], $2::integer[]) as due (id, version)
        -- Looked up one by one, whatever the plan.
        left join lateral (select * from managed_users where id = due.id limit 1) as m on true
        left join lateral (
            select c.version, c.after from managed_user_changes as c
            where c.user_id = due.id
            order by c.version desc
            limit 1
        ) as newest on true
        left join lateral (
            select c.kind = 'removal' or c.removed_at is not null as is_removed from managed_user_changes as c
            where c.user_id = due.id and c.kind <> 'repair'
            order by c.version desc
            limit 1
        ) as event on true
        where case
            when m.id is null then newest.version is not null or due.version > 1
            when m.version <> due.version - 1 then false
            when m.version is distinct from newest.version then true
            when event.is_removed <> (m.removed_at is not null) then true
            -- As a rule it is the very same value, and need not be read back into a row.
            when not exists (select from promoted_fields)
                and to_jsonb(m) - array['version', 'first_seen_at', 'changed_at', 'removed_at'] = newest.after
            then false
            else to_jsonb(m) - array['version', 'first_seen_at', 'changed_at', 'removed_at'] <> to_jsonb(
                jsonb_populate_record(null::managed_users, managed_user_promoted(newest.after))
            ) - array['version', 'first_seen_at', 'changed_at', 'removed_at']
        end
        order by due.id
        "#,
        users,
        versions,
    )
    .fetch_all(&mut *tx)
    .await?;
    if edited.is_empty() {
        Ok(())
    } else if edited.iter().any(|user| user.is_gone) {
        Err(Error::Conflict)
    } else {
        Err(Error::Edited(edited.iter().map(|user| UserId(user.id)).collect()))
    }
}
