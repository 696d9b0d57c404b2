mod faults;
mod promoted;

use chrono::TimeDelta;
use proptest::prelude::*;
use serde_json::json;

use super::*;

const ID: UserId = UserId(7);
const CLIENT: &str = "cm7acme";

fn shape() -> Shape {
    let columns = [
        ("id", false),
        ("client_id", false),
        ("name", false),
        ("bio", false),
        ("created_date", true),
        ("extra", false),
        ("version", false),
        ("first_seen_at", true),
        ("changed_at", true),
        ("removed_at", true),
    ];
    Shape {
        columns: columns
            .map(|(name, is_time)| Column {
                name: name.to_owned(),
                is_time,
            })
            .into(),
        promoted: Vec::new(),
    }
}

fn at(minutes: usize) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2025-02-20T08:00:00.000001Z".parse().expect("a time");
    start + TimeDelta::minutes(i64::try_from(minutes).expect("a small number"))
}

fn fields(value: serde_json::Value) -> JsonObject {
    object(&Json::from(value)).expect("an object")
}

fn with(row: &JsonObject, field: &str, value: Json) -> JsonObject {
    let mut row = row.clone();
    row.insert(field.to_owned(), value);
    row
}

/// What happens next to a user, whatever its kind is called.
#[derive(Clone, Debug)]
enum Event {
    Observed { name: String, created: usize },
    Gone,
    Repaired { found: String },
}

fn observed(name: &str) -> Event {
    Event::Observed {
        name: name.to_owned(),
        created: 0,
    }
}

/// A ledger, and after each version the row that it makes: by a model that knows nothing of the fold.
#[derive(Clone, Debug, Default)]
struct History {
    entries: Vec<Entry>,
    rows: Vec<JsonObject>,
}

impl History {
    fn of(events: &[Event]) -> Self {
        let mut history = Self::default();
        for event in events {
            history.add(event);
        }
        history
    }

    fn add(&mut self, event: &Event) {
        let version = self.entries.len() + 1;
        let now = at(version);
        let stamp = Json::from(rfc3339(now).as_str());
        let last = self.rows.last().cloned();
        let removed = last
            .as_ref()
            .is_some_and(|row| row.get("removed_at").is_some_and(|at| !at.is_null()));
        let (kind, after, changed) = match (event, last) {
            (Event::Observed { name, created }, None) => {
                let user = json!({
                    "id": ID.0, "client_id": CLIENT, "name": name, "bio": null, "extra": {},
                    "created_date": rfc3339(at(*created)),
                });
                ("insert", fields(user), JsonObject::default())
            }
            (_, None) => return,
            (Event::Observed { name, created }, Some(row)) => {
                // The two spellings of a time that the ledger has.
                let zulu = rfc3339(at(*created));
                let offset = zulu.replace('Z', "+00:00");
                let mut changed = Vec::new();
                let mut after = user(&row);
                for (field, new, stored) in [("name", name, name), ("created_date", &zulu, &offset)] {
                    let new = Json::from(new.as_str());
                    let old = row.get(field).cloned().unwrap_or(Json::NULL);
                    if !shape().same(field, &old, &new) {
                        after.insert(field.to_owned(), Json::from(stored.as_str()));
                        changed.push((field, old, new));
                    }
                }
                if changed.is_empty() && !removed {
                    return;
                }
                let kind = if removed { "restore" } else { "update" };
                (kind, after, changes(changed))
            }
            (Event::Gone, Some(_)) if removed => return,
            (Event::Gone, Some(row)) => ("removal", user(&row), JsonObject::default()),
            (Event::Repaired { found }, Some(row)) => {
                let truth = row.get("name").cloned().unwrap_or(Json::NULL);
                let changed = changes(vec![("name", Json::from(found.as_str()), truth)]);
                ("repair", user(&row), changed)
            }
        };
        let mut row = after.clone();
        let earlier = |column: &str| self.rows.last().and_then(|row| row.get(column)).cloned();
        row.insert(
            "version".to_owned(),
            Json::from(i64::try_from(version).expect("small")),
        );
        row.insert(
            "first_seen_at".to_owned(),
            earlier("first_seen_at").unwrap_or(stamp.clone()),
        );
        row.insert("changed_at".to_owned(), stamp.clone());
        let removed_at = match kind {
            "removal" => stamp,
            "repair" => earlier("removed_at").unwrap_or(Json::NULL),
            _ => Json::NULL,
        };
        row.insert("removed_at".to_owned(), removed_at);
        self.rows.push(row);
        self.entries.push(Entry {
            run_id: 1,
            user_id: ID,
            version: i32::try_from(version).expect("small"),
            kind: kind.to_owned(),
            client_id: CLIENT.to_owned(),
            observed_at: Some(now),
            changed: changed.into(),
            after: after.into(),
            lifted: JsonObject::default(),
            folded: None,
        });
    }

    /// Every finding, with the mirror and the answers for some instants as given.
    fn compared(&self, mirrored: Option<&JsonObject>, as_of: &[AsOf]) -> Vec<Finding> {
        compared(&shape(), &self.entries, mirrored, as_of)
    }

    fn last(&self) -> Option<&JsonObject> {
        self.rows.last()
    }

    fn as_of(&self, instant: DateTime<Utc>) -> AsOf {
        let by_then = self
            .entries
            .iter()
            .filter(|entry| entry.observed_at <= Some(instant))
            .count();
        AsOf {
            instant,
            row: by_then.checked_sub(1).map(|last| self.rows[last].clone()),
        }
    }
}

fn user(row: &JsonObject) -> JsonObject {
    row.keys()
        .filter(|key| !BOOKKEEPING.contains(key))
        .filter_map(|key| Some((key.to_owned(), row.get(key)?.clone())))
        .collect()
}

fn changes(changed: Vec<(&str, Json, Json)>) -> JsonObject {
    changed
        .into_iter()
        .map(|(field, old, new)| {
            let values: JsonObject = [("old".to_owned(), old), ("new".to_owned(), new)]
                .into_iter()
                .collect();
            (field.to_owned(), Json::from(values))
        })
        .collect()
}

fn compared(shape: &Shape, entries: &[Entry], mirrored: Option<&JsonObject>, as_of: &[AsOf]) -> Vec<Finding> {
    let instants = as_of.iter().map(|as_of| as_of.instant).collect();
    let mut comparison = Comparison::new(shape.clone(), instants);
    let mut findings: Vec<Finding> = entries
        .iter()
        .flat_map(|entry| comparison.version(entry))
        .collect();
    findings.extend(comparison.user(ID, mirrored, as_of).1);
    findings
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => ("[a-c]", 0..3_usize).prop_map(|(name, created)| Event::Observed { name, created }),
        2 => Just(Event::Gone),
        1 => "[x-z]".prop_map(|found| Event::Repaired { found }),
    ]
}

fn history() -> impl Strategy<Value = History> {
    let first = Event::Observed {
        name: "first".to_owned(),
        created: 0,
    };
    proptest::collection::vec(event(), 0..12)
        .prop_map(move |events| History::of(&[std::slice::from_ref(&first), &events[..]].concat()))
}

/// Damages one version so that it no longer follows from the one before.
fn damage(entry: &mut Entry, how: usize) {
    let after = object(&entry.after).expect("an object");
    match how {
        0 => entry.version += 1,
        1 => {
            entry.kind = if entry.kind == "insert" {
                "update"
            } else {
                "insert"
            }
            .to_owned()
        }
        2 => entry.after = with(&after, "bio", Json::from("?")).into(),
        3 => entry.after = Json::from("nothing"),
        4 => entry.after = with(&after, "id", Json::from(8)).into(),
        5 => entry.client_id = "another".to_owned(),
        6 => {
            let changed = object(&entry.changed).expect("an object");
            let bio = fields(json!({"old": null, "new": "?"}));
            entry.changed = with(&changed, "bio", bio.into()).into();
        }
        7 => entry.changed = Json::from(json!({"name": "x"})),
        8 => entry.changed = Json::from(json!({"version": {"old": 1, "new": 2}})),
        9 => entry.observed_at = None,
        10 => entry.kind = "merge".to_owned(),
        _ => entry.after = with(&after, "unheard_of", Json::from(1)).into(),
    }
}

const DAMAGES: usize = 12;

/// The first so many versions of a history as the one that they are folded into.
fn folded(history: &History, versions: usize) -> Vec<Entry> {
    let mut entries = history.entries[versions - 1..].to_vec();
    let removed_at = history.rows[versions - 1].get("removed_at").and_then(time);
    entries[0].kind = "insert".to_owned();
    entries[0].changed = JsonObject::default().into();
    entries[0].folded = Some(Folded {
        at: history.entries[versions - 1].observed_at,
        first_seen_at: history.entries[0].observed_at,
        removed_at,
    });
    entries
}

proptest! {
    #[test]
    fn what_is_folded_makes_the_same_rows_from_there_on(
        history in history(), at_version in any::<prop::sample::Index>(), minutes in 0..15_usize
    ) {
        let base = at_version.index(history.entries.len());
        let entries = folded(&history, base + 1);
        // Not before the version into which the others are folded.
        let instant = at(minutes.max(base + 1));
        let as_of = [history.as_of(instant)];
        prop_assert_eq!(compared(&shape(), &entries, history.last(), &as_of), []);
        let wrong = with(history.last().expect("there is one"), "first_seen_at", Json::NULL);
        prop_assert_eq!(compared(&shape(), &entries, Some(&wrong), &as_of).len(), 1);
    }

    #[test]
    fn a_history_folded_is_its_last_row(history in history(), minutes in 0..20_usize) {
        let as_of = [history.as_of(at(minutes)), history.as_of(at(minutes) + TimeDelta::microseconds(-1))];
        prop_assert_eq!(history.compared(history.last(), &as_of), []);
    }

    #[test]
    fn every_edit_of_a_row_is_found(history in history(), column in 0..10_usize) {
        let row = history.last().expect("a row");
        let name = &shape().columns[column].name;
        let edited = with(row, name, Json::from("1999-12-31T23:59:59Z"));
        let findings = history.compared(Some(&edited), &[]);
        let [Finding::Edited { fields, repairable: true, .. }] = &findings[..] else {
            panic!("{findings:?}")
        };
        prop_assert_eq!(fields.len(), 1);
        prop_assert_eq!(&fields[0].field, name);
        prop_assert_eq!(&fields[0].truth, &row.get(name).cloned().unwrap_or(Json::NULL));
    }

    #[test]
    fn damage_of_a_version_is_found_where_it_is(
        history in history(), which in any::<prop::sample::Index>(), how in 0..DAMAGES
    ) {
        let mut history = history;
        let which = which.index(history.entries.len());
        let version = history.entries[which].version;
        damage(&mut history.entries[which], how);
        let findings = history.compared(history.last(), &[]);
        // What the first version became is nowhere said twice, but in the row.
        let is_first_after = which == 0 && how == 2;
        let is_found = findings.iter().any(|finding| match finding {
            Finding::Ledger { version: found, .. } => *found >= version,
            Finding::Edited { .. } => is_first_after && history.entries.len() == 1,
            _ => false,
        });
        prop_assert!(is_found, "{:?}: {:?}", history.entries[which], findings);
        // A ledger in doubt repairs nothing.
        let by_fault = findings.iter().any(|finding| matches!(finding, Finding::Ledger { .. }));
        prop_assert!(!by_fault || findings.iter().all(|finding| finding.repairable().is_none()));
    }

    #[test]
    fn a_lost_version_is_found(history in history(), which in any::<prop::sample::Index>()) {
        let mut history = history;
        let which = which.index(history.entries.len());
        let last = history.last().cloned();
        history.entries.remove(which);
        prop_assert_ne!(history.compared(last.as_ref(), &[]), []);
    }

    #[test]
    fn a_wrong_answer_of_an_instant_is_found(history in history(), minutes in 0..20_usize) {
        let right = history.as_of(at(minutes));
        let wrong = match right.row {
            None => AsOf { row: history.rows.first().cloned(), ..right },
            Some(_) => AsOf { row: None, ..right },
        };
        let findings = history.compared(history.last(), &[wrong]);
        prop_assert!(matches!(findings[..], [Finding::AsOf { .. }]), "{findings:?}");
    }
}
