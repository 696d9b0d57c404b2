//! How wide a terminal is, and lines that fit it.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What follows the first part of a broken line is indented by so much more than that.
const HANGING: usize = 4;

/// Stands for a blank at which no line is to be broken.
pub(super) const JOINED: char = '\u{e000}';

/// Of standard output: columns and lines; none where it is no terminal, or one that does not say.
pub(super) fn size() -> Option<(usize, usize)> {
    let (columns, lines) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some((usize::from(columns.0), usize::from(lines.0)))
}

/// Breaks each line that is wider than a terminal: between words where it can, within them where it must.
pub(super) fn fit(text: &str, columns: usize) -> String {
    let fitted: Vec<String> = text
        .split('\n')
        .map(|line| {
            let indent = line.len() - line.trim_start_matches(' ').len();
            broken(line, columns, (indent + HANGING).min(columns / 2), Words::Cut)
        })
        .collect();
    fitted.join("\n")
}

/// What becomes of a word that is wider than a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    Cut,
    Whole,
}

/// One line as several, all but the first indented.
pub(super) fn broken(line: &str, columns: usize, indent: usize, words: Words) -> String {
    if width(line) <= columns {
        return line.to_owned();
    }
    let text = line.trim_start_matches(' ');
    // What stands far to the right in a wide terminal still needs room in a narrow one.
    let mut column = (line.len() - text.len()).min(columns / 2);
    let mut out = " ".repeat(column);
    let mut start = column;
    let new_line = |out: &mut String| {
        out.push('\n');
        out.push_str(&" ".repeat(indent));
        indent
    };
    for (position, word) in text.split(' ').enumerate() {
        let wide = width(word);
        if position > 0 {
            let cut_is_better = words == Words::Cut && indent + wide > columns && column < columns / 2;
            if column + 1 + wide <= columns || cut_is_better {
                out.push(' ');
                column += 1;
            } else if word.is_empty() {
                // The second of two blanks, at the end of a line.
                continue;
            } else if column > start {
                column = new_line(&mut out);
                start = column;
            }
        }
        if column + wide <= columns || words == Words::Whole {
            out.push_str(word);
            column += wide;
            continue;
        }
        for piece in pieces(word) {
            let wide = piece_width(piece);
            if column + wide > columns && column > start {
                column = new_line(&mut out);
                start = column;
            }
            out.push_str(piece);
            column += wide;
        }
    }
    out
}

/// A command to be copied: broken so that a shell takes it as one line. A word that is wider than the terminal stays whole.
pub(super) fn command(indent: usize, line: &str, columns: usize) -> String {
    // A shell would take a break within quotes for a part of the word.
    let mut quote = None;
    let joined = line.chars().map(|c| match (quote, c) {
        (Some(_), ' ') => JOINED,
        (None, '\'' | '"') => {
            quote = Some(c);
            c
        }
        (Some(open), c) if c == open => {
            quote = None;
            c
        }
        (_, c) => c,
    });
    let line: String = " ".repeat(indent).chars().chain(joined).collect();
    broken(&line, columns.saturating_sub(2), indent + 2, Words::Whole)
        .replace('\n', " \\\n")
        .replace(JOINED, " ")
}

/// Columns that a text takes, whichever way a terminal counts emoji; styles take none.
pub(super) fn width(text: &str) -> usize {
    pieces(text).map(piece_width).sum()
}

fn piece_width(piece: &str) -> usize {
    if piece.starts_with('\u{1b}') {
        return 0;
    }
    let by_character = piece.chars().filter_map(UnicodeWidthChar::width).sum();
    piece.width().max(by_character)
}

/// What must not be torn: a style, or a character with all that combines with it.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let end = if first == '\u{1b}' {
            style(rest).unwrap_or(1)
        } else {
            let mut joins = false;
            rest.char_indices()
                .skip(1)
                .find(|(_, c)| {
                    let combines = c.width() == Some(0) && *c != '\u{1b}';
                    let is_torn = !(combines || joins || is_skin(*c));
                    joins = *c == '\u{200d}';
                    is_torn
                })
                .map_or(rest.len(), |(end, _)| end)
        };
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// A modifier of the emoji before it.
const fn is_skin(c: char) -> bool {
    matches!(c, '\u{1f3fb}'..='\u{1f3ff}')
}

/// The length of the style that a text begins with: `ESC [ 1 ; 31 m`.
pub(super) fn style(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    parameters[end..].starts_with('m').then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_break_between_words_and_within_them_where_they_must() {
        insta::assert_snapshot!(fit("    name: \"Ada\" -> \"Augusta Ada King, Countess of Lovelace\"", 32), @r#"
            name: "Ada" -> "Augusta Ada
                King, Countess of
                Lovelace"
        "#);
        insta::assert_snapshot!(fit("    avatar_url: \"https://cal.example/avatars/0123456789abcdef.png\"", 32), @r#"
            avatar_url: "https://cal.exa
                mple/avatars/0123456789a
                bcdef.png"
        "#);
        assert_eq!(fit("a  b\n\nc", 10), "a  b\n\nc");
    }

    #[test]
    fn wide_characters_count_as_wide_and_combining_ones_stay_with_theirs() {
        assert_eq!(width("王小明"), 6);
        assert_eq!(width("e\u{301}"), 1);
        assert_eq!(width("\u{1b}[1;32mab\u{1b}[0m"), 2);
        assert_eq!(fit("王小明王小明", 5), "王小\n  明\n  王\n  小\n  明");
        let family = "👩\u{200d}👩\u{200d}👧";
        assert_eq!(
            fit(&format!("{family}{family}"), 8),
            format!("{family}\n    {family}")
        );
        assert_eq!(fit("abcd   \u{301}", 4), "abcd\n  \u{301}");
        assert_eq!(fit("abce\u{301}e\u{301}", 4), "abce\u{301}\n  e\u{301}");
        assert_eq!(fit("              \u{301}é", 12), "      \u{301}é");
    }

    #[test]
    fn a_command_is_one_to_the_shell_and_keeps_its_words() {
        let line = "psql -h /var/lib/calmirror/postgres -p 5432 -U mirror cal";
        assert_eq!(command(4, line, 200), format!("    {line}"));
        let quoted = "psql -c 'select * from managed_users_freshness' cal";
        assert_eq!(
            command(2, quoted, 20),
            "  psql -c \\\n    'select * from managed_users_freshness' \\\n    cal"
        );
        let narrow = command(4, line, 40);
        assert!(narrow.lines().count() > 1, "{narrow}");
        assert_eq!(
            narrow.replace("\\\n", "").split_whitespace().collect::<Vec<_>>(),
            line.split(' ').collect::<Vec<_>>()
        );
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal_and_nothing_is_lost(
            text in "( {0,6}([a-z]{0,30}|[王👩é\u{200d}\u{fe0f}\u{301}]{0,20}| )){0,12}",
            columns in 12_usize..90,
        ) {
            let fitted = fit(&text, columns);
            for line in fitted.split('\n') {
                // One character with all that combines with it may be wider than any terminal.
                prop_assert!(width(line) <= columns || pieces(line.trim_start()).count() <= 1, "{line:?}");
            }
            let bare = |text: &str| text.chars().filter(|c| !matches!(c, ' ' | '\n')).collect::<String>();
            prop_assert_eq!(bare(&fitted), bare(&text));
        }
    }
}
