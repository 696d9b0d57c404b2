//! Users' addresses, as a request for several users spells them.

use std::borrow::Cow;

use memchr::{memchr_iter, memrchr};

use super::Reach;
use crate::model::ClientId;

/// The address without the `+<clientId>` suffix of its local part, which Cal.com adds by itself.
///
/// The suffix stays where Cal.com would not add it again: where nothing is left of the local part, or another one is.
pub fn bare_address<'a>(email: &'a str, client: &ClientId) -> Cow<'a, str> {
    let (local, domain) = parts(email, client);
    if local.len() + domain.len() == email.len() {
        Cow::Borrowed(email)
    } else {
        Cow::Owned([local, domain].concat())
    }
}

/// The longest local part, in bytes, that Cal.com's check of an address lets pass: that of an address as it is asked for, before the
/// suffix is added.
const MAX_LOCAL: usize = 64;

/// The bytes that an address takes in a request, its separator included. `None`: it cannot be asked for so, because the request
/// would be another one, or is sure to be refused.
pub fn address_bytes(email: &str, client: &ClientId) -> Option<usize> {
    let (local, domain) = parts(email, client);
    bytes_of(local, domain)
}

fn bytes_of(local: &str, domain: &str) -> Option<usize> {
    if local.len() > MAX_LOCAL {
        return None;
    }
    let taken = taken(local)? + taken(domain)?;
    let bytes = 1 + taken;
    (taken > 0 && bytes <= Reach::ADDRESS_BYTES).then_some(bytes)
}

/// The bytes that a part of an address takes in a query. None where it holds a control character or a comma, at which Cal.com splits
/// after it has decoded them.
fn taken(text: &str) -> Option<usize> {
    let mut seen = 0;
    let mut taken = 0;
    for byte in text.bytes() {
        let (bytes, flags) = BYTES[usize::from(byte)];
        taken += usize::from(bytes);
        seen |= flags;
    }
    // A control character beyond ASCII may have begun.
    let is_refused = seen & REFUSED != 0 || seen & LEADS != 0 && text.chars().any(char::is_control);
    (!is_refused).then_some(taken)
}

/// Whether the local part ends with the client's suffix, as each of its users' does.
pub(super) fn has_suffix(email: &str, client: &ClientId) -> bool {
    let local = email.rfind('@').map(|at| &email[..at]);
    local.is_some_and(|local| without_suffix(local, client).is_some())
}

/// Adds the address to a query as [`address_bytes`] counts it, without the separator. False if it cannot be asked for so; then
/// nothing is added.
pub(super) fn push(query: &mut String, email: &str, client: &ClientId) -> bool {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    let (local, domain) = parts(email, client);
    let Some(bytes) = bytes_of(local, domain) else {
        return false;
    };
    if bytes == 1 + local.len() + domain.len() {
        // As most are.
        query.extend([local, domain]);
        return true;
    }
    for mut text in [local, domain] {
        while let Some(at) = text.bytes().position(|byte| !is_plain(byte)) {
            query.push_str(&text[..at]);
            // All bytes of a character that is not ASCII are encoded, so that the rest begins with a character again.
            let end = text.ceil_char_boundary(at + 1);
            for byte in &text.as_bytes()[at..end] {
                query.push('%');
                query.push(char::from(HEX[usize::from(byte >> 4)]));
                query.push(char::from(HEX[usize::from(byte & 15)]));
            }
            text = &text[end..];
        }
        query.push_str(text);
    }
    true
}

const REFUSED: u8 = 1;
const LEADS: u8 = 2;

/// Of each byte: how many it takes in a query, and what it is.
const BYTES: [(u8, u8); 256] = {
    let mut bytes = [(0, 0); 256];
    let mut at = 0;
    while at < bytes.len() {
        let byte = at as u8;
        let flags = match byte {
            0xc2 => LEADS,
            b',' => REFUSED,
            _ if byte.is_ascii_control() => REFUSED,
            _ => 0,
        };
        bytes[at] = (if is_plain(byte) { 1 } else { 3 }, flags);
        at += 1;
    }
    bytes
};

/// What a query holds as it is: the unreserved characters, and the at sign, which every address has.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'@')
}

/// The address in two parts, between which the suffix was if it does not stay; the second one begins with the last at sign.
fn parts<'a>(email: &'a str, client: &ClientId) -> (&'a str, &'a str) {
    let Some((local, domain)) = memrchr(b'@', email.as_bytes()).map(|at| email.split_at(at)) else {
        return (email, "");
    };
    match without_suffix(local, client) {
        Some(bare) if !bare.is_empty() && !holds_suffix(bare, client) => (bare, domain),
        _ => (local, domain),
    }
}

fn without_suffix<'a>(local: &'a str, client: &ClientId) -> Option<&'a str> {
    local.strip_suffix(client.as_str())?.strip_suffix('+')
}

fn holds_suffix(local: &str, client: &ClientId) -> bool {
    let (local, client) = (local.as_bytes(), client.as_str().as_bytes());
    memchr_iter(b'+', local).any(|at| local[at + 1..].starts_with(client))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client() -> ClientId {
        ClientId("clx0".to_owned())
    }

    fn bare(email: &str) -> Cow<'_, str> {
        bare_address(email, &client())
    }

    fn pushed(email: &str) -> Option<String> {
        let mut query = String::new();
        push(&mut query, email, &client()).then_some(query)
    }

    #[test]
    fn the_suffix_is_taken_off_where_cal_com_adds_it_again() {
        assert_eq!(bare("alice+clx0@x.org"), "alice@x.org");
        assert_eq!(bare("a+tag+clx0@x.org"), "a+tag@x.org");
        for kept in [
            "alice@x.org",
            "alice+clx0b@x.org",
            "alice+clx0+b@x.org",
            "aliceclx0@x.org",
            "+clx0@x.org",
            "a+clx0+clx0@x.org",
            "alice+clx0",
            "",
        ] {
            assert_eq!(bare(kept), kept);
        }
    }

    #[test]
    fn what_has_a_meaning_in_a_query_is_encoded() {
        assert_eq!(pushed("a+b+clx0@x.org").as_deref(), Some("a%2Bb@x.org"));
        assert_eq!(
            pushed("o'h&=#?%/ \"é~@x.org").as_deref(),
            Some("o%27h%26%3D%23%3F%25%2F%20%22%C3%A9~@x.org")
        );
    }

    #[test]
    fn some_addresses_cannot_be_asked_for() {
        let bytes = |email: &str| address_bytes(email, &client());
        assert_eq!(bytes("a+clx0@x.org"), Some(8));
        assert_eq!(bytes("é@x.org"), Some(13));
        for email in ["", "a,b@x.org", "a\n@x.org", "a\u{0}@x.org", "a\u{85}@x.org"] {
            assert_eq!(bytes(email), None, "{email:?}");
        }
        let longest = format!("a@{}", "b".repeat(Reach::ADDRESS_BYTES - 3));
        assert_eq!(bytes(&longest), Some(Reach::ADDRESS_BYTES));
        assert_eq!(bytes(&format!("{longest}b")), None);
        // As many bytes as the server lets pass, with the suffix that it adds; and one more.
        let local = "é".repeat(32);
        assert_eq!(bytes(&format!("{local}+clx0@x.org")), Some(32 * 6 + 7));
        assert_eq!(bytes(&format!("{local}a+clx0@x.org")), None);
        assert_eq!(bytes(&format!("{local}a@x.org")), None);
        assert_eq!(
            bytes("\"a b\"+clx0@x.org"),
            Some(18),
            "what is quoted is fine without the suffix"
        );
    }

    proptest! {
        #[test]
        fn an_address_takes_the_bytes_that_are_counted_and_is_read_as_it_was(email in "\\PC{0,20}(\\+clx0)?@[a-zé.]{0,9}") {
            let (pushed, bytes) = (pushed(&email), address_bytes(&email, &client()));
            prop_assert_eq!(bytes, pushed.as_ref().map(|pushed| pushed.len() + 1));
            let Some(pushed) = pushed else {
                prop_assert!(email.contains(',') || bare(&email).rfind('@') > Some(MAX_LOCAL));
                return Ok(());
            };
            prop_assert!(pushed.is_ascii());
            let query = format!("emails={pushed}");
            let read: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
            prop_assert_eq!(read, [(Cow::from("emails"), bare(&email))]);
            // Nothing is left for the parser of addresses to encode in its own way.
            let mut url = url::Url::parse("http://x.org/").expect("a valid address");
            url.set_query(Some(&query));
            prop_assert_eq!(url.query(), Some(&*query));
        }
    }
}
