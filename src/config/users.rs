//! Which users a client watches: `users`, `users_file`, `users_sql`, merged.

mod file;
mod query;
pub(super) mod table;

use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use super::{
    Listed, Watch,
    fault::Place,
    names,
    reading::{MAX_FAULTS_A_LIST, Reading},
    section::{Said, Section},
    tree::{Node, Origin, Raw},
};
use crate::model::{UserId, UserSet};
use file::{Found, Unusable};
use table::Columns;

/// The keys that say who is watched.
pub(super) const SAYING_WHO: [&str; 3] = ["users", "users_file", "users_sql"];

/// A file of users that has addresses.
struct Addressed {
    path: PathBuf,
    columns: Columns,
    said_at: Origin,
}

/// A client without users is a fault.
pub(super) fn read(section: &Section<'_>, reading: &mut Reading<'_>) -> Watch {
    let faults_before = reading.faults.len();
    let mut watch = Watch::default();
    let mut users = UserSet::default();
    if let Some(node) = section.node("users") {
        watch.all = matches!(&node.raw, Raw::Text(text) if text == "all");
        if !watch.all {
            from_list(node, &section.key("users"), &mut users, reading);
        }
    }
    let addressed = section
        .text("users_file", reading)
        .and_then(|said| from_file(&said, &section.key("users_file"), &mut users, reading));
    watch.sql = section
        .text("users_sql", reading)
        .and_then(|said| sql(&said, section, reading));
    watch.organization_id = organization_id(section, watch.all, reading);
    if reading.faults.len() > faults_before {
        return watch;
    }
    if users.is_empty() && !watch.all && watch.sql.is_none() {
        nobody(section, reading);
    }
    watch.listed = match addressed {
        None => Listed::of(users),
        Some(addressed) => with_addresses(users, &addressed, &section.key("users_file"), reading),
    };
    watch
}

fn nobody(section: &Section<'_>, reading: &mut Reading<'_>) {
    const FORM: &str =
        "write users = [1, 2] or users = \"all\", or users_file = \"users.txt\" with one id a line";
    let (name, origin, message, remedy) = match (section.node("users_file"), section.node("users")) {
        (Some(node), _) => (
            "users_file",
            &node.origin,
            "gives no user",
            "write one id a line into the file, or a CSV with a column user_id",
        ),
        (None, Some(node)) => ("users", &node.origin, "is an empty list", FORM),
        (None, None) => ("users", &section.origin, "is missing", FORM),
    };
    reading.fault(origin, section.key(name), message, remedy);
}

fn sql(said: &Said<String>, section: &Section<'_>, reading: &mut Reading<'_>) -> Option<String> {
    match query::one_statement(&said.value) {
        Ok(statement) => Some(statement.to_owned()),
        Err(flaw) => {
            let remedy = "as in users_sql = \"select user_id from accounts\"";
            reading.fault(&said.origin, section.key("users_sql"), flaw, remedy);
            None
        }
    }
}

fn organization_id(section: &Section<'_>, all: bool, reading: &mut Reading<'_>) -> Option<i64> {
    let node = section.node("organization_id")?;
    let remedy = "copy the organisation's id from Cal.com, or remove the line";
    let id = section.whole_if_said("organization_id", 1..=i64::MAX, remedy, reading)?;
    if !all {
        reading.warn(
            &node.origin,
            section.key("organization_id"),
            "has no effect without users = \"all\"",
            "write that, or remove the line",
        );
    }
    Some(id)
}

fn from_list(node: &Node, key: &str, users: &mut UserSet, reading: &mut Reading<'_>) {
    let values = match &node.raw {
        Raw::Array(values) => values,
        Raw::Text(text) => {
            let message = format!("must be a list of user ids or \"all\", not {text:?}");
            reading.fault(&node.origin, key, message, "as in users = [1, 2]");
            return;
        }
        other => {
            let message = format!("must be a list of user ids or \"all\", not {}", other.kind());
            reading.fault(&node.origin, key, message, "as in users = [1, 2]");
            return;
        }
    };
    let mut bad = Vec::new();
    for value in values {
        match &value.raw {
            Raw::Integer(Some(id)) if *id > 0 => users.insert(UserId(*id)),
            Raw::Integer(_) => bad.push((value, NOT_AN_ID.to_owned(), "")),
            Raw::Text(text) if text.trim().parse::<i64>().is_ok_and(|id| id > 0) => {
                bad.push((
                    value,
                    "a user id must be a number, not a string".to_owned(),
                    "remove the quotes",
                ));
            }
            other => bad.push((
                value,
                format!("a user id must be a whole number, not {}", other.kind()),
                "",
            )),
        }
    }
    for (value, message, remedy) in bad.iter().take(MAX_FAULTS_A_LIST) {
        reading.fault(&value.origin, key, message, *remedy);
    }
    if let Some((value, ..)) = bad.get(MAX_FAULTS_A_LIST) {
        reading.fault(&value.origin, key, and_more(bad.len()), "");
    }
}

/// Said at the first fault that is not shown.
fn and_more(faults: usize) -> String {
    format!("and {} more from here on", faults - MAX_FAULTS_A_LIST)
}

const NOT_AN_ID: &str = "a user id must be a whole number from 1 to 9223372036854775807";

fn from_file(
    said: &Said<String>,
    key: &str,
    users: &mut UserSet,
    reading: &mut Reading<'_>,
) -> Option<Addressed> {
    let path = reading.resolve(&said.value);
    let found = match open_and_read(&path, users) {
        Ok(found) => found,
        Err(unusable) => {
            let (message, remedy) = told(&unusable, &path);
            reading.fault(&said.origin, key, message, remedy);
            return None;
        }
    };
    for (line, message) in found.faults.iter().take(MAX_FAULTS_A_LIST) {
        reading.fault_at(line_of(&path, *line), key, message, "");
    }
    if let Some((line, _)) = found.faults.get(MAX_FAULTS_A_LIST) {
        reading.fault_at(line_of(&path, *line), key, and_more(found.fault_count), "");
    }
    let columns = found.columns?;
    Some(Addressed {
        path,
        columns,
        said_at: said.origin.clone(),
    })
}

fn open_and_read(path: &Path, users: &mut UserSet) -> Result<Found, Unusable> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let length = metadata.is_file().then_some(metadata.len());
    file::read(BufReader::new(file), length, users)
}

fn told(unusable: &Unusable, path: &Path) -> (String, &'static str) {
    let path = path.display();
    match unusable {
        Unusable::Unreadable(error) => unreadable(error, &path),
        Unusable::NotUtf8 => (format!("{path} is not UTF-8"), "save it as plain text"),
        Unusable::TooLarge => (
            format!("{path} has more than 4 GiB, which is too much for a file with addresses"),
            "leave out its column email",
        ),
        Unusable::NoRegularFile => (
            format!("{path} is no regular file, so that its addresses cannot be read when they are needed"),
            "write it to a file, or leave out its column email",
        ),
    }
}

fn unreadable(error: &io::Error, path: &std::path::Display<'_>) -> (String, &'static str) {
    let remedy = "a relative path is relative to the directory of the configuration file";
    (format!("{path} cannot be read: {error}"), remedy)
}

fn line_of(path: &Path, line: usize) -> Place {
    Place::Line {
        path: PathBuf::from(path),
        line,
        column: 1,
    }
}

fn with_addresses(users: UserSet, addressed: &Addressed, key: &str, reading: &mut Reading<'_>) -> Listed {
    let Addressed {
        path,
        columns,
        said_at,
    } = addressed;
    match Listed::with_addresses(users, path, *columns) {
        Ok((listed, differing)) => {
            if differing > 0 {
                let lines = if differing == 1 {
                    "line gives"
                } else {
                    "lines give"
                };
                let message = format!(
                    "{differing} {lines} a user another address than a line before in {}",
                    path.display()
                );
                reading.warn(said_at, key, message, "the first one counts");
            }
            listed
        }
        Err(error) => {
            let (message, remedy) = unreadable(&error, &path.display());
            reading.fault(said_at, key, message, remedy);
            Listed::default()
        }
    }
}
