//! The configuration as it is in force, fit to be shown: secrets stay where they are.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Client, Config, DatabaseUrl, Notify, SecretSource, Server, Watch, Webhook};

/// More ids than that say less than their number.
const MAX_USERS_SHOWN: usize = 20;

/// One key with its value.
pub(super) type Line = (&'static str, Value);

impl Config {
    /// Every key with its value in force, as TOML. Secrets are named by where they are, the database's password is
    /// masked, and more than 20 users are only counted, as are those of a file beside `users = "all"`.
    pub fn effective_toml(&self) -> String {
        let mut out = String::new();
        for (section, lines) in self.sections() {
            push(&mut out, &format!("[{section}]"), &lines);
        }
        for client in &self.clients {
            let mut lines = client_lines(client);
            let listed = &client.watch.listed;
            let is_shown = listed.len() <= MAX_USERS_SHOWN;
            if client.watch.all {
                lines.push(("users", json!("all")));
            } else if is_shown && !listed.is_empty() {
                lines.push(("users", json!(**listed)));
            }
            push(&mut out, "[[clients]]", &lines);
            if let (Some(first), Some(last)) = (listed.first(), listed.last())
                && (!is_shown || client.watch.all)
            {
                let whose = if client.watch.all { "of the file" } else { "users" };
                writeln!(out, "# {whose}: {}, from {first} to {last}", listed.len())
                    .expect("writing to a string does not fail");
            }
        }
        out
    }

    /// The same as [`Config::effective_toml`] for programs, with every listed user. For `users = "all"` these are in `listed`.
    pub fn effective_json(&self) -> Value {
        let mut out: serde_json::Map<String, Value> = self
            .sections()
            .into_iter()
            .map(|(section, lines)| (section.to_owned(), object(lines)))
            .collect();
        let clients = self.clients.iter().map(|client| {
            let mut lines = client_lines(client);
            let listed = json!(*client.watch.listed);
            if client.watch.all {
                lines.push(("users", json!("all")));
                lines.push(("listed", listed));
            } else {
                lines.push(("users", listed));
            }
            object(lines)
        });
        out.insert("clients".to_owned(), clients.collect());
        Value::Object(out)
    }

    pub(super) fn sections(&self) -> Vec<(&'static str, Vec<Line>)> {
        // Without `..`, so that a new key is not forgotten here.
        let Self {
            calcom,
            database,
            schedule,
            removal,
            retention,
            log,
            server,
            notify,
            clients: _,
        } = self;
        let mut database_lines = vec![
            ("url", json!(database.url.masked())),
            ("schema", json!(database.schema)),
        ];
        if let DatabaseUrl::Embedded { data_dir } = &database.url {
            database_lines.push(("data_dir", json!(data_dir.to_string_lossy())));
        }
        database_lines.push(("max_connections", json!(database.max_connections)));
        database_lines.push(("pgbouncer", json!(database.pgbouncer)));
        vec![
            (
                "calcom",
                vec![
                    ("base_url", json!(calcom.base_url.as_str().trim_end_matches('/'))),
                    ("fetch", json!(calcom.fetch)),
                    ("requests_per_minute", json!(calcom.requests_per_minute)),
                    ("concurrency", json!(calcom.concurrency)),
                    ("timeout_s", json!(calcom.timeout.as_secs())),
                    ("max_answer_bytes", json!(calcom.max_answer_bytes)),
                ],
            ),
            ("database", database_lines),
            (
                "schedule",
                vec![
                    ("cron", json!(schedule.cron)),
                    ("timezone", json!(schedule.timezone.name())),
                    ("at_start", json!(schedule.at_start)),
                ],
            ),
            (
                "removal",
                vec![
                    ("confirmations", json!(removal.confirmations)),
                    ("min_age_s", json!(removal.min_age.as_secs())),
                    ("max_count", json!(removal.max_count)),
                    ("max_percent", json!(removal.max_percent)),
                ],
            ),
            (
                "retention",
                vec![
                    ("no_change_runs_days", json!(retention.no_change_runs_days)),
                    ("rejects_days", json!(retention.rejects_days)),
                    ("ledger_days", json!(retention.ledger_days)),
                ],
            ),
            (
                "log",
                vec![
                    ("format", json!(log.format)),
                    ("values", json!(log.values)),
                    ("level", json!(log.level)),
                ],
            ),
            ("server", server_lines(server)),
            ("notify", notify_lines(notify)),
        ]
    }
}

fn server_lines(server: &Server) -> Vec<Line> {
    let Server {
        listen,
        token: _,
        token_source,
        show_values,
        hosts,
    } = server;
    let listen = listen.map_or_else(|| "off".to_owned(), |address| address.to_string());
    let mut lines = vec![("listen", json!(listen))];
    lines.extend(token_source.as_ref().map(|said| ("token", source(said))));
    lines.push(("show_values", json!(show_values)));
    lines.push(("hosts", json!(hosts)));
    lines
}

fn notify_lines(notify: &Notify) -> Vec<Line> {
    let Notify { webhook, postgres } = notify;
    let mut lines = Vec::new();
    if let Some(Webhook {
        url: _,
        origin: _,
        url_source,
        key: _,
        secret_source,
    }) = webhook
    {
        lines.push(("webhook_url", source(url_source)));
        lines.push(("webhook_secret", source(secret_source)));
    }
    lines.push(("postgres", json!(postgres)));
    lines
}

pub(super) fn client_lines(client: &Client) -> Vec<Line> {
    let Client {
        name,
        id,
        secret: _,
        secret_source,
        watch,
        fetch,
        requests_per_minute,
        cron,
    } = client;
    let Watch {
        listed: _,
        all: _,
        sql,
        organization_id,
    } = watch;
    let mut lines = vec![
        ("name", json!(name)),
        ("id", json!(id)),
        ("secret", source(secret_source)),
        ("fetch", json!(fetch)),
        ("requests_per_minute", json!(requests_per_minute)),
        ("cron", json!(cron)),
    ];
    lines.extend(sql.as_ref().map(|sql| ("users_sql", json!(sql))));
    lines.extend(organization_id.map(|id| ("organization_id", json!(id))));
    lines
}

fn source(source: &SecretSource) -> Value {
    match source {
        SecretSource::Env(name) => json!({ "env": name }),
        SecretSource::File(path) => json!({ "file": path.to_string_lossy() }),
        SecretSource::Credential(name) => json!({ "credential": name }),
    }
}

fn object(lines: Vec<Line>) -> Value {
    lines
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn push(out: &mut String, heading: &str, lines: &[Line]) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(heading);
    out.push('\n');
    for (key, value) in lines {
        out.push_str(key);
        out.push_str(" = ");
        push_value(out, value);
        out.push('\n');
    }
}

fn push_value(out: &mut String, value: &Value) {
    match value {
        Value::Object(entries) => {
            out.push_str("{ ");
            for (index, (key, value)) in entries.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                out.push_str(key);
                out.push_str(" = ");
                push_value(out, value);
            }
            out.push_str(" }");
        }
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                push_value(out, value);
            }
            out.push(']');
        }
        Value::String(text) => out.push_str(&quoted(text)),
        other => write!(out, "{other}").expect("writing to a string does not fail"),
    }
}

/// A TOML string. JSON's escapes are all TOML's as well; only U+007F needs one more.
pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}
