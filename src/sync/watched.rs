//! Whom a pass looks at: what the configuration lists, what its query gives, or everyone.

use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::apply::with_retries;
use crate::{
    config::{self, Listed},
    model::{UserId, UserSet},
    store::{Error, Store},
};

/// Settled at the beginning of a pass, and the same until its end.
#[derive(Debug)]
pub struct Watched {
    /// Those of whom the id is known beforehand: of the configuration and of its query.
    ids: Listed,
    /// Of the configuration alone, which may give addresses.
    listed: Listed,
    /// Whoever else the client has, too.
    everyone: bool,
    /// A query that gives addresses.
    query: Option<String>,
    /// It failed since, and is not asked again.
    failed: AtomicBool,
}

impl Watched {
    /// Asks the database for the users of a client's query, if it has one.
    ///
    /// # Errors
    ///
    /// What Postgres says of the query; one that gives no user is an error unless there are others.
    pub async fn of(client: &config::Client, store: &Store) -> Result<Self, Error> {
        let watch = &client.watch;
        let mut watched = Self {
            ids: watch.listed.clone(),
            listed: watch.listed.clone(),
            everyone: watch.all,
            query: None,
            failed: AtomicBool::new(false),
        };
        if let Some(sql) = &watch.sql {
            let found = with_retries(|| store.users_by_query(sql)).await?;
            if found.users.is_empty() && watched.ids.is_empty() && !watched.everyone {
                return Err(Error::Refused(format!(
                    "users_sql of client {} gives no user",
                    client.name
                )));
            }
            watched.query = found.has_addresses.then(|| sql.clone());
            watched.ids = watched.ids.with(&found.users);
        }
        Ok(watched)
    }

    /// Of a client that is not configured any more.
    pub fn nobody() -> Self {
        Self {
            ids: Listed::default(),
            listed: Listed::default(),
            everyone: false,
            query: None,
            failed: AtomicBool::new(false),
        }
    }

    /// The users of whom the id is known beforehand.
    pub fn ids(&self) -> &UserSet {
        &self.ids
    }

    pub fn is_everyone(&self) -> bool {
        self.everyone
    }

    /// All users, where their ids are known beforehand; none where everyone is watched.
    pub fn only(&self) -> Option<&UserSet> {
        (!self.everyone).then_some(&*self.ids)
    }

    pub fn contains(&self, user: UserId) -> bool {
        self.everyone || self.ids.contains(user)
    }

    /// Whether the query gives addresses.
    pub fn is_queried_for_addresses(&self) -> bool {
        self.query.is_some()
    }

    /// The addresses that stand beside these ids in the file.
    pub(super) fn listed_addresses(&self, users: &[UserId]) -> Vec<(UserId, String)> {
        self.listed.addresses(users)
    }

    /// The addresses that stand beside these ids, in the file or in what the query gives. A query that fails now gives none: the
    /// users are asked for by their ids.
    pub(super) async fn addresses(&self, store: &Store, users: &[UserId]) -> Vec<(UserId, String)> {
        let mut addresses = self.listed.addresses(users);
        if let Some(sql) = &self.query
            && addresses.len() < users.len()
            && !self.failed.load(Ordering::Relaxed)
        {
            match with_retries(|| store.addresses_by_query(sql, users)).await {
                Ok(more) => addresses.extend(more),
                Err(error) => {
                    self.failed.store(true, Ordering::Relaxed);
                    tracing::warn!(error = %error, "users_sql gives no addresses; new users are asked for by their ids");
                }
            }
        }
        addresses.sort_by_key(|(user, _)| *user);
        addresses.dedup_by_key(|(user, _)| *user);
        addresses
    }

    /// The first bytes of SHA-256 over the ids, and whether there may be others.
    pub(super) fn hash(&self) -> i64 {
        let mut hash = Sha256::new();
        hash.update([u8::from(self.everyone)]);
        for id in self.ids.iter() {
            hash.update(id.0.to_le_bytes());
        }
        let hash = hash.finalize();
        let mut first = [0; size_of::<i64>()];
        first.copy_from_slice(&hash[..size_of::<i64>()]);
        i64::from_le_bytes(first)
    }
}
