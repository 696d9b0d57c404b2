//! Aligned tables for people.

use tabled::{
    builder::Builder,
    settings::{Padding, Style},
};

use super::terminal::{self, JOINED, Words, broken};

/// Columns under their headings, two spaces apart; where the terminal is narrower than that, a paragraph a row.
pub(super) fn aligned<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    columns: Option<usize>,
) -> String {
    let lines = lines(headings, rows, columns);
    let lines: Vec<String> = lines.heading.into_iter().chain(lines.rows).collect();
    lines.join("\n")
}

/// A table whose rows may have something said below them.
pub(super) struct Lines {
    /// None where each row names what it has.
    pub(super) heading: Option<String>,
    pub(super) rows: Vec<String>,
}

/// As [`aligned`], row by row.
pub(super) fn lines<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    columns: Option<usize>,
) -> Lines {
    let rows: Vec<[String; N]> = rows.into_iter().collect();
    let mut table = Builder::default();
    table.push_record(headings.map(str::to_owned));
    for row in &rows {
        table.push_record(row.clone());
    }
    let table = table
        .build()
        .with(Style::blank())
        .with(Padding::new(0, 1, 0, 0))
        .to_string();
    let mut lines = table.lines().map(|line| line.trim_end().to_owned());
    let heading = lines.next();
    let aligned: Vec<String> = lines.collect();
    match columns {
        Some(columns)
            if heading
                .iter()
                .chain(&aligned)
                .any(|line| terminal::width(line) > columns) =>
        {
            Lines {
                heading: None,
                rows: rows
                    .iter()
                    .map(|row| paragraph(&headings, row, columns))
                    .collect(),
            }
        }
        _ => Lines {
            heading,
            rows: aligned,
        },
    }
}

/// What a row has, each with its heading before it. The first column stands above the others.
fn paragraph(headings: &[&str], row: &[String], columns: usize) -> String {
    // A heading stays with what it is of.
    let mut parts = headings.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
    let first = parts.next().map_or("", |(_, cell)| cell);
    let parts: Vec<String> = parts
        .map(|(heading, cell)| {
            format!("{heading} {cell}")
                .trim_start()
                .replace(' ', &JOINED.to_string())
        })
        .collect();
    let rest = wrapped("    ", &format!("    {}", parts.join(", ")), Some(columns));
    format!("{first}\n{}", rest.replace(JOINED, " "))
}

/// Breaks a line between words, so that it fits a terminal of these columns, or one of usual width where nobody looks at
/// one; what follows its first part is indented by `indent`.
pub(super) fn wrapped(indent: &str, line: &str, columns: Option<usize>) -> String {
    const USUAL: usize = 96;
    match columns {
        Some(columns) => broken(
            line,
            columns.min(USUAL),
            indent.len().min(columns / 2),
            Words::Cut,
        ),
        None => broken(line, USUAL, indent.len(), Words::Whole),
    }
}

/// So many of what has a regular plural.
pub(super) fn counted(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// A duration as people say it: the two largest units.
pub(super) fn ago(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a lag in whole seconds"
    )]
    let seconds = seconds.max(0.0) as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_without_trailing_blanks() {
        let table = aligned(
            ["client", "users"],
            [
                ["acme".to_owned(), "10".to_owned()],
                ["b".to_owned(), String::new()],
            ],
            None,
        );
        insta::assert_snapshot!(table, @r"
        client  users
        acme    10
        b
        ");
    }

    #[test]
    fn a_table_that_is_too_wide_becomes_a_paragraph_a_row() {
        let rows = || {
            [
                ["acme", "no_change", "12 min 4 s", "100000"].map(str::to_owned),
                ["globex", "held", "", "7"].map(str::to_owned),
            ]
        };
        let headings = ["client", "last pass", "lag", "live"];
        assert_eq!(
            aligned(headings, rows(), Some(40)),
            aligned(headings, rows(), None)
        );
        insta::assert_snapshot!(aligned(headings, rows(), Some(34)), @r"
        acme
            last pass no_change,
            lag 12 min 4 s, live 100000
        globex
            last pass held, live 7
        ");
    }

    #[test]
    fn wide_characters_are_aligned_by_what_they_take() {
        let table = aligned(["name", "users"], [["王小明".to_owned(), "1".to_owned()]], None);
        insta::assert_snapshot!(table, @r"
        name    users
        王小明  1
        ");
    }

    #[test]
    fn long_lines_are_broken_between_words() {
        let line = format!("acme: {}", "1234567 ".repeat(30).trim_end());
        let broken = wrapped("    ", &line, None);
        assert!(broken.lines().count() > 2, "{broken}");
        assert!(broken.lines().all(|line| line.chars().count() <= 96), "{broken}");
        assert!(
            broken.lines().skip(1).all(|line| line.starts_with("    1")),
            "{broken}"
        );
        assert_eq!(
            broken.split_whitespace().collect::<Vec<_>>(),
            line.split_whitespace().collect::<Vec<_>>()
        );
        assert_eq!(wrapped("    ", "  short", None), "  short");
        let word = "x".repeat(200);
        assert_eq!(wrapped("", &word, None), word);
    }

    #[test]
    fn lags_read_well() {
        assert_eq!(ago(12.9), "12 s");
        assert_eq!(ago(61.0), "1 min 1 s");
        assert_eq!(ago(3_660.0), "1 h 1 min");
        assert_eq!(ago(90_000.0), "1 d 1 h");
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(
            [0, 1, 2].map(|n| counted(n, "row")),
            ["0 rows", "1 row", "2 rows"]
        );
    }
}
