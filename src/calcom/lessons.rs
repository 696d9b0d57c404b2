//! What a server has shown of itself, for as long as it is believed.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{Lesson, Reach, RefusedAddresses};
use crate::model::Target;

/// Servers are upgraded: what is not shown again is forgotten.
const BELIEVED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest address there is: 64 bytes, an at sign, 254 bytes, and the separator.
const ONE_ADDRESS: usize = 320;

/// The lessons of one client's server. Time is tokio's, which a change of the wall clock does not move.
#[derive(Debug, Default)]
pub(super) struct Lessons(Mutex<Learned>);

#[derive(Debug, Default)]
struct Learned {
    users: Option<(usize, Instant)>,
    address_bytes: Option<(usize, Instant)>,
    not_by_addresses: Option<Instant>,
    refused: RefusedAddresses,
}

pub(super) fn is_believed(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) < BELIEVED_FOR
}

impl Lessons {
    pub(super) fn reach(&self) -> Reach {
        self.learned().reach(Instant::now())
    }

    /// What has changed by it; `None` if it was known, or could not be believed.
    pub(super) fn learn(&self, lesson: Lesson) -> Option<Reach> {
        let now = Instant::now();
        let mut learned = self.learned();
        let before = learned.reach(now);
        match lesson {
            Lesson::NotByAddresses if before.by_addresses => learned.not_by_addresses = Some(now),
            Lesson::AtMostUsers(users) if users.max(1) < before.users => {
                learned.users = Some((users.max(1), now));
            }
            Lesson::TooManyBytes(bytes) => {
                // Three quarters, without a product that could be too great.
                let fewer = (bytes - bytes.div_ceil(4)).max(ONE_ADDRESS);
                if fewer < before.address_bytes {
                    learned.address_bytes = Some((fewer, now));
                }
            }
            Lesson::NotByAddresses | Lesson::AtMostUsers(_) => {}
        }
        let after = learned.reach(now);
        (after != before).then_some(after)
    }

    pub(super) fn learn_refused(&self, target: &Target) {
        self.learned().refused.add(target, Instant::now());
    }

    pub(super) fn refused(&self) -> RefusedAddresses {
        self.learned().refused.at(Instant::now())
    }

    fn learned(&self) -> MutexGuard<'_, Learned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Learned {
    fn reach(&self, now: Instant) -> Reach {
        let believed = |lesson: Option<(usize, Instant)>| {
            let (value, since) = lesson?;
            is_believed(since, now).then_some(value)
        };
        Reach {
            users: believed(self.users).unwrap_or(Reach::USERS),
            address_bytes: believed(self.address_bytes).unwrap_or(Reach::ADDRESS_BYTES),
            by_addresses: !self.not_by_addresses.is_some_and(|since| is_believed(since, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lessons_lower_the_reach_and_never_raise_it() {
        let lessons = Lessons::default();
        assert_eq!(lessons.reach(), Reach::default());
        assert!(
            lessons.learn(Lesson::AtMostUsers(1000)).is_none(),
            "250 is the most"
        );
        let reach = lessons.learn(Lesson::AtMostUsers(100)).expect("it is news");
        assert_eq!(reach.users, 100);
        assert!(lessons.learn(Lesson::AtMostUsers(100)).is_none(), "it is known");
        assert!(lessons.learn(Lesson::AtMostUsers(200)).is_none(), "it is more");
        lessons.learn(Lesson::AtMostUsers(0));
        assert_eq!(lessons.reach().users, 1);

        let reach = lessons.learn(Lesson::TooManyBytes(7000)).expect("it is news");
        assert_eq!(reach.address_bytes, 5250);
        assert!(lessons.learn(Lesson::TooManyBytes(7400)).is_none(), "it is more");
        lessons.learn(Lesson::TooManyBytes(5));
        assert_eq!(lessons.reach().address_bytes, ONE_ADDRESS);
        assert!(lessons.learn(Lesson::TooManyBytes(usize::MAX)).is_none());

        let reach = lessons.learn(Lesson::NotByAddresses).expect("it is news");
        assert!(!reach.by_addresses);
        assert!(lessons.learn(Lesson::NotByAddresses).is_none(), "it is known");
    }

    #[tokio::test(start_paused = true)]
    async fn each_lesson_is_forgotten_after_a_day_of_its_own() {
        let lessons = Lessons::default();
        let hour = BELIEVED_FOR / 24;
        lessons.learn(Lesson::NotByAddresses);
        advance(hour).await;
        lessons.learn(Lesson::AtMostUsers(100));
        advance(hour).await;
        lessons.learn(Lesson::TooManyBytes(4000));
        let learned = Reach {
            users: 100,
            address_bytes: 3000,
            by_addresses: false,
        };
        assert_eq!(lessons.reach(), learned);
        advance(hour * 22).await;
        let by_addresses = true;
        let learned = Reach {
            by_addresses,
            ..learned
        };
        assert_eq!(lessons.reach(), learned);
        advance(hour).await;
        let users = Reach::USERS;
        assert_eq!(lessons.reach(), Reach { users, ..learned });
        advance(hour).await;
        assert_eq!(lessons.reach(), Reach::default());
        assert!(
            lessons.learn(Lesson::NotByAddresses).is_some(),
            "it is news again"
        );
    }
}
