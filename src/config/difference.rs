//! What sets one configuration apart from another, by names: no value is in it.

use std::{collections::BTreeMap, fmt};

use secrecy::{ExposeSecret, SecretString};

use super::{Client, Config, DatabaseUrl, Webhook, effective::client_lines};
use crate::model::ClientId;

/// What a configuration changes of another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Names of clients, as are the next two. A client is the same as long as its id is.
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// By the names that they have now.
    pub changed: Vec<String>,
    /// Names of sections.
    pub sections: Vec<&'static str>,
}

impl Difference {
    /// What `after` changes of `before`.
    pub fn between(before: &Config, after: &Config) -> Self {
        let old: BTreeMap<&ClientId, &Client> = by_id(before);
        let new: BTreeMap<&ClientId, &Client> = by_id(after);
        let name = |client: &Client| client.name.clone();
        let gone = before
            .clients
            .iter()
            .filter(|client| !new.contains_key(&client.id));
        let come = after
            .clients
            .iter()
            .filter(|client| !old.contains_key(&client.id));
        let changed = after.clients.iter().filter(|client| {
            let before = old.get(&client.id);
            before.is_some_and(|before| is_changed(before, client))
        });
        Self {
            added: come.map(name).collect(),
            removed: gone.map(name).collect(),
            changed: changed.map(name).collect(),
            sections: sections(before, after),
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Difference {
    /// In one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing differs");
        }
        let sections: Vec<_> = self.sections.iter().map(|name| format!("[{name}]")).collect();
        let parts = [
            ("added", &self.added),
            ("removed", &self.removed),
            ("changed", &self.changed),
            ("sections", &sections),
        ];
        let said = parts.iter().filter(|(_, names)| !names.is_empty());
        let said: Vec<_> = said
            .map(|(what, names)| format!("{what}: {}", names.join(", ")))
            .collect();
        f.write_str(&said.join("; "))
    }
}

fn by_id(config: &Config) -> BTreeMap<&ClientId, &Client> {
    config.clients.iter().map(|client| (&client.id, client)).collect()
}

fn is_changed(before: &Client, after: &Client) -> bool {
    client_lines(before) != client_lines(after)
        || before.watch.listed != after.watch.listed
        || before.watch.all != after.watch.all
        || before.secret.expose_secret() != after.secret.expose_secret()
}

fn sections(before: &Config, after: &Config) -> Vec<&'static str> {
    let (old, new) = (before.sections(), after.sections());
    let changed = |name: &str| match name {
        // What is shown of these leaves secrets out.
        "database" => !is_same_url(&before.database.url, &after.database.url),
        "server" => !is_same_secret(before.server.token.as_ref(), after.server.token.as_ref()),
        "notify" => !is_same_webhook(before.notify.webhook.as_ref(), after.notify.webhook.as_ref()),
        _ => false,
    };
    let pairs = old.iter().zip(&new);
    pairs
        .filter(|(old, new)| old != new || changed(new.0))
        .map(|(_, new)| new.0)
        .collect()
}

/// Whether both mean the same server, as the same user.
pub(super) fn is_same_url(left: &DatabaseUrl, right: &DatabaseUrl) -> bool {
    match (left, right) {
        (DatabaseUrl::Embedded { data_dir: left }, DatabaseUrl::Embedded { data_dir: right }) => {
            left == right
        }
        (DatabaseUrl::Postgres(left), DatabaseUrl::Postgres(right)) => {
            left.expose_secret() == right.expose_secret()
        }
        _ => false,
    }
}

fn is_same_secret(left: Option<&SecretString>, right: Option<&SecretString>) -> bool {
    left.map(ExposeSecret::expose_secret) == right.map(ExposeSecret::expose_secret)
}

fn is_same_webhook(left: Option<&Webhook>, right: Option<&Webhook>) -> bool {
    let parts = |webhook: &Webhook| {
        (
            webhook.url.expose_secret().to_owned(),
            webhook.key.expose_secret().to_owned(),
        )
    };
    left.map(parts) == right.map(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse_with;

    fn parsed(text: &str, pairs: &[(&str, &str)]) -> Config {
        parse_with(text, pairs).expect("the text is in order").config
    }

    fn client(name: &str, id: &str, more: &str) -> String {
        let users = id.len();
        format!(
            "[[clients]]\nname = \"{name}\"\nid = \"{id}\"\nsecret = {{ env = \"SECRET\" }}\nusers = [{users}]\n{more}\n"
        )
    }

    #[test]
    fn clients_that_come_go_and_change_are_named() {
        let before = client("acme", "a", "") + &client("globex", "bb", "") + &client("initech", "ccc", "");
        let after = client("acme", "a", "cron = \"0 3 * * *\"")
            + &client("umbrella", "dddd", "")
            + &client("initech", "ccc", "");
        let difference = Difference::between(&parsed(&before, &[]), &parsed(&after, &[]));
        assert_eq!(
            difference.to_string(),
            "added: umbrella; removed: globex; changed: acme"
        );
        let same = Difference::between(&parsed(&before, &[]), &parsed(&before, &[]));
        assert!(same.is_empty());
        assert_eq!(same.to_string(), "nothing differs");
    }

    #[test]
    fn a_client_under_another_name_is_the_same_client() {
        let difference = Difference::between(
            &parsed(&client("acme", "a", ""), &[]),
            &parsed(&client("acme-eu", "a", ""), &[]),
        );
        assert_eq!(difference.to_string(), "changed: acme-eu");
    }

    #[test]
    fn secrets_that_change_are_noticed_and_never_shown() {
        let text = |password: &str| {
            format!(
                "[database]\nurl = \"postgres://u:{password}@h/d\"\n{}",
                client("acme", "a", "")
            )
        };
        let (before, after) = (text("hunter1"), text("hunter2"));
        let difference =
            Difference::between(&parsed(&before, &[]), &parsed(&after, &[("SECRET", "an0ther")]));
        assert_eq!(difference.to_string(), "changed: acme; sections: [database]");
        assert!(!format!("{difference:?}").contains("hunter"));
    }

    #[test]
    fn sections_are_named_and_what_clients_inherit_changes_them_too() {
        let text = |rate: u32| {
            format!(
                "[calcom]\nrequests_per_minute = {rate}\n[log]\nlevel = \"info\"\n{}",
                client("acme", "a", "")
            )
        };
        let difference = Difference::between(&parsed(&text(300), &[]), &parsed(&text(400), &[]));
        assert_eq!(difference.to_string(), "changed: acme; sections: [calcom]");
    }
}
