//! `calmirror prune`: what the daemon does once a day.

use std::fmt::Display;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Out, Output, exit::Exit, mirror::Database, table::counted};
use crate::{
    config::Config,
    retention::{Attempt, Pruned, Upkeep, When},
    shutdown::Shutdown,
    store::{Deleted, Error},
    sync::with_retries,
};

/// Delete what `[retention]` does not keep, as `run` does once a day
#[derive(Clone, Debug, clap::Args)]
pub struct PruneArgs {
    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
}

/// As `--output json` prints it.
#[derive(Debug, Serialize)]
struct Answer {
    dry_run: bool,
    /// Nothing is left to delete.
    complete: bool,
    /// Rows by table.
    deleted: Deleted,
    folded_users: u64,
    users_in_doubt: u64,
    /// From when on history is whole; null while nothing was ever folded.
    history_from: Option<DateTime<Utc>>,
}

pub(super) async fn run(args: &PruneArgs, config: Config, out: &mut Out) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::install()?;
    let mut database = Database::open(&config.database).await?;
    if args.dry_run {
        database = database.read_only();
    }
    let upkeep = Upkeep {
        store: database.store.clone(),
        retention: config.retention,
        clients: config.clients.iter().map(|client| client.id.clone()).collect(),
    };
    let result = prune(&upkeep, args.dry_run, &shutdown).await;
    database.close().await;
    let Some((pruned, history_from)) = result? else {
        tracing::error!("a batch did not end in time after the signal, and was cut");
        return Ok(Exit::Failed);
    };
    let answer = Answer {
        dry_run: args.dry_run,
        complete: pruned.is_complete,
        deleted: pruned.deleted,
        folded_users: pruned.folded_users,
        users_in_doubt: pruned.users_in_doubt,
        history_from,
    };
    match out.format {
        Output::Json => out.json(&answer)?,
        Output::Text => print(&answer, &config, out)?,
    }
    Ok(if pruned.is_complete && pruned.users_in_doubt == 0 {
        Exit::Success
    } else {
        Exit::Partial
    })
}

/// What was deleted, and from when on history is whole. None if it did not end in time after a signal.
async fn prune(
    upkeep: &Upkeep,
    dry_run: bool,
    shutdown: &Shutdown,
) -> Result<Option<(Pruned, Option<DateTime<Utc>>)>, Error> {
    if upkeep.store.pending_migrations().await? > 0 {
        return Err(Error::NotMigrated {
            schema: upkeep.store.schema().to_owned(),
        });
    }
    let token = shutdown.token();
    let pruned = async {
        let pruned = if dry_run {
            upkeep.look(&token).await?
        } else {
            match upkeep.prune(When::Now, &token).await? {
                Attempt::Pruned(pruned) => pruned,
                // Whoever asks by hand waits for nobody.
                Attempt::NotDue { .. } => return Err(Error::Overtaken),
            }
        };
        // Not as it is configured: nothing older may have been there, or it was configured otherwise before.
        let status = with_retries(|| upkeep.store.retention_status()).await?;
        Ok((pruned, status.and_then(|status| status.history_from)))
    };
    tokio::select! {
        pruned = pruned => pruned.map(Some),
        () = shutdown.overdue() => Ok(None),
    }
}

fn print(answer: &Answer, config: &Config, out: &mut Out) -> anyhow::Result<()> {
    let retention = &config.retention;
    let Deleted {
        sync_runs,
        rejects,
        managed_user_changes,
    } = answer.deleted;
    let deleted = if answer.dry_run {
        "would be deleted"
    } else {
        "deleted"
    };
    let mut line = |table: &str, key: &str, days: u32, what: &dyn Display| {
        if days == 0 {
            out.line(format_args!("{table}: kept for ever, as retention.{key} says"))
        } else {
            out.line(format_args!("{table}: {what}"))
        }
    };
    let runs = format!("{} {deleted}", counted(sync_runs, "row"));
    line(
        "sync_runs",
        "no_change_runs_days",
        retention.no_change_runs_days,
        &runs,
    )?;
    let rejects = format!("{} {deleted}", counted(rejects, "row"));
    line("rejects", "rejects_days", retention.rejects_days, &rejects)?;
    let ledger = format!(
        "{} {deleted}, folded into {}",
        counted(managed_user_changes, "row"),
        counted(answer.folded_users, "other"),
    );
    line(
        "managed_user_changes",
        "ledger_days",
        retention.ledger_days,
        &ledger,
    )?;
    if answer.users_in_doubt > 0 {
        out.line(format_args!(
            "the ledger of {} has a fault and is left as it is: `calmirror verify` says which",
            counted(answer.users_in_doubt, "user")
        ))?;
    }
    if !answer.complete {
        out.line("ended early: the next time goes on")?;
    }
    Ok(())
}
