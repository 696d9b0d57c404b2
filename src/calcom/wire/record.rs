//! One managed user's record: each field on its own, so that all faults are found at once.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::value::RawValue;

use super::value::{self, Fault};
use crate::model::{FieldFault, JsonObject, ManagedUser, Observation, Reject, UserId};

/// Decodes the record that came for the user `asked`.
pub(super) fn decode(record: &RawValue, asked: UserId) -> Observation {
    match Record::read(record) {
        Some(record) => record.decode(asked),
        None => {
            let why = "the record has a name that is no text".to_owned();
            let field = String::new();
            rejected(asked, vec![FieldFault { field, why }], record.get())
        }
    }
}

/// A record whose fields are told apart, but not read yet.
pub(super) struct Record<'a> {
    raw: &'a str,
    values: BTreeMap<String, &'a RawValue>,
}

impl<'a> Record<'a> {
    /// `None` where there are no fields: it is no object, or one with a name that is no text.
    pub(super) fn read(record: &'a RawValue) -> Option<Self> {
        let raw = record.get();
        // Of a key that comes twice the last value counts, as it does for JavaScript and for jsonb.
        let values = serde_json::from_str(raw).ok()?;
        Some(Self { raw, values })
    }

    pub(super) fn id(&self) -> Option<i64> {
        value::whole_number(self.values.get("id")?).ok()
    }

    pub(super) fn email(&self) -> Option<String> {
        value::text(self.values.get("email")?).ok()
    }

    /// What the record proves of the user `asked`.
    pub(super) fn decode(self, asked: UserId) -> Observation {
        // Another person's record is not kept under this id, where nobody would look for it to erase it.
        let is_anothers = self.id().is_some_and(|id| id != asked.0);
        let mut fields = Fields {
            values: self.values,
            faults: Vec::new(),
        };
        match user(&mut fields, asked) {
            Some(user) if fields.faults.is_empty() => Observation::Present(Arc::new(user)),
            _ => rejected(asked, fields.faults, if is_anothers { "" } else { self.raw }),
        }
    }
}

fn rejected(id: UserId, faults: Vec<FieldFault>, record: &str) -> Observation {
    Observation::Unreadable(Reject {
        id,
        faults,
        record: cut(record).to_owned(),
    })
}

/// The user, or `None` with a fault for each field that is missing or wrong.
fn user(fields: &mut Fields<'_>, asked: UserId) -> Option<ManagedUser> {
    // All of these are taken before the first `?`, for each may find a fault.
    let id = fields.required("id", |raw| match value::whole_number(raw)? {
        id if id == asked.0 => Ok(UserId(id)),
        id => Err(format!("is {id}, but {asked} was asked for")),
    });
    let email = fields.required("email", value::text);
    let username = fields.optional("username", value::text);
    let name = fields.optional("name", value::text);
    let bio = fields.optional("bio", value::text);
    let time_zone = fields.required("timeZone", value::text);
    let week_start = fields.required("weekStart", value::text);
    let created_date = fields.required("createdDate", value::moment);
    let time_format = fields.optional("timeFormat", |raw| {
        i32::try_from(value::whole_number(raw)?).map_err(|_| "is beyond 32 bits".to_owned())
    });
    let default_schedule_id = fields.optional("defaultScheduleId", value::whole_number);
    let locale = fields.optional("locale", value::text);
    let avatar_url = fields.optional("avatarUrl", value::text);
    let metadata = fields.optional("metadata", value::object);
    let extra = fields.rest();
    Some(ManagedUser {
        id: id?,
        email: email?,
        username,
        name,
        bio,
        time_zone: time_zone?,
        week_start: week_start?,
        created_date: created_date?,
        time_format,
        default_schedule_id,
        locale,
        avatar_url,
        metadata,
        extra,
    })
}

/// The fields that are not taken yet, and the faults of those that are.
struct Fields<'a> {
    values: BTreeMap<String, &'a RawValue>,
    faults: Vec<FieldFault>,
}

impl Fields<'_> {
    fn required<T>(&mut self, name: &str, decode: impl FnOnce(&RawValue) -> Result<T, Fault>) -> Option<T> {
        match self.values.remove(name) {
            Some(raw) => self.decoded(name, decode(raw)),
            None => self.decoded(name, Err("is missing".to_owned())),
        }
    }

    /// Absent and null are the same.
    fn optional<T>(&mut self, name: &str, decode: impl FnOnce(&RawValue) -> Result<T, Fault>) -> Option<T> {
        let raw = self.values.remove(name).filter(|raw| !value::is_null(raw))?;
        self.decoded(name, decode(raw))
    }

    /// Whatever this version does not know; a null there is as good as absent, too.
    fn rest(&mut self) -> JsonObject {
        let mut extra = JsonObject::default();
        for (name, raw) in std::mem::take(&mut self.values) {
            if value::is_null(raw) {
                continue;
            }
            if name.contains('\0') || value::holds_private_key(&name) {
                self.fault(cut_name(&name), "has a name that cannot be kept".to_owned());
            } else if let Some(value) = self.decoded(cut_name(&name).as_str(), value::any(raw)) {
                extra.insert(name, value);
            }
        }
        extra
    }

    fn decoded<T>(&mut self, name: &str, result: Result<T, Fault>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(why) => {
                self.fault(name.to_owned(), why);
                None
            }
        }
    }

    fn fault(&mut self, field: String, why: String) {
        // A record of nothing but faults would otherwise be a report as long as itself.
        const MAX_FAULTS: usize = 50;
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(FieldFault { field, why });
        }
    }
}

/// An unknown field's name as a report can hold it: on one line, without U+0000, and not longer than names are.
fn cut_name(name: &str) -> String {
    const MAX_CHARS: usize = 64;
    name.chars()
        .take(MAX_CHARS)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn cut(record: &str) -> &str {
    &record[..record.floor_char_boundary(Reject::MAX_RECORD_BYTES)]
}
