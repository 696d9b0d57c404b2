//! E-mail addresses as Cal.com's server checks and stores them.

/// Whether the server accepts the address: `isEmail` of validator.js 13, with its defaults, which it uses.
///
/// The limit of 64 bytes counts a `+<clientId>` suffix too, so that a long address that is fine alone can fail with it.
/// A quoted local part is fine alone and never with the suffix, which comes after the closing quote.
pub(super) fn is_valid(address: &str) -> bool {
    const MAX_UNITS: usize = 254;
    const MAX_LOCAL_BYTES: usize = 64;
    const MAX_DOMAIN_BYTES: usize = 254;
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    units(address) <= MAX_UNITS
        && local.len() <= MAX_LOCAL_BYTES
        && domain.len() <= MAX_DOMAIN_BYTES
        && is_domain(domain)
        && is_local(local)
}

fn is_local(local: &str) -> bool {
    match local.strip_prefix('"') {
        // A lone quote is its own end to the server.
        Some("") => true,
        Some(rest) if rest.ends_with('"') => is_quotable(&rest[..rest.len() - 1]),
        _ => local
            .split('.')
            .all(|atom| !atom.is_empty() && atom.chars().all(is_atomic)),
    }
}

fn is_atomic(c: char) -> bool {
    match u8::try_from(c) {
        Ok(byte) if byte.is_ascii() => byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte),
        _ => c >= '\u{a1}' && is_foreign(c),
    }
}

/// What may stand between quotes; a backslash takes the next character along.
fn is_quotable(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let fits = match c {
            '"' => false,
            '\\' => chars.next().is_some_and(|next| {
                matches!(next, '\u{1}'..='\u{9}' | '\u{b}'..='\u{7f}') || is_foreign(next)
            }),
            _ => matches!(c, '\u{1}'..='\u{7f}') || is_foreign(c),
        };
        if !fits {
            return false;
        }
    }
    true
}

/// Beyond ASCII, as far as the server goes: no emoji and nothing else of more than one UTF-16 unit.
fn is_foreign(c: char) -> bool {
    matches!(c, '\u{a0}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{ffef}')
}

fn is_domain(domain: &str) -> bool {
    domain
        .rsplit_once('.')
        .is_some_and(|(_, top)| is_top(top) && domain.split('.').all(is_label))
}

fn is_top(top: &str) -> bool {
    let is_letter = |c: char| {
        c.is_ascii_alphabetic() || (c >= '\u{a1}' && c != '\u{a9}' && is_foreign(c) && !is_space(c))
    };
    let encoded = top
        .get(..2)
        .filter(|start| start.eq_ignore_ascii_case("xn"))
        .map(|_| &top[2..]);
    (units(top) >= 2 && top.chars().all(is_letter))
        || encoded.is_some_and(|rest| {
            rest.len() >= 2
                && rest
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

fn is_label(label: &str) -> bool {
    const MAX_UNITS: usize = 63;
    let fits = |c: char| {
        c.is_ascii_alphanumeric() || c == '-' || (c >= '\u{a1}' && !matches!(c, '\u{ff01}'..='\u{ff5e}'))
    };
    !label.is_empty()
        && units(label) <= MAX_UNITS
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(fits)
}

/// The length that JavaScript sees.
fn units(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.encode_utf16().count()
    }
}

/// JavaScript's white space, which its trim takes off.
pub(super) fn is_space(c: char) -> bool {
    (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}'
}

/// The address with the `+<clientId>` suffix under which the server stores it; unchanged when the client's id is in it.
///
/// As with the server, what follows a second `@` is lost.
pub(super) fn with_suffix(address: &str, client_id: &str) -> String {
    if address.contains(client_id) {
        return address.to_owned();
    }
    let mut parts = address.split('@');
    let (local, domain) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    [local, "+", client_id, "@", domain].concat()
}

/// The address as its owner knows it, without the client's suffix.
pub(super) fn without_suffix(stored: &str, client_id: &str) -> String {
    match stored.rsplit_once('@') {
        Some((local, domain)) => match local
            .strip_suffix(client_id)
            .and_then(|local| local.strip_suffix('+'))
        {
            Some(local) => format!("{local}@{domain}"),
            None => stored.to_owned(),
        },
        None => stored.to_owned(),
    }
}

/// The user name that the server makes of a stored address.
pub(super) fn username(stored: &str) -> String {
    let (local, domain) = stored.rsplit_once('@').unwrap_or((stored, ""));
    let domain = domain.split('.').next().unwrap_or_default();
    let spelled = format!("{local}-{domain}").to_lowercase();
    let mut slug = String::with_capacity(spelled.len());
    for c in spelled.chars() {
        if c.is_alphanumeric() {
            slug.push(c);
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_as_the_server_does() {
        let long = [
            format!("{}@example.com", "a".repeat(64)),
            format!("a@{0}.{0}.{0}.{1}.com", "b".repeat(63), "c".repeat(55)),
        ];
        for good in [
            "alice@example.com",
            "alice+clx0@example.com",
            "o'hara.b@mail.example.co.uk",
            "zoë@example.org",
            "\u{7530}\u{4e2d}@\u{4f8b}\u{3048}.jp",
            "a@xn--bcher-kva.example",
            "a@example.xn--p1ai",
            "a@b\u{fc}cher.example",
            r#""a b"@example.com"#,
            r#""a,b"@example.com"#,
            r#""a@b"@example.com"#,
            r#""a\"b"@example.com"#,
            r#""@example.com"#,
            r#"""@example.com"#,
            &long[0],
            &long[1],
        ] {
            assert!(is_valid(good), "{good} is an address");
        }
        let too_long = [
            format!("{}@example.com", "a".repeat(65)),
            format!("{}@example.com", "\u{e9}".repeat(33)),
            format!("a@{}.com", "b".repeat(64)),
            format!("a@{0}.{0}.{0}.{1}.com", "b".repeat(63), "c".repeat(57)),
        ];
        for bad in [
            "",
            "alice",
            "alice@",
            "@example.com",
            "alice@example",
            "a..b@example.com",
            ".a@example.com",
            "a b@example.com",
            "alice@-example.com",
            "alice@example-.com",
            "alice@example.c",
            "alice@example.c0m",
            "alice@example..com",
            "alice@exa_mple.com",
            "alice@[127.0.0.1]",
            "alice@127.0.0.1",
            "a@b@example.com",
            "\u{1f600}@example.com",
            "a\u{a0}b@example.com",
            "Alice <alice@example.com>",
            r#""a"b@example.com"#,
            r#""a"b"@example.com"#,
            r#""a\"@example.com"#,
            r#""a b"+clx0@example.com"#,
            "a,b@example.com",
            &too_long[0],
            &too_long[1],
            &too_long[2],
            &too_long[3],
        ] {
            assert!(!is_valid(bad), "{bad} is no address");
        }
    }

    #[test]
    fn the_suffix_is_added_once_and_comes_off_again() {
        let stored = with_suffix("alice@example.com", "clx0");
        assert_eq!(stored, "alice+clx0@example.com");
        assert_eq!(with_suffix(&stored, "clx0"), stored);
        assert_eq!(without_suffix(&stored, "clx0"), "alice@example.com");
        assert_eq!(without_suffix("alice@example.com", "clx0"), "alice@example.com");
        assert_eq!(username(&stored), "alice-clx0-example");
        assert_eq!(
            with_suffix(r#""a@b"@example.com"#, "clx0"),
            "\"a+clx0@b\"",
            "what the server makes of it finds nobody"
        );
    }
}
