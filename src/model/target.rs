//! Whom a pass asks for, and what it sees.

use super::{Fingerprint, Observation, UserId};

/// A user that is to be asked for, with what the mirror or the configuration knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub id: UserId,
    /// The user's address as it was known last, with or without the `+<clientId>` suffix: what allows to ask for many at once. It
    /// may be wrong by now.
    pub email: Option<String>,
    /// Of the record that the mirror's row was made from, if the same bytes mean that nothing at all has to be done.
    pub fingerprint: Option<Fingerprint>,
}

impl Target {
    /// A user of whom only the id is known.
    pub const fn unknown(id: UserId) -> Self {
        Self {
            id,
            email: None,
            fingerprint: None,
        }
    }
}

/// What an answer says of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The record came in the very bytes of the target's fingerprint.
    Unchanged(UserId),
    Observed {
        observation: Observation,
        /// Of the record, if it is one that could be read.
        fingerprint: Option<Fingerprint>,
    },
}

impl Seen {
    /// The user that this is about.
    pub fn user_id(&self) -> UserId {
        match self {
            Self::Unchanged(id) => *id,
            Self::Observed { observation, .. } => observation.user_id(),
        }
    }

    /// Roughly the bytes of memory that this takes.
    pub fn weight(&self) -> usize {
        match self {
            Self::Unchanged(_) => size_of::<Self>(),
            Self::Observed { observation, .. } => observation.weight(),
        }
    }
}
