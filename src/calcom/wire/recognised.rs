//! Records that are recognised by their bytes, without being read.

use memchr::memmem;
use serde_json::value::RawValue;

use super::{data, records::Records};
use crate::{
    calcom::Error,
    model::{Fingerprint, UserId},
};

/// A good answer as Cal.com's server prints it, up to its data. Answers in any other spelling are read.
const OPENING: &[u8] = br#"{"status":"success","data":"#;

/// As an answer ends after its data.
const CLOSING: &[u8] = b"}";

/// What stands between two records, and perhaps within one.
const BETWEEN: &[u8] = br#"},{""#;

/// The data of a good answer, if that is spelled as usual. That it is JSON has still to be shown.
pub(super) fn usual_data(body: &[u8]) -> Option<&[u8]> {
    body.strip_prefix(OPENING)?.strip_suffix(CLOSING)
}

/// The records of an answer about several users, in their order.
#[derive(Debug)]
pub(super) struct Recognised<'a> {
    pub(super) each: Vec<Each<'a>>,
    /// Also those that are more than [`Records::MOST`].
    pub(super) count: usize,
}

#[derive(Debug)]
pub(super) struct Each<'a> {
    pub(super) fingerprint: Fingerprint,
    pub(super) record: Bytes<'a>,
}

/// The bytes of a record.
#[derive(Debug)]
pub(super) enum Bytes<'a> {
    /// They are those that this user had when it was last read.
    Known(UserId),
    New(&'a RawValue),
}

impl<'a> Recognised<'a> {
    /// `known` says whose bytes have a fingerprint.
    ///
    /// # Errors
    /// What keeps the body from being a good answer with an array of records.
    pub(super) fn of(body: &'a [u8], known: impl Fn(&Fingerprint) -> Option<UserId>) -> Result<Self, Error> {
        if let Some(recognised) = usual_data(body).and_then(|data| Self::at_a_glance(data, &known)) {
            return Ok(recognised);
        }
        let Records { raws, count } = data(body)?;
        let each = raws.into_iter().map(|raw| Each::of(raw, &known)).collect();
        Ok(Self { each, count })
    }

    /// The same for most answers, with no need to read what is known.
    ///
    /// A record seems to end where another one seems to begin. If all up to there has a known fingerprint, it is a record, whole,
    /// that was read once. If not, a record is read from where this one begins, and ends where that ends. Either way the next one
    /// begins where it has to.
    fn at_a_glance(data: &'a [u8], known: &impl Fn(&Fingerprint) -> Option<UserId>) -> Option<Self> {
        let mut rest = data.strip_prefix(b"[")?.strip_suffix(b"]")?;
        let between = memmem::Finder::new(BETWEEN);
        let mut each = Vec::with_capacity(Records::USUAL);
        loop {
            let seeming = between.find(rest);
            let end = seeming.map_or(rest.len(), |at| at + 1);
            let fingerprint = Fingerprint::of(&rest[..end]);
            let length = if let Some(user) = known(&fingerprint) {
                let record = Bytes::Known(user);
                each.push(Each { fingerprint, record });
                end
            } else {
                let mut values = serde_json::Deserializer::from_slice(rest).into_iter();
                each.push(Each::of(values.next()?.ok()?, known));
                match values.byte_offset() {
                    // Spelled otherwise: what comes after it would be looked through again and again.
                    length if length < end => return None,
                    length => length,
                }
            };
            rest = &rest[length..];
            match rest.split_first() {
                None => break,
                Some((b',', more)) if each.len() < Records::MOST => rest = more,
                Some(_) => return None,
            }
        }
        let count = each.len();
        Some(Self { each, count })
    }
}

impl<'a> Each<'a> {
    fn of(raw: &'a RawValue, known: &impl Fn(&Fingerprint) -> Option<UserId>) -> Self {
        let fingerprint = Fingerprint::of(raw.get().as_bytes());
        let record = known(&fingerprint).map_or(Bytes::New(raw), Bytes::Known);
        Self { fingerprint, record }
    }
}

#[cfg(test)]
mod tests;
