//! `calmirror verify --repair`: the rows that were found, client by client, in batches.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::Printer;
use crate::{
    model::{ClientId, RunOutcome, UserId},
    store::{Error, Instants, Repair, Store},
    verify::Finding,
};

/// Rows that are written in one transaction.
const BATCH: usize = 100;

/// Rows that are kept in mind; what is beyond them is looked for again once they are repaired.
const MAX_DUE: usize = 10_000;

/// How often a client's repair is begun again because a pass of it began in between.
const MAX_BEGINNINGS: usize = 3;

/// What is to be repaired.
#[derive(Debug, Default)]
pub(super) struct Due {
    users: BTreeMap<String, Vec<UserId>>,
    count: usize,
    last: Option<UserId>,
    unknown: u64,
    /// There was more than is kept in mind, after the last of these users.
    has_more: bool,
}

/// What has been repaired.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    /// Set back or deleted.
    pub(super) rows: u64,
    /// Not as they were found, and so left alone.
    pub(super) left: u64,
    /// A signal came before the end.
    pub(super) is_cut: bool,
}

impl Due {
    pub(super) fn add(&mut self, finding: &Finding) {
        let Some((user, client)) = finding.repairable() else {
            return;
        };
        if self.count == MAX_DUE {
            self.has_more = true;
            return;
        }
        self.users.entry(client.to_owned()).or_default().push(user);
        self.count += 1;
        self.unknown += u64::from(matches!(finding, Finding::Unknown { .. }));
        self.last = Some(user);
    }
}

/// More rows than this, and than a tenth of all, cannot be what somebody put in by hand: it is the ledger that has lost them.
const MAX_UNKNOWN: u64 = 5;

/// `users` is how many there are in mirror and ledger.
pub(super) async fn repair(
    store: &Store,
    mut due: Due,
    users: u64,
    printer: &mut Printer<'_>,
    cancel: &CancellationToken,
) -> anyhow::Result<Done> {
    let mut done = Done::default();
    loop {
        let deletes_unknown = due.unknown <= MAX_UNKNOWN || due.unknown.saturating_mul(10) <= users;
        if !deletes_unknown {
            tracing::warn!(
                "{} of {users} rows are unknown to the ledger, which seems to have lost them: none is deleted; restore the ledger \
                 from a backup",
                due.unknown
            );
        }
        for (client, users) in &due.users {
            repair_client(
                store,
                &ClientId(client.clone()),
                users,
                deletes_unknown,
                &mut done,
                printer,
                cancel,
            )
            .await?;
        }
        if done.is_cut || !due.has_more {
            return Ok(done);
        }
        due = look_again(store, due.last, cancel).await?;
        if cancel.is_cancelled() {
            done.is_cut = true;
            return Ok(done);
        }
    }
}

/// What is to be repaired after a user.
async fn look_again(store: &Store, after: Option<UserId>, cancel: &CancellationToken) -> anyhow::Result<Due> {
    let none = Instants { count: 0, seed: 0 };
    let mut due = Due::default();
    let mut verification = store.begin_verification(none, after).await?;
    while !due.has_more {
        let next = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            next = verification.next() => next?,
        };
        match next {
            Some(finding) => due.add(&finding),
            None => break,
        }
    }
    Ok(due)
}

async fn repair_client(
    store: &Store,
    client: &ClientId,
    users: &[UserId],
    deletes_unknown: bool,
    done: &mut Done,
    printer: &mut Printer<'_>,
    cancel: &CancellationToken,
) -> anyhow::Result<()> {
    let mut batches = users.chunks(BATCH).peekable();
    for beginning in 1.. {
        let run = store.begin_repair(client, deletes_unknown).await?;
        let written = loop {
            let Some(batch) = batches.peek() else { break Ok(()) };
            if cancel.is_cancelled() {
                done.is_cut = true;
                break Ok(());
            }
            match store.repair(&run, batch).await {
                Ok(repairs) => {
                    for repair in &repairs {
                        done.count(repair);
                        printer.print(repair, text(repair))?;
                    }
                    batches.next();
                }
                Err(error) => break Err(error),
            }
        };
        let ended = match &written {
            Ok(()) if done.is_cut => {
                let why = Some("the repair was told to end before its end");
                store.finish_repair(&run, RunOutcome::Partial, why).await
            }
            Ok(()) => store.finish_repair(&run, RunOutcome::Applied, None).await,
            Err(error @ (Error::Fenced { .. } | Error::Conflict)) => Err(error.clone()),
            Err(error) => {
                let why = error.to_string();
                // The first error says more than that it could not be put on record.
                store
                    .finish_repair(&run, RunOutcome::Failed, Some(&why))
                    .await
                    .ok();
                Err(error.clone())
            }
        };
        match ended {
            Ok(()) => return Ok(()),
            // Everything is written, and the pass has closed the run.
            Err(Error::Fenced { .. }) if written.is_ok() => return Ok(()),
            Err(Error::Fenced { .. } | Error::Conflict) if beginning < MAX_BEGINNINGS => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

impl Done {
    fn count(&mut self, repair: &Repair) {
        match repair {
            Repair::SetBack { .. } | Repair::Deleted { .. } => self.rows += 1,
            Repair::Left { .. } => self.left += 1,
        }
    }
}

fn text(repair: &Repair) -> String {
    match repair {
        Repair::SetBack { user_id, version, .. } => {
            format!("user {user_id}: set back to what the ledger says, as v{version}")
        }
        Repair::Deleted { user_id } => format!("user {user_id}: deleted from managed_users"),
        Repair::Left { user_id } => {
            format!("user {user_id}: not as it was found, or in doubt, and left alone; verify again")
        }
    }
}
