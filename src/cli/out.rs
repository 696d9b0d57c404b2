//! Standard output, as commands write to it.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use anyhow::Context as _;
use serde::Serialize;

use super::{Output, terminal};
use crate::model::{escape_hidden, is_hidden};

/// What an error of standard output begins with.
const CANNOT: &str = "standard output cannot be written";

/// Standard output, with colours only where a terminal shows them.
///
/// What goes through [`Out::json`] and [`Out::line`] holds nothing else that a terminal would obey, whatever is in the
/// data. What goes to `writer` itself is ours alone.
pub struct Out {
    pub format: Output,
    pub writer: anstream::AutoStream<io::Stdout>,
}

impl Out {
    pub fn new(format: Output) -> Self {
        Self {
            format,
            writer: anstream::stdout(),
        }
    }

    /// Columns of the terminal; none where nobody looks at one.
    pub(super) fn columns(&self) -> Option<usize> {
        terminal::size().map(|(columns, _)| columns)
    }

    /// Prints one line of JSON.
    ///
    /// # Errors
    ///
    /// When standard output is closed.
    pub fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_string(value)?;
        writeln!(self.writer, "{}", escape_hidden(&line)).context(CANNOT)
    }

    /// Prints a line for people, or several, broken where a terminal is narrower.
    ///
    /// # Errors
    ///
    /// When standard output is closed.
    pub fn line(&mut self, text: impl std::fmt::Display) -> anyhow::Result<()> {
        let text = text.to_string();
        let text = harmless(&text);
        match self.columns() {
            Some(columns) => writeln!(self.writer, "{}", terminal::fit(&text, columns)),
            None => writeln!(self.writer, "{text}"),
        }
        .context(CANNOT)
    }

    /// Prints a command to be copied.
    ///
    /// # Errors
    ///
    /// When standard output is closed.
    pub(super) fn command(&mut self, indent: usize, line: &str) -> anyhow::Result<()> {
        let columns = self.columns().unwrap_or(usize::MAX);
        let line = escape_hidden(line);
        writeln!(self.writer, "{}", terminal::command(indent, &line, columns)).context(CANNOT)
    }

    /// Prints what is as it is to be: a script, a page, a file.
    ///
    /// # Errors
    ///
    /// When standard output is closed.
    pub(super) fn whole(&mut self, text: &[u8]) -> anyhow::Result<()> {
        self.writer.write_all(text).context(CANNOT)
    }
}

/// The text with all escaped that a terminal obeys, but for line breaks and colours.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| is_hidden(c) && c != '\n') {
        return Cow::Borrowed(text);
    }
    let mut harmless = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (piece, after) = rest.split_at(terminal::style(rest).unwrap_or(c.len_utf8()));
        if c == '\n' || piece.len() > c.len_utf8() {
            harmless.push_str(piece);
        } else {
            harmless.push_str(&escape_hidden(piece));
        }
        rest = after;
    }
    Cow::Owned(harmless)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_all_that_a_terminal_is_told() {
        let text = "\u{1b}[1;32m+ user 1\u{1b}[0m\n \u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}\r\t";
        assert_eq!(
            harmless(text),
            "\u{1b}[1;32m+ user 1\u{1b}[0m\n \\u001b[2J\\u001b]0;title\\u0007\\u009b31m\\u202e\\u000d\\u0009"
        );
    }
}
