//! `calmirror approve RUN`: lets exactly the removals through that a pass held.

use super::{
    Out, Output, argument,
    bar::Bar,
    exit::{Exit, Misuse, unless_closed},
    mirror::{Mirror, Request},
    sync::print_table,
};
use crate::{
    config::Config,
    shutdown::Shutdown,
    store::{HeldBy, Trigger},
    sync::Report,
};

/// Remove the users that a pass held, after asking for each once more
#[derive(Clone, Debug, clap::Args)]
pub struct ApproveArgs {
    /// The pass that held them, as `status` and the log name it
    #[arg(value_name = "RUN", value_parser = argument::run, allow_negative_numbers = true)]
    run: i64,
}

pub(super) async fn run(args: &ApproveArgs, config: Config, out: &mut Out) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::install()?;
    let mirror = Mirror::open(config).await?;
    let result = approve(args.run, &mirror, &shutdown).await;
    mirror.close().await;
    let report = result?;
    unless_closed(match out.format {
        Output::Json => out.json(&report),
        Output::Text => print_table(std::slice::from_ref(&report), out),
    })?;
    Ok(Exit::of_report(&report))
}

async fn approve(run: i64, mirror: &Mirror, shutdown: &Shutdown) -> anyhow::Result<Report> {
    let store = &mirror.database.store;
    store.pending_migrations().await?;
    let (client_id, client_name, users, set_hash) = match store.held_by(run).await? {
        HeldBy::Waiting {
            client_id,
            client_name,
            users,
            set_hash,
        } => (client_id, client_name, users, set_hash),
        HeldBy::Unknown => {
            return Err(Misuse(format!(
                "there is no run {run}; `calmirror status` names those that hold something"
            ))
            .into());
        }
        HeldBy::Nothing => {
            return Err(Misuse(format!(
                "run {run} holds no removals; `calmirror status` names the runs that do"
            ))
            .into());
        }
        HeldBy::Expired {
            client_name,
            waiting: None,
        } => anyhow::bail!(
            "what run {run} held is over: nothing of {client_name} waits any more, and there is nothing to approve"
        ),
        HeldBy::Expired {
            client_name,
            waiting: Some(newer),
        } => anyhow::bail!(
            "what run {run} held is over: a later pass over {client_name} found another set, which run {newer} holds; `calmirror approve {newer}` lets that one through"
        ),
    };
    let Some(client) = mirror
        .clients
        .iter()
        .position(|watched| watched.client.id == client_id)
    else {
        return Err(Misuse(format!(
            "run {run} was over client {client_name} ({client_id}), which the configuration does not have"
        ))
        .into());
    };
    let bar = Bar::of(&client_name);
    bar.progress().expects(users);
    let request = Request {
        progress: Some(bar.progress()),
        tell_every: bar.tell_every(),
        ..Request::of(Trigger::Approval(run))
    };
    let token = shutdown.token();
    let approval = mirror.approve(client, &set_hash, request, &token);
    let report = bar.over(&mirror.clients[client].source, approval).await;
    bar.clear();
    Ok(report)
}
