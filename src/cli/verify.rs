//! `calmirror verify`: whether the mirror is what its ledger says.

mod repair;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    Out, Output,
    exit::{Exit, unless_closed},
    mirror::Database,
};
use crate::{
    config::Config,
    shutdown::Shutdown,
    store::{Instants, Store},
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
    let database = Database::open(&config.database).await?;
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

impl Summary {
    fn text(&self) -> impl std::fmt::Display {
        std::fmt::from_fn(|f| {
            let instants = self.instants.len();
            write!(
                f,
                "{} users with {} versions compared, managed_users_as_of at {instants} instants: ",
                self.users, self.versions
            )?;
            match self.summary {
                Verdict::Agrees => f.write_str("mirror and ledger agree")?,
                Verdict::Cut => write!(f, "ended early, {} differences so far", self.differences)?,
                Verdict::Differs | Verdict::Repaired => write!(f, "{} differences", self.differences)?,
            }
            if self.repaired > 0 {
                write!(f, ", {} rows repaired", self.repaired)?;
            }
            if self.overwritten > 0 {
                write!(f, "; {} earlier edits were set right by passes", self.overwritten)?;
            }
            if self.differences > 0 && instants > 0 {
                write!(f, "\nthe same instants again: --seed {}", self.seed)?;
            }
            Ok(())
        })
    }
}
