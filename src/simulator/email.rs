//! E-mail addresses as Cal.com's server checks and stores them.

/// Whether the server accepts the address: the rules of validator.js, which it uses, short of quoted local parts.
///
/// The limit of 64 bytes counts a `+<clientId>` suffix too, so that a long address that is fine alone can fail with it.
pub(super) fn is_valid(address: &str) -> bool {
    const MAX_LOCAL_BYTES: usize = 64;
    const MAX_DOMAIN_BYTES: usize = 254;
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    local.len() <= MAX_LOCAL_BYTES
        && domain.len() <= MAX_DOMAIN_BYTES
        && local.split('.').all(is_atom)
        && is_domain(domain)
}

fn is_atom(atom: &str) -> bool {
    !atom.is_empty()
        && atom
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || c >= '\u{a1}')
}

fn is_domain(domain: &str) -> bool {
    const MAX_LABEL_BYTES: usize = 63;
    let Some((_, top)) = domain.rsplit_once('.') else {
        return false;
    };
    let top_is_name = top.chars().count() >= 2
        && (top.chars().all(|c| c.is_ascii_alphabetic() || c >= '\u{a1}') || top.starts_with("xn--"));
    top_is_name
        && domain.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= MAX_LABEL_BYTES
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '-' || c >= '\u{a1}')
        })
}

/// The address with the `+<clientId>` suffix under which the server stores it; unchanged when it has it.
pub(super) fn with_suffix(address: &str, client_id: &str) -> String {
    let suffix = format!("+{client_id}");
    match address.rsplit_once('@') {
        Some((local, domain)) if !local.contains(&suffix) => format!("{local}{suffix}@{domain}"),
        _ => address.to_owned(),
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
        for good in [
            "alice@example.com",
            "alice+clx0@example.com",
            "o'hara.b@mail.example.co.uk",
            "zoë@example.org",
            "a@xn--bcher-kva.example",
        ] {
            assert!(is_valid(good), "{good} is an address");
        }
        let long = format!("{}@example.com", "a".repeat(65));
        for bad in [
            "",
            "alice",
            "alice@",
            "@example.com",
            "alice@example",
            "a..b@example.com",
            "a b@example.com",
            "alice@-example.com",
            "alice@example.c",
            "a@b@example.com",
            &long,
        ] {
            assert!(!is_valid(bad), "{bad} is no address");
        }
    }

    #[test]
    fn the_suffix_is_added_once() {
        let stored = with_suffix("alice@example.com", "clx0");
        assert_eq!(stored, "alice+clx0@example.com");
        assert_eq!(with_suffix(&stored, "clx0"), stored);
        assert_eq!(username(&stored), "alice-clx0-example");
    }
}
