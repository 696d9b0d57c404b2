//! `calmirror history USER`: every change of one user.

use chrono::{DateTime, Utc};

use super::{Out, Output, argument, exit::Exit, mirror::Database};
use crate::{
    config::Config,
    model::{Json, UserId, escape_hidden},
    store::{Error, HistoryEntry, Store},
};

/// Show every change of one user
#[derive(Clone, Debug, clap::Args)]
pub struct HistoryArgs {
    /// The managed user's id
    #[arg(value_name = "USER", value_parser = argument::id, allow_negative_numbers = true)]
    user: i64,
}

pub(super) async fn run(args: &HistoryArgs, config: Config, out: &mut Out) -> anyhow::Result<Exit> {
    let database = Database::open(&config.database).await?;
    let user = UserId(args.user);
    let result = read(&database.store, user).await;
    database.close().await;
    let entries = match result? {
        Known::Versions(entries) => entries,
        Known::Forgotten(at) => anyhow::bail!(
            "user {user} is forgotten since {}, and nothing else is kept of it",
            at.format("%Y-%m-%d %H:%M:%SZ")
        ),
        Known::Nothing => {
            let listed = config
                .clients
                .iter()
                .find(|client| client.watch.listed.contains(user));
            match listed {
                Some(client) => anyhow::bail!(
                    "user {user} was never mirrored; it is configured for {}: `calmirror status` says whether Cal.com has it",
                    client.name
                ),
                None => anyhow::bail!(
                    "user {user} was never mirrored, and no client of the configuration lists it; is it another id?"
                ),
            }
        }
    };
    for entry in &entries {
        match out.format {
            Output::Json => out.json(entry)?,
            Output::Text => print(entry, out)?,
        }
    }
    Ok(Exit::Success)
}

/// What the ledger has of a user.
enum Known {
    Versions(Vec<HistoryEntry>),
    Forgotten(DateTime<Utc>),
    Nothing,
}

async fn read(store: &Store, user: UserId) -> Result<Known, Error> {
    store.pending_migrations().await?;
    let entries = store.history(user).await?;
    if !entries.is_empty() {
        return Ok(Known::Versions(entries));
    }
    let forgotten = store.forgotten_at(user).await?;
    Ok(forgotten.map_or(Known::Nothing, Known::Forgotten))
}

/// What this shows is what the reader may also query, so nothing is masked.
fn print(entry: &HistoryEntry, out: &mut Out) -> anyhow::Result<()> {
    let bold = anstyle::Style::new().bold();
    let time = entry.observed_at.format("%Y-%m-%d %H:%M:%S%.3fZ");
    let run = entry.run_id;
    out.line(format_args!(
        "{bold}v{} {}{bold:#}  {time}  run {run}",
        entry.version, entry.kind
    ))?;
    if let Some(folded) = &entry.folded {
        let time = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M:%SZ").to_string();
        let (first, at) = (time(folded.first_seen_at), time(folded.folded_at));
        let versions = entry.version;
        out.line(format_args!(
            "    (versions 1 to {versions}, since {first}, folded on {at})"
        ))?;
        if let Some(removed_at) = folded.removed_at {
            out.line(format_args!("    (removed since {})", time(removed_at)))?;
        }
    }
    if entry.kind == "insert" {
        for column in entry
            .after
            .keys()
            .filter(|column| !matches!(*column, "id" | "client_id"))
        {
            match entry.after.get(column) {
                Some(value) if !value.is_null() && !value.is_empty_object() => {
                    out.line(format_args!("    {}: {value}", escape_hidden(column)))?
                }
                _ => {}
            }
        }
    }
    for column in entry.changed.keys() {
        let values = entry.changed.get(column).cloned().unwrap_or(Json::NULL);
        out.line(format_args!(
            "    {}: {} -> {}",
            escape_hidden(column),
            values.member("old"),
            values.member("new")
        ))?;
    }
    Ok(())
}
