//! The bytes of a record, in 16 of their own.

use std::fmt;

use sha2::{Digest, Sha256};

/// Stands for the bytes in which Cal.com sent a record that was read in full.
///
/// Users write parts of their records themselves, so nothing less than a cryptographic hash will do: nobody can make a changed
/// record look unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; Self::BYTES]);

/// The version of the rules by which records are read. To be raised whenever the same bytes give another user or another reject, so
/// that nothing is passed over that was read by the old rules.
const READING_RULES: &[u8] = b"1\n";

impl Fingerprint {
    /// 128 bits of the hash: two of a billion records agree by chance once in 10^20.
    pub const BYTES: usize = 16;

    /// Of a record's bytes, as they came.
    pub fn of(record: &[u8]) -> Self {
        let hash = Sha256::new()
            .chain_update(READING_RULES)
            .chain_update(record)
            .finalize();
        let mut bytes = [0; Self::BYTES];
        bytes.copy_from_slice(&hash[..Self::BYTES]);
        Self(bytes)
    }

    /// As it was stored.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_the_bytes_and_of_the_rules() {
        let one = Fingerprint::of(br#"{"id":1}"#);
        assert_eq!(one, Fingerprint::of(br#"{"id":1}"#));
        assert_ne!(one, Fingerprint::of(br#"{"id": 1}"#));
        // What is stored must be found again by the next version, as long as the rules are the same.
        assert_eq!(format!("{one:?}"), "71efa9ee30a25ab91c3861cbbda0708d");
        assert_eq!(Fingerprint::from_bytes(*one.as_bytes()), one);
    }
}
