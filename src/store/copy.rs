//! Rows in the binary format of COPY.

use chrono::{DateTime, Utc};

use super::Error;
use crate::model::JsonObject;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// In place of a number of fields: no row comes after this.
const END: i16 = -1;

/// Timestamps count from 2000-01-01; chrono counts from 1970.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

const TIME_BYTES: usize = 8;

/// In front of each field.
const LENGTH_BYTES: usize = 4;

/// The version of `jsonb` in this format.
const JSONB: u8 = 1;

/// Rows for a `copy … from stdin`. Each field is put after the one before, in the order of the columns that the statement names.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut writer = Self {
            bytes: Vec::with_capacity(bytes),
        };
        writer.bytes.extend_from_slice(SIGNATURE);
        // No flags, and no extension of the header.
        writer.bytes.extend_from_slice(&[0; 8]);
        writer
    }

    /// Begins a row of this many fields.
    pub(super) fn row(&mut self, fields: i16) -> &mut Self {
        self.bytes.extend_from_slice(&fields.to_be_bytes());
        self
    }

    pub(super) fn bytes(&mut self, field: &[u8]) -> Result<&mut Self, Error> {
        let length = i32::try_from(field.len()).map_err(|_| too_long())?;
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(field);
        Ok(self)
    }

    pub(super) fn null(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
        self
    }

    pub(super) fn text(&mut self, text: &str) -> Result<&mut Self, Error> {
        self.bytes(text.as_bytes())
    }

    pub(super) fn optional_text(&mut self, text: Option<&str>) -> Result<&mut Self, Error> {
        match text {
            Some(text) => self.text(text),
            None => Ok(self.null()),
        }
    }

    pub(super) fn integer(&mut self, number: i32) -> Result<&mut Self, Error> {
        self.bytes(&number.to_be_bytes())
    }

    pub(super) fn bigint(&mut self, number: i64) -> Result<&mut Self, Error> {
        self.bytes(&number.to_be_bytes())
    }

    pub(super) fn time(&mut self, time: DateTime<Utc>) -> Result<&mut Self, Error> {
        self.bytes(&micros(time))
    }

    /// Room for a time, for [`put_times`].
    pub(super) fn no_time(&mut self) -> Result<&mut Self, Error> {
        self.bytes(&[0; TIME_BYTES])
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn jsonb(&mut self, object: &JsonObject) -> Result<&mut Self, Error> {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0, 0, 0, JSONB]);
        serde_json::to_writer(&mut self.bytes, object).map_err(|error| Error::Refused(error.to_string()))?;
        let length = i32::try_from(self.bytes.len() - at - 4).map_err(|_| too_long())?;
        self.bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
        Ok(self)
    }

    /// What is to be sent.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&END.to_be_bytes());
        self.bytes
    }
}

/// Puts a time into the two fields that a row ends with.
pub(super) fn put_times(row: &mut [u8], time: DateTime<Utc>) {
    let micros = micros(time);
    let last = row.len() - TIME_BYTES;
    row[last..].copy_from_slice(&micros);
    let before = last - LENGTH_BYTES - TIME_BYTES;
    row[before..before + TIME_BYTES].copy_from_slice(&micros);
}

fn micros(time: DateTime<Utc>) -> [u8; TIME_BYTES] {
    (time.timestamp_micros() - EPOCH_MICROS).to_be_bytes()
}

/// Reads what a COPY sent, row by row.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// The fields of a row, in their order.
#[derive(Debug)]
pub(super) struct Row<'r, 'a> {
    reader: &'r mut Reader<'a>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(sent: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Self { rest: sent };
        if reader.take(SIGNATURE.len())? != SIGNATURE {
            return Err(garbled());
        }
        let _flags: [u8; 4] = reader.array()?;
        let extension = u32::from_be_bytes(reader.array()?);
        reader.take(usize::try_from(extension).map_err(|_| garbled())?)?;
        Ok(reader)
    }

    /// The next row, of this many fields, all of which have to be read.
    pub(super) fn row(&mut self, fields: i16) -> Result<Option<Row<'_, 'a>>, Error> {
        match i16::from_be_bytes(self.array()?) {
            END => Ok(None),
            count if count == fields => Ok(Some(Row { reader: self })),
            _ => Err(garbled()),
        }
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or_else(garbled)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N)?.try_into().map_err(|_| garbled())
    }
}

impl<'a> Row<'_, 'a> {
    /// The next field's bytes; none for a null.
    pub(super) fn bytes(&mut self) -> Result<Option<&'a [u8]>, Error> {
        let length = i32::from_be_bytes(self.reader.array()?);
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| garbled())?;
        self.reader.take(length).map(Some)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<Option<[u8; N]>, Error> {
        let bytes = self.bytes()?.map(<[u8; N]>::try_from).transpose();
        bytes.map_err(|_| garbled())
    }

    pub(super) fn bigint(&mut self) -> Result<i64, Error> {
        self.array()?.map(i64::from_be_bytes).ok_or_else(garbled)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Error> {
        let [byte] = self.array()?.ok_or_else(garbled)?;
        Ok(byte != 0)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Error> {
        let bytes = self.bytes()?.ok_or_else(garbled)?;
        std::str::from_utf8(bytes).map_err(|_| garbled())
    }
}

/// A text as it can stand in a statement, whatever the server's settings say of backslashes.
pub(super) fn quote_literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', r"\\").replace('\'', "''"))
}

fn too_long() -> Error {
    Error::Refused("a field is longer than 2 GiB".to_owned())
}

fn garbled() -> Error {
    Error::Unavailable("the server's COPY is not what was asked for".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

    fn sent(rows: &[u8]) -> Vec<u8> {
        [HEADER, rows].concat()
    }

    #[test]
    fn a_row_is_read_field_by_field() {
        let sent = sent(b"\0\x03\0\0\0\x08\0\0\0\0\0\0\0\x07\xff\xff\xff\xff\0\0\0\x02\xc3\xa9\xff\xff");
        let mut reader = Reader::new(&sent).expect("a header");
        let mut row = reader.row(3).expect("no fault").expect("a row");
        assert_eq!(row.bigint(), Ok(7));
        assert_eq!(row.bytes(), Ok(None));
        assert_eq!(row.text(), Ok("é"));
        assert!(reader.row(3).expect("no fault").is_none());
    }

    #[test]
    fn what_is_cut_or_has_other_fields_is_no_row() {
        assert_eq!(Reader::new(b"PGCOPY\n").err(), Some(garbled()));
        assert_eq!(Reader::new(&HEADER.to_ascii_lowercase()).err(), Some(garbled()));
        let whole = sent(b"\0\x01\0\0\0\x08\0\0\0\0\0\0\0\x07");
        let mut reader = Reader::new(&whole).expect("a header");
        assert_eq!(reader.row(2).err(), Some(garbled()));
        let mut reader = Reader::new(&whole[..whole.len() - 1]).expect("a header");
        let mut row = reader.row(1).expect("no fault").expect("a row");
        assert_eq!(row.bigint(), Err(garbled()));
        let mut reader = Reader::new(HEADER).expect("a header");
        assert_eq!(reader.row(1).err(), Some(garbled()), "the end was not said");
    }

    #[test]
    fn a_quoted_text_ends_where_it_ends() {
        assert_eq!(quote_literal(r"it's a \ too"), r"E'it''s a \\ too'");
    }
}
