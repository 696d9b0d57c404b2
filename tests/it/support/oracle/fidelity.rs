//! Promises 1 and 2: rows are what was served, and the ledger folded is the rows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{View, record::Said, tables::Entry};

impl View<'_> {
    /// A live row is what was last accepted of its user, and each version was served to the pass that wrote it.
    pub(super) fn fidelity(&self, wrong: &mut Vec<String>) {
        for entry in &self.tables.ledger {
            let Entry {
                run,
                user,
                version,
                kind,
                ..
            } = entry;
            if !matches!(kind.as_str(), "insert" | "update" | "restore") {
                continue;
            }
            let Some((index, pass)) = self.pass_of(*run) else {
                wrong.push(format!(
                    "fidelity: version {version} of user {user} is of run {run}, which is no pass"
                ));
                continue;
            };
            if pass.served.get(user) != Some(&Said::Present(entry.after.clone())) {
                wrong.push(format!(
                    "fidelity: version {version} of user {user} is {}, but pass {index} was served {:?}",
                    entry.after,
                    pass.served.get(user)
                ));
            }
        }
        let users = self.passes.iter().flat_map(|pass| pass.served.keys()).copied();
        for user in users.collect::<std::collections::BTreeSet<i64>>() {
            if !self.tables.forgotten.contains(&user) {
                self.row(user, wrong);
            }
        }
        for (user, row) in &self.tables.rows {
            let served = self
                .passes
                .iter()
                .any(|pass| matches!(pass.served.get(user), Some(Said::Present(_))));
            if !served {
                wrong.push(format!(
                    "fidelity: nobody ever served user {user}, whose row is {}",
                    row.fields
                ));
            }
        }
    }

    /// The row is what the last pass that took notice of everything was served of it, or what a later pass was, which may
    /// have taken notice and may have not.
    fn row(&self, user: i64, wrong: &mut Vec<String>) {
        let present = |said: Option<&Said>| matches!(said, Some(Said::Present(_)));
        let sure = self
            .passes
            .iter()
            .rposition(|pass| self.heard_out(pass) && present(pass.served.get(&user)));
        let candidates: Vec<&Said> = self.passes[sure.unwrap_or_default()..]
            .iter()
            .filter_map(|pass| pass.served.get(&user))
            .filter(|said| present(Some(said)))
            .collect();
        let Some(row) = self.tables.rows.get(&user) else {
            if let Some(sure) = sure {
                wrong.push(format!(
                    "fidelity: user {user} has no row, though pass {sure} was served one"
                ));
            }
            return;
        };
        if row.removed {
            let removed_by = self
                .tables
                .ledger
                .iter()
                .rfind(|entry| entry.user == user && entry.kind == "removal")
                .and_then(|entry| self.pass_of(entry.run));
            if let (Some(sure), Some((by, _))) = (sure, removed_by)
                && by < sure
            {
                wrong.push(format!(
                    "fidelity: user {user} is removed, though pass {sure} was served one"
                ));
            }
        } else if !candidates.contains(&&Said::Present(row.fields.clone())) {
            wrong.push(format!(
                "fidelity: the row of user {user} is {}, but what was served since pass {sure:?} is {candidates:?}",
                row.fields
            ));
        }
    }

    /// Folding the ledger gives the mirror, and versions are 1..n.
    pub(super) fn replay(&self, wrong: &mut Vec<String>) {
        if !self.tables.differing.is_empty() {
            wrong.push(format!(
                "replay: managed_users_as_of differs from the mirror in users {:?}",
                self.tables.differing
            ));
        }
        let mut histories: BTreeMap<i64, Vec<&Entry>> = BTreeMap::new();
        for entry in &self.tables.ledger {
            histories.entry(entry.user).or_default().push(entry);
        }
        for (user, history) in &mut histories {
            history.sort_by_key(|entry| entry.version);
            let mut folded = Value::Null;
            let mut live = None;
            for (expected, entry) in (1..).zip(history.iter()) {
                if entry.version != expected {
                    wrong.push(format!(
                        "replay: user {user} has version {}, not {expected}",
                        entry.version
                    ));
                }
                if let Err(why) = fold(&mut folded, &mut live, entry) {
                    wrong.push(format!("replay: version {} of user {user} {why}", entry.version));
                }
            }
            match self.tables.rows.get(user) {
                None => wrong.push(format!("replay: user {user} has a history and no row")),
                Some(row) => {
                    let newest = history.last().map(|entry| entry.version);
                    if row.fields != folded || Some(!row.removed) != live || Some(row.version) != newest {
                        wrong.push(format!(
                            "replay: user {user} is {row:?}, but its history gives {folded}"
                        ));
                    }
                }
            }
        }
        for user in self
            .tables
            .rows
            .keys()
            .filter(|user| !histories.contains_key(*user))
        {
            wrong.push(format!("replay: user {user} has a row and no history"));
        }
    }
}

/// One version more, by what it says has changed; it must give what the version says came of it.
fn fold(folded: &mut Value, live: &mut Option<bool>, entry: &Entry) -> Result<(), String> {
    let fits = match entry.kind.as_str() {
        "insert" => live.is_none(),
        "update" | "removal" => *live == Some(true),
        "restore" => *live == Some(false),
        _ => live.is_some(),
    };
    let (kind, before) = (&entry.kind, *live);
    match entry.kind.as_str() {
        "removal" => *live = Some(false),
        "insert" | "restore" => *live = Some(true),
        _ => {}
    }
    let Value::Object(changed) = &entry.changed else {
        return Err(format!("has changes that are no object: {}", entry.changed));
    };
    if kind == "insert" {
        folded.clone_from(&entry.after);
    }
    for (column, change) in changed {
        let old = std::mem::replace(&mut folded[column], change["new"].clone());
        // The old value of a repair is what was found in the row, and not what should have been there.
        if kind != "repair" && old != change["old"] {
            return Err(format!(
                "says that {column} was {}, but it was {old}",
                change["old"]
            ));
        }
        if change["old"] == change["new"] {
            return Err(format!("says that {column} changed, and it did not: {change}"));
        }
    }
    if *folded != entry.after {
        let was = std::mem::replace(folded, entry.after.clone());
        return Err(format!(
            "changes {}, which gives {was}, not {}",
            entry.changed, entry.after
        ));
    }
    if !fits {
        return Err(format!("is of kind {kind} where live is {before:?}"));
    }
    if kind == "update" && changed.is_empty()
        || matches!(kind.as_str(), "insert" | "removal") && !changed.is_empty()
    {
        return Err(format!("of kind {kind} has the changes {}", entry.changed));
    }
    Ok(())
}
