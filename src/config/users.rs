//! Which users a client watches: `users` and `users_file`, merged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    fault::Place,
    names::{self, NOT_IN_THIS_VERSION},
    reading::{MAX_FAULTS_A_LIST, Reading},
    section::Section,
    tree::{Node, Origin, Raw},
};
use crate::model::UserId;

const COLUMN: &str = "user_id";

/// Ascending, each once. A client without users is a fault.
pub(super) fn read(section: &Section<'_>, reading: &mut Reading<'_>) -> Vec<UserId> {
    let faults_before = reading.faults.len();
    let mut users = Vec::new();
    if let Some(node) = section.node("users") {
        from_list(node, &section.key("users"), &mut users, reading);
    }
    if let Some(said) = section.text("users_file", reading) {
        let path = reading.resolve(&said.value);
        from_file(
            &path,
            &said.origin,
            &section.key("users_file"),
            &mut users,
            reading,
        );
    }
    users.sort_unstable();
    users.dedup();
    if users.is_empty() && reading.faults.len() == faults_before {
        let (origin, message) = match (section.node("users_file"), section.node("users")) {
            (Some(node), _) => (&node.origin, "gives no user"),
            (None, Some(node)) => (&node.origin, "is an empty list"),
            (None, None) => (&section.origin, "is missing"),
        };
        let key = section.key(if section.node("users_file").is_some() {
            "users_file"
        } else {
            "users"
        });
        let remedy = "write users = [1, 2], or users_file = \"users.txt\" with one id a line";
        reading.fault(origin, key, message, remedy);
    }
    users
}

fn from_list(node: &Node, key: &str, users: &mut Vec<UserId>, reading: &mut Reading<'_>) {
    let values = match &node.raw {
        Raw::Array(values) => values,
        Raw::Text(text) if text == "all" => {
            let message = format!("\"all\" is {NOT_IN_THIS_VERSION}");
            reading.fault(
                &node.origin,
                key,
                message,
                "write the ids, or name a file of them in users_file",
            );
            return;
        }
        other => {
            let message = format!("must be a list of user ids, not {}", other.kind());
            reading.fault(&node.origin, key, message, "as in users = [1, 2]");
            return;
        }
    };
    let mut bad = Vec::new();
    for value in values {
        match &value.raw {
            Raw::Integer(Some(id)) if *id > 0 => users.push(UserId(*id)),
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

/// What is wrong with one line, counted from 1.
type LineFault = (usize, String);

fn from_file(path: &Path, origin: &Origin, key: &str, users: &mut Vec<UserId>, reading: &mut Reading<'_>) {
    let text = match fs::read(path).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => {
            let message = format!("{} is not UTF-8", path.display());
            reading.fault(origin, key, message, "save it as plain text");
            return;
        }
        Err(error) => {
            let message = format!("{} cannot be read: {error}", path.display());
            let remedy = "a relative path is relative to the directory of the configuration file";
            reading.fault(origin, key, message, remedy);
            return;
        }
    };
    let faults = parse(&text, users);
    for (line, message) in faults.iter().take(MAX_FAULTS_A_LIST) {
        reading.fault_at(line_of(path, *line), key, message, "");
    }
    if let Some((line, _)) = faults.get(MAX_FAULTS_A_LIST) {
        reading.fault_at(line_of(path, *line), key, and_more(faults.len()), "");
    }
}

fn line_of(path: &Path, line: usize) -> Place {
    Place::Line {
        path: PathBuf::from(path),
        line,
        column: 1,
    }
}

fn parse(text: &str, users: &mut Vec<UserId>) -> Vec<LineFault> {
    // Spreadsheets put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'));
    match first {
        Some(line) if line.contains([',', ';', '\t', '"']) || line == COLUMN => parse_csv(text, users),
        _ => parse_lines(text, users),
    }
}

fn parse_lines(text: &str, users: &mut Vec<UserId>) -> Vec<LineFault> {
    let mut faults = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let id = line.split('#').next().unwrap_or_default().trim();
        if id.is_empty() {
            continue;
        }
        match id_of(id) {
            Ok(id) => users.push(id),
            Err(message) => faults.push((index + 1, message)),
        }
    }
    faults
}

fn parse_csv(text: &str, users: &mut Vec<UserId>) -> Vec<LineFault> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let lines: Vec<&str> = text.lines().collect();
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return vec![(1, format!("is no CSV: {error}"))],
    };
    let line = line_number(header.position(), &lines);
    let Some(column) = header.iter().position(|name| name == COLUMN) else {
        let near = names::nearest(COLUMN, header.iter());
        let message = match near {
            Some(near) => format!("must have a column {COLUMN}; is it the one called {near:?}?"),
            None => format!("must have a header with a column {COLUMN}, and commas between the columns"),
        };
        return vec![(line, message)];
    };
    let mut faults = Vec::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = line_number(error.position(), &lines);
                faults.push((line, format!("is no CSV: {error}")));
                continue;
            }
        };
        let line = line_number(record.position(), &lines);
        match record.get(column).filter(|id| !id.is_empty()) {
            Some(id) => match id_of(id) {
                Ok(id) => users.push(id),
                Err(message) => faults.push((line, message)),
            },
            None => faults.push((line, format!("has no {COLUMN}"))),
        }
    }
    faults
}

/// The line of a record, whose position is that of the blank lines and comments in front of it.
fn line_number(position: Option<&csv::Position>, lines: &[&str]) -> usize {
    let start = position.map_or(1, |position| {
        usize::try_from(position.line()).unwrap_or(usize::MAX)
    });
    let skipped = lines
        .iter()
        .skip(start.saturating_sub(1))
        .take_while(|line| line.trim().is_empty() || line.starts_with('#'))
        .count();
    start.saturating_add(skipped)
}

fn id_of(text: &str) -> Result<UserId, String> {
    // Longer ones are no ids, and their values may be anything.
    const MAX_SHOWN: usize = 24;
    match text.parse::<i64>() {
        Ok(id) if id > 0 => Ok(UserId(id)),
        _ if text.chars().count() <= MAX_SHOWN => Err(format!("{NOT_AN_ID}, not {text:?}")),
        _ => Err(NOT_AN_ID.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Result<Vec<i64>, Vec<LineFault>> {
        let mut users = Vec::new();
        let faults = parse(text, &mut users);
        if faults.is_empty() {
            Ok(users.into_iter().map(|user| user.0).collect())
        } else {
            Err(faults)
        }
    }

    #[test]
    fn one_id_a_line_or_a_column_of_a_table() {
        assert_eq!(ids("3\n\n# staff\n1 # ada\r\n 2\n"), Ok(vec![3, 1, 2]));
        assert_eq!(ids("\u{feff}7\n"), Ok(vec![7]));
        assert_eq!(ids("user_id\n5\n6\n"), Ok(vec![5, 6]));
        assert_eq!(
            ids("\u{feff}name,user_id\r\n\"Lovelace, Ada\",\"5\"\r\n# nobody\r\nBob, 6 \r\n"),
            Ok(vec![5, 6])
        );
        assert_eq!(ids(""), Ok(vec![]));
    }

    #[test]
    fn bad_lines_are_named() {
        let lines = |text: &str| {
            ids(text)
                .expect_err("the text is at fault")
                .into_iter()
                .map(|(line, _)| line)
                .collect::<Vec<_>>()
        };
        assert_eq!(lines("1\nx\n-2\n0\n99999999999999999999\n"), [2, 3, 4, 5]);
        assert_eq!(
            lines("name,user_id\nada,\n\"bob\nby\",2\nshort\ncy,x\n"),
            [2, 5, 6]
        );
        assert_eq!(lines("# made by hand\nname,userid\nada,1\n"), [2]);
        assert_eq!(lines("user_id,name\n# a\n\nx,ada\n"), [4]);
        assert_eq!(lines("id;name\n1;ada\n"), [1]);
    }
}
