//! A file of users, read line by line: one id a line, or a CSV.

use std::io::{self, BufRead, Cursor, Read};

use super::{
    MAX_FAULTS_A_LIST, NOT_AN_ID, names,
    table::{Columns, Table, flaw_of_address},
};
use crate::model::{UserId, UserSet};

const ID: &str = "user_id";
const EMAIL: &str = "email";
/// Of a line of a file that is no CSV, and of the line by which that is told.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// An address's place is kept in 32 bits.
const MAX_BYTES_WITH_ADDRESSES: u64 = u32::MAX as u64;

/// What is wrong with one line, counted from 1.
pub(super) type LineFault = (usize, String);

/// What was read of a file.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The first ones, as many as are shown and one more.
    pub(super) faults: Vec<LineFault>,
    /// All of them.
    pub(super) fault_count: usize,
    /// Where the file has addresses.
    pub(super) columns: Option<Columns>,
}

/// Why nothing of a file can be used.
#[derive(Debug)]
pub(super) enum Unusable {
    Unreadable(io::Error),
    NotUtf8,
    /// It has addresses, which are to be read again later.
    TooLarge,
    /// It has addresses, and cannot be read again.
    NoRegularFile,
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

impl Found {
    fn fault(&mut self, line: usize, message: impl Into<String>) {
        if self.faults.len() <= MAX_FAULTS_A_LIST {
            self.faults.push((line, message.into()));
        }
        self.fault_count += 1;
    }
}

/// Reads a file's ids. `length` is that of a regular file.
pub(super) fn read(
    mut file: impl BufRead,
    length: Option<u64>,
    users: &mut UserSet,
) -> Result<Found, Unusable> {
    // Spreadsheets put a byte order mark in front.
    const MARK: &[u8] = b"\xef\xbb\xbf";
    let mut offset = 0;
    if file.fill_buf()?.starts_with(MARK) {
        file.consume(MARK.len());
        offset = MARK.len() as u64;
    }
    let mut line = Vec::new();
    for number in 1.. {
        let bytes = read_line(&mut file, &mut line)?;
        if bytes == 0 {
            break;
        }
        let text = line.trim_ascii();
        if text.is_empty() || text.starts_with(b"#") {
            offset += bytes;
        } else if text == ID.as_bytes() || text.iter().any(|byte| b",;\t\"".contains(byte)) {
            let table = Table::new(Cursor::new(line).chain(file), offset, number);
            return read_table(table, length, users);
        } else {
            return read_lines(file, line, number, users);
        }
    }
    Ok(Found::default())
}

/// Reads a line, but no more of it than anybody needs. Returns the bytes that the whole of it has: 0 at the end.
fn read_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let mut bytes = file.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', line)? as u64;
    if bytes == MAX_LINE_BYTES && !line.ends_with(b"\n") {
        bytes += file.skip_until(b'\n')? as u64;
    }
    Ok(bytes)
}

fn read_lines(
    mut file: impl BufRead,
    mut line: Vec<u8>,
    first: usize,
    users: &mut UserSet,
) -> Result<Found, Unusable> {
    let mut found = Found::default();
    for number in first.. {
        let id = line
            .split(|byte| *byte == b'#')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        let id = str::from_utf8(id).map_err(|_| Unusable::NotUtf8)?.trim();
        if !id.is_empty() {
            match id_of(id) {
                Ok(id) => users.insert(id),
                Err(message) => found.fault(number, message),
            }
        }
        if read_line(&mut file, &mut line)? == 0 {
            break;
        }
    }
    Ok(found)
}

fn read_table(
    mut table: Table<impl BufRead>,
    length: Option<u64>,
    users: &mut UserSet,
) -> Result<Found, Unusable> {
    let mut found = Found::default();
    let header = match table.next() {
        Ok(Some(header)) => header,
        Ok(None) => return Ok(found),
        Err(error) => return no_csv(found, table.line(), error),
    };
    if !header.is_utf8() {
        return Err(Unusable::NotUtf8);
    }
    let Some(id) = header.fields().position(|name| name == ID) else {
        let message = match names::nearest(ID, header.fields()) {
            Some(near) => format!("must have a column {ID}; is it the one called {near:?}?"),
            None => format!("must have a header with a column {ID}, and commas between the columns"),
        };
        found.fault(header.line, message);
        return Ok(found);
    };
    let email = header.fields().position(|name| name == EMAIL);
    let columns = Columns {
        header: header.offset,
        id,
        email,
    };
    if email.is_some() {
        match length {
            None => return Err(Unusable::NoRegularFile),
            Some(length) if length > MAX_BYTES_WITH_ADDRESSES => return Err(Unusable::TooLarge),
            Some(_) => found.columns = Some(columns),
        }
    }
    loop {
        let row = match table.next() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(found),
            Err(error) => return no_csv(found, table.line(), error),
        };
        if !row.is_utf8() {
            return Err(Unusable::NotUtf8);
        }
        match row.field(columns.id) {
            "" => found.fault(row.line, format!("has no {ID}")),
            id => match id_of(id) {
                Ok(id) => users.insert(id),
                Err(message) => found.fault(row.line, message),
            },
        }
        let address = columns.email.map_or("", |column| row.field(column));
        if !address.is_empty()
            && let Some(flaw) = flaw_of_address(address)
        {
            found.fault(row.line, flaw);
        }
    }
}

/// What was read up to there is of no use, but its faults are.
fn no_csv(mut found: Found, line: usize, error: io::Error) -> Result<Found, Unusable> {
    if error.kind() != io::ErrorKind::InvalidData {
        return Err(Unusable::Unreadable(error));
    }
    found.fault(line, format!("is no CSV: {error}"));
    Ok(found)
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
        let mut users = UserSet::default();
        let found = read(text.as_bytes(), Some(text.len() as u64), &mut users).expect("the text can be used");
        if found.faults.is_empty() {
            Ok(users.iter().map(|user| user.0).collect())
        } else {
            Err(found.faults)
        }
    }

    fn lines(text: &str) -> Vec<usize> {
        let faults = ids(text).expect_err("the text is at fault");
        faults.into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn one_id_a_line_or_a_column_of_a_table() {
        assert_eq!(ids("3\n\n# staff\n1 # ada\r\n 2\n"), Ok(vec![1, 2, 3]));
        assert_eq!(ids("\u{feff}7\n"), Ok(vec![7]));
        assert_eq!(ids("user_id\n5\n6\n"), Ok(vec![5, 6]));
        assert_eq!(
            ids("\u{feff}name,user_id\r\n\"Lovelace, Ada\",\"5\"\r\n# nobody\r\nBob, 6 \r\n"),
            Ok(vec![5, 6])
        );
        assert_eq!(ids("user_id,name\r1,a\r2,b"), Ok(vec![1, 2]));
        assert_eq!(ids(""), Ok(vec![]));
        assert_eq!(ids("# nobody yet"), Ok(vec![]));
    }

    #[test]
    fn bad_lines_are_named() {
        assert_eq!(lines("1\nx\n-2\n0\n99999999999999999999\n"), [2, 3, 4, 5]);
        assert_eq!(
            lines("name,user_id\nada,\n\"bob\nby\",2\nshort\ncy,x\n"),
            [2, 5, 6]
        );
        assert_eq!(lines("# made by hand\nname,userid\nada,1\n"), [2]);
        assert_eq!(lines("user_id,name\n# a\n\nx,ada\n"), [4]);
        assert_eq!(lines("id;name\n1;ada\n"), [1]);
    }

    #[test]
    fn quotes_mean_what_they_mean_to_a_csv_reader() {
        assert_eq!(lines("name,user_id\n5\" pipe,1\nx,\n"), [3]);
        assert_eq!(
            lines("name,user_id\n\"a \"\"b\"\"\n\n# no comment\",1\r\nx,\n"),
            [5]
        );
        assert_eq!(lines("name,user_id\n\"a\"\"b\" c,1\n x,\n"), [3]);
    }

    #[test]
    fn an_address_is_checked_and_never_shown() {
        assert_eq!(
            ids("email,user_id\nada@example.com,1\n,2\n\"o'hara\"\"@x\",3\n"),
            Ok(vec![1, 2, 3])
        );
        let long = format!("{}@example.com", "x".repeat(320));
        let text =
            format!("user_id,email\n1,ada\n2,a\u{7}@b\n3,{long}\nx,bob\n4,\"a\n@b\"\n5,ada@example.com\n");
        let faults = ids(&text).expect_err("five of the lines are at fault");
        assert_eq!(
            faults
                .iter()
                .map(|(line, fault)| (*line, fault.as_str()))
                .collect::<Vec<_>>(),
            [
                (2, "the email has no @"),
                (3, "the email holds a control character"),
                (4, "the email is longer than 320 bytes"),
                (
                    5,
                    "a user id must be a whole number from 1 to 9223372036854775807, not \"x\""
                ),
                (5, "the email has no @"),
                (6, "the email holds a control character"),
            ]
        );
    }

    #[test]
    fn a_quote_that_is_not_closed_is_named_and_not_held() {
        let text = format!("user_id,name\n1,\"ada\n{}", "2,bob\n".repeat(400_000));
        assert_eq!(
            ids(&text),
            Err(vec![(
                2,
                "is no CSV: a record of more than 1 MiB; a quote may not be closed".to_owned()
            )])
        );
    }

    #[test]
    fn a_line_without_end_is_no_id() {
        let text = format!("1\n2 # {}\n{}\n3 \n", "x".repeat(200_000), "9".repeat(200_000));
        assert_eq!(ids(&text), Err(vec![(3, NOT_AN_ID.to_owned())]));
    }

    #[test]
    fn what_is_no_text_is_told_where_it_is_used() {
        let of = |bytes: &[u8]| read(bytes, Some(0), &mut UserSet::default()).map(|found| found.faults);
        for bytes in [
            &b"1\n\xff\n"[..],
            b"user_id,name\n1,\xfcmit\n",
            b"user_id,\xfc\n1,x\n",
        ] {
            assert!(matches!(of(bytes), Err(Unusable::NotUtf8)));
        }
        assert!(of(b"1 # \xfcmit\nuser").is_ok());
    }
}
