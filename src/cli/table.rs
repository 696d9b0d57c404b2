//! Aligned tables for people.

use tabled::{
    builder::Builder,
    settings::{Padding, Style},
};

/// Columns under their headings, two spaces apart.
pub(super) fn aligned<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Builder::default();
    table.push_record(headings.map(str::to_owned));
    for row in rows {
        table.push_record(row);
    }
    let table = table
        .build()
        .with(Style::blank())
        .with(Padding::new(0, 1, 0, 0))
        .to_string();
    table.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Breaks a line between words, so that it fits a terminal; what follows its first part is indented by `indent`.
pub(super) fn wrapped(indent: &str, line: &str) -> String {
    const COLUMNS: usize = 96;
    let text = line.trim_start();
    let mut wrapped = line[..line.len() - text.len()].to_owned();
    let mut column = wrapped.chars().count();
    let mut at_start = true;
    for word in text.split(' ') {
        let width = word.chars().count();
        if !at_start && column + 1 + width > COLUMNS {
            wrapped.push('\n');
            wrapped.push_str(indent);
            column = indent.chars().count();
        } else if !at_start {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(word);
        column += width;
        at_start = false;
    }
    wrapped
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
        );
        insta::assert_snapshot!(table, @r"
        client  users
        acme    10
        b
        ");
    }

    #[test]
    fn long_lines_are_broken_between_words() {
        let line = format!("acme: {}", "1234567 ".repeat(30).trim_end());
        let broken = wrapped("    ", &line);
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
        assert_eq!(wrapped("    ", "  short"), "  short");
        let word = "x".repeat(200);
        assert_eq!(wrapped("", &word), word);
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
