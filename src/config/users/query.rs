//! `users_sql`: that it is one statement, as far as that can be seen without a parser.

/// The statement, without a semicolon behind it.
///
/// # Errors
/// What is wrong with it: it is empty, it holds another statement, or what it opens does not end.
pub(super) fn one_statement(text: &str) -> Result<&str, &'static str> {
    let mut end = None;
    let mut is_empty = true;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let piece = piece(rest, &text[..at])?;
        match piece.kind {
            Kind::Blank => {}
            Kind::Semicolon if end.is_none() => end = Some(at),
            Kind::Semicolon => {}
            Kind::Other if end.is_some() => return Err("must be one statement"),
            Kind::Other => is_empty = false,
        }
        at += piece.length;
    }
    if is_empty {
        return Err("is empty");
    }
    Ok(text[..end.unwrap_or(text.len())].trim())
}

struct Piece {
    kind: Kind,
    /// In bytes, at least one character.
    length: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// White space and comments.
    Blank,
    Semicolon,
    Other,
}

/// What `rest` begins with; `before` is what stands in front of it.
fn piece(rest: &str, before: &str) -> Result<Piece, &'static str> {
    let first = rest.chars().next().unwrap_or_default();
    let (kind, length) = match first {
        ';' => (Kind::Semicolon, 1),
        '-' if rest.starts_with("--") => (Kind::Blank, rest.find('\n').unwrap_or(rest.len())),
        '/' if rest.starts_with("/*") => (Kind::Blank, comment(rest)?),
        '\'' => (Kind::Other, quoted(rest, '\'', has_escapes(before))?),
        '"' => (Kind::Other, quoted(rest, '"', false)?),
        '$' if !before.ends_with(is_of_word) => (Kind::Other, dollar_quoted(rest)?),
        '\0' => return Err("holds a NUL character"),
        c if c.is_whitespace() => (Kind::Blank, c.len_utf8()),
        c => (Kind::Other, c.len_utf8()),
    };
    Ok(Piece { kind, length })
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii()
}

/// Whether a quote behind this begins a text in which `\'` is no end: `E'…'`.
fn has_escapes(before: &str) -> bool {
    before
        .strip_suffix(['e', 'E'])
        .is_some_and(|before| !before.ends_with(is_of_word))
}

/// Two quotes in a row mean one.
fn quoted(rest: &str, quote: char, has_escapes: bool) -> Result<usize, &'static str> {
    let mut rest_of_it = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = rest_of_it.next() {
        if has_escapes && c == '\\' {
            rest_of_it.next();
        } else if c == quote && rest_of_it.next_if(|(_, next)| *next == quote).is_none() {
            return Ok(at + 1);
        }
    }
    Err("has a quote that is not closed")
}

/// `$$…$$` or `$tag$…$tag$`; or a dollar that begins neither.
fn dollar_quoted(rest: &str) -> Result<usize, &'static str> {
    let tag_end = rest[1..].find(|c| !is_of_word(c) || c == '$');
    let Some(end) = tag_end.filter(|end| rest[1 + end..].starts_with('$')) else {
        return Ok(1);
    };
    let tag = &rest[..end + 2];
    if tag[1..].starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(1);
    }
    match rest[tag.len()..].find(tag) {
        Some(length) => Ok(length + 2 * tag.len()),
        None => Err("has a quote that is not closed"),
    }
}

/// Comments of this kind nest.
fn comment(rest: &str) -> Result<usize, &'static str> {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        let bytes = &rest.as_bytes()[at..];
        if bytes.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Ok(at);
            }
        } else {
            at += 1;
        }
    }
    Err("has a comment that is not closed")
}

#[cfg(test)]
mod tests {
    use super::one_statement;

    #[test]
    fn one_statement_is_taken_without_its_semicolon() {
        for (text, expected) in [
            ("select 1", "select 1"),
            (" select 1 ; \n", "select 1"),
            ("select 1;; -- done; really", "select 1"),
            ("select 1; /* a /* b; */ c */", "select 1"),
            ("-- whom;\nselect ';' as \";\"", "-- whom;\nselect ';' as \";\""),
            ("select 'it''s; fine';", "select 'it''s; fine'"),
            ("select E'\\'; x'", "select E'\\'; x'"),
            ("select E'a''\\'; x'", "select E'a''\\'; x'"),
            ("select 'ends in \\';", "select 'ends in \\'"),
            ("select name'\\'; ", "select name'\\'"),
            ("select $$;$$, $a$ $$;$b$ $a$;", "select $$;$$, $a$ $$;$b$ $a$"),
            ("select $1, a$b, $ü$;$ü$;", "select $1, a$b, $ü$;$ü$"),
        ] {
            assert_eq!(one_statement(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for (text, expected) in [
            (";", "is empty"),
            ("-- select 1", "is empty"),
            ("select 1; select 2", "must be one statement"),
            ("select 1; drop table a;", "must be one statement"),
            ("select 'a' ; 'b'", "must be one statement"),
            ("select $1; select $1", "must be one statement"),
            ("select 'a\\'; select 'b'", "must be one statement"),
            ("select a$b$; select $b$", "must be one statement"),
            ("select E'\\'", "has a quote that is not closed"),
            ("select \"a", "has a quote that is not closed"),
            ("select $a$ $b$", "has a quote that is not closed"),
            ("select 1 /* /* */", "has a comment that is not closed"),
            ("select '\0", "has a quote that is not closed"),
            ("select \0", "holds a NUL character"),
        ] {
            assert_eq!(one_statement(text), Err(expected), "{text}");
        }
    }
}
