//! What can happen in a history, and how often it does.
//!
//! Steps name users by a number modulo those there are, so that any part of a history is a history: it can be shrunk.

use std::time::Duration;

use calmirror::config::Removal;
use proptest::{collection::vec, prelude::*};

/// One client's past, from its first user on.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) users: u8,
    pub(super) removal: Terms,
    pub(super) steps: Vec<Step>,
}

/// The configuration's `[removal]`, without an age.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) confirmations: u32,
    pub(super) max_count: u32,
    pub(super) max_percent: u8,
}

impl Terms {
    pub(super) fn removal(self) -> Removal {
        Removal {
            confirmations: self.confirmations,
            min_age: Duration::ZERO,
            max_count: self.max_count,
            max_percent: f64::from(self.max_percent),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Source(Event),
    /// Users are watched, or no longer.
    Watch(u8),
    Unwatch(u8),
    /// An id is watched that no user ever had.
    WatchNobody,
    /// The next passes meet a fault.
    Fault {
        whom: Whom,
        fault: Fault,
        passes: u8,
    },
    Pass(Course),
}

/// What changes at the source.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Create,
    /// A field, by its number, gets a value, by its number.
    Change {
        user: u8,
        field: u8,
        value: u8,
    },
    /// The same record is spelled otherwise.
    Respell {
        user: u8,
        spelling: u8,
    },
    Delete(u8),
    /// So many of ten.
    DeleteMany(u8),
    /// With the id and the record that it had.
    Restore(u8),
    RestoreAll,
    /// The record can no longer be mirrored.
    Break {
        user: u8,
        how: u8,
    },
    Mend(u8),
}

/// Who meets a fault.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whom {
    One(u8),
    EveryOther,
    /// Everybody who lives at the source.
    Living,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The one sentence, from a replica that lags.
    Gone,
    /// The sentence, but of another user.
    OtherGone,
    RecordMissing,
    NoRoute,
    Withdrawn,
    Unauthorized,
    Forbidden,
    /// A page with this status.
    Page(u16),
    /// A 500, and the next try goes well.
    Hiccup,
    /// A 500 at each try.
    Broken,
    CutShort,
    Closed,
    DataNull,
    SaysError,
    TooMany,
}

/// How a pass goes.
#[derive(Clone, Debug)]
pub(super) enum Course {
    Whole,
    /// Told to stop after so many answers.
    Cut {
        answers: u8,
    },
    /// Dropped after so many answers and then so many polls; another process goes on.
    Crash {
        answers: u8,
        polls: u8,
    },
    /// Stands still while things happen and another process makes a pass of its own.
    Overtaken {
        hold: Hold,
        meanwhile: Vec<Event>,
    },
}

/// What makes a pass stand still.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hold {
    /// One user's answer, which does not come.
    Answer(u8),
    /// It is not polled any more after so many answers and then so many polls, as a process that is stopped; outside of
    /// its transactions, which would keep the other one waiting.
    Polls { answers: u8, polls: u8 },
}

pub(super) fn history() -> impl Strategy<Value = History> {
    (3_u8..9, terms(), vec(step(), 0..20)).prop_map(|(users, removal, steps)| History {
        users,
        removal,
        steps,
    })
}

fn terms() -> impl Strategy<Value = Terms> {
    let percent = prop_oneof![Just(0), Just(10), Just(34), Just(50), Just(100)];
    (1_u32..=3, 0_u32..4, percent).prop_map(|(confirmations, max_count, max_percent)| Terms {
        confirmations,
        max_count,
        max_percent,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => event().prop_map(Step::Source),
        1 => any::<u8>().prop_map(Step::Watch),
        1 => any::<u8>().prop_map(Step::Unwatch),
        1 => Just(Step::WatchNobody),
        5 => (whom(), fault(), 1_u8..4).prop_map(|(whom, fault, passes)| Step::Fault { whom, fault, passes }),
        12 => course().prop_map(Step::Pass),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let user = any::<u8>;
    prop_oneof![
        2 => Just(Event::Create),
        6 => (user(), any::<u8>(), any::<u8>()).prop_map(|(user, field, value)| Event::Change { user, field, value }),
        1 => (user(), any::<u8>()).prop_map(|(user, spelling)| Event::Respell { user, spelling }),
        5 => user().prop_map(Event::Delete),
        2 => (3_u8..=10).prop_map(Event::DeleteMany),
        3 => user().prop_map(Event::Restore),
        1 => Just(Event::RestoreAll),
        1 => (user(), any::<u8>()).prop_map(|(user, how)| Event::Break { user, how }),
        1 => user().prop_map(Event::Mend),
    ]
}

fn whom() -> impl Strategy<Value = Whom> {
    prop_oneof![
        4 => any::<u8>().prop_map(Whom::One),
        1 => Just(Whom::EveryOther),
        2 => Just(Whom::Living),
    ]
}

/// Those after which there is another try, and so a wait, are rarer.
fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::Gone),
        4 => Just(Fault::OtherGone),
        6 => Just(Fault::RecordMissing),
        2 => Just(Fault::NoRoute),
        2 => Just(Fault::Withdrawn),
        2 => Just(Fault::Unauthorized),
        2 => Just(Fault::Forbidden),
        3 => Just(Fault::Page(404)),
        1 => Just(Fault::Page(200)),
        1 => Just(Fault::Hiccup),
        1 => Just(Fault::Broken),
        1 => Just(Fault::CutShort),
        1 => Just(Fault::Closed),
        1 => Just(Fault::DataNull),
        1 => Just(Fault::SaysError),
        1 => Just(Fault::TooMany),
    ]
}

fn course() -> impl Strategy<Value = Course> {
    prop_oneof![
        8 => Just(Course::Whole),
        1 => (0_u8..10).prop_map(|answers| Course::Cut { answers }),
        2 => (0_u8..12, 0_u8..40).prop_map(|(answers, polls)| Course::Crash { answers, polls }),
        3 => (hold(), vec(event(), 0..4)).prop_map(|(hold, meanwhile)| Course::Overtaken { hold, meanwhile }),
    ]
}

fn hold() -> impl Strategy<Value = Hold> {
    prop_oneof![
        any::<u8>().prop_map(Hold::Answer),
        (0_u8..12, 0_u8..40).prop_map(|(answers, polls)| Hold::Polls { answers, polls }),
    ]
}
