//! What the rest of the program speaks of: managed users, their ids, their fields, and what one answer proves of one
//! user.
//!
//! Wire shapes stay in [`crate::calcom`] and rows in [`crate::store`]; both give these types.

mod fingerprint;
mod hidden;
mod json;
mod rate;
mod target;
mod user_set;

use std::{any::Any, fmt, sync::Arc};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use fingerprint::Fingerprint;
pub use hidden::{escape_hidden, escape_hidden_but_breaks, is_hidden};
pub use json::{Json, JsonObject};
pub use rate::{Allowance, RateState};
pub use target::{Seen, Target};
pub use user_set::UserSet;

/// A managed user's id, which Cal.com gives out and which is unique within one Cal.com instance.
///
/// An int4 at the source today; 64 bits here, so that a wider one is not a change of schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(pub i64);

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a platform OAuth client of Cal.com. Not a secret: it is part of every managed user's address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub String);

impl ClientId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A managed user as Cal.com describes it.
///
/// For every optional field, absent and `null` on the wire are the same thing and are `None` here. No string and no
/// JSON value holds U+0000 or a number that `jsonb` cannot store: decoding refuses them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagedUser {
    pub id: UserId,
    /// `local+<clientId>@domain`, as Cal.com stores it.
    pub email: String,
    pub username: Option<String>,
    pub name: Option<String>,
    pub bio: Option<String>,
    /// An IANA name in principle; old rows hold other spellings, so it stays text.
    pub time_zone: String,
    pub week_start: String,
    /// To the microsecond, which is what `timestamptz` keeps.
    pub created_date: DateTime<Utc>,
    /// 12 or 24.
    pub time_format: Option<i32>,
    pub default_schedule_id: Option<i64>,
    /// Free text: the published enumeration of locales is not what the server sends.
    pub locale: Option<String>,
    pub avatar_url: Option<String>,
    pub metadata: Option<JsonObject>,
    /// Fields of the answer that this version does not know, by their names on the wire.
    pub extra: JsonObject,
}

/// A field of a managed user that can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    Email,
    Username,
    Name,
    Bio,
    TimeZone,
    WeekStart,
    CreatedDate,
    TimeFormat,
    DefaultScheduleId,
    Locale,
    AvatarUrl,
    Metadata,
    Extra,
}

impl Field {
    /// Every field, in the order of the table's columns.
    pub const ALL: [Self; 13] = [
        Self::Email,
        Self::Username,
        Self::Name,
        Self::Bio,
        Self::TimeZone,
        Self::WeekStart,
        Self::CreatedDate,
        Self::TimeFormat,
        Self::DefaultScheduleId,
        Self::Locale,
        Self::AvatarUrl,
        Self::Metadata,
        Self::Extra,
    ];

    /// The column of `managed_users`, and the key in the ledger.
    pub const fn column(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Username => "username",
            Self::Name => "name",
            Self::Bio => "bio",
            Self::TimeZone => "time_zone",
            Self::WeekStart => "week_start",
            Self::CreatedDate => "created_date",
            Self::TimeFormat => "time_format",
            Self::DefaultScheduleId => "default_schedule_id",
            Self::Locale => "locale",
            Self::AvatarUrl => "avatar_url",
            Self::Metadata => "metadata",
            Self::Extra => "extra",
        }
    }

    /// Whether the field's values say who somebody is, and so stay out of logs unless `log.values = "full"`.
    ///
    /// `extra` counts as personal: nobody has yet looked at what a new field holds.
    pub const fn is_personal(self) -> bool {
        match self {
            Self::Email
            | Self::Username
            | Self::Name
            | Self::Bio
            | Self::AvatarUrl
            | Self::Metadata
            | Self::Extra => true,
            Self::TimeZone
            | Self::WeekStart
            | Self::CreatedDate
            | Self::TimeFormat
            | Self::DefaultScheduleId
            | Self::Locale => false,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.column())
    }
}

impl ManagedUser {
    fn weight(&self) -> usize {
        let optional = [
            &self.username,
            &self.name,
            &self.bio,
            &self.locale,
            &self.avatar_url,
        ];
        let texts = optional
            .into_iter()
            .flatten()
            .chain([&self.email, &self.time_zone, &self.week_start]);
        size_of::<Self>()
            + texts.map(String::len).sum::<usize>()
            + self.metadata.as_ref().map_or(0, JsonObject::weight)
            + self.extra.weight()
    }

    /// The value of one field as JSON, in the form in which the ledger keeps it.
    pub fn value(&self, field: Field) -> Json {
        fn text(value: &Option<String>) -> Json {
            value.as_deref().map_or(Json::NULL, Json::from)
        }
        match field {
            Field::Email => Json::from(self.email.as_str()),
            Field::Username => text(&self.username),
            Field::Name => text(&self.name),
            Field::Bio => text(&self.bio),
            Field::TimeZone => Json::from(self.time_zone.as_str()),
            Field::WeekStart => Json::from(self.week_start.as_str()),
            Field::CreatedDate => Json::from(rfc3339(self.created_date).as_str()),
            Field::TimeFormat => self.time_format.map_or(Json::NULL, |n| Json::from(i64::from(n))),
            Field::DefaultScheduleId => self.default_schedule_id.map_or(Json::NULL, Json::from),
            Field::Locale => text(&self.locale),
            Field::AvatarUrl => text(&self.avatar_url),
            Field::Metadata => self.metadata.clone().map_or(Json::NULL, Json::from),
            Field::Extra => Json::from(self.extra.clone()),
        }
    }
}

/// What a panic said, by what was caught of it.
pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// A time stamp in the ledger's spelling: UTC with `Z`, and as many fractional digits as it needs.
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// What one answer of Cal.com proves of one user.
///
/// There is no observation for "not in a list": absence from a list proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The user exists and looks like this. Shared, since it is held until it is written, and is written as it came.
    Present(Arc<ManagedUser>),
    /// Cal.com said, in the one sentence that means it, that the user is not one of this client's.
    Gone(UserId),
    /// Cal.com answered with a record for this user that cannot be mirrored. The user counts as present.
    Unreadable(Reject),
}

impl Observation {
    /// Roughly the bytes of memory that this takes.
    pub fn weight(&self) -> usize {
        match self {
            Self::Present(user) => user.weight(),
            Self::Gone(_) => size_of::<Self>(),
            Self::Unreadable(reject) => size_of::<Self>() + reject.record.len(),
        }
    }

    /// The user that this is about.
    pub fn user_id(&self) -> UserId {
        match self {
            Self::Present(user) => user.id,
            Self::Gone(id) => *id,
            Self::Unreadable(reject) => reject.id,
        }
    }
}

/// A record that could not be mirrored, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub id: UserId,
    /// One or more faults, each naming the field as the wire does; never a value.
    pub faults: Vec<FieldFault>,
    /// The record as it came, made fit for a text column, cut at [`Reject::MAX_RECORD_BYTES`].
    pub record: String,
}

impl Reject {
    /// Enough to diagnose any record that is nearly a managed user, and a bound for those that are not.
    pub const MAX_RECORD_BYTES: usize = 64 * 1024;

    /// Every fault, in one line.
    pub fn reason(&self) -> String {
        self.faults
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// What is wrong with one field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFault {
    /// The field's name on the wire; empty when the record as a whole is at fault.
    pub field: String,
    pub why: String,
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.why)
        } else {
            write!(f, "{}: {}", self.field, self.why)
        }
    }
}

/// Why a set of removals waits for an operator. Spelled in snake case wherever it is printed or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldReason {
    /// They are more than one pass may remove on its own.
    Limit,
    /// They are all live users of the client.
    Everyone,
    /// No other user of the client answered in the same pass, so nothing shows that the client itself is still there.
    NoControl,
}

impl HeldReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Everyone => "everyone",
            Self::NoControl => "no_control",
        }
    }
}

/// How a pass ended. Spelled in snake case wherever it is printed or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Every user was observed and the differences are written.
    Applied,
    /// Every user was observed and the mirror already agreed.
    NoChange,
    /// Everything but the removals is applied; those wait for an operator.
    Held,
    /// Some users could not be observed or mirrored; the others are.
    Partial,
    /// The tick came while an earlier one was still waiting, or another process took care of it.
    Skipped,
    /// The pass ended before it could do its work.
    Failed,
}

impl RunOutcome {
    pub const ALL: [Self; 6] = [
        Self::Applied,
        Self::NoChange,
        Self::Held,
        Self::Partial,
        Self::Skipped,
        Self::Failed,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::NoChange => "no_change",
            Self::Held => "held",
            Self::Partial => "partial",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }

    /// Whether every watched user was observed, so that the mirror is known to be fresh.
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::Applied | Self::NoChange)
    }
}

impl fmt::Display for RunOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What kind of failure a failed pass is. Spelled in snake case wherever it is printed or stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Somebody has to change something.
    Fault,
    /// Cal.com refuses the client's credentials, or the source is not the one that the mirror is of: somebody has to change
    /// something, and until then nothing is mirrored.
    Refused,
    /// Cal.com or the database is away; another try may do.
    Unavailable,
}

impl Failure {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}
