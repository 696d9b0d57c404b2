//! `calmirror status`: how fresh the mirror is, what waits, and what is no longer asked for.

mod text;
mod watch;

use std::{collections::HashMap, time::Duration};

use serde::Serialize;

use super::{Out, Output, exit::Exit, mirror::Database};
use crate::{
    config::{Config, Environment},
    model::ClientId,
    store::{ClientStatus, Error, ExtraField, HeldStatus, RejectStatus, RetentionStatus, Store, WatchStatus},
    sync::Watched,
};

/// A screen's worth; the table `rejects` has them all.
const MAX_REJECTS: u32 = 20;

/// Users that are named where there may be any number of them.
const MAX_NAMED: u32 = 20;

/// As `--output json` prints it.
#[derive(Clone, Debug, Serialize)]
struct Status {
    clients: Vec<Client>,
    /// How many passes have to say that a user is gone.
    confirmations_needed: u32,
    /// Clients that are configured and never had a pass, by name: as much a part of the answer.
    never_passed: Vec<String>,
    /// The newest, at most [`MAX_REJECTS`].
    rejects: Vec<RejectStatus>,
    extra_fields: Vec<ExtraField>,
    /// What was last deleted, as [retention] says; null if nothing ever was.
    retention: Option<RetentionStatus>,
}

#[derive(Clone, Debug, Serialize)]
struct Client {
    #[serde(flatten)]
    status: ClientStatus,
    /// Whether the configuration still has it.
    configured: bool,
    /// Of a client that is not configured, nobody is watched.
    #[serde(flatten)]
    watch: WatchStatus,
    held: Option<HeldStatus>,
}

/// Show how fresh the mirror is, and what the last passes did
#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {
    /// Follow it until Ctrl-C, looking again so often. A terminal shows it as it is; elsewhere there is a line for each change
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = parse_seconds
    )]
    watch: Option<Duration>,
}

/// Not more often than an eye can follow, and not less than every day.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("not a number of seconds from 0.1 to 86400".to_owned()),
    }
}

pub(super) async fn run(
    args: &StatusArgs,
    config: Config,
    out: &mut Out,
    environment: &Environment,
) -> anyhow::Result<Exit> {
    if let Some(every) = args.watch {
        return watch::run(every, environment.terminal_obeys(), config, out).await;
    }
    let database = Database::open(&config.database).await?;
    let result = read(&database.store, &config).await;
    let psql = database.psql_command();
    database.close().await;
    let status = result?;
    match out.format {
        Output::Json => out.json(&status)?,
        Output::Text => {
            let page = text::page(&status, psql.as_deref(), out.columns());
            out.whole(page.as_bytes())?;
        }
    }
    Ok(Exit::Success)
}

async fn read(store: &Store, config: &Config) -> Result<Status, Error> {
    let configured = &config.clients;
    store.pending_migrations().await?;
    let statuses = store.status().await?;
    let never_passed = configured
        .iter()
        .filter(|client| {
            statuses
                .iter()
                .all(|status| status.client_id != client.id.as_str())
        })
        .map(|client| client.name.clone())
        .collect();
    let mut held: HashMap<String, HeldStatus> = store
        .held_status(MAX_NAMED)
        .await?
        .into_iter()
        .map(|held| (held.client_id.clone(), held))
        .collect();
    let mut clients = Vec::with_capacity(statuses.len());
    for status in statuses {
        let client = configured
            .iter()
            .find(|client| client.id.as_str() == status.client_id);
        let watched = match client {
            Some(client) => Watched::of(client, store).await?,
            None => Watched::nobody(),
        };
        let watch = store
            .watch_status(&ClientId(status.client_id.clone()), watched.only(), MAX_NAMED)
            .await?;
        clients.push(Client {
            configured: client.is_some(),
            watch,
            held: held.remove(&status.client_id),
            status,
        });
    }
    Ok(Status {
        clients,
        confirmations_needed: config.removal.confirmations,
        never_passed,
        rejects: store.rejects(MAX_REJECTS).await?,
        extra_fields: store.extra_fields().await?,
        retention: store.retention_status().await?,
    })
}
