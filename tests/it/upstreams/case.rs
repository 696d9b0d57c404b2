//! One fault of the answers, for all of a client's users and for one of them.

use calmirror::simulator::{Answer, Script, Target};

use super::{Expected, Upstream, check_memory};

/// A fault, and how passes are to end that meet it.
pub(super) struct Case<F> {
    /// What a user's request is answered with.
    pub(super) answer: F,
    /// When every user of the client gets it.
    pub(super) all: Expected,
    /// When one does, and the others answer, so that nothing but the answer itself keeps the user from its removal.
    pub(super) one: Expected,
}

impl<F: Fn(i64) -> Answer> Case<F> {
    pub(super) async fn check(self) {
        let upstream = Upstream::new().await;
        self.check_at(&upstream).await;
    }

    pub(super) async fn check_at(self, upstream: &Upstream) {
        let baseline = upstream.fill().await;
        let users = &upstream.acme.users;
        for (met, expected) in [(&users[..], self.all), (&users[4..5], self.one)] {
            let before = upstream.state().await;
            for user in met {
                let answer = (self.answer)(*user);
                upstream
                    .simulator
                    .script(Target::User(*user), Script::ALWAYS, answer);
            }
            let seen = upstream.sync().await;
            upstream.simulator.clear_scripts();
            upstream.check(&seen, expected, &before).await;
            check_memory(seen.peak.expect("the pass was held up"), baseline);
        }
        let before = upstream.state().await;
        upstream.check_over(&before).await;
    }
}

/// Somebody has to look: the pass ends at once, whether one user meets it or all.
pub(super) const fn fault(says: &'static [&'static str]) -> Expected {
    Expected {
        code: 1,
        outcome: "failed",
        says,
    }
}

/// Another try may do.
pub(super) const fn away(says: &'static [&'static str]) -> Expected {
    Expected {
        code: 75,
        outcome: "failed",
        says,
    }
}

/// Some users were observed.
pub(super) const fn partial(says: &'static [&'static str]) -> Expected {
    Expected {
        code: 4,
        outcome: "partial",
        says,
    }
}
