//! The array of records of an answer about several users.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The records of one answer, each as it came.
pub(super) struct Records<'a> {
    pub(super) raws: Vec<&'a RawValue>,
    /// Also those that are more than the most.
    pub(super) count: usize,
}

impl Records<'_> {
    /// Four times what Cal.com gives of a client, and what it gives of an organisation. An answer full of tiny records would
    /// otherwise take many times its own size.
    pub(super) const MOST: usize = 1000;

    /// What an answer of full size has, so that one allocation does.
    pub(super) const USUAL: usize = 250;
}

impl<'de: 'a, 'a> Deserialize<'de> for Records<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Each)
    }
}

struct Each;

impl<'de> Visitor<'de> for Each {
    type Value = Records<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut raws = Vec::with_capacity(Records::USUAL);
        while raws.len() < Records::MOST {
            match seq.next_element()? {
                Some(raw) => raws.push(raw),
                None => break,
            }
        }
        let mut count = raws.len();
        while count >= Records::MOST && seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Records { raws, count })
    }
}
