//! A CSV of users, read record by record, each with its place in the file.

use std::io::{self, BufRead, BufReader, Read, Seek};

use csv::ByteRecord;

use crate::model::UserId;

/// Far above any record of a user; what is longer has a quote that is not closed.
const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// Where the table is in its file, and where a record's fields are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Columns {
    /// The byte at which the header begins.
    pub(in crate::config) header: u64,
    pub(super) id: usize,
    pub(super) email: Option<usize>,
}

/// A CSV of which no more than one record is held.
pub(in crate::config) struct Table<R> {
    reader: csv::Reader<Records<R>>,
    record: ByteRecord,
}

/// A record, with the byte and the line at which it begins. Lines count from 1.
pub(in crate::config) struct Row<'a> {
    record: &'a ByteRecord,
    pub(in crate::config) offset: u64,
    pub(super) line: usize,
}

impl<R: BufRead> Table<R> {
    /// `offset` and `line` are those at which `inner` stands.
    pub(in crate::config) fn new(inner: R, offset: u64, line: usize) -> Self {
        let records = Records {
            inner,
            offset,
            line,
            start: (offset, line),
            state: State::Between,
            bytes: 0,
        };
        Self {
            reader: csv::ReaderBuilder::new()
                .flexible(true)
                .has_headers(false)
                .from_reader(records),
            record: ByteRecord::new(),
        }
    }

    /// The next record, if there is one.
    pub(in crate::config) fn next(&mut self) -> io::Result<Option<Row<'_>>> {
        let read = self.reader.read_byte_record(&mut self.record);
        if !read.map_err(source)? {
            return Ok(None);
        }
        // A record at a time was given to the reader, so this is where that one began.
        let (offset, line) = self.reader.get_ref().start;
        Ok(Some(Row {
            record: &self.record,
            offset,
            line,
        }))
    }

    /// Where the record begins that was read last, or could not be read.
    pub(super) fn line(&self) -> usize {
        self.reader.get_ref().start.1
    }
}

impl<R: Read + Seek> Table<BufReader<R>> {
    /// Goes to the record that begins at this byte. Lines are not counted any more.
    pub(in crate::config) fn go_to(&mut self, offset: u64) -> io::Result<()> {
        let records = self.reader.get_mut();
        let distance = offset.wrapping_sub(records.offset).cast_signed();
        // What is in the buffer already is not read again.
        records.inner.seek_relative(distance)?;
        records.offset = offset;
        records.state = State::Between;
        Ok(())
    }
}

/// Fields of any number and any bytes are in order, so what is wrong is the reading.
fn source(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, format!("{other:?}")),
    }
}

impl<'a> Row<'a> {
    /// A field without white space around it; empty where the record is too short.
    pub(super) fn field(&self, column: usize) -> &'a str {
        let bytes = self.record.get(column).unwrap_or_default();
        str::from_utf8(bytes).unwrap_or_default().trim()
    }

    pub(super) fn is_utf8(&self) -> bool {
        self.record.iter().all(|field| str::from_utf8(field).is_ok())
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = &'a str> {
        (0..self.record.len()).map(|column| self.field(column))
    }

    /// The user and its address, if the record is in order and has one.
    pub(in crate::config) fn address(&self, columns: Columns) -> Option<(UserId, &'a str)> {
        let id = self.field(columns.id).parse().ok().filter(|id| *id > 0)?;
        let address = self.field(columns.email?);
        let is_one = self.is_utf8() && !address.is_empty() && flaw_of_address(address).is_none();
        is_one.then_some((UserId(id), address))
    }
}

/// Why this cannot be the address of a user. Does not show it: addresses are personal.
pub(super) fn flaw_of_address(address: &str) -> Option<&'static str> {
    /// 64 before the @ and 255 after it.
    const MAX_BYTES: usize = 320;
    if address.len() > MAX_BYTES {
        Some("the email is longer than 320 bytes")
    } else if address.chars().any(char::is_control) {
        Some("the email holds a control character")
    } else if !address.contains('@') {
        Some("the email has no @")
    } else {
        None
    }
}

/// Gives a CSV reader no more than one record at a time, so that it is known where each one begins.
///
/// Blank lines and comments between records are left out.
struct Records<R> {
    inner: R,
    /// Where `inner` stands.
    offset: u64,
    line: usize,
    /// Where the record began that was given last.
    start: (u64, usize),
    state: State,
    /// Of the record that is being given.
    bytes: usize,
}

/// What the CSV reader will be in once it has read what it was given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Between,
    FieldStart,
    Field,
    Quoted,
    /// Behind a quote in a quoted field: its end, or the first of two that mean one.
    Quote,
}

impl<R: BufRead> Records<R> {
    fn skip_to_record(&mut self) -> io::Result<()> {
        while let Some(first) = self.inner.fill_buf()?.first() {
            let length = match first {
                b'\n' | b'\r' => {
                    self.line += usize::from(*first == b'\n');
                    self.inner.consume(1);
                    1
                }
                b'#' => {
                    self.line += 1;
                    self.inner.skip_until(b'\n')?
                }
                _ => break,
            };
            self.offset += length as u64;
        }
        Ok(())
    }
}

impl State {
    /// How many of the bytes belong to the record, and how many line breaks are among them.
    fn advance(&mut self, bytes: &[u8]) -> (usize, usize) {
        let mut breaks = 0;
        for (index, byte) in bytes.iter().enumerate() {
            breaks += usize::from(*byte == b'\n');
            *self = match (*self, *byte) {
                (Self::Quoted, b'"') => Self::Quote,
                (Self::Quoted, _) | (Self::Quote | Self::FieldStart, b'"') => Self::Quoted,
                (_, b',') => Self::FieldStart,
                (_, b'\n' | b'\r') => {
                    *self = Self::Between;
                    return (index + 1, breaks);
                }
                _ => Self::Field,
            };
        }
        (bytes.len(), breaks)
    }
}

impl<R: BufRead> Read for Records<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let is_first = self.state == State::Between;
        if is_first {
            self.skip_to_record()?;
            self.start = (self.offset, self.line);
            self.bytes = 0;
        }
        let available = self.inner.fill_buf()?;
        if available.is_empty() {
            if matches!(self.state, State::Between | State::Quoted) || out.is_empty() {
                return Ok(0);
            }
            // So that the reader does not take this for the end of all: it may be sent elsewhere.
            out[0] = b'\n';
            self.state = State::Between;
            return Ok(1);
        }
        if is_first {
            self.state = State::FieldStart;
        }
        let length = available.len().min(out.len());
        let (taken, breaks) = self.state.advance(&available[..length]);
        out[..taken].copy_from_slice(&available[..taken]);
        self.inner.consume(taken);
        self.offset += taken as u64;
        self.line += breaks;
        self.bytes += taken;
        if self.bytes > MAX_RECORD_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a record of more than 1 MiB; a quote may not be closed",
            ));
        }
        Ok(taken)
    }
}
