//! The fold of one user's versions.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{
    AsOf, AsOfFault, Difference, Entry, Fault, Finding, Shape, Truth, Verdict,
    follow::{check_fields, check_identity, lift},
    object, time_value,
};
use crate::model::{Json, JsonObject, UserId};

/// One user, as far as its versions have been given.
#[derive(Debug)]
pub(super) struct Fold {
    user_id: UserId,
    state: Option<Arc<State>>,
    /// The newest state by each of the instants.
    at: Vec<Option<Arc<State>>>,
    first_seen_at: Option<DateTime<Utc>>,
    is_sound: bool,
    /// Until when `managed_users_history` shows the newest version, which the next one tells.
    valid_to: Option<(i32, Json)>,
}

/// A user as one version left it.
#[derive(Clone, Debug)]
pub(super) struct State {
    version: i32,
    client_id: String,
    /// As the ledger spells them: promoted fields may still be in `extra`.
    pub(super) fields: JsonObject,
    pub(super) lifted: JsonObject,
    changed_at: Option<DateTime<Utc>>,
    removed_at: Option<DateTime<Utc>>,
    removed: bool,
}

/// What a version says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Insert,
    Update,
    Removal,
    Restore,
    Repair,
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "insert" => Some(Self::Insert),
            "update" => Some(Self::Update),
            "removal" => Some(Self::Removal),
            "restore" => Some(Self::Restore),
            "repair" => Some(Self::Repair),
            _ => None,
        }
    }
}

impl Fold {
    pub(super) fn new(user_id: UserId, instants: usize) -> Self {
        Self {
            user_id,
            state: None,
            at: vec![None; instants],
            first_seen_at: None,
            is_sound: true,
            valid_to: None,
        }
    }

    /// Folds one more version in.
    ///
    /// Where the version contradicts what was before, it is believed from there on: each fault is found once.
    pub(super) fn push(&mut self, shape: &Shape, instants: &[DateTime<Utc>], entry: &Entry) -> Vec<Finding> {
        let mut faults = Vec::new();
        let kind = Kind::parse(&entry.kind);
        let before = self.state.take();
        self.check_order(entry, kind, before.as_deref(), &mut faults);
        let after = object(&entry.after);
        let is_row = |after: &JsonObject| after.keys().all(|key| shape.column(key).is_some());
        if !after.as_ref().is_some_and(is_row) {
            faults.push(Fault::Malformed { column: "after" });
        }
        let after = after.unwrap_or_default();
        check_identity(shape, entry, &after, &mut faults);
        let overwritten = check_fields(shape, entry, kind, before.as_deref(), &after, &mut faults);

        if let Some(folded) = entry.folded {
            self.first_seen_at = folded.first_seen_at;
        } else if entry.version == 1 {
            self.first_seen_at = entry.observed_at;
        }
        let earlier = before.as_deref();
        let (removed, removed_at) = match kind {
            Some(Kind::Removal) => (true, entry.observed_at),
            Some(Kind::Repair) => (
                earlier.is_some_and(|before| before.removed),
                earlier.and_then(|before| before.removed_at),
            ),
            _ => {
                let removed_at = entry.folded.and_then(|folded| folded.removed_at);
                (removed_at.is_some(), removed_at)
            }
        };
        let state = Arc::new(State {
            version: entry.version,
            client_id: entry.client_id.clone(),
            fields: after,
            lifted: entry.lifted.clone(),
            changed_at: entry.observed_at,
            removed_at,
            removed,
        });
        for (newest, instant) in self.at.iter_mut().zip(instants) {
            if entry.observed_at.is_some_and(|time| time <= *instant) {
                *newest = Some(Arc::clone(&state));
            }
        }
        self.state = Some(state);
        self.is_sound &= faults.is_empty();

        let faults = faults.into_iter().map(|fault| Finding::Ledger {
            user_id: self.user_id,
            version: entry.version,
            change: entry.kind.clone(),
            fault,
        });
        let overwritten = (!overwritten.is_empty()).then_some(Finding::Overwritten {
            user_id: self.user_id,
            version: entry.version,
            fields: overwritten,
        });
        faults.chain(overwritten).collect()
    }

    fn check_order(
        &self,
        entry: &Entry,
        kind: Option<Kind>,
        before: Option<&State>,
        faults: &mut Vec<Fault>,
    ) {
        let expected = before.map_or(1, |before| before.version.saturating_add(1));
        // Those before it were folded into it.
        let is_base = before.is_none() && entry.folded.is_some();
        if entry.version != expected && !is_base {
            faults.push(Fault::Gap { expected });
        }
        let has_no_beginning = entry.folded.is_some_and(|folded| folded.first_seen_at.is_none());
        if entry.observed_at.is_none() || has_no_beginning {
            faults.push(Fault::NoTime);
        }
        let removed = before.is_some_and(|before| before.removed);
        match (kind, before) {
            (None, _) => faults.push(Fault::UnknownKind),
            (Some(Kind::Insert), None) => {}
            (Some(_), None) => faults.push(Fault::FirstNotInsert),
            (Some(Kind::Insert), Some(_)) => faults.push(Fault::InsertAgain),
            (Some(Kind::Removal), Some(_)) if removed => faults.push(Fault::RemovalOfRemoved),
            (Some(Kind::Update), Some(_)) if removed => faults.push(Fault::UpdateOfRemoved),
            (Some(Kind::Restore), Some(_)) if !removed => faults.push(Fault::RestoreOfLive),
            (Some(_), Some(_)) => {}
        }
    }

    /// How the mirror's row stands to the newest version.
    pub(super) fn verdict(&self, shape: &Shape, mirrored: Option<&JsonObject>) -> Verdict {
        let truth = self.state.as_deref().map(|state| Truth {
            client_id: state.client_id.clone(),
            version: state.version,
            row: self.row(shape, state),
            is_sound: self.is_sound,
        });
        match (truth, mirrored) {
            (None, None) => Verdict::Agrees,
            (None, Some(row)) => {
                let value = |column: &str| row.get(column).cloned().map(Value::from).unwrap_or_default();
                Verdict::Unknown {
                    client_id: value("client_id").as_str().unwrap_or_default().to_owned(),
                    version: value("version").as_i64().unwrap_or_default(),
                }
            }
            (Some(truth), None) => Verdict::Missing { truth },
            (Some(truth), Some(row)) => {
                let differences = shape.differences(row, &truth.row);
                if differences.is_empty() {
                    Verdict::Agrees
                } else {
                    Verdict::Edited { truth, differences }
                }
            }
        }
    }

    /// What is wrong with the row in which `managed_users_history` shows the newest version.
    ///
    /// Nothing is compared with a ledger that has a fault.
    pub(super) fn history(&mut self, shape: &Shape, entry: &Entry, row: Option<&JsonObject>) -> Vec<Finding> {
        let before = self.valid_to.take();
        let Some(state) = self.state.as_deref().filter(|_| self.is_sound) else {
            return Vec::new();
        };
        let user_id = self.user_id;
        let differs = |version, fields: Vec<Difference>| {
            (!fields.is_empty()).then_some(Finding::History {
                user_id: Some(user_id),
                version: Some(version),
                fault: AsOfFault::Differs { fields },
            })
        };
        let start = time_value(entry.observed_at);
        let ended = before.and_then(|(version, found)| {
            let is_start = shape.same("valid_from", &found, &start);
            let difference = (!is_start).then(|| Difference {
                field: "valid_to".to_owned(),
                found,
                truth: start.clone(),
            });
            differs(version, difference.into_iter().collect())
        });
        let Some(row) = row else {
            let absent = Finding::History {
                user_id: Some(user_id),
                version: Some(entry.version),
                fault: AsOfFault::Absent,
            };
            return ended.into_iter().chain([absent]).collect();
        };
        let user = lift(&state.fields, &state.lifted, &shape.promoted, |_| true);
        let own = [
            ("user_id", Json::from(user_id.0)),
            ("version", Json::from(i64::from(entry.version))),
            ("kind", Json::from(entry.kind.as_str())),
            ("run_id", Json::from(entry.run_id)),
            ("valid_from", start),
            ("changed", entry.changed.clone()),
            ("folded_at", time_value(entry.folded.and_then(|folded| folded.at))),
            ("removed_at", time_value(state.removed_at)),
        ];
        let truth: JsonObject = own
            .into_iter()
            .map(|(column, value)| (column.to_owned(), value))
            .chain(
                user.keys()
                    .filter(|column| *column != "id")
                    .filter_map(|column| Some((column.to_owned(), user.get(column)?.clone()))),
            )
            .collect();
        let value = |row: &JsonObject, column: &str| row.get(column).cloned().unwrap_or(Json::NULL);
        let fields = truth
            .keys()
            .filter(|column| !shape.same(column, &value(row, column), &value(&truth, column)))
            .map(|column| Difference {
                field: column.to_owned(),
                found: value(row, column),
                truth: value(&truth, column),
            })
            .collect();
        self.valid_to = Some((entry.version, value(row, "valid_to")));
        ended.into_iter().chain(differs(entry.version, fields)).collect()
    }

    /// What is wrong with the end of the newest version in `managed_users_history`: it has none.
    pub(super) fn last_in_history(&self) -> Option<Finding> {
        let (version, found) = self.valid_to.as_ref().filter(|(_, found)| !found.is_null())?;
        let difference = Difference {
            field: "valid_to".to_owned(),
            found: found.clone(),
            truth: Json::NULL,
        };
        Some(Finding::History {
            user_id: Some(self.user_id),
            version: Some(*version),
            fault: AsOfFault::Differs {
                fields: vec![difference],
            },
        })
    }

    /// What is wrong with the user as it is shown of an instant.
    pub(super) fn as_of(&self, shape: &Shape, instants: &[DateTime<Utc>], shown: &AsOf) -> Option<Finding> {
        let position = instants.iter().position(|instant| *instant == shown.instant)?;
        let state = self.at[position]
            .as_deref()
            // Without its first version a user has no beginning, and is not shown.
            .filter(|_| self.first_seen_at.is_some());
        let fault = match (state, &shown.row) {
            (None, None) => return None,
            (None, Some(_)) => AsOfFault::Surplus,
            (Some(_), None) => AsOfFault::Absent,
            (Some(state), Some(row)) => {
                let fields = shape.differences(row, &self.row(shape, state));
                if fields.is_empty() {
                    return None;
                }
                AsOfFault::Differs { fields }
            }
        };
        Some(Finding::AsOf {
            instant: shown.instant,
            user_id: Some(self.user_id),
            fault,
        })
    }

    /// The row that a state makes.
    fn row(&self, shape: &Shape, state: &State) -> JsonObject {
        let mut row = lift(&state.fields, &state.lifted, &shape.promoted, |_| true);
        let times = [
            ("first_seen_at", self.first_seen_at),
            ("changed_at", state.changed_at),
            ("removed_at", state.removed_at),
        ];
        for (column, time) in times {
            row.insert(column.to_owned(), time_value(time));
        }
        row.insert("version".to_owned(), Json::from(i64::from(state.version)));
        row
    }
}
