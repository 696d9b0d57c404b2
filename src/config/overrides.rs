//! Lays the environment over what the file says: `CALMIRROR__DATABASE__URL`, `CALMIRROR__CLIENTS__ACME__CRON`.

use super::{
    clients,
    names::{self, PREFIX},
    reading::Reading,
    tree::{Entry, Node, Origin, Raw, Table},
};

/// Puts every override into `root`, where unknown ones are then found as unknown keys of the file are.
pub(super) fn apply(root: &mut Table, reading: &mut Reading<'_>) {
    let environment = reading.environment;
    // Many hosts hand the database to a program so; a name of our own comes after it and wins.
    if let Some(url) = environment.get("DATABASE_URL") {
        set(root, "database", "url", "DATABASE_URL", url.to_str(), reading);
    }
    for (variable, path, value) in environment.with_prefix(PREFIX) {
        let path = path.to_ascii_lowercase();
        let value = value.to_str();
        match path.split_once("__") {
            Some(("clients", rest)) => match rest.rsplit_once("__") {
                Some((client, key)) => set_client(root, client, key, variable, value, reading),
                None => names_no_key(variable, reading),
            },
            Some((section, key)) if !section.is_empty() && !key.is_empty() => {
                set(root, section, key, variable, value, reading);
            }
            _ => names_no_key(variable, reading),
        }
    }
}

fn names_no_key(variable: &str, reading: &mut Reading<'_>) {
    reading.fault(
        &Origin::Variable(variable.to_owned()),
        "",
        "names no key",
        format!("write {PREFIX}SECTION__KEY, or {PREFIX}CLIENTS__NAME__KEY for a client's key"),
    );
}

fn set(
    root: &mut Table,
    section: &str,
    key: &str,
    variable: &str,
    value: Option<&str>,
    reading: &mut Reading<'_>,
) {
    let origin = Origin::Variable(variable.to_owned());
    if !names::SECTIONS.iter().any(|(name, _)| *name == section) {
        let sections = names::SECTIONS.map(|(name, _)| name);
        let remedy = match names::nearest(section, sections) {
            Some(near) => format!(
                "did you mean {PREFIX}{}__{}?",
                near.to_uppercase(),
                key.to_uppercase()
            ),
            None => format!("known are {}", sections.join(", ")),
        };
        reading.fault(&origin, section, "unknown section", remedy);
        return;
    }
    let entry = root.0.entry(section.to_owned()).or_insert_with(|| Entry {
        key_origin: origin.clone(),
        node: Node {
            raw: Raw::Table(Table::default()),
            origin: origin.clone(),
        },
    });
    if let Raw::Table(table) = &mut entry.node.raw {
        put(table, section, key, variable, value, reading);
    }
}

fn set_client(
    root: &mut Table,
    client: &str,
    key: &str,
    variable: &str,
    value: Option<&str>,
    reading: &mut Reading<'_>,
) {
    let origin = Origin::Variable(variable.to_owned());
    if !clients::OVERRIDABLE.contains(&key) && clients::KEYS.contains(&key) {
        let message = "cannot be set by the environment";
        reading.fault(
            &origin,
            format!("clients.{key}"),
            message,
            clients::instead_of_variable(key),
        );
        return;
    }
    let mut blocks: Vec<(String, &mut Table)> = client_tables(root).collect();
    let mut fitting: Vec<_> = blocks
        .iter_mut()
        .filter(|(name, _)| spelled(name) == client)
        .collect();
    match fitting.as_mut_slice() {
        [(name, table)] => put(table, &format!("clients.{name}"), key, variable, value, reading),
        [] => {
            let known: Vec<_> = blocks.iter().map(|(name, _)| spelled(name)).collect();
            let remedy = match names::nearest(client, known.iter().map(String::as_str)) {
                Some(near) => format!(
                    "did you mean {PREFIX}CLIENTS__{}__{}?",
                    near.to_uppercase(),
                    key.to_uppercase()
                ),
                None if known.is_empty() => "the file has no named [[clients]]".to_owned(),
                None => format!("known are {}", known.join(", ").to_uppercase()),
            };
            reading.fault(&origin, "clients", "no client has this name", remedy);
        }
        _ => reading.fault(
            &origin,
            "clients",
            "fits more than one client's name",
            "set the key in the file",
        ),
    }
}

fn put(
    table: &mut Table,
    path: &str,
    key: &str,
    variable: &str,
    value: Option<&str>,
    reading: &mut Reading<'_>,
) {
    match value {
        Some(text) => table.set_variable(key, variable, text),
        None => reading.fault(
            &Origin::Variable(variable.to_owned()),
            format!("{path}.{key}"),
            "is not UTF-8",
            "set it anew, or unset it",
        ),
    }
}

fn client_tables(root: &mut Table) -> impl Iterator<Item = (String, &mut Table)> {
    let blocks = match root.0.get_mut("clients").map(|entry| &mut entry.node.raw) {
        Some(Raw::Array(blocks)) => blocks.as_mut_slice(),
        _ => &mut [],
    };
    blocks.iter_mut().filter_map(|block| {
        let Raw::Table(table) = &mut block.raw else {
            return None;
        };
        let Some(Raw::Text(name)) = table.get("name").map(|node| &node.raw) else {
            return None;
        };
        Some((name.trim().to_owned(), table))
    })
}

/// A client's name as variables spell it, in lower case.
fn spelled(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect()
}
