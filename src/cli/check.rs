//! `calmirror check`: would a pass work? Configuration, database, and one request a client.

pub(super) mod health;
mod rights;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::{
    Out, Output,
    exit::{Exit, unless_closed},
    mirror::{Database, Mirror},
};
use crate::{
    calcom::{self, Source},
    config::{Client, Config, Notify, Secrets, Warning},
    model::{Observation, UserId, escape_hidden, escape_hidden_but_breaks},
    notify::{self, Undelivered},
    store::{self, Store},
    sync::Watched,
};

/// Check configuration, database and credentials, with one request a client
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CheckArgs {
    /// Ask only the daemon of this configuration whether it is alive, and end with 0 or 1: for containers
    #[arg(long)]
    pub(super) health: bool,

    /// Check the configuration alone: ask neither the database nor Cal.com
    #[arg(long, conflicts_with = "health")]
    offline: bool,

    /// Do not look for the secrets, where they are not at hand
    #[arg(long, requires = "offline")]
    without_secrets: bool,

    /// Send a message of type `test` to the webhook of [notify]
    #[arg(long, conflicts_with_all = ["health", "offline"])]
    notify: bool,
}

/// One thing that was checked. Serialized as `check --output json` prints it.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    /// `config`, `database`, `notify`, `health` or the client's name.
    subject: String,
    /// Nothing is in the way of a pass. True of a warning too.
    ok: bool,
    sign: Sign,
    message: String,
    remedy: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

/// Of so many users one is asked for who is not forgotten; where all of them are, the list of users is.
const CANDIDATES: usize = 100;

/// What a finding is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Sign {
    Ok,
    /// Passes work, and an operator should change something all the same. No matter to the exit code.
    Warn,
    Fault,
}

impl CheckArgs {
    pub(super) fn secrets(&self) -> Secrets {
        if self.without_secrets {
            Secrets::LeftAlone
        } else {
            Secrets::Read
        }
    }
}

pub(super) async fn run(
    args: &CheckArgs,
    config: Config,
    warnings: &[Warning],
    out: &mut Out,
) -> anyhow::Result<Exit> {
    let message = format!(
        "clients: {}, users: {}",
        config.clients.len(),
        users(&config.clients)
    );
    let mut exit = report(out, Finding::fine("config", message))?;
    for warning in warnings {
        exit = exit.max(report(out, rights::of_config(warning))?);
    }
    if args.offline {
        return Ok(exit);
    }
    let mirror = Mirror::open(config).await?;
    let readiness = database(&mirror.database).await;
    let answers = readiness.exit != Exit::Unavailable;
    exit = exit.max(report(out, readiness)?);
    for warning in rights::warnings(&mirror.database, &mirror.config.retention, answers).await {
        exit = exit.max(report(out, warning)?);
    }
    for index in 0..mirror.clients.len() {
        exit = exit.max(report(out, client(&mirror, index).await)?);
    }
    if let Some(finding) = webhook(args, &mirror.config.notify).await {
        exit = exit.max(report(out, finding)?);
    }
    mirror.close().await;
    Ok(exit)
}

/// Whether the webhook is configured as it has to be, and, if that is asked for, whether it takes a message.
async fn webhook(args: &CheckArgs, notify: &Notify) -> Option<Finding> {
    const SUBJECT: &str = "notify";
    let Some(webhook) = &notify.webhook else {
        let no_receiver = Finding {
            subject: SUBJECT.to_owned(),
            ok: false,
            sign: Sign::Fault,
            message: "there is no webhook to be tried".to_owned(),
            remedy: Some("set notify.webhook_url and notify.webhook_secret".to_owned()),
            exit: Exit::Usage,
        };
        return args.notify.then_some(no_receiver);
    };
    let origin = &webhook.origin;
    if !args.notify {
        let message = format!("the webhook at {origin} is in order; --notify tries it");
        return Some(Finding::fine(SUBJECT, message));
    }
    Some(match notify::try_receiver(webhook).await {
        Ok(()) => Finding::fine(SUBJECT, format!("{origin} took a message of type test")),
        Err(error) => Finding {
            subject: SUBJECT.to_owned(),
            ok: false,
            sign: Sign::Fault,
            message: error.to_string(),
            remedy: Some(error.remedy().to_owned()),
            exit: match error {
                Undelivered::Setup(_) | Undelivered::Gone { .. } | Undelivered::Moved { .. } => Exit::Failed,
                error if error.needs_somebody() => Exit::Failed,
                _ => Exit::Unavailable,
            },
        },
    })
}

/// How many users there are, as far as that is known before anybody is asked.
fn users(clients: &[Client]) -> String {
    let of = |is_meant: fn(&Client) -> bool| {
        let names = clients.iter().filter(|client| is_meant(client));
        let names: Vec<_> = names.map(|client| client.name.as_str()).collect();
        names.join(" and ")
    };
    let listed: usize = clients.iter().map(|client| client.watch.listed.len()).sum();
    let everyone = of(|client| client.watch.all);
    let by_query = of(|client| client.watch.sql.is_some());
    let mut parts = Vec::new();
    if listed > 0 {
        parts.push(listed.to_string());
    }
    if !everyone.is_empty() {
        parts.push(format!("everyone of {everyone}"));
    }
    if !by_query.is_empty() {
        parts.push(format!("by query for {by_query}"));
    }
    parts.join(", ")
}

async fn database(database: &Database) -> Finding {
    match readiness(&database.store).await {
        Ok(message) => Finding::fine("database", message),
        Err(error) => Finding::of_store("database", &error),
    }
}

/// Missing tables are no fault where the first pass makes them.
async fn readiness(store: &Store) -> Result<String, store::Error> {
    let pending = store.pending_migrations().await;
    rights::to_migrate(store, &pending).await?;
    match pending {
        Ok(0) => Ok(format!("schema {} is up to date", store.schema())),
        Ok(pending) => Ok(format!(
            "schema {}: {pending} migrations are due at the next pass",
            store.schema()
        )),
        Err(store::Error::NotMigrated { schema }) => Ok(format!(
            "schema {schema} has no tables yet; the first pass makes them"
        )),
        Err(error) => Err(error),
    }
}

async fn client(mirror: &Mirror, index: usize) -> Finding {
    let watched = &mirror.clients[index];
    let name = &watched.client.name;
    let base_url = mirror.config.calcom.base_url.as_str().trim_end_matches('/');
    if let Ok(Some(recorded)) = mirror.database.store.source_of(&watched.client.id).await
        && recorded != base_url
    {
        let error = store::Error::SourceChanged {
            client: name.clone(),
            recorded,
            configured: base_url.to_owned(),
        };
        return Finding::of_store(name, &error);
    }
    // Whom to ask for may be known by a query only; and a query that fails would fail each pass.
    let watch = match Watched::of(&watched.client, &mirror.database.store).await {
        Ok(watch) => watch,
        Err(error) => return Finding::of_store(name, &error),
    };
    let by_query = match &watched.client.watch.sql {
        Some(_) => match watch.ids().len() {
            1 => "; with users_sql, 1 user is known beforehand".to_owned(),
            known => format!("; with users_sql, {known} users are known beforehand"),
        },
        None => String::new(),
    };
    let first: Vec<UserId> = watch.ids().iter().take(CANDIDATES).collect();
    // Without tables nobody is forgotten, and whatever else is wrong with the database was said above.
    let forgotten = mirror.database.store.forgotten_among(&first).await;
    let forgotten = forgotten.unwrap_or_default();
    let found = match first.iter().find(|user| !forgotten.contains(user)) {
        Some(user) => one_user(&watched.source, *user).await,
        None => list(&watched.source).await,
    };
    match found {
        Ok(Answer { said, remedy: None }) => Finding::fine(name, format!("{said}{by_query}")),
        Ok(Answer { said, remedy }) => {
            let remedy = remedy.map(str::to_owned);
            Finding::warning(
                name,
                format!("credentials are right, but {said}{by_query}"),
                remedy,
            )
        }
        Err(error) => Finding {
            subject: name.clone(),
            ok: false,
            sign: Sign::Fault,
            message: error.to_string(),
            remedy: error.remedy(),
            exit: if error.is_unavailable() {
                Exit::Unavailable
            } else {
                Exit::Failed
            },
        },
    }
}

/// What Cal.com said when it was asked, and what is to be done where that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    said: String,
    remedy: Option<&'static str>,
}

async fn one_user(source: &impl Source, user: UserId) -> Result<Answer, calcom::Error> {
    let (said, remedy) = match source.get_user(user).await? {
        Observation::Present(_) => (format!("user {user} answers"), None),
        Observation::Gone(_) => (
            format!("user {user} is not one of this client's"),
            Some(
                "see whether the ids are those that Cal.com gives the client's users; `calmirror status` names all such users after a pass",
            ),
        ),
        Observation::Unreadable(reject) => (
            format!("user {user} cannot be mirrored: {}", reject.reason()),
            Some("the others are mirrored; `calmirror status` lists such users after a pass"),
        ),
    };
    Ok(Answer { said, remedy })
}

/// A page of one user: it shows as much as a longer one.
async fn list(source: &impl Source) -> Result<Answer, calcom::Error> {
    let roll = source.page(0, 1, &HashMap::new()).await?;
    let (said, remedy) = if roll.records > 0 {
        ("the list of users answers", None)
    } else {
        let remedy = "see whether the client's `id` is that of the client whose users are meant";
        ("the list of users is empty", Some(remedy))
    };
    Ok(Answer {
        said: said.to_owned(),
        remedy,
    })
}

impl Finding {
    fn of_store(subject: &str, error: &store::Error) -> Self {
        Self {
            subject: subject.to_owned(),
            ok: false,
            sign: Sign::Fault,
            message: error.to_string(),
            remedy: error.remedy().map(str::to_owned),
            exit: if error.is_transient() {
                Exit::Unavailable
            } else {
                Exit::Failed
            },
        }
    }

    fn fine(subject: &str, message: String) -> Self {
        Self {
            subject: subject.to_owned(),
            ok: true,
            sign: Sign::Ok,
            message,
            remedy: None,
            exit: Exit::Success,
        }
    }

    fn warning(subject: &str, message: String, remedy: Option<String>) -> Self {
        Self {
            sign: Sign::Warn,
            remedy,
            ..Self::fine(subject, message)
        }
    }
}

fn report(out: &mut Out, finding: Finding) -> anyhow::Result<Exit> {
    unless_closed(print(out, &finding))?;
    Ok(finding.exit)
}

fn print(out: &mut Out, finding: &Finding) -> anyhow::Result<()> {
    if out.format == Output::Json {
        return out.json(finding);
    }
    let (sign, colour) = match finding.sign {
        Sign::Ok => ("ok   ", AnsiColor::Green),
        Sign::Warn => ("warn ", AnsiColor::Yellow),
        Sign::Fault => ("fault", AnsiColor::Red),
    };
    let style = Style::new().fg_color(Some(colour.into()));
    out.line(format_args!(
        "{style}{sign}{style:#}  {}: {}",
        finding.subject,
        escape_hidden_but_breaks(&finding.message)
    ))?;
    if let Some(remedy) = &finding.remedy {
        out.line(format_args!("       {}", escape_hidden(remedy)))?;
    }
    Ok(())
}
