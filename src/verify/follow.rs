//! Whether one version follows from the one before.

use super::{
    BOOKKEEPING, Difference, Entry, Fault, Promoted, Shape,
    fold::{Kind, State},
    object,
};
use crate::model::{Json, JsonObject};

/// Whether `after` is about the user and the client of the row.
pub(super) fn check_identity(shape: &Shape, entry: &Entry, after: &JsonObject, faults: &mut Vec<Fault>) {
    let expected = [
        ("id", Json::from(entry.user_id.0)),
        ("client_id", Json::from(entry.client_id.as_str())),
    ];
    let mut fields = Vec::new();
    for (column, truth) in expected {
        let found = after.get(column).cloned().unwrap_or(Json::NULL);
        if !shape.same(column, &found, &truth) {
            fields.push(Difference {
                field: column.to_owned(),
                found,
                truth,
            });
        }
    }
    if !fields.is_empty() {
        faults.push(Fault::OtherUser { fields });
    }
}

/// Whether `changed` leads from the version before to `after`. Gives the fields whose old values are not those of the version
/// before, which is no fault.
pub(super) fn check_fields(
    shape: &Shape,
    entry: &Entry,
    kind: Option<Kind>,
    before: Option<&State>,
    after: &JsonObject,
    faults: &mut Vec<Fault>,
) -> Vec<Difference> {
    let malformed = Fault::Malformed { column: "changed" };
    let Some(changed) = object(&entry.changed) else {
        faults.push(malformed);
        return Vec::new();
    };
    let changes: Option<Vec<(&str, JsonObject)>> = changed
        .keys()
        .map(|field| {
            let values = object(changed.get(field)?)?;
            (values.get("old").is_some() && values.get("new").is_some()).then_some((field, values))
        })
        .collect();
    let Some(changes) = changes.filter(|changes| {
        changes
            .iter()
            .all(|(field, _)| shape.column(field).is_some() && !BOOKKEEPING.contains(field))
    }) else {
        faults.push(malformed);
        return Vec::new();
    };
    if matches!(kind, Some(Kind::Insert | Kind::Removal)) && !changes.is_empty() {
        let fields = changes.iter().map(|(field, _)| (*field).to_owned()).collect();
        faults.push(Fault::NothingToChange { fields });
        return Vec::new();
    }
    // There is nothing to tell the first version from.
    let Some(before) = before.filter(|_| kind != Some(Kind::Insert)) else {
        return Vec::new();
    };

    // A field that got a column of its own between the two versions: this one no longer found it in `extra`.
    let old_extra = changes
        .iter()
        .find(|(field, _)| *field == "extra" && kind != Some(Kind::Repair))
        .and_then(|(_, values)| values.get("old"));
    let seen = old_extra
        .or_else(|| after.get("extra"))
        .and_then(object)
        .unwrap_or_default();
    let base = lift(&before.fields, &before.lifted, &shape.promoted, |field| {
        seen.get(field).is_none()
    });

    let mut became = base.clone();
    let mut overwritten = Vec::new();
    for (field, values) in changes {
        let value = |of: &str| values.get(of).cloned().unwrap_or(Json::NULL);
        became.insert(field.to_owned(), value("new"));
        // What a repair found is an edit, and has been told of when it was repaired.
        if kind == Some(Kind::Repair) {
            continue;
        }
        let truth = base.get(field).cloned().unwrap_or(Json::NULL);
        let found = value("old");
        if !shape.same(field, &found, &truth) {
            overwritten.push(Difference {
                field: field.to_owned(),
                found,
                truth,
            });
        }
    }
    if kind == Some(Kind::Repair) {
        // Its new values are the truth, and the truth is what was before.
        let fields = shape.differences(&became, &base);
        if !fields.is_empty() {
            faults.push(Fault::After { fields });
            return overwritten;
        }
    }
    let fields = shape.differences(after, &became);
    if !fields.is_empty() {
        faults.push(Fault::After { fields });
    }
    overwritten
}

/// Moves promoted fields from `extra` into their columns, where `moves` says so of a field.
pub(super) fn lift(
    fields: &JsonObject,
    lifted: &JsonObject,
    promoted: &[Promoted],
    moves: impl Fn(&str) -> bool,
) -> JsonObject {
    let mut lifted_fields = fields.clone();
    if lifted.is_empty() {
        return lifted_fields;
    }
    let extra = fields.get("extra").and_then(object).unwrap_or_default();
    let moving: Vec<&Promoted> = promoted
        .iter()
        .filter(|promoted| extra.get(&promoted.field).is_some() && moves(&promoted.field))
        .collect();
    for promoted in &moving {
        let value = lifted.get(&promoted.column).cloned().unwrap_or(Json::NULL);
        lifted_fields.insert(promoted.column.clone(), value);
    }
    let rest: JsonObject = extra
        .keys()
        .filter(|key| moving.iter().all(|promoted| promoted.field != *key))
        .filter_map(|key| Some((key.to_owned(), extra.get(key)?.clone())))
        .collect();
    lifted_fields.insert("extra".to_owned(), Json::from(rest));
    lifted_fields
}
