//! What a pass has to know of its client before it asks for anybody.

use std::collections::HashSet;

use super::{Error, Store};
use crate::{
    compare::AnnouncedFields,
    model::{ClientId, UserId},
};

/// Read at once. Bounded by what is ever forgotten and announced, and by [`Unsettled::MAX`].
#[derive(Clone, Debug)]
pub struct Prior {
    /// Every user that was forgotten, of whatever client: as a rule few.
    pub forgotten: HashSet<UserId>,
    /// What need not be announced any more.
    pub announced: AnnouncedFields,
    pub unsettled: Unsettled,
    /// Most of the client's unchanged records came in other bytes than those of their fingerprints, in its newest complete
    /// pass, and not for the first time today.
    pub most_respelled: bool,
}

/// The client's users that are on record as missing or as rejects: their answers have to be read whatever their bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsettled {
    These(HashSet<UserId>),
    /// More than are held in memory: they are looked up with each reading.
    Many,
}

impl Unsettled {
    /// A few hundred kilobytes.
    pub const MAX: usize = 10_000;

    pub(super) fn contains(&self, user: UserId) -> bool {
        match self {
            Self::These(users) => !users.is_empty() && users.contains(&user),
            Self::Many => false,
        }
    }
}

impl Default for Unsettled {
    /// Nobody.
    fn default() -> Self {
        Self::These(HashSet::new())
    }
}

impl Store {
    /// What a pass over a client has to know beforehand.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn prior(&self, client: &ClientId) -> Result<Prior, Error> {
        let mut tx = self.begin().await?;
        // One statement: each costs a pass over few users more than what it reads.
        let prior = sqlx::query!(
            r#"
            select
                array(select user_id from forgotten_users) as "forgotten!",
                array(select field from extra_fields) as "announced!",
                array(
                    select user_id from missing_users where client_id = $1
                    union all
                    select user_id from rejects where client_id = $1
                    limit $2
                ) as "unsettled!",
                coalesce((
                    select r.respelled * 2 > r.observed
                        and (s.fingerprints_renewed_at is null or s.fingerprints_renewed_at < now() - interval '1 day')
                    from sync_state as s
                    join sync_runs as r on r.run_id = s.last_complete_run_id
                    where s.client_id = $1
                ), false) as "most_respelled!"
            "#,
            client.as_str(),
            i64::try_from(Unsettled::MAX + 1).unwrap_or(i64::MAX),
        )
        .fetch_one(&mut tx)
        .await?;
        tx.rollback().await?;
        let unsettled = if prior.unsettled.len() > Unsettled::MAX {
            Unsettled::Many
        } else {
            Unsettled::These(prior.unsettled.into_iter().map(UserId).collect())
        };
        Ok(Prior {
            forgotten: prior.forgotten.into_iter().map(UserId).collect(),
            announced: prior.announced.into_iter().collect(),
            unsettled,
            most_respelled: prior.most_respelled,
        })
    }
}
