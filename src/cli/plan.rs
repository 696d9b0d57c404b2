//! `calmirror plan`: what `sync` would change, without a change.

mod lines;
mod requests;

use std::sync::{Mutex, PoisonError};

use futures_util::{StreamExt, stream::FuturesUnordered};

use self::lines::{JsonLines, TextLines};
use super::{
    Out, Output,
    bar::Bar,
    exit::{Exit, unless_closed},
    mirror::{Mirror, Request},
    sync::select,
};
use crate::{
    config::{self, Config, Secrets},
    shutdown::Shutdown,
    store::Trigger,
    sync::{Lines, Plan, Planned},
    telemetry::above_progress,
};

/// Show what `sync` would change, and write nothing
#[derive(Clone, Debug, clap::Args)]
pub struct PlanArgs {
    /// Only this client; may be given more than once
    #[arg(long = "client", value_name = "NAME")]
    clients: Vec<String>,

    /// Show how many requests a pass would make by each plan, and ask Cal.com nothing
    #[arg(long)]
    requests: bool,
}

impl PlanArgs {
    /// Whoever asks Cal.com nothing needs no secret.
    pub(super) const fn secrets(&self) -> Secrets {
        if self.requests {
            Secrets::LeftAlone
        } else {
            Secrets::Read
        }
    }
}

pub(super) async fn run(args: &PlanArgs, config: Config, out: &mut Out) -> anyhow::Result<Exit> {
    let selected = select(&args.clients, &config)?;
    if args.requests {
        return requests::run(&selected, Mirror::open(config).await?, out).await;
    }
    let shutdown = Shutdown::install()?;
    let mut mirror = Mirror::open(config).await?;
    mirror.read_only();
    let token = shutdown.token();
    let printer = Printer::new(out, &mirror.config, &selected);
    let mut plans: FuturesUnordered<_> = selected
        .iter()
        .map(|&client| {
            let (mirror, token, printer) = (&mirror, &token, &printer);
            async move {
                let watched = &mirror.clients[client];
                let name = &watched.client.name;
                let bar = Bar::of(name);
                let request = Request {
                    progress: Some(bar.progress()),
                    tell_every: bar.tell_every(),
                    lines: Lines::None,
                    ..Request::of(Trigger::Operator)
                };
                let mut show = |planned: Planned<'_>| printer.planned(name, planned);
                let plan = mirror.plan(client, request, token, &mut show);
                let plan = bar.over(&watched.source, plan).await;
                bar.clear();
                printer.ended(name, &plan, watched.client.watch.listed.len());
                Exit::of_plan(&plan)
            }
        })
        .collect();
    let mut exit = Exit::Success;
    let all = async {
        while let Some(ended) = plans.next().await {
            exit = exit.max(ended);
        }
    };
    let in_time = tokio::select! {
        () = all => true,
        () = shutdown.overdue() => false,
    };
    drop(plans);
    let printed = printer.into_result();
    mirror.close().await;
    unless_closed(printed)?;
    if !in_time {
        tracing::error!("a plan did not end in time after the signal, and was cut");
        return Ok(Exit::Failed);
    }
    Ok(exit)
}

/// Where the plans of several clients meet: what is about one user stays together.
struct Printer<'a>(Mutex<Inner<'a>>);

struct Inner<'a> {
    out: &'a mut Out,
    text: TextLines,
    removal: config::Removal,
    printed: anyhow::Result<()>,
}

impl<'a> Printer<'a> {
    fn new(out: &'a mut Out, config: &Config, selected: &[usize]) -> Self {
        let names = selected
            .iter()
            .map(|&client| config.clients[client].name.as_str());
        Self(Mutex::new(Inner {
            out,
            text: TextLines::of(names),
            removal: config.removal,
            printed: Ok(()),
        }))
    }

    fn planned(&self, client: &str, planned: Planned<'_>) {
        self.print(|inner| match inner.out.format {
            Output::Text => inner.text.planned(client, planned, &inner.removal, inner.out),
            Output::Json => JsonLines::planned(client, planned, &inner.removal, inner.out),
        });
    }

    fn ended(&self, client: &str, plan: &Plan, users: usize) {
        self.print(|inner| match inner.out.format {
            Output::Text => inner.text.ended(client, plan, users, inner.out),
            Output::Json => JsonLines::ended(plan, inner.out),
        });
    }

    /// Once printing failed, nothing more is printed; the plan goes on, since its exit code says more than that.
    fn print(&self, print: impl FnOnce(&mut Inner<'a>) -> anyhow::Result<()>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.printed.is_ok() {
            inner.printed = above_progress(|| print(&mut inner));
        }
    }

    fn into_result(self) -> anyhow::Result<()> {
        self.0
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .printed
    }
}
