//! Users whose addresses a server takes for none, so that they are asked for by their ids at once.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use tokio::time::Instant;

use super::lessons::is_believed;
use crate::model::{Target, UserId};

/// Of more, each pass finds out anew. A few hundred kilobytes.
const MOST: usize = 10_000;

/// Who they were at a moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RefusedAddresses {
    users: Arc<HashMap<UserId, Refused>>,
    now: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    /// Of the address: another one may be fine.
    hash: u64,
    since: Instant,
}

impl Default for RefusedAddresses {
    fn default() -> Self {
        Self {
            users: Arc::default(),
            now: Instant::now(),
        }
    }
}

impl RefusedAddresses {
    /// Whether the user's very address was refused.
    pub fn contains(&self, target: &Target) -> bool {
        if self.users.is_empty() {
            return false;
        }
        let refused = self
            .users
            .get(&target.id)
            .filter(|refused| is_believed(refused.since, self.now));
        refused.is_some_and(|refused| target.email.as_deref().map(hash) == Some(refused.hash))
    }

    /// How many of them are wanted; some may have another address by now.
    pub fn count(&self, wanted: impl Fn(UserId) -> bool) -> u64 {
        let believed = self
            .users
            .iter()
            .filter(|(user, refused)| is_believed(refused.since, self.now) && wanted(**user));
        believed.count() as u64
    }

    /// The same at another moment.
    pub(super) fn at(&self, now: Instant) -> Self {
        Self {
            users: self.users.clone(),
            now,
        }
    }

    pub(super) fn add(&mut self, target: &Target, now: Instant) {
        let Some(hash) = target.email.as_deref().map(hash) else {
            return;
        };
        let users = Arc::make_mut(&mut self.users);
        if users.len() >= MOST {
            users.retain(|_, refused| is_believed(refused.since, now));
        }
        if users.len() < MOST || users.contains_key(&target.id) {
            users.insert(target.id, Refused { hash, since: now });
        }
    }
}

fn hash(address: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    address.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn target(id: i64, email: &str) -> Target {
        Target {
            email: Some(email.to_owned()),
            ..Target::unknown(UserId(id))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_was_refused_is_remembered_for_a_day_and_no_other_of_the_user() {
        let mut refused = RefusedAddresses::default();
        let bad = target(1, "bad@");
        assert!(!refused.contains(&bad));
        refused.add(&bad, Instant::now());
        refused.add(&Target::unknown(UserId(2)), Instant::now());
        let now = refused.at(Instant::now());
        assert!(now.contains(&bad));
        for other in [
            target(1, "good@x.org"),
            target(3, "bad@"),
            Target::unknown(UserId(1)),
        ] {
            assert!(!now.contains(&other), "{other:?}");
        }
        tokio::time::advance(Duration::from_secs(24 * 60 * 60)).await;
        assert!(!refused.at(Instant::now()).contains(&bad));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_remembered_than_have_room() {
        let mut refused = RefusedAddresses::default();
        let users = || (0..=MOST as i64).map(|id| target(id, "bad@"));
        users().for_each(|user| refused.add(&user, Instant::now()));
        let now = refused.at(Instant::now());
        assert_eq!(now.count(|_| true), MOST as u64);
        assert_eq!(now.count(|user| user.0 < 5), 5);
        let last = target(MOST as i64, "bad@");
        assert!(!now.contains(&last));
        tokio::time::advance(Duration::from_secs(24 * 60 * 60)).await;
        refused.add(&last, Instant::now());
        let now = refused.at(Instant::now());
        assert!(now.contains(&last));
        assert_eq!(
            (now.count(|_| true), now.users.len()),
            (1, 1),
            "the others are forgotten"
        );
    }
}
