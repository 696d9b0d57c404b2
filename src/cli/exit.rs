//! What a command's exit code says.

use std::{io, process::ExitCode};

use super::init::InitError;
use crate::{
    config,
    model::RunOutcome,
    store,
    sync::{Failure, Plan, Report},
};

/// Every exit code, and what it says.
pub const CODES: [(u8, &str); 7] = [
    (0, "done: applied, no change; of plan: nothing to do"),
    (1, "failed: somebody has to change something"),
    (
        2,
        "the command line or the configuration is at fault; nothing was started",
    ),
    (3, "removals are held"),
    (
        4,
        "partial: of some users nothing was observed, or a signal came before the end",
    ),
    (10, "of plan: changes are pending"),
    (75, "Cal.com or the database is away; try again later"),
];

/// How a command ended, from best to worst: of several clients the worst one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    Success,
    /// There is something that a pass would change.
    Pending,
    /// Some users could not be observed or mirrored.
    Partial,
    /// Removals wait for an operator.
    Held,
    /// Cal.com or the database is away; another try may do.
    Unavailable,
    Failed,
    /// The configuration or the arguments are at fault.
    Usage,
}

impl Exit {
    /// 75 is `EX_TEMPFAIL` of sysexits.h; 2 is what clap uses.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Held => 3,
            Self::Partial => 4,
            Self::Pending => 10,
            Self::Unavailable => 75,
        }
    }

    pub fn of_report(report: &Report) -> Self {
        match (report.outcome, report.failure) {
            (RunOutcome::Applied | RunOutcome::NoChange | RunOutcome::Skipped, _) => Self::Success,
            (RunOutcome::Held, _) => Self::Held,
            (RunOutcome::Partial, _) => Self::Partial,
            (RunOutcome::Failed, Failure::Unavailable) => Self::Unavailable,
            (RunOutcome::Failed, Failure::Fault | Failure::Refused) => Self::Failed,
        }
    }

    /// What a pass would end with, and whether it would change anything.
    pub fn of_plan(plan: &Plan) -> Self {
        let pending = if plan.is_pending() {
            Self::Pending
        } else {
            Self::Success
        };
        pending.max(Self::of_report(&plan.report))
    }

    /// What an error says that a command ended with.
    pub fn of_error(error: &anyhow::Error) -> Self {
        for cause in error.chain() {
            if cause.is::<config::Faults>()
                || cause.is::<config::NotFound>()
                || cause.is::<Misuse>()
                || cause.is::<InitError>()
            {
                return Self::Usage;
            }
            if let Some(error) = cause.downcast_ref::<store::Error>()
                && error.is_transient()
            {
                return Self::Unavailable;
            }
        }
        Self::Failed
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Whether output went to a reader that has seen enough, as `head` has: no failure of ours.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Lets a closed pipe pass, where the exit code has more to say than that.
pub(super) fn unless_closed(printed: anyhow::Result<()>) -> anyhow::Result<()> {
    match printed {
        Err(error) if is_closed_pipe(&error) => Ok(()),
        printed => printed,
    }
}

/// Arguments that fit the grammar but not the configuration.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misuse(pub String);
