//! Answers about several users: each record is one user's, and proves as much as if that user had been asked for alone.

mod refusal;

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet, hash_map::Entry},
};

use foldhash::HashMapExt as _;
use reqwest::StatusCode;
use secrecy::SecretString;

use super::{
    Answer,
    recognised::{Bytes, Each, Recognised},
    record::Record,
    seen,
};
use crate::{
    calcom::{Error, Roll, address::bare_address},
    model::{ClientId, Fingerprint, Seen, Target, UserId},
};

/// Decides what the answer to a request for the users `targets` by their addresses contains.
///
/// Pure and total: no bytes make it panic. A record that came in the very bytes of a target's fingerprint is not read; any other
/// is read as [`decode_answer`](super::decode_answer) reads it, if its id was asked for.
///
/// # Errors
/// Whatever proves nothing.
pub fn decode_roll(
    answer: &Answer<'_>,
    targets: &[Target],
    client: &ClientId,
    secret: &SecretString,
) -> Result<Roll, Error> {
    if answer.status != StatusCode::OK {
        return Err(refusal::of_addresses(answer, targets, client, secret));
    }
    let mut known = foldhash::HashMap::with_capacity(targets.len());
    known.extend(
        targets
            .iter()
            .filter_map(|target| Some((target.fingerprint?, target.id))),
    );
    let records = Recognised::of(answer.body, |print: &Fingerprint| known.get(print).copied())?;
    let mut unasked = 0;
    let addresses = OnceCell::new();
    let seen = read(&records, |id, record| {
        // Of a first fill, this is of every record: 250 comparisons are less than what it costs to read one.
        let is_asked = targets.iter().any(|target| target.id == id);
        if !is_asked {
            let addresses = addresses.get_or_init(|| lower_case_addresses(targets, client));
            let email = record.email();
            let is_known = email.is_some_and(|email| addresses.contains(&lower_case(&email, client)));
            unasked += usize::from(!is_known);
        }
        is_asked
    });
    Ok(Roll {
        seen,
        records: records.count,
        unasked,
    })
}

/// Decides what a page of the client's users contains: all of them, each under the id of its own record.
///
/// Pure and total, as [`decode_roll`].
///
/// # Errors
/// Whatever proves nothing.
pub fn decode_page(
    answer: &Answer<'_>,
    known: &HashMap<Fingerprint, UserId>,
    secret: &SecretString,
) -> Result<Roll, Error> {
    if answer.status != StatusCode::OK {
        return Err(refusal::of_page(answer, secret));
    }
    let records = Recognised::of(answer.body, |print| known.get(print).copied())?;
    Ok(Roll {
        seen: read(&records, |_, _| true),
        records: records.count,
        unasked: 0,
    })
}

/// What is seen of each user. `wanted` is asked about records that are not known by their fingerprint.
fn read(records: &Recognised<'_>, mut wanted: impl FnMut(UserId, &Record<'_>) -> bool) -> Vec<Seen> {
    let mut tally = Tally::of(records.each.len());
    for Each { fingerprint, record } in &records.each {
        match record {
            Bytes::Known(id) => tally.add(*id, *fingerprint, || Seen::Unchanged(*id)),
            Bytes::New(raw) => {
                if let Some(record) = Record::read(raw)
                    && let Some(id) = record.id().map(UserId)
                    && wanted(id, &record)
                {
                    tally.add(id, *fingerprint, || seen(record.decode(id), *fingerprint));
                }
            }
        }
    }
    tally.seen.into_iter().flatten().collect()
}

/// What is seen so far. Two different records of one user prove nothing of that user.
struct Tally {
    /// `None` for a user of whom there are different records.
    seen: Vec<Option<Seen>>,
    by_user: foldhash::HashMap<UserId, (usize, Fingerprint)>,
}

impl Tally {
    fn of(records: usize) -> Self {
        Self {
            seen: Vec::with_capacity(records),
            by_user: foldhash::HashMap::with_capacity(records),
        }
    }

    fn add(&mut self, id: UserId, fingerprint: Fingerprint, seen: impl FnOnce() -> Seen) {
        match self.by_user.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert((self.seen.len(), fingerprint));
                self.seen.push(Some(seen()));
            }
            Entry::Occupied(entry) => {
                let (at, first) = *entry.get();
                if first != fingerprint {
                    self.seen[at] = None;
                }
            }
        }
    }
}

fn lower_case_addresses(targets: &[Target], client: &ClientId) -> HashSet<String> {
    let emails = targets.iter().filter_map(|target| target.email.as_deref());
    emails.map(|email| lower_case(email, client)).collect()
}

/// What makes two addresses the same, as far as one that was asked for is recognised.
fn lower_case(email: &str, client: &ClientId) -> String {
    let client = ClientId(client.as_str().to_lowercase());
    bare_address(&email.to_lowercase(), &client).into_owned()
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
