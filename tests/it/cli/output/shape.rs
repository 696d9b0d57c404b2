//! The tables of docs/output.md, and whether a value is as one of them says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Every table, by each of the names in its heading.
pub(super) struct Shapes {
    tables: BTreeMap<String, Vec<Row>>,
    /// Names with the paths that were seen; an empty path for the table as such.
    seen: BTreeSet<(String, String)>,
}

/// One key: `clients[].held.run_id`.
#[derive(Debug)]
struct Row {
    path: String,
    kinds: Vec<String>,
    is_optional: bool,
}

/// What no run of the test provokes. Tests of their own do, and read what they say:
/// `a_fault_of_the_ledger_says_which_version_should_come_and_which_column_is_malformed` and
/// `what_fails_says_with_which_error_and_of_which_instant`.
const RARE: [(&str, &str); 4] = [
    ("verify: a finding", "expected"),
    ("verify: a finding", "column"),
    ("verify: a finding", "instant"),
    ("verify: a finding", "error"),
];

impl Shapes {
    pub(super) fn documented() -> Self {
        let mut tables: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        let mut names: Vec<String> = Vec::new();
        for line in include_str!("../../../../docs/output.md").lines() {
            if let Some(heading) = line.strip_prefix("### ") {
                names = heading.split(", ").map(str::to_owned).collect();
            } else if let Some(rest) = line.strip_prefix("| `") {
                let (path, rest) = rest.split_once("` | ").unwrap_or_else(|| panic!("{line}"));
                let (kind, _) = rest.split_once(" |").unwrap_or_else(|| panic!("{line}"));
                let bare = kind.strip_suffix(", optional").unwrap_or(kind);
                for name in &names {
                    tables.entry(name.clone()).or_default().push(Row {
                        path: path.to_owned(),
                        kinds: bare.split(" or ").map(str::to_owned).collect(),
                        is_optional: bare != kind,
                    });
                }
            }
        }
        assert!(tables.len() >= 18, "{:?}", tables.keys());
        Self {
            tables,
            seen: BTreeSet::new(),
        }
    }

    /// The commands that have a table, or several.
    pub(super) fn commands(&self) -> BTreeSet<&str> {
        self.tables
            .keys()
            .filter_map(|name| name.split([' ', ':']).next())
            .filter(|name| *name != "error")
            .collect()
    }

    /// Each value has all keys of the table, and no other ones.
    #[track_caller]
    pub(super) fn hold(&mut self, name: &str, values: &[Value]) {
        assert!(!values.is_empty(), "{name} printed nothing");
        let rows = self
            .tables
            .get(name)
            .unwrap_or_else(|| panic!("{name} has no table"));
        for value in values {
            self.seen.insert((name.to_owned(), String::new()));
            check(name, rows, "", value, &mut self.seen);
        }
    }

    /// Nothing is documented that nobody has seen.
    pub(super) fn assert_all_seen(&self) {
        for (name, rows) in &self.tables {
            assert!(
                self.seen.contains(&(name.clone(), String::new())),
                "{name} was never printed"
            );
            for Row { path, .. } in rows {
                let is_seen = self.seen.contains(&(name.clone(), path.clone()));
                assert!(is_seen || RARE.contains(&(name, path)), "{name} never has {path}");
            }
        }
    }
}

/// Holds an object against the rows below `parent`, which is empty or ends with a dot.
#[track_caller]
fn check(name: &str, rows: &[Row], parent: &str, value: &Value, seen: &mut BTreeSet<(String, String)>) {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("{name}: {parent} is no object: {value}"));
    let own = || {
        rows.iter().filter_map(|row| {
            let key = row.path.strip_prefix(parent)?;
            (!key.contains('.')).then_some((key, row))
        })
    };
    for key in object.keys() {
        assert!(
            own().any(|(own, _)| own == key),
            "{name}: {parent}{key} is not documented: {value}"
        );
    }
    for (key, row) in own() {
        let Some(value) = object.get(key) else {
            assert!(row.is_optional, "{name}: {} is missing: {value}", row.path);
            continue;
        };
        seen.insert((name.to_owned(), row.path.clone()));
        let is_right = row.kinds.iter().any(|kind| is_of(kind, value));
        assert!(
            is_right,
            "{name}: {} is {value}, which is none of {:?}",
            row.path, row.kinds
        );
        let [members, elements] = [".", "[]."].map(|end| format!("{}{end}", row.path));
        if rows.iter().any(|row| row.path.starts_with(&members)) && !value.is_null() {
            check(name, rows, &members, value, seen);
        }
        if rows.iter().any(|row| row.path.starts_with(&elements)) {
            for element in value.as_array().into_iter().flatten() {
                check(name, rows, &elements, element, seen);
            }
        }
    }
}

/// `true or false` has come apart into its two words.
fn is_of(kind: &str, value: &Value) -> bool {
    let elements = |kind: &str| {
        value
            .as_array()
            .is_some_and(|all| all.iter().all(|value| is_of(kind, value)))
    };
    match kind {
        "any" => true,
        "null" => value.is_null(),
        "text" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "true" | "false" => value.is_boolean(),
        "object" => value.is_object(),
        "list" => value.is_array(),
        "time" => value
            .as_str()
            .is_some_and(|text| text.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(text).is_ok()),
        list => match list.strip_prefix("list of ") {
            Some(kind) => elements(kind),
            None => panic!("{kind} is no kind of value"),
        },
    }
}
