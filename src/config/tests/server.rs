//! `[server]`: nothing is shown to other machines without a token.

use secrecy::ExposeSecret;

use super::{CLIENT, faults, parse_with};
use crate::config::Server;

fn server(section: &str) -> Server {
    let text = format!("[server]\n{section}\n{CLIENT}");
    let loaded = parse_with(&text, &[("TOKEN", "s3cr3t-t0ken")]).unwrap_or_else(|faults| panic!("{faults}"));
    loaded.config.server
}

#[test]
fn a_server_listens_on_loopback_unless_it_is_told_otherwise_or_off() {
    let address = |section: &str| server(section).listen.map(|address| address.to_string());
    assert_eq!(address("").as_deref(), Some("127.0.0.1:9470"));
    assert_eq!(address("listen = '[::1]:80'").as_deref(), Some("[::1]:80"));
    assert_eq!(address("listen = 'off'"), None);
    assert_eq!(address("listen = ''"), None);
    for loopback in ["127.8.9.1:0", "[::ffff:127.0.0.1]:9470"] {
        assert!(address(&format!("listen = '{loopback}'")).is_some(), "{loopback}");
    }
    let open = server("listen = '0.0.0.0:9470'\ntoken = { env = 'TOKEN' }");
    assert_eq!(open.listen.map(|address| address.port()), Some(9470));
    let token = open.token.expect("there is a token");
    assert_eq!(token.expose_secret(), "s3cr3t-t0ken");
}

#[test]
fn an_address_that_others_reach_wants_a_token() {
    let found: Vec<_> = [
        "0.0.0.0:9470",
        "[::]:9470",
        "[::ffff:0.0.0.0]:9470",
        "192.0.2.1:9470",
    ]
    .iter()
    .map(|address| faults(&format!("[server]\nlisten = '{address}'\n{CLIENT}")))
    .collect();
    insta::assert_snapshot!(found.join("\n"), @r#"
    config.toml:2:10: server.listen: 0.0.0.0:9470 can be reached from other machines, and there is no server.token; set server.token as a client's secret is set, or listen on 127.0.0.1
    config.toml:2:10: server.listen: [::]:9470 can be reached from other machines, and there is no server.token; set server.token as a client's secret is set, or listen on 127.0.0.1
    config.toml:2:10: server.listen: [::ffff:0.0.0.0]:9470 can be reached from other machines, and there is no server.token; set server.token as a client's secret is set, or listen on 127.0.0.1
    config.toml:2:10: server.listen: 192.0.2.1:9470 can be reached from other machines, and there is no server.token; set server.token as a client's secret is set, or listen on 127.0.0.1
    "#);
}

#[test]
fn faults_of_the_server_say_what_is_meant() {
    let found = [
        faults(&format!("[server]\nlisten = '127.0.0.1'\n{CLIENT}")),
        faults(&format!("[server]\nlisten = 'localhost:9470'\n{CLIENT}")),
        faults(&format!("[server]\nlisten = 9470\n{CLIENT}")),
        faults(&format!("[server]\ntoken = 'hunter2'\n{CLIENT}")),
        faults(&format!("[server]\ntoken = {{ env = 'NO_SUCH' }}\n{CLIENT}")),
        faults(&format!(
            "[server]\nhosts = ['https://mirror.example/']\n{CLIENT}"
        )),
        faults(&format!("[server]\nshow_values = 'yes'\nhost = ['a']\n{CLIENT}")),
    ];
    assert!(!found.concat().contains("hunter2"));
    insta::assert_snapshot!(found.join("\n"), @r#"
    config.toml:2:10: server.listen: "127.0.0.1" is no address with a port; as in "127.0.0.1:9470" or "[::1]:9470"; "off" for no server
    config.toml:2:10: server.listen: "localhost:9470" is no address with a port; as in "127.0.0.1:9470" or "[::1]:9470"; "off" for no server
    config.toml:2:10: server.listen: must be a string, not a whole number
    config.toml:2:9: server.token: must not stand in this file, which tends to be copied and committed; write { env = "NAME" }, { file = "path" } or { credential = "name" }
    config.toml:2:17: server.token: the environment variable NO_SUCH is unset or empty; set it to the token
    config.toml:2:9: server.hosts: "https://mirror.example/" is no name of a host; as in "mirror.example.com", without scheme and path
    config.toml:2:15: server.show_values: must be true or false, not a string
    config.toml:3:1: server.host: unknown key; did you mean "hosts"?
    "#);
}
