//! `[calcom]`.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use url::{Host, Url};

use super::{
    Calcom, FetchPlan,
    reading::Reading,
    section::{Said, Section},
    tree::Table,
};

pub(super) const KEYS: [&str; 6] = [
    "base_url",
    "fetch",
    "requests_per_minute",
    "concurrency",
    "timeout_s",
    "max_answer_bytes",
];

pub(super) const BASE_URL: &str = "https://api.cal.com";
/// A tenth below Cal.com's limit of 500, which is shared with everything else that uses the client.
const REQUESTS_PER_MINUTE: u32 = 450;
/// Self-hosted servers may allow far more than 500.
const MAX_REQUESTS_PER_MINUTE: u32 = 1_000_000;

impl Default for Calcom {
    fn default() -> Self {
        Self {
            base_url: Url::parse(BASE_URL).expect("the default is a URL"),
            fetch: FetchPlan::Auto,
            requests_per_minute: REQUESTS_PER_MINUTE,
            concurrency: 8,
            timeout: Duration::from_secs(30),
            max_answer_bytes: 8 * 1024 * 1024,
        }
    }
}

pub(super) fn read(root: &Table, reading: &mut Reading<'_>) -> Calcom {
    let section = Section::of(root, "calcom", &KEYS, reading);
    let default = Calcom::default();
    let timeout_s = section.whole("timeout_s", 1..=600, default.timeout.as_secs(), reading);
    Calcom {
        base_url: section
            .text("base_url", reading)
            .and_then(|said| base_url(&said, &section, reading))
            .unwrap_or(default.base_url),
        fetch: fetch(&section, default.fetch, reading),
        requests_per_minute: requests_per_minute(&section, default.requests_per_minute, reading),
        concurrency: section.whole("concurrency", 1..=256, default.concurrency, reading),
        timeout: Duration::from_secs(timeout_s),
        max_answer_bytes: section.whole(
            "max_answer_bytes",
            1024..=1024 * 1024 * 1024,
            default.max_answer_bytes,
            reading,
        ),
    }
}

/// Also a key of `[[clients]]`.
pub(super) fn requests_per_minute(section: &Section<'_>, default: u32, reading: &mut Reading<'_>) -> u32 {
    section.whole(
        "requests_per_minute",
        0..=MAX_REQUESTS_PER_MINUTE,
        default,
        reading,
    )
}

/// Also a key of `[[clients]]`.
pub(super) fn fetch(section: &Section<'_>, default: FetchPlan, reading: &mut Reading<'_>) -> FetchPlan {
    const PLANS: [(&str, FetchPlan); 4] = [
        ("auto", FetchPlan::Auto),
        ("get", FetchPlan::Get),
        ("bulk", FetchPlan::Bulk),
        ("list", FetchPlan::List),
    ];
    section.choice("fetch", &PLANS, default, reading)
}

fn base_url(said: &Said<String>, section: &Section<'_>, reading: &mut Reading<'_>) -> Option<Url> {
    checked(&said.value)
        .map_err(|(message, remedy)| {
            reading.fault(&said.origin, section.key("base_url"), message, remedy);
        })
        .ok()
}

fn checked(text: &str) -> Result<Url, (String, String)> {
    let fault = |message: &str, remedy: &str| Err((message.to_owned(), remedy.to_owned()));
    let mut url = match Url::parse(text) {
        Ok(url) => url,
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            return fault("has no scheme", "write it as in \"https://api.cal.com\"");
        }
        Err(error) => return fault(&format!("is no URL: {error}"), ""),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return fault(
            "must begin with https:// (or http://, for a server of your own)",
            "",
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return fault(
            "must not hold a user or a password",
            "Cal.com takes the client's secret alone",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return fault("must not hold a query or a fragment", "end it before the ? or #");
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    if let Some(domain) = ["cal.com", "cal.eu"].into_iter().find(|domain| {
        host == *domain
            || ["app.", "www."]
                .iter()
                .any(|sub| host == format!("{sub}{domain}"))
    }) {
        return fault(
            "is the address of the web app, not of its API",
            &format!("write \"https://api.{domain}\""),
        );
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if path.ends_with("/v2") || path.contains("/v2/") {
        return fault(
            "must end before /v2",
            "leave out /v2 and what follows it; it is added to each request",
        );
    }
    url.set_path(&path);
    if url.scheme() == "http" && !url.host().is_some_and(|host| is_near(&host)) {
        return fault(
            "would send the clients' secrets unencrypted over a public network",
            "use https://; http:// is for localhost, private addresses, names without a dot, .internal and .local",
        );
    }
    Ok(url)
}

/// Whether a host is this machine or, by its name or address, on a network that is not public.
pub(super) fn is_near(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            !name.contains('.')
                || [".internal", ".local", ".localhost"]
                    .iter()
                    .any(|suffix| name.ends_with(suffix))
        }
        Host::Ipv4(address) => is_near_v4(*address),
        Host::Ipv6(address) => is_near_v6(*address),
    }
}

fn is_near_v4(address: Ipv4Addr) -> bool {
    address.is_loopback() || address.is_private() || address.is_link_local()
}

fn is_near_v6(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().map_or_else(
        || address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
        is_near_v4,
    )
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn a_trailing_slash_is_trimmed_and_a_prefix_kept() {
        for (text, expected) in [
            ("https://api.cal.com", "https://api.cal.com/"),
            ("https://api.cal.eu/", "https://api.cal.eu/"),
            ("http://localhost:5555/api//", "http://localhost:5555/api"),
            ("http://calcom:5555", "http://calcom:5555/"),
            ("http://10.1.2.3/", "http://10.1.2.3/"),
            ("http://[::1]:80/", "http://[::1]/"),
            ("http://api.cal.internal/x", "http://api.cal.internal/x"),
        ] {
            assert_eq!(
                checked(text).as_ref().map(url::Url::as_str),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_an_api_is_refused() {
        for (text, expected) in [
            ("api.cal.com", "has no scheme"),
            ("ftp://api.cal.com", "must begin with https://"),
            ("https://me:x@api.cal.com", "must not hold a user"),
            ("https://me@api.cal.com", "must not hold a user"),
            ("https://api.cal.com/?a=b", "must not hold a query"),
            ("https://api.cal.com/#a", "must not hold a query"),
            ("https://app.cal.com", "is the address of the web app"),
            ("https://cal.eu", "is the address of the web app"),
            ("https://api.cal.com/v2/", "must end before /v2"),
            ("https://api.cal.com/v2/oauth-clients", "must end before /v2"),
            (
                "http://api.cal.com",
                "would send the clients' secrets unencrypted",
            ),
            ("http://8.8.8.8", "would send the clients' secrets unencrypted"),
            ("https://", "is no URL"),
        ] {
            let (message, _) = checked(text).expect_err(text);
            assert!(message.starts_with(expected), "{text}: {message}");
        }
    }
}
