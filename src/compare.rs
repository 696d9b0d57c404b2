//! What differs between Cal.com and the mirror. Pure: values in, values out.

mod change;
mod fields;

use std::{collections::HashMap, sync::Arc};

pub use change::{Change, ChangeKind, Changed, FieldChange, Values, shorten};
pub use fields::{AnnouncedFields, NewField};

use crate::model::{ClientId, Field, FieldFault, Fingerprint, ManagedUser, Observation, Reject, UserId};

/// A row of the mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    pub user: ManagedUser,
    pub client_id: ClientId,
    pub version: i32,
    /// Whether the user is marked removed.
    pub removed: bool,
}

/// What the database knows of one user before a batch is compared. Nothing at all is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub mirrored: Option<Mirrored>,
    /// The user is on record as missing.
    pub missing: bool,
    /// An operator had the user erased: nothing of it is written any more.
    pub forgotten: bool,
    pub reject: Option<RecordedReject>,
}

/// A reject as it is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedReject {
    /// As [`Reject::reason`] gave it.
    pub reason: String,
    pub record: String,
}

/// What a batch of observations means for the mirror.
///
/// The four lists of changes are what the ledger will say; [`Bookkeeping`] is what else has to be written for them to be
/// right next time. A set without either writes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    pub inserts: Vec<Change>,
    pub updates: Vec<Change>,
    /// Empty in what [`diff`] returns: one answer never proves a removal.
    pub removals: Vec<Removal>,
    pub restores: Vec<Change>,
    /// Observed as the mirror has them.
    pub unchanged: usize,
    /// Every user that was observed gone, new or not.
    pub missing: usize,
    /// Every user whose record cannot be mirrored, new or not.
    pub rejected: usize,
    /// Observed, and left out as forgotten.
    pub forgotten: usize,
    pub bookkeeping: Bookkeeping,
}

/// A user that is proven gone, and the version that marking it removed makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removal {
    pub user_id: UserId,
    pub version: i32,
}

/// Rows of `missing_users`, `rejects` and `extra_fields` that a change set calls for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bookkeeping {
    /// Live users that were observed gone: one more confirmation each, if the pass comes to its end.
    pub confirm_missing: Vec<UserId>,
    /// Users never mirrored that were observed gone for the first time.
    pub record_missing: Vec<UserId>,
    /// Users on record as missing that were seen.
    pub sighted: Vec<UserId>,
    /// Records that are rejected for the first time, or otherwise than before.
    pub record_rejects: Vec<Reject>,
    /// Users on record as rejected whose record can be read again, or who are gone.
    pub clear_rejects: Vec<UserId>,
    /// To be announced. Empty in what [`diff`] returns, which does not know what was: see [`AnnouncedFields::new_in`].
    pub new_fields: Vec<NewField>,
    /// Of the records that were accepted. Empty in what [`diff`] returns, which sees users and no bytes.
    pub fingerprints: Vec<VersionFingerprint>,
}

/// The bytes that a version of a user was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionFingerprint {
    pub user_id: UserId,
    pub version: i32,
    pub fingerprint: Fingerprint,
}

impl ChangeSet {
    /// The changes but for the removals, in the order in which they are applied and reported.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.inserts.iter().chain(&self.updates).chain(&self.restores)
    }

    /// Whether the mirror already agrees with every observation.
    pub fn is_empty(&self) -> bool {
        self.changes().next().is_none() && self.removals.is_empty()
    }

    /// Whether applying the set writes any row at all.
    pub fn writes_nothing(&self) -> bool {
        self.is_empty() && self.bookkeeping == Bookkeeping::default()
    }
}

/// Compares what Cal.com said of a client's users with what the database knows of them.
///
/// Each user must be observed at most once. A user whose row belongs to another client is a reject: passes never touch
/// another client's rows. A forgotten user is left out.
pub fn diff(client: &ClientId, observed: Vec<Observation>, known: &HashMap<UserId, Known>) -> ChangeSet {
    let nothing = Known::default();
    let mut set = ChangeSet::default();
    for observation in observed {
        let id = observation.user_id();
        let known = known.get(&id).unwrap_or(&nothing);
        if known.forgotten {
            set.forgotten += 1;
            continue;
        }
        let observation = refuse_foreign(client, observation, known.mirrored.as_ref());
        if known.missing && !matches!(observation, Observation::Gone(_)) {
            set.bookkeeping.sighted.push(id);
        }
        if known.reject.is_some() && !matches!(observation, Observation::Unreadable(_)) {
            set.bookkeeping.clear_rejects.push(id);
        }
        match observation {
            Observation::Present(user) => present(&mut set, user, known.mirrored.as_ref()),
            Observation::Gone(id) => gone(&mut set, client, id, known),
            Observation::Unreadable(reject) => {
                set.rejected += 1;
                let on_record = known.reject.as_ref().is_some_and(|on_record| {
                    on_record.record == reject.record && on_record.reason == reject.reason()
                });
                if !on_record {
                    set.bookkeeping.record_rejects.push(reject);
                }
            }
        }
    }
    set
}

/// The fields in which two descriptions of a user differ, in the order of the columns.
pub fn changed_fields(old: &ManagedUser, new: &ManagedUser) -> Vec<FieldChange> {
    // Without `..`, so that a new field cannot be forgotten here.
    let ManagedUser {
        id: _,
        email,
        username,
        name,
        bio,
        time_zone,
        week_start,
        created_date,
        time_format,
        default_schedule_id,
        locale,
        avatar_url,
        metadata,
        extra,
    } = old;
    [
        (Field::Email, *email != new.email),
        (Field::Username, *username != new.username),
        (Field::Name, *name != new.name),
        (Field::Bio, *bio != new.bio),
        (Field::TimeZone, *time_zone != new.time_zone),
        (Field::WeekStart, *week_start != new.week_start),
        (Field::CreatedDate, *created_date != new.created_date),
        (Field::TimeFormat, *time_format != new.time_format),
        (
            Field::DefaultScheduleId,
            *default_schedule_id != new.default_schedule_id,
        ),
        (Field::Locale, *locale != new.locale),
        (Field::AvatarUrl, *avatar_url != new.avatar_url),
        (Field::Metadata, *metadata != new.metadata),
        (Field::Extra, *extra != new.extra),
    ]
    .into_iter()
    .filter(|(_, differs)| *differs)
    .map(|(field, _)| FieldChange {
        field,
        old: old.value(field),
        new: new.value(field),
    })
    .collect()
}

fn refuse_foreign(client: &ClientId, observation: Observation, mirrored: Option<&Mirrored>) -> Observation {
    match (observation, mirrored) {
        (Observation::Present(user), Some(mirrored)) if mirrored.client_id != *client => {
            Observation::Unreadable(Reject {
                id: user.id,
                faults: vec![FieldFault {
                    field: "id".to_owned(),
                    why: format!("the mirror has this user for client {}", mirrored.client_id),
                }],
                record: String::new(),
            })
        }
        (observation, _) => observation,
    }
}

fn present(set: &mut ChangeSet, user: Arc<ManagedUser>, mirrored: Option<&Mirrored>) {
    let Some(mirrored) = mirrored else {
        set.inserts.push(Change {
            kind: ChangeKind::Insert,
            version: 1,
            fields: Vec::new(),
            after: user,
        });
        return;
    };
    let fields = changed_fields(&mirrored.user, &user);
    let version = mirrored.version.saturating_add(1);
    if mirrored.removed {
        set.restores.push(Change {
            kind: ChangeKind::Restore,
            version,
            fields,
            after: user,
        });
    } else if fields.is_empty() {
        set.unchanged += 1;
    } else {
        set.updates.push(Change {
            kind: ChangeKind::Update,
            version,
            fields,
            after: user,
        });
    }
}

fn gone(set: &mut ChangeSet, client: &ClientId, id: UserId, known: &Known) {
    set.missing += 1;
    match &known.mirrored {
        // Another client's user is no news, and neither is one that is already marked removed.
        Some(mirrored) if mirrored.client_id == *client && !mirrored.removed => {
            set.bookkeeping.confirm_missing.push(id);
        }
        Some(_) => {}
        None if known.missing => {}
        None => set.bookkeeping.record_missing.push(id),
    }
}

#[cfg(test)]
mod tests;
