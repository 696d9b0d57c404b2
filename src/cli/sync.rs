//! `calmirror sync`: one pass over each client.

use std::{collections::HashMap, pin::pin, sync::Arc};

use tokio::task::JoinSet;

use super::{
    Out, Output,
    bar::Bar,
    exit::{Exit, Misuse, unless_closed},
    mirror::{Mirror, Request},
    table::aligned,
};
use crate::{
    config::{Config, nearest},
    model::{escape_hidden, panic_message},
    shutdown::Shutdown,
    store::Trigger,
    sync::Report,
};

/// Make one pass over each client
#[derive(Clone, Debug, clap::Args)]
pub struct SyncArgs {
    /// Only this client; may be given more than once
    #[arg(long = "client", value_name = "NAME")]
    clients: Vec<String>,

    /// Go on although the clients were mirrored from another base address before
    #[arg(long)]
    accept_source: bool,

    /// Begin from the start, also where a pass was cut since the last tick and could be gone on from
    #[arg(long)]
    no_resume: bool,
}

pub(super) async fn run(args: &SyncArgs, config: Config, out: &mut Out) -> anyhow::Result<Exit> {
    let selected = select(&args.clients, &config)?;
    let shutdown = Shutdown::install()?;
    let mirror = Arc::new(Mirror::open(config).await?);
    let token = shutdown.token();
    // Each in a task of its own, which starts others and hears of their ends without waking another thread.
    let mut passes = JoinSet::new();
    let mut clients = HashMap::new();
    for client in selected {
        let (mirror, token) = (Arc::clone(&mirror), token.clone());
        let (accept_source, resumes) = (args.accept_source, !args.no_resume);
        // Here, so that they stand in the order of the configuration.
        let bar = Bar::of(&mirror.clients[client].client.name);
        let pass = passes.spawn(async move {
            let watched = &mirror.clients[client];
            let request = Request {
                accept_source,
                resumes,
                progress: Some(bar.progress()),
                tell_every: bar.tell_every(),
                ..Request::of(Trigger::Operator)
            };
            let pass = mirror.pass(client, request, &token);
            let report = bar.over(&watched.source, pass).await;
            bar.clear();
            Some(report)
        });
        clients.insert(pass.id(), client);
    }
    let mut reports = Vec::new();
    let mut printed = Ok(());
    let (mut is_overdue, mut was_cut, mut panicked) = (false, false, false);
    let mut overdue = pin!(shutdown.overdue());
    loop {
        let ended = tokio::select! {
            biased;
            ended = passes.join_next() => ended,
            () = &mut overdue, if !is_overdue => {
                is_overdue = true;
                passes.abort_all();
                continue;
            }
        };
        match ended {
            Some(Ok(Some(report))) => {
                if out.format == Output::Json
                    && let Err(error) = out.json(&report)
                {
                    // The passes go on, whoever reads of them or not.
                    printed = Err(error);
                }
                reports.push(report);
            }
            // The end of a pass that panicked is on record.
            Some(Ok(None)) => {}
            Some(Err(ended)) if ended.is_cancelled() => was_cut = true,
            Some(Err(ended)) => {
                panicked = true;
                let panicked_pass = clients.remove(&ended.id());
                let panic = ended.into_panic();
                let message = panic_message(&*panic).to_owned();
                let Some(client) = panicked_pass else {
                    tracing::error!(panic.message = message, "recording a panic panicked");
                    continue;
                };
                let name = &mirror.clients[client].client.name;
                tracing::error!(client.name = name, panic.message = message, "pass panicked");
                let counted = mirror.count();
                if is_overdue {
                    // There is no time left; the run is closed with those that were cut.
                    was_cut = true;
                    continue;
                }
                // Beside the other passes, and until they are overdue.
                let mirror = Arc::clone(&mirror);
                passes.spawn(async move {
                    let trigger = Trigger::Operator;
                    mirror.record_panic(client, trigger, &message, counted).await;
                    None
                });
            }
            None => break,
        }
    }
    if let Some(mirror) = Arc::into_inner(mirror) {
        mirror.close().await;
    }
    if out.format == Output::Text {
        printed = print_table(&reports, out);
    }
    unless_closed(printed)?;
    if was_cut {
        tracing::error!("a pass did not end in time after the signal, and was cut");
    }
    if was_cut || panicked {
        return Ok(Exit::Failed);
    }
    Ok(reports.iter().map(Exit::of_report).max().unwrap_or(Exit::Success))
}

/// The clients of these names, by their place in the configuration; all of them for none.
pub(super) fn select(names: &[String], config: &Config) -> anyhow::Result<Vec<usize>> {
    if names.is_empty() {
        return Ok((0..config.clients.len()).collect());
    }
    let mut selected = Vec::new();
    for name in names {
        let Some(client) = config.clients.iter().position(|client| client.name == *name) else {
            let known = || config.clients.iter().map(|client| client.name.as_str());
            let meant =
                nearest(name, known()).map_or_else(String::new, |near| format!("; did you mean {near}?"));
            return Err(Misuse(format!(
                "no client is called {name:?}; the configuration has {}{meant}",
                known().collect::<Vec<_>>().join(", ")
            ))
            .into());
        };
        if !selected.contains(&client) {
            selected.push(client);
        }
    }
    Ok(selected)
}

/// One line a pass, and one for each error.
pub(super) fn print_table(reports: &[Report], out: &mut Out) -> anyhow::Result<()> {
    let mut reports: Vec<&Report> = reports.iter().collect();
    reports.sort_by(|left, right| left.client.cmp(&right.client));
    let headings = [
        "client",
        "outcome",
        "observed",
        "inserted",
        "updated",
        "removed",
        "restored",
        "unchanged",
        "rejected",
        "missing",
        "requests",
        "seconds",
    ];
    let rows = reports.iter().map(|r| {
        [
            r.client.clone(),
            r.outcome.to_string(),
            r.observed.to_string(),
            r.inserted.to_string(),
            r.updated.to_string(),
            r.removed.to_string(),
            r.restored.to_string(),
            r.unchanged.to_string(),
            r.rejected.to_string(),
            r.missing.to_string(),
            r.requests.to_string(),
            format!("{:.2}", r.duration_s),
        ]
    });
    out.line(aligned(headings, rows, out.columns()))?;
    for report in reports {
        if let Some(error) = &report.error {
            out.line(format_args!("{}: {}", report.client, escape_hidden(error)))?;
        }
    }
    Ok(())
}
