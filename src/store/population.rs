//! How many users a pass will ask for, and what is known of them: counted by the database, slice by slice.

use std::ops::AddAssign;

use super::{Error, Store, tx::Tx};
use crate::model::{ClientId, UserId, UserSet};

/// Ids, or rows, that are counted by one statement.
const SLICE: usize = 10_000;

/// Users that are to be asked for, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub users: u64,
    /// Whose address is known and can be asked for: one with a comma or a space in it cannot, nor one whose local part is too long.
    pub with_address: u64,
    /// What these addresses take in URLs: without their `+<clientId>`, percent-encoded, with a separator each.
    pub address_bytes: u64,
}

/// What one statement counted.
struct Slice {
    users: i64,
    with_address: i64,
    address_bytes: i64,
}

impl Counted {
    fn add(&mut self, slice: &Slice) {
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        self.users += count(slice.users);
        self.with_address += count(slice.with_address);
        self.address_bytes += count(slice.address_bytes);
    }
}

impl AddAssign for Counted {
    fn add_assign(&mut self, more: Self) {
        self.users += more.users;
        self.with_address += more.with_address;
        self.address_bytes += more.address_bytes;
    }
}

impl Store {
    /// Counts the users that a pass over a client will ask for: those of `listed`, and with `everyone` also
    /// the client's live users in the mirror. Forgotten users are not asked for, and neither is who has an id up to `after`; with
    /// `everyone`, of the live users only.
    ///
    /// The address of a live user is the mirror's; that of another one what `given` says of a slice of `listed`, in its order.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn population(
        &self,
        client: &ClientId,
        listed: &UserSet,
        given: impl Fn(&[UserId]) -> Vec<(UserId, String)>,
        everyone: bool,
        after: Option<UserId>,
    ) -> Result<Counted, Error> {
        let mut counted = Counted::default();
        let mut tx = self.begin().await?;
        for ids in listed.pages_after(after.filter(|_| !everyone), SLICE) {
            counted.add(&count_listed(&mut tx, client, &ids, &given(&ids), everyone).await?);
        }
        if everyone {
            count_live(&mut tx, client, after, &mut counted).await?;
        }
        tx.rollback().await?;
        Ok(counted)
    }
}

/// Counts listed users; with `but_live`, those only that are not live.
async fn count_listed(
    tx: &mut Tx,
    client: &ClientId,
    ids: &[UserId],
    given: &[(UserId, String)],
    but_live: bool,
) -> Result<Slice, Error> {
    // Beside the ids, and no list of their own: no plan may compare each with each.
    let mut given = given.iter().peekable();
    let emails: Vec<Option<&str>> = ids
        .iter()
        .map(|id| {
            while given.next_if(|(given, _)| given < id).is_some() {}
            given
                .next_if(|(given, _)| given == id)
                .map(|(_, email)| email.as_str())
        })
        .collect();
    let ids: Vec<i64> = ids.iter().map(|id| id.0).collect();
    let slice = sqlx::query_as!(
        Slice,
        r#"
        select
            count(*) as "users!",
            count(*) filter (where address !~ '[, ]|^[^@]{65}') as "with_address!",
            coalesce(
                -- Three bytes for each that is not sent as it is, and the separator. Most addresses have none such, which is
                -- found out much faster than how many there are.
                sum(octet_length(address) + 1 + case
                    when address ~ '[^A-Za-z0-9._~@-]'
                        then 2 * octet_length(regexp_replace(address, '[A-Za-z0-9._~@-]+', '', 'g'))
                    else 0
                end) filter (where address !~ '[, ]|^[^@]{65}'),
                0
            ) as "address_bytes!"
        from (
            select replace(coalesce(mirrored.email, listed.email), '+' || $1 || '@', '@') as address
            from unnest($2::bigint[], $3::text[]) as listed (id, email)
            left join managed_users as mirrored
                on mirrored.id = listed.id and mirrored.client_id = $1 and mirrored.removed_at is null
            where not ($4 and mirrored.id is not null)
                and not exists (select from forgotten_users as forgotten where forgotten.user_id = listed.id)
            -- Not merged into the above, which would make each address several times.
            offset 0
        ) as known
        "#,
        client.as_str(),
        &ids,
        &emails as &[Option<&str>],
        but_live,
    )
    .fetch_one(tx)
    .await?;
    Ok(slice)
}

/// Counts the client's live users. None of them is a forgotten one, who has no row.
async fn count_live(
    tx: &mut Tx,
    client: &ClientId,
    after: Option<UserId>,
    counted: &mut Counted,
) -> Result<(), Error> {
    let mut after = after.map_or(i64::MIN, |after| after.0);
    loop {
        let row = sqlx::query!(
            r#"
            select
                count(*) as "users!",
                count(*) filter (where address !~ '[, ]|^[^@]{65}') as "with_address!",
                coalesce(
                    sum(octet_length(address) + 1 + case
                        when address ~ '[^A-Za-z0-9._~@-]'
                            then 2 * octet_length(regexp_replace(address, '[A-Za-z0-9._~@-]+', '', 'g'))
                        else 0
                    end) filter (where address !~ '[, ]|^[^@]{65}'),
                    0
                ) as "address_bytes!",
                max(id) as last
            from (
                select id, replace(email, '+' || $1 || '@', '@') as address
                from managed_users
                where client_id = $1 and removed_at is null and id > $2
                order by id
                limit $3
            ) as live
            "#,
            client.as_str(),
            after,
            SLICE as i64,
        )
        .fetch_one(&mut *tx)
        .await?;
        counted.add(&Slice {
            users: row.users,
            with_address: row.with_address,
            address_bytes: row.address_bytes,
        });
        match row.last {
            Some(last) if row.users == SLICE as i64 => after = last,
            _ => return Ok(()),
        }
    }
}
