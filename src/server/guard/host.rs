//! What a request calls this server.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderValue, Uri, header, uri::Authority};

use crate::config;

/// What the request names: its one `Host`, and the authority of an absolute address. None where there is not exactly one `Host`, or it
/// cannot be read.
pub(super) fn named(uri: &Uri, headers: &HeaderMap) -> Option<Vec<Authority>> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return None;
    };
    let host = authority(host)?;
    Some(uri.authority().cloned().into_iter().chain([host]).collect())
}

/// Whether it is a name of the address that is listened on, or of `server.hosts`. Ports do not matter: a tunnel has another.
pub(super) fn is_ours(named: &Authority, config: &config::Server, address: Option<SocketAddr>) -> bool {
    let host = named.host().trim_end_matches('.').to_ascii_lowercase();
    let listed = |name: &String| {
        let name = name.to_ascii_lowercase();
        name == host || name == named.as_str().to_ascii_lowercase()
    };
    if host == "localhost" || config.hosts.iter().any(listed) {
        return true;
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let Ok(ip) = bare.unwrap_or(&host).parse::<IpAddr>() else {
        return false;
    };
    let ip = ip.to_canonical();
    ip.is_loopback() || address.is_some_and(|address| address.ip().to_canonical() == ip)
}

/// Whether the origin of a page is what the request calls this server.
pub(super) fn is_origin(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let parts = origin.to_str().ok().and_then(|origin| {
        let (scheme, rest) = origin.split_once("://")?;
        let port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        Some((port, rest.parse::<Authority>().ok()?))
    });
    let (Some((port, origin)), Some(host)) = (parts, host.and_then(authority)) else {
        return false;
    };
    let with_port = |authority: &Authority| {
        let host = authority.host().to_ascii_lowercase();
        (host, authority.port_u16().unwrap_or(port))
    };
    with_port(&origin) == with_port(&host)
}

fn authority(host: &HeaderValue) -> Option<Authority> {
    let host: Authority = host.to_str().ok()?.parse().ok()?;
    // A `user@` has no business there.
    (!host.as_str().contains('@') && !host.host().is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(host: &str, hosts: &[&str], address: &str) -> bool {
        let config = config::Server {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..config::Server::default()
        };
        let value = HeaderValue::from_bytes(host.as_bytes()).expect("a header's value");
        let address = Some(address.parse().expect("an address"));
        authority(&value).is_some_and(|host| is_ours(&host, &config, address))
    }

    #[test]
    fn names_of_the_address_and_of_the_configuration_are_ours_and_no_others() {
        let local = "127.0.0.1:9470";
        for host in [
            "127.0.0.1",
            "127.0.0.1:9470",
            "localhost",
            "LOCALHOST:8080",
            "localhost.:9470",
            "[::1]:9470",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(ours(host, &[], local), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9470",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1",
            "10.0.0.7",
            "0.0.0.0",
            "[::]",
            "",
            ":9470",
            "caf\u{e9}",
        ] {
            assert!(!ours(host, &[], local), "{host}");
        }
        assert!(ours("10.0.0.7:9470", &[], "10.0.0.7:9470"));
        assert!(ours("Mirror.Example", &["mirror.example"], local));
        assert!(ours("mirror.example:8443", &["mirror.example"], local));
        assert!(ours("mirror.example:8443", &["mirror.example:8443"], local));
        assert!(!ours("mirror.example:9470", &["mirror.example:8443"], local));
    }

    #[test]
    fn an_origin_is_ours_if_it_is_what_the_request_calls_us() {
        let cases = [
            ("http://127.0.0.1:9470", "127.0.0.1:9470", true),
            ("https://mirror.example", "mirror.example", true),
            ("https://mirror.example", "mirror.example:443", true),
            ("http://127.0.0.1:3000", "127.0.0.1:9470", false),
            ("http://evil.example", "127.0.0.1:9470", false),
            ("null", "127.0.0.1:9470", false),
            ("file://", "127.0.0.1:9470", false),
            ("", "", false),
        ];
        for (origin, host, is) in cases {
            let (origin, host) = (HeaderValue::from_static(origin), HeaderValue::from_static(host));
            assert_eq!(is_origin(&origin, Some(&host)), is, "{origin:?} {host:?}");
        }
    }
}
