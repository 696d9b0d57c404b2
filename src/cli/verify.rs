//! `calmirror verify`: whether the mirror is what its ledger says.

mod repair;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    Out, Output,
    exit::{Exit, unless_closed},
    mirror::Database,
    table::counted,
};
use crate::{
    config::Config,
    shutdown::Shutdown,
    store::{Instants, Store},
    verify::Finding,
};

/// Compare the mirror with its ledger, and prove what analysts query besides
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// Set rows that were edited in Postgres back to what the ledger says, as new versions
    #[arg(long)]
    repair: bool,

    /// At how many instants `managed_users_as_of` is proven; 0: neither that nor `managed_users_history`
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(..=100))]
    instants: u16,

    /// Choose the same instants again
    #[arg(long)]
    seed: Option<u64>,
}

/// The last line of the output.
#[derive(Debug, Default, Serialize)]
struct Summary {
    summary: Verdict,
    users: u64,
    versions: u64,
    instants: Vec<DateTime<Utc>>,
    seed: u64,
    differences: u64,
    overwritten: u64,
    repaired: u64,
    #[serde(skip)]
    todo: Todo,
}

/// What is left to do, by the kinds of what was found.
#[derive(Clone, Copy, Debug, Default)]
struct Todo {
    /// Rows that `--repair` would set right.
    repair: bool,
    /// Rows that changed while they were to be repaired.
    verify_again: bool,
    /// Nothing but a backup sets the ledger right.
    restore: bool,
    /// What analysts query was replaced.
    put_back: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    #[default]
    Agrees,
    Differs,
    /// There were differences, and there are none any more.
    Repaired,
    /// A signal came first.
    Cut,
}

/// Goes on without a reader: what is to be repaired is repaired, and the exit code tells the rest.
struct Printer<'a> {
    out: &'a mut Out,
    is_closed: bool,
}

pub(super) async fn run(args: &VerifyArgs, config: Config, out: &mut Out) -> anyhow::Result<Exit> {
    let shutdown = Shutdown::install()?;
    let mut database = Database::open(&config.database).await?;
    database.tell_as(&config.notify);
    let mut printer = Printer {
        out,
        is_closed: false,
    };
    let result = verify(args, &database.store, &mut printer, &shutdown.token()).await;
    database.close().await;
    let summary = result?;
    let exit = match summary.summary {
        Verdict::Agrees | Verdict::Repaired => Exit::Success,
        Verdict::Cut if summary.differences == 0 => Exit::Partial,
        Verdict::Differs | Verdict::Cut => Exit::Failed,
    };
    printer.print(&summary, summary.text())?;
    Ok(exit)
}

async fn verify(
    args: &VerifyArgs,
    store: &Store,
    printer: &mut Printer<'_>,
    cancel: &CancellationToken,
) -> anyhow::Result<Summary> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let instants = Instants {
        count: usize::from(args.instants),
        seed,
    };
    let begun = tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        begun = store.begin_verification(instants, None) => Some(begun?),
    };
    let Some(mut verification) = begun else {
        return Ok(Summary {
            summary: Verdict::Cut,
            seed,
            ..Summary::default()
        });
    };
    let mut summary = Summary {
        instants: verification.instants().to_vec(),
        seed,
        ..Summary::default()
    };
    let mut due = repair::Due::default();
    let mut beyond_repair = 0;
    let is_whole = loop {
        let next = tokio::select! {
            biased;
            () = cancel.cancelled() => break false,
            next = verification.next() => next?,
        };
        let Some(finding) = next else { break true };
        if !finding.is_difference() {
            summary.overwritten += 1;
        } else {
            summary.differences += 1;
            beyond_repair += u64::from(finding.repairable().is_none());
            summary.todo.add(&finding);
        }
        if args.repair {
            due.add(&finding);
        }
        printer.print(&finding, &finding)?;
    };
    let counts = verification.counts();
    (summary.users, summary.versions) = (counts.users, counts.versions);
    let mut repaired = repair::Done::default();
    if is_whole {
        verification.end().await?;
        repaired = repair::repair(store, due, counts.users, printer, cancel).await?;
    }
    summary.repaired = repaired.rows;
    if args.repair && is_whole && !repaired.is_cut {
        summary.todo.repair = false;
        summary.todo.verify_again = repaired.left > 0;
    }
    summary.summary = if !is_whole || repaired.is_cut {
        Verdict::Cut
    } else if summary.differences == 0 {
        Verdict::Agrees
    } else if args.repair && beyond_repair == 0 && repaired.left == 0 {
        Verdict::Repaired
    } else {
        Verdict::Differs
    };
    Ok(summary)
}

impl Printer<'_> {
    /// Prints a value as the line of JSON or the text that it is.
    fn print(&mut self, value: &impl Serialize, text: impl std::fmt::Display) -> anyhow::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let printed = match self.out.format {
            Output::Json => self.out.json(value),
            Output::Text => self.out.line(text),
        };
        self.is_closed = printed.is_err();
        unless_closed(printed)
    }
}

impl Todo {
    fn add(&mut self, finding: &Finding) {
        self.repair |= finding.repairable().is_some();
        self.restore |= finding.is_of_ledger();
        self.put_back |= matches!(finding, Finding::AsOf { .. } | Finding::History { .. });
    }

    fn lines(self) -> impl Iterator<Item = &'static str> {
        [
            (
                self.repair,
                "`calmirror verify --repair` sets right what was edited in managed_users, as new versions",
            ),
            (
                self.verify_again,
                "rows that changed meanwhile were left alone: run it again",
            ),
            (
                self.restore,
                "no repair sets the ledger right: restore it from a backup",
            ),
            (
                self.put_back,
                "managed_users_as_of or managed_users_history was replaced: put back what migrations/ has",
            ),
        ]
        .into_iter()
        .filter_map(|(is_due, line)| is_due.then_some(line))
    }
}

impl Summary {
    fn text(&self) -> impl std::fmt::Display {
        std::fmt::from_fn(|f| {
            let instants = self.instants.len();
            write!(
                f,
                "{} with {} compared, managed_users_as_of at {}: ",
                counted(self.users, "user"),
                counted(self.versions, "version"),
                counted(instants as u64, "instant"),
            )?;
            let differences = counted(self.differences, "difference");
            match self.summary {
                Verdict::Agrees => f.write_str("mirror and ledger agree")?,
                Verdict::Cut => write!(f, "ended early, {differences} so far")?,
                Verdict::Differs | Verdict::Repaired => f.write_str(&differences)?,
            }
            if self.repaired > 0 {
                write!(f, ", {} repaired", counted(self.repaired, "row"))?;
            }
            if self.overwritten > 0 {
                let were = if self.overwritten == 1 { "was" } else { "were" };
                let edits = counted(self.overwritten, "earlier edit");
                write!(f, "; {edits} {were} set right by passes")?;
            }
            if self.differences > 0 && instants > 0 {
                write!(f, "\nthe same instants again: --seed {}", self.seed)?;
            }
            self.todo.lines().try_for_each(|line| write!(f, "\n{line}"))
        })
    }
}
