//! `[server]`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{
    Server,
    reading::Reading,
    secret,
    section::{Said, Section},
    tree::Table,
};

pub(super) const KEYS: [&str; 4] = ["listen", "token", "show_values", "hosts"];

/// A port that no service is known for.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9470);

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: Some(DEFAULT_LISTEN),
            token: None,
            token_source: None,
            show_values: false,
            hosts: Vec::new(),
        }
    }
}

pub(super) fn read(root: &Table, reading: &mut Reading<'_>) -> Server {
    let section = Section::of(root, "server", &KEYS, reading);
    let default = Server::default();
    let said = section.text_or_blank("listen", reading);
    let listen = match &said {
        None => default.listen,
        Some(said) => address(said, &section, reading),
    };
    let token = match section.node("token") {
        None => None,
        Some(_) => secret::read(&section, "token", reading),
    };
    if let (Some(listen), Some(said), None) = (listen, &said, section.node("token"))
        && !listen.ip().to_canonical().is_loopback()
    {
        let message = format!("{listen} can be reached from other machines, and there is no server.token");
        reading.fault(
            &said.origin,
            section.key("listen"),
            message,
            "set server.token as a client's secret is set, or listen on 127.0.0.1",
        );
    }
    let (token, token_source) = token.unzip();
    Server {
        listen,
        token,
        token_source,
        show_values: section.truth("show_values", default.show_values, reading),
        hosts: hosts(&section, reading),
    }
}

/// Where the daemon listens, for whoever asks it whether it is alive. Whatever else is wrong is no matter; none: nowhere.
pub(super) fn read_listen(root: &Table, reading: &mut Reading<'_>) -> Option<SocketAddr> {
    reading.faults.clear();
    let section = Section::of(root, "server", &KEYS, reading);
    let listen = match section.text_or_blank("listen", reading) {
        None => Server::default().listen,
        Some(said) => address(&said, &section, reading),
    };
    let key = section.key("listen");
    reading.faults.retain(|fault| fault.key == key);
    listen
}

/// Names as they stand in `Host`, which has neither scheme nor path.
fn hosts(section: &Section<'_>, reading: &mut Reading<'_>) -> Vec<String> {
    let hosts = section.texts("hosts", reading);
    if let (Some(node), Some(wrong)) = (
        section.node("hosts"),
        hosts
            .iter()
            .find(|host| host.contains(['/', '@', '*', ' ']) || host.is_empty()),
    ) {
        reading.fault(
            &node.origin,
            section.key("hosts"),
            format!("{wrong:?} is no name of a host"),
            "as in \"mirror.example.com\", without scheme and path",
        );
    }
    hosts
}

fn address(said: &Said<String>, section: &Section<'_>, reading: &mut Reading<'_>) -> Option<SocketAddr> {
    // A variable that is empty counts as unset.
    if said.value.is_empty() || said.value == "off" {
        return None;
    }
    let parsed = said.value.parse();
    if parsed.is_err() {
        reading.fault(
            &said.origin,
            section.key("listen"),
            format!("{:?} is no address with a port", said.value),
            "as in \"127.0.0.1:9470\" or \"[::1]:9470\"; \"off\" for no server",
        );
    }
    parsed.ok()
}
