//! The token that a request brings.

use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Whether the request has one `Authorization`, and it is the token: as `Bearer`, or as the password of `Basic`, which is how a
/// browser can bring it. How long the answer takes says nothing of the token.
pub(super) fn is_right(headers: &HeaderMap, wanted: &SecretString) -> bool {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else {
        return false;
    };
    let wanted = wanted.expose_secret();
    let Some(token) = token(given.as_bytes()) else {
        return false;
    };
    // Of hashes, so that not even the length can be told.
    let same = Sha256::digest(&token).ct_eq(&Sha256::digest(wanted));
    // One that was not read lets nobody in.
    bool::from(same) && !wanted.is_empty()
}

fn token(given: &[u8]) -> Option<Vec<u8>> {
    let space = given.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = (&given[..space], given[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = STANDARD.decode(rest).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(pair[colon + 1..].to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn right(given: &[&str], wanted: &str) -> bool {
        let mut headers = HeaderMap::new();
        for given in given {
            let value = HeaderValue::from_str(given).expect("a header's value");
            headers.append(header::AUTHORIZATION, value);
        }
        is_right(&headers, &SecretString::from(wanted))
    }

    #[test]
    fn the_token_is_right_as_bearer_and_as_a_password_and_nothing_else_is() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert!(right(&["Bearer s3:cret"], "s3:cret"));
        assert!(right(&["bearer  s3:cret "], "s3:cret"));
        assert!(right(&[&basic("anyone:s3:cret")], "s3:cret"));
        assert!(right(&[&basic(":s3:cret")], "s3:cret"));
        for given in [
            "Bearer s3:cre",
            "Bearer s3:cret2",
            "Bearer",
            "Bearer ",
            "",
            "s3:cret",
            "Token s3:cret",
            "Basic s3:cret",
            "Basic ????",
            &basic("s3"),
            &basic("s3:cret"),
        ] {
            assert!(!right(&[given], "s3:cret"), "{given:?}");
        }
        assert!(!right(&[], "s3:cret"));
        assert!(
            !right(&["Bearer s3:cret", "Bearer s3:cret"], "s3:cret"),
            "two of them"
        );
    }

    #[test]
    fn a_token_that_was_not_read_lets_nobody_in() {
        assert!(!right(&["Bearer "], ""));
        assert!(!right(&["Basic Og=="], ""));
    }
}
