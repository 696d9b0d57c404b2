//! What a pass says when it has ended, and the log lines on the way.

use std::time::Duration;

use serde::Serialize;
use tracing::field::display;

use super::Pass;
use crate::{
    compare::{Change, ChangeKind, NewField, Removal},
    measured,
    model::{Failure, RunOutcome},
    store::RunCounts,
};

/// One ended pass. Serialized as `sync --output json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub client: String,
    /// None when the pass could not be recorded.
    pub run_id: Option<i64>,
    pub outcome: RunOutcome,
    /// Users that Cal.com said something about.
    pub observed: u64,
    pub inserted: u64,
    pub updated: u64,
    pub removed: u64,
    pub restored: u64,
    pub unchanged: u64,
    pub rejected: u64,
    pub missing: u64,
    /// HTTP tries.
    pub requests: u64,
    pub duration_s: f64,
    pub error: Option<String>,
    #[serde(skip)]
    pub failure: Failure,
    /// Skipped, because another process made the pass.
    #[serde(skip)]
    pub made_elsewhere: bool,
}

/// Which log lines a pass writes at level info.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lines {
    /// One a changed user, and the summary.
    #[default]
    All,
    /// One a changed user. For a caller that prints the report itself.
    Changes,
    None,
}

impl Report {
    pub(super) fn new<S>(
        pass: &Pass<'_, S>,
        run_id: Option<i64>,
        outcome: RunOutcome,
        counts: RunCounts,
        requests: u64,
        error: Option<String>,
        failure: Failure,
    ) -> Self {
        Self {
            client: pass.client.name.clone(),
            run_id,
            outcome,
            observed: counts.observed,
            inserted: counts.inserted,
            updated: counts.updated,
            removed: counts.removed,
            restored: counts.restored,
            unchanged: counts.unchanged,
            rejected: counts.rejected,
            missing: counts.missing,
            requests,
            duration_s: 0.0,
            error,
            failure,
            made_elsewhere: false,
        }
    }

    /// A pass that did nothing.
    pub(super) fn unmade<S>(
        pass: &Pass<'_, S>,
        run_id: Option<i64>,
        outcome: RunOutcome,
        error: String,
    ) -> Self {
        Self::new(
            pass,
            run_id,
            outcome,
            RunCounts::default(),
            0,
            Some(error),
            Failure::Fault,
        )
    }

    /// Rows of the mirror that the pass wrote, which is also the number of its ledger rows.
    pub fn changes(&self) -> u64 {
        self.inserted + self.updated + self.removed + self.restored
    }

    /// The one summary line of a pass.
    pub(super) fn log(&self, lines: Lines) {
        self.measure();
        macro_rules! summary {
            ($level:ident) => {
                tracing::$level!(
                    client.name = %self.client,
                    run.id = self.run_id,
                    run.outcome = %self.outcome,
                    run.observed = self.observed,
                    run.inserted = self.inserted,
                    run.updated = self.updated,
                    run.removed = self.removed,
                    run.restored = self.restored,
                    run.unchanged = self.unchanged,
                    run.rejected = self.rejected,
                    run.missing = self.missing,
                    run.requests = self.requests,
                    run.duration_s = (self.duration_s * 1000.0).round() / 1000.0,
                    error = self.error.as_deref().map(display),
                    "pass ended"
                )
            };
        }
        match self.outcome {
            RunOutcome::Applied | RunOutcome::NoChange if lines == Lines::All => summary!(info),
            RunOutcome::Applied | RunOutcome::NoChange => {}
            // Another process took care of the tick: several are as good as one.
            RunOutcome::Skipped if self.made_elsewhere => summary!(info),
            RunOutcome::Held | RunOutcome::Partial | RunOutcome::Skipped => summary!(warn),
            RunOutcome::Failed => summary!(error),
        }
    }
}

impl Report {
    fn measure(&self) {
        let client = self.client.as_str();
        measured::pass(client, self.outcome);
        if self.outcome == RunOutcome::Skipped {
            return;
        }
        measured::pass_took(client, Duration::from_secs_f64(self.duration_s));
        measured::observed(client, self.observed);
        measured::changes(client, ChangeKind::Insert.as_str(), self.inserted);
        measured::changes(client, ChangeKind::Update.as_str(), self.updated);
        measured::changes(client, ChangeKind::Removal.as_str(), self.removed);
        measured::changes(client, ChangeKind::Restore.as_str(), self.restored);
    }
}

/// The one line of a changed user.
pub(super) fn log_change<S>(pass: &Pass<'_, S>, change: &Change) {
    if pass.lines == Lines::None {
        return;
    }
    let values = pass.values;
    let fields = (!change.fields.is_empty()).then(|| display(change.fields_display(values).to_string()));
    tracing::info!(
        client.name = %pass.client.name,
        user.id = change.user_id().0,
        change.kind = %change.kind,
        change.version = change.version,
        change.fields = fields,
        "user changed"
    );
}

/// The one line of a field that was never seen before.
pub(super) fn log_new_fields<S>(pass: &Pass<'_, S>, fields: &[NewField]) {
    for field in fields {
        tracing::warn!(
            client.name = %pass.client.name,
            field.name = %field.name.escape_debug(),
            field.users = field.users,
            "Cal.com sends a field that this version of calmirror does not know; it is mirrored in extra"
        );
    }
}

/// The one line of a removed user.
pub(super) fn log_removal<S>(pass: &Pass<'_, S>, removal: Removal) {
    if pass.lines == Lines::None {
        return;
    }
    tracing::info!(
        client.name = %pass.client.name,
        user.id = removal.user_id.0,
        change.kind = %ChangeKind::Removal,
        change.version = removal.version,
        "user changed"
    );
}
