//! Whether the ledger, folded, is what the database shows. Pure: rows in, findings out.
//!
//! A [`Comparison`] is given the ledger in the order of users and versions, and after the last version of each user what the
//! database shows of it: the row of the mirror, and the rows of `managed_users_as_of` at some instants. It folds by what each
//! version says has changed, and not by what it says the user became; so the two prove each other. It keeps one user at a
//! time.

mod finding;
mod fold;
mod follow;

use chrono::{DateTime, Utc};
use serde_json::Value;

pub use finding::{AsOfFault, Difference, Fault, Finding};
use fold::Fold;

use crate::model::{Json, JsonObject, UserId, rfc3339};

/// The columns of `managed_users` that the ledger has outside of `after`.
const BOOKKEEPING: [&str; 4] = ["version", "first_seen_at", "changed_at", "removed_at"];

/// What rows look like.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Every column of `managed_users`.
    pub columns: Vec<Column>,
    /// Fields of `extra` that have a column of their own now.
    pub promoted: Vec<Promoted>,
}

/// A column of `managed_users`.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    /// Its values are times, which have more than one spelling.
    pub is_time: bool,
}

/// A field that was kept in `extra` by an earlier version.
#[derive(Clone, Debug)]
pub struct Promoted {
    /// By its name in `extra`.
    pub field: String,
    pub column: String,
}

/// A row of the ledger.
#[derive(Clone, Debug)]
pub struct Entry {
    pub run_id: i64,
    pub user_id: UserId,
    pub version: i32,
    pub kind: String,
    pub client_id: String,
    /// None for what no clock shows, such as `infinity`.
    pub observed_at: Option<DateTime<Utc>>,
    pub changed: Json,
    pub after: Json,
    /// The promoted fields in the `extra` of `after`, by their columns, as values of these.
    pub lifted: JsonObject,
    /// For a row into which the user's versions up to it were folded.
    pub folded: Option<Folded>,
}

/// What a row of the ledger says of the versions that were folded into it, beside what they left the user as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// When they were; none for what no clock shows.
    pub at: Option<DateTime<Utc>>,
    /// When the first of them was written; none for what no clock shows.
    pub first_seen_at: Option<DateTime<Utc>>,
    /// Since when the user is removed, if it is.
    pub removed_at: Option<DateTime<Utc>>,
}

/// How a row of the mirror stands to the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Agrees,
    /// The row is there with other values.
    Edited {
        truth: Truth,
        differences: Vec<Difference>,
    },
    /// The ledger has the user, the mirror has not.
    Missing {
        truth: Truth,
    },
    /// The mirror has the user, the ledger has not.
    Unknown {
        client_id: String,
        version: i64,
    },
}

/// A row as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    pub client_id: String,
    pub version: i32,
    /// Each column of the row.
    pub row: JsonObject,
    /// The user's ledger has no fault, so that this can be relied on.
    pub is_sound: bool,
}

/// What `managed_users_as_of` gave for a user at one instant. It can fail for an instant as a whole, which is not found here.
#[derive(Clone, Debug)]
pub struct AsOf {
    pub instant: DateTime<Utc>,
    pub row: Option<JsonObject>,
}

/// What the ledger says has changed when a row with these differences is set back: `{"name": {"old": found, "new": truth}}`.
pub fn changed_by_repair(differences: &[Difference]) -> JsonObject {
    differences
        .iter()
        .filter(|difference| !BOOKKEEPING.contains(&difference.field.as_str()))
        .map(|difference| {
            let values = [
                ("old".to_owned(), difference.found.clone()),
                ("new".to_owned(), difference.truth.clone()),
            ];
            let values: JsonObject = values.into_iter().collect();
            (difference.field.clone(), Json::from(values))
        })
        .collect()
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Users that ledger or mirror has.
    pub users: u64,
    /// Rows of the ledger.
    pub versions: u64,
}

/// The comparison, user by user.
#[derive(Debug)]
pub struct Comparison {
    shape: Shape,
    instants: Vec<DateTime<Utc>>,
    fold: Option<Fold>,
    counts: Counts,
}

impl Comparison {
    /// `instants` are those of which [`Comparison::user`] is told.
    pub fn new(shape: Shape, instants: Vec<DateTime<Utc>>) -> Self {
        Self {
            shape,
            instants,
            fold: None,
            counts: Counts::default(),
        }
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes the next version of a user, and gives what is wrong with it.
    pub fn version(&mut self, entry: &Entry) -> Vec<Finding> {
        self.counts.versions += 1;
        let fold = self
            .fold
            .get_or_insert_with(|| Fold::new(entry.user_id, self.instants.len()));
        fold.push(&self.shape, &self.instants, entry)
    }

    /// Takes the row in which `managed_users_history` shows the version that was given last.
    pub fn history(&mut self, entry: &Entry, row: Option<&JsonObject>) -> Vec<Finding> {
        self.fold
            .as_mut()
            .map(|fold| fold.history(&self.shape, entry, row))
            .unwrap_or_default()
    }

    /// Ends with a user: its versions have all been given, and this is what the database shows of it.
    pub fn user(
        &mut self,
        id: UserId,
        mirrored: Option<&JsonObject>,
        as_of: &[AsOf],
    ) -> (Verdict, Vec<Finding>) {
        self.counts.users += 1;
        let fold = self
            .fold
            .take()
            .unwrap_or_else(|| Fold::new(id, self.instants.len()));
        let verdict = fold.verdict(&self.shape, mirrored);
        let mut findings: Vec<Finding> = Finding::of_verdict(id, &verdict).into_iter().collect();
        findings.extend(fold.last_in_history());
        findings.extend(
            as_of
                .iter()
                .filter_map(|shown| fold.as_of(&self.shape, &self.instants, shown)),
        );
        (verdict, findings)
    }
}

impl Shape {
    fn differences(&self, found: &JsonObject, truth: &JsonObject) -> Vec<Difference> {
        self.columns
            .iter()
            .map(|column| column.name.as_str())
            .filter_map(|name| {
                let value = |row: &JsonObject| row.get(name).cloned().unwrap_or(Json::NULL);
                let (found, truth) = (value(found), value(truth));
                (!self.same(name, &found, &truth)).then(|| Difference {
                    field: name.to_owned(),
                    found,
                    truth,
                })
            })
            .collect()
    }

    /// Whether two values of a column are one.
    fn same(&self, column: &str, left: &Json, right: &Json) -> bool {
        if left == right {
            return true;
        }
        let is_time = self.column(column).is_some_and(|column| column.is_time)
            || matches!(column, "valid_from" | "folded_at");
        is_time && time(left).is_some_and(|left| time(right) == Some(left))
    }

    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

fn time(value: &Json) -> Option<DateTime<Utc>> {
    match Value::from(value.clone()) {
        Value::String(text) => DateTime::parse_from_rfc3339(&text).ok().map(|time| time.to_utc()),
        _ => None,
    }
}

fn time_value(time: Option<DateTime<Utc>>) -> Json {
    time.map_or(Json::NULL, |time| Json::from(rfc3339(time).as_str()))
}

fn object(value: &Json) -> Option<JsonObject> {
    match Value::from(value.clone()) {
        Value::Object(fields) => Some(
            fields
                .into_iter()
                .map(|(key, value)| (key, Json::from(value)))
                .collect(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
