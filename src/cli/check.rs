//! `calmirror check`: would a pass work? Configuration, database, and one request a client.

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::{
    Out, Output,
    exit::{Exit, unless_closed},
    mirror::{Database, Mirror},
};
use crate::{
    calcom::Source,
    config::Config,
    model::Observation,
    store::{self, Store},
};

/// One thing that was checked. Serialized as `check --output json` prints it.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    /// `config`, `database` or the client's name.
    subject: String,
    ok: bool,
    message: String,
    remedy: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

pub(super) async fn run(config: Config, out: &mut Out) -> anyhow::Result<Exit> {
    let users: usize = config
        .clients
        .iter()
        .map(|client| client.watch.listed.len())
        .sum();
    let message = format!("clients: {}, users: {users}", config.clients.len());
    let mut exit = report(out, Finding::fine("config", message))?;
    let mirror = Mirror::open(config).await?;
    exit = exit.max(report(out, database(&mirror.database).await)?);
    for index in 0..mirror.clients.len() {
        exit = exit.max(report(out, client(&mirror, index).await)?);
    }
    mirror.close().await;
    Ok(exit)
}

async fn database(database: &Database) -> Finding {
    match readiness(&database.store).await {
        Ok(message) => Finding::fine("database", message),
        Err(error) => Finding {
            subject: "database".to_owned(),
            ok: false,
            message: error.to_string(),
            remedy: error.remedy().map(str::to_owned),
            exit: if error.is_transient() {
                Exit::Unavailable
            } else {
                Exit::Failed
            },
        },
    }
}

/// Missing tables are no fault: the first pass makes them.
async fn readiness(store: &Store) -> Result<String, store::Error> {
    match store.pending_migrations().await {
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
    let Some(&user) = watched.client.watch.listed.first() else {
        return Finding::fine(name, "no users to ask for".to_owned());
    };
    let base_url = mirror.config.calcom.base_url.as_str().trim_end_matches('/');
    if let Ok(Some(recorded)) = mirror.database.store.source_of(&watched.client.id).await
        && recorded != base_url
    {
        let error = store::Error::SourceChanged {
            client: name.clone(),
            recorded,
            configured: base_url.to_owned(),
        };
        return Finding {
            subject: name.clone(),
            ok: false,
            message: error.to_string(),
            remedy: error.remedy().map(str::to_owned),
            exit: Exit::Failed,
        };
    }
    match watched.source.get_user(user).await {
        Ok(Observation::Present(_)) => Finding::fine(name, format!("user {user} answers")),
        Ok(Observation::Gone(_)) => Finding::fine(
            name,
            format!("credentials are right, but user {user} is not one of this client's"),
        ),
        Ok(Observation::Unreadable(reject)) => Finding::fine(
            name,
            format!(
                "credentials are right, but user {user} cannot be mirrored: {}",
                reject.reason()
            ),
        ),
        Err(error) => Finding {
            subject: name.clone(),
            ok: false,
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

impl Finding {
    fn fine(subject: &str, message: String) -> Self {
        Self {
            subject: subject.to_owned(),
            ok: true,
            message,
            remedy: None,
            exit: Exit::Success,
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
    let (sign, colour) = if finding.ok {
        ("ok   ", AnsiColor::Green)
    } else {
        ("fault", AnsiColor::Red)
    };
    let style = Style::new().fg_color(Some(colour.into()));
    out.line(format_args!(
        "{style}{sign}{style:#}  {}: {}",
        finding.subject, finding.message
    ))?;
    if let Some(remedy) = &finding.remedy {
        out.line(format_args!("       {remedy}"))?;
    }
    Ok(())
}
