//! What is found, and how it reads.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::Verdict;
use crate::{
    compare::shorten,
    model::{Json, UserId, escape_hidden},
};

/// One thing that is not as it should be, of one user. Serialized as `verify --output json` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
pub enum Finding {
    /// The row of the mirror has other values than the ledger.
    Edited {
        user_id: UserId,
        /// By the ledger.
        client_id: String,
        /// By the ledger.
        version: i32,
        fields: Vec<Difference>,
        repairable: bool,
    },
    /// The ledger has the user, the mirror has not.
    Missing {
        user_id: UserId,
        client_id: String,
        version: i32,
        repairable: bool,
    },
    /// The mirror has the user, the ledger has not.
    Unknown {
        user_id: UserId,
        client_id: String,
        /// As the row has it.
        version: i64,
        repairable: bool,
    },
    /// The ledger contradicts itself.
    Ledger {
        user_id: UserId,
        version: i32,
        /// The kind of change that the version claims to be.
        change: String,
        #[serde(flatten)]
        fault: Fault,
    },
    /// A row was edited, and a pass set it right before anybody asked. The ledger tells of it: the value that was replaced
    /// (`found`) is not what the version before had left (`truth`). No difference is left.
    Overwritten {
        user_id: UserId,
        version: i32,
        fields: Vec<Difference>,
    },
    /// `managed_users_history` does not show what the ledger says of a version.
    History {
        /// None where the view fails as a whole.
        user_id: Option<UserId>,
        version: Option<i32>,
        #[serde(flatten)]
        fault: AsOfFault,
    },
    /// `managed_users_as_of` does not show what the ledger says of an instant.
    AsOf {
        instant: DateTime<Utc>,
        /// None where the function fails as a whole.
        user_id: Option<UserId>,
        #[serde(flatten)]
        fault: AsOfFault,
    },
}

/// A field with two values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub field: String,
    pub found: Json,
    pub truth: Json,
}

/// What is wrong with a version in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// Versions are 1..n, or begin with one into which those before it were folded.
    Gap {
        expected: i32,
    },
    /// The first version of a user is an insert.
    FirstNotInsert,
    /// No other version is.
    InsertAgain,
    RemovalOfRemoved,
    UpdateOfRemoved,
    RestoreOfLive,
    UnknownKind,
    /// `observed_at`, or `first_seen_at` of a folded version, is no time that a clock shows.
    NoTime,
    /// `changed` or `after` is not the object that it should be.
    Malformed {
        column: &'static str,
    },
    /// `after` is about another user or client than the row.
    OtherUser {
        fields: Vec<Difference>,
    },
    /// `changed` names fields where the kind has none to name.
    NothingToChange {
        fields: Vec<String>,
    },
    /// `after` (`found`) is not the version before with `changed` applied (`truth`).
    After {
        fields: Vec<Difference>,
    },
}

/// What is wrong with an answer of `managed_users_as_of` or `managed_users_history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum AsOfFault {
    /// It shows other values.
    Differs { fields: Vec<Difference> },
    /// It does not show what there was.
    Absent,
    /// It shows what there was not.
    Surplus,
    /// It fails.
    Fails { error: String },
}

impl Finding {
    pub(super) fn of_verdict(user_id: UserId, verdict: &Verdict) -> Option<Self> {
        match verdict.clone() {
            Verdict::Agrees => None,
            Verdict::Edited { truth, differences } => Some(Self::Edited {
                user_id,
                client_id: truth.client_id,
                version: truth.version,
                fields: differences,
                repairable: truth.is_sound,
            }),
            Verdict::Missing { truth } => Some(Self::Missing {
                user_id,
                client_id: truth.client_id,
                version: truth.version,
                repairable: truth.is_sound,
            }),
            Verdict::Unknown { client_id, version } => Some(Self::Unknown {
                user_id,
                client_id,
                version,
                repairable: version == 1,
            }),
        }
    }

    /// Whether something is wrong now; otherwise it was, and is right again.
    pub fn is_difference(&self) -> bool {
        !matches!(self, Self::Overwritten { .. })
    }

    /// Whether the ledger itself is at fault, or has lost something.
    pub fn is_of_ledger(&self) -> bool {
        match self {
            Self::Ledger { .. } => true,
            Self::Edited { repairable, .. }
            | Self::Missing { repairable, .. }
            | Self::Unknown { repairable, .. } => !repairable,
            Self::Overwritten { .. } | Self::History { .. } | Self::AsOf { .. } => false,
        }
    }

    /// The user and the client under whose fence a repair can set this right.
    pub fn repairable(&self) -> Option<(UserId, &str)> {
        match self {
            Self::Edited {
                user_id,
                client_id,
                repairable: true,
                ..
            }
            | Self::Missing {
                user_id,
                client_id,
                repairable: true,
                ..
            }
            | Self::Unknown {
                user_id,
                client_id,
                repairable: true,
                ..
            } => Some((*user_id, client_id)),
            _ => None,
        }
    }
}

/// One line for people, and one more for each field.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited {
                user_id,
                version,
                fields,
                repairable,
                ..
            } => {
                write!(
                    f,
                    "user {user_id}: edited in managed_users; the ledger is at v{version}"
                )?;
                write_unless(f, *repairable, IN_DOUBT)?;
                write_all(f, fields)
            }
            Self::Missing {
                user_id,
                version,
                repairable,
                ..
            } => {
                write!(
                    f,
                    "user {user_id}: missing from managed_users; the ledger is at v{version}"
                )?;
                write_unless(f, *repairable, IN_DOUBT)
            }
            Self::Unknown {
                user_id,
                version,
                repairable,
                ..
            } => {
                write!(
                    f,
                    "user {user_id}: in managed_users as v{version}, unknown to the ledger"
                )?;
                write_unless(f, *repairable, LOST)
            }
            Self::Ledger {
                user_id,
                version,
                change,
                fault,
            } => write!(
                f,
                "user {user_id} v{version} ({change}): fault of the ledger: {fault}"
            ),
            Self::Overwritten {
                user_id,
                version,
                fields,
            } => {
                write!(
                    f,
                    "user {user_id}: was edited before v{version}, which set it right"
                )?;
                write_all(f, fields)
            }
            Self::History {
                user_id,
                version,
                fault,
            } => {
                f.write_str("managed_users_history")?;
                if let (Some(user_id), Some(version)) = (user_id, version) {
                    write!(f, ": user {user_id} v{version}")?;
                }
                write!(f, " {fault}")
            }
            Self::AsOf {
                instant,
                user_id,
                fault,
            } => {
                let instant = instant.to_rfc3339_opts(SecondsFormat::Micros, true);
                write!(f, "managed_users_as_of('{instant}')")?;
                if let Some(user_id) = user_id {
                    write!(f, ": user {user_id}")?;
                }
                write!(f, " {fault}")
            }
        }
    }
}

const IN_DOUBT: &str = ", which has a fault: restore the ledger from a backup";
const LOST: &str = ", which has lost it: restore the ledger from a backup";

fn write_unless(f: &mut fmt::Formatter<'_>, condition: bool, text: &str) -> fmt::Result {
    if condition { Ok(()) } else { f.write_str(text) }
}

fn write_all(f: &mut fmt::Formatter<'_>, differences: &[Difference]) -> fmt::Result {
    differences
        .iter()
        .try_for_each(|difference| write!(f, "\n    {difference}"))
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (found, truth) = (shorten(self.found.to_string()), shorten(self.truth.to_string()));
        write!(f, "{}: found {found}, true {truth}", escape_hidden(&self.field))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { expected } => write!(f, "the next version is v{expected}"),
            Self::FirstNotInsert => f.write_str("a user's first version is an insert"),
            Self::InsertAgain => f.write_str("the user was inserted before"),
            Self::RemovalOfRemoved => f.write_str("the user was removed already"),
            Self::UpdateOfRemoved => f.write_str("the user was removed, and not restored"),
            Self::RestoreOfLive => f.write_str("the user was not removed"),
            Self::UnknownKind => f.write_str("there is no such kind of change"),
            Self::NoTime => f.write_str("observed_at is no time that a clock shows"),
            Self::Malformed { column } => write!(f, "{column} is malformed"),
            Self::OtherUser { fields } => {
                f.write_str("after is about somebody else")?;
                write_all(f, fields)
            }
            Self::NothingToChange { fields } => {
                write!(
                    f,
                    "such a change changes no field, but this names {}",
                    fields.join(", ")
                )
            }
            Self::After { fields } => {
                f.write_str("after is not the version before with its changes")?;
                write_all(f, fields)
            }
        }
    }
}

impl fmt::Display for AsOfFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs { fields } => {
                f.write_str("is shown otherwise than the ledger has it")?;
                write_all(f, fields)
            }
            Self::Absent => f.write_str("is not shown, though the ledger has it"),
            Self::Surplus => f.write_str("is shown, though the ledger does not have it"),
            Self::Fails { error } => write!(f, "fails: {}", escape_hidden(error)),
        }
    }
}
