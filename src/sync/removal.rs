//! The rule for removals, as far as it is not a count of the database: the same for a pass that writes and for one that
//! only looks.

use super::{Course, finish::Shortfall};
use crate::{
    config,
    guard::{self, Limits, Verdict},
    model::{HeldReason, RunOutcome},
};

/// Whether a pass has heard enough of its client to remove anyone. One that was stopped or cut has not.
pub(super) fn is_heard(shortfall: Option<&Shortfall>, course: &Course) -> bool {
    shortfall.is_none_or(|shortfall| shortfall.outcome == RunOutcome::Partial) && !course.cut
}

/// Why nothing is concluded from users that are missing, though not in enough passes yet: no other one answered.
pub(super) fn without_control(course: &Course) -> Option<Shortfall> {
    // The sentence that a user is gone also comes for a client that lost them all, or never had them.
    (course.missing > 0 && course.present == 0).then(|| {
        Shortfall::held(
            "Cal.com says of every user that it is not this client's, and no other one answered: nothing is concluded \
             from that; check the client's id and its users"
                .to_owned(),
        )
    })
}

/// Why the guard holds a set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) reason: HeldReason,
    /// The client's live users, as far as they are asked for.
    pub(super) live: u64,
    users: u64,
    limit: u64,
}

/// Whether `proven` users, of whom it was said often enough that they are gone, have to wait for an operator.
///
/// `said_gone` are these and all others of whom it was said at all. `live` is how many of the users that are asked for the
/// mirror holds as live.
pub(super) fn hold(
    proven: u64,
    said_gone: u64,
    live: u64,
    present: u64,
    removal: &config::Removal,
) -> Option<Hold> {
    if proven == 0 {
        return None;
    }
    let limits = Limits {
        max_count: removal.max_count,
        max_percent: removal.max_percent,
    };
    match guard::decide(said_gone.max(proven), live, present, limits) {
        Verdict::Apply => None,
        Verdict::Hold(reason) => Some(Hold {
            reason,
            live,
            users: said_gone.max(proven),
            limit: guard::limit(live, limits),
        }),
    }
}

impl Hold {
    /// `run` is the one that holds the set, unless there is none.
    pub(super) fn shortfall(self, run: Option<i64>) -> Shortfall {
        let Self {
            reason,
            live,
            users,
            limit,
        } = self;
        let why = match reason {
            HeldReason::Limit => format!("more than one pass may remove ({limit})"),
            HeldReason::Everyone => "which is all of them".to_owned(),
            HeldReason::NoControl => "and no other user of the client answered".to_owned(),
        };
        let text = format!(
            "Cal.com says of {users} of {live} live users that they are gone, {why}: nothing is removed"
        );
        Shortfall::held(match run {
            Some(run) => format!(
                "{text}; look into Cal.com first, then `calmirror approve {run}` removes exactly these"
            ),
            None => text,
        })
    }
}
