//! What somebody needs to point calmirror at a simulator: sections of a config, secrets, files of users.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::simulator::{ClientInfo, Simulator};

/// More ids than this in one line help nobody.
const MAX_INLINE_USERS: usize = 50;

/// A file for each client with its users.
pub(super) struct UserFiles<'a> {
    pub(super) dir: &'a Path,
    /// Whether their addresses stand beside their ids.
    pub(super) emails: bool,
}

impl UserFiles<'_> {
    fn of(&self, client: &ClientInfo) -> PathBuf {
        let kind = if self.emails { "csv" } else { "txt" };
        self.dir.join(format!("users-{}.{kind}", client.name))
    }

    pub(super) fn write(&self, simulator: &Simulator, clients: &[ClientInfo]) -> anyhow::Result<()> {
        fs::create_dir_all(self.dir)?;
        for client in clients {
            let file = self.of(client);
            if self.emails {
                let mut csv = csv::Writer::from_path(file)?;
                csv.write_record(["user_id", "email"])?;
                for user in simulator.addresses(&client.id)? {
                    csv.serialize(user)?;
                }
                csv.flush()?;
            } else {
                let ids: String = client.users.iter().map(|id| format!("{id}\n")).collect();
                fs::write(file, ids)?;
            }
        }
        Ok(())
    }
}

/// What a program reads. Serialized as `simulate --output json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Handout<'a> {
    base_url: String,
    clients: Vec<HandedClient<'a>>,
}

#[derive(Debug, Serialize)]
struct HandedClient<'a> {
    name: &'a str,
    id: &'a str,
    /// Invented, as everything is.
    secret: &'a str,
    users: &'a [i64],
    /// The file that was written for `users_file`.
    users_file: Option<String>,
}

impl<'a> Handout<'a> {
    pub(super) fn of(base_url: String, clients: &'a [ClientInfo], files: Option<&UserFiles<'_>>) -> Self {
        let clients = clients.iter().map(|client| HandedClient {
            name: &client.name,
            id: &client.id,
            secret: &client.secret,
            users: &client.users,
            users_file: files.map(|files| files.of(client).to_string_lossy().into_owned()),
        });
        Self {
            base_url,
            clients: clients.collect(),
        }
    }
}

const CONFIG_HEADING: &str = "# For config.toml:";
const SHELL_HEADING: &str = "# For the shell that runs calmirror:";

/// What a person pastes: a config's sections, then the secrets for the shell.
pub(super) fn paste(base_url: &str, clients: &[ClientInfo], files: Option<&UserFiles<'_>>) -> String {
    let mut text = format!("{CONFIG_HEADING}\n[calcom]\n");
    let mut exports = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("writing to a string does not fail");
        text.push('\n');
    };
    line(format_args!("base_url = \"{base_url}\""));
    for client in clients {
        let variable = format!("CAL_SECRET_{}", client.name.to_uppercase().replace('-', "_"));
        line(format_args!("\n[[clients]]"));
        line(format_args!("name = \"{}\"", client.name));
        line(format_args!("id = \"{}\"", client.id));
        line(format_args!("secret = {{ env = \"{variable}\" }}"));
        match files {
            Some(files) => {
                // A JSON string is a TOML one as well.
                let file = serde_json::Value::from(files.of(client).to_string_lossy());
                line(format_args!("users_file = {file}"));
            }
            None if client.users.len() <= MAX_INLINE_USERS => {
                let ids: Vec<String> = client.users.iter().map(i64::to_string).collect();
                line(format_args!("users = [{}]", ids.join(", ")));
            }
            None => line(format_args!(
                "users_file = \"users-{}.txt\" # {} ids; start with `--users-dir .` to have it written",
                client.name,
                client.users.len()
            )),
        }
        writeln!(exports, "export {variable}={}", client.secret).expect("writing to a string does not fail");
    }
    format!("{text}\n{SHELL_HEADING}\n{exports}\n# Serving until Ctrl-C.\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str, users: i64) -> ClientInfo {
        ClientInfo {
            name: name.to_owned(),
            id: format!("cl-{name}"),
            secret: format!("secret-of-{name}"),
            users: (1..=users).collect(),
        }
    }

    #[test]
    fn a_few_users_are_listed_and_many_are_left_to_a_file() {
        let clients = [client("acme", 3), client("client-9", 51)];
        let printed = paste("http://127.0.0.1:5555", &clients, None);
        insta::assert_snapshot!(printed, @r#"
        # For config.toml:
        [calcom]
        base_url = "http://127.0.0.1:5555"

        [[clients]]
        name = "acme"
        id = "cl-acme"
        secret = { env = "CAL_SECRET_ACME" }
        users = [1, 2, 3]

        [[clients]]
        name = "client-9"
        id = "cl-client-9"
        secret = { env = "CAL_SECRET_CLIENT_9" }
        users_file = "users-client-9.txt" # 51 ids; start with `--users-dir .` to have it written

        # For the shell that runs calmirror:
        export CAL_SECRET_ACME=secret-of-acme
        export CAL_SECRET_CLIENT_9=secret-of-client-9

        # Serving until Ctrl-C.
        "#);
    }

    #[test]
    fn what_is_for_the_config_is_toml() {
        let clients = [client("acme", 3)];
        let files = UserFiles {
            dir: Path::new("/srv/cal \"x\" \\ y"),
            emails: false,
        };
        let printed = paste("http://127.0.0.1:5555", &clients, Some(&files));
        let (config, _) = printed
            .split_once(SHELL_HEADING)
            .expect("the shell's part follows");
        let config: toml::Table = toml::from_str(config).expect("the config's part is TOML");
        let file = config["clients"][0]["users_file"].as_str();
        assert_eq!(file, files.dir.join("users-acme.txt").to_str());
    }
}
