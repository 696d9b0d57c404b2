//! A pass that only looks: what one that writes would do, by the same code.

use std::collections::HashSet;

use tokio_util::sync::CancellationToken;

use super::{
    Course, Pass, Watched,
    apply::{Hand, with_retries},
    finish::Shortfall,
    frontier::Frontier,
    removal,
    report::Report,
};
use crate::{
    calcom::Source,
    compare::ChangeSet,
    model::{Failure, RunOutcome, UserId},
    store::{Candidate, Error, RunCounts},
};

/// What a pass would do, as it is found out.
#[derive(Clone, Copy, Debug)]
pub enum Planned<'a> {
    /// What a batch would write. Its removals are empty.
    Batch(&'a ChangeSet),
    /// A live user that Cal.com says is gone. Comes after every batch.
    Gone(&'a Candidate, Fate),
}

/// What would become of a user that Cal.com says is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Marked removed.
    Removed,
    /// Proven gone, and held with all others that are.
    Held,
    /// Not proven yet: said in too few passes, or too close together.
    Waits,
    /// The pass would count nothing, because it was not heard out.
    NotCounted,
}

/// What a pass would come to.
#[derive(Clone, Debug)]
pub struct Plan {
    /// As the pass would report, were it made now; without a run.
    pub report: Report,
    /// The pass would make the tables first.
    pub makes_tables: bool,
    /// Not every user was asked, since the operator asked for an end: the pass may do more than this.
    pub cut: bool,
}

impl Plan {
    /// Whether the pass would change any user, or make tables.
    pub fn is_pending(&self) -> bool {
        self.report.changes() > 0 || self.makes_tables
    }
}

/// The looking end of a pass.
pub(super) struct Looking<'a> {
    /// The database has tables.
    pub(super) tables: bool,
    counts: RunCounts,
    gone: Vec<UserId>,
    sighted: Vec<UserId>,
    show: &'a mut (dyn FnMut(Planned<'_>) + Send),
}

impl Looking<'_> {
    /// Shows a batch, and keeps no more of it than its counts and who is gone.
    pub(super) fn see(&mut self, set: &ChangeSet) {
        self.counts.inserted += set.inserts.len() as u64;
        self.counts.updated += set.updates.len() as u64;
        self.counts.restored += set.restores.len() as u64;
        self.counts.unchanged += set.unchanged as u64;
        self.gone.extend(&set.bookkeeping.confirm_missing);
        self.sighted.extend(&set.bookkeeping.sighted);
        (self.show)(Planned::Batch(set));
    }
}

impl<S: Source> Pass<'_, S> {
    /// Finds out what [`Pass::run`] would do now, and shows it as it goes. Nothing at all is written, and a pass under way is
    /// not disturbed.
    ///
    /// Once `cancel` is cancelled, no further request is made; the plan is of what was observed until then.
    pub async fn plan(&self, cancel: &CancellationToken, show: &mut (dyn FnMut(Planned<'_>) + Send)) -> Plan {
        let started = tokio::time::Instant::now();
        let requests_before = self.source.requests();
        let begun = async {
            let tables = self.look_at_tables().await?;
            Ok((tables, Watched::of(self.client, self.store).await?))
        };
        let mut plan = match begun.await {
            Ok((tables, watched)) => {
                let looking = Looking {
                    tables,
                    counts: RunCounts::default(),
                    gone: Vec::new(),
                    sighted: Vec::new(),
                    show,
                };
                let look = Box::pin(self.look(looking, &watched, requests_before, cancel));
                self.while_told(None, requests_before, look).await
            }
            Err(error) => Plan {
                report: self.foreseen(RunCounts::default(), Some(Shortfall::of_store(&error))),
                makes_tables: false,
                cut: false,
            },
        };
        plan.report.duration_s = started.elapsed().as_secs_f64();
        plan
    }

    /// Whether there are tables. They must be of this version, and of this source.
    async fn look_at_tables(&self) -> Result<bool, Error> {
        match with_retries(|| self.store.pending_migrations()).await {
            Ok(0) => {}
            Ok(_) => {
                return Err(Error::NotMigrated {
                    schema: self.store.schema().to_owned(),
                });
            }
            Err(Error::NotMigrated { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        match with_retries(|| self.store.source_of(&self.client.id)).await? {
            Some(recorded) if recorded != self.base_url => Err(Error::SourceChanged {
                client: self.client.name.clone(),
                recorded,
                configured: self.base_url.to_owned(),
            }),
            _ => Ok(true),
        }
    }

    async fn look(
        &self,
        mut looking: Looking<'_>,
        watched: &Watched,
        requests_before: u64,
        cancel: &CancellationToken,
    ) -> Plan {
        let (course, read) = self
            .observe(
                &mut Hand::Looking(&mut looking),
                watched,
                &Frontier::default(),
                cancel,
            )
            .await;
        let mut shortfall = match read {
            Ok(()) => Shortfall::of(&course),
            Err(error) => Some(Shortfall::of_store(&error)),
        };
        match self
            .foresee_removals(&mut looking, watched, &course, shortfall.as_ref())
            .await
        {
            Ok(None) => {}
            Ok(Some(held)) => shortfall = Some(held),
            Err(error) => shortfall = Some(Shortfall::of_store(&error)),
        }
        let counts = RunCounts {
            observed: course.observed,
            rejected: course.rejected,
            missing: course.missing,
            unanswered: course.unanswered,
            requests: self.source.requests() - requests_before,
            unchanged: looking.counts.unchanged + course.passed_over,
            ..looking.counts
        };
        Plan {
            report: self.foreseen(counts, shortfall),
            makes_tables: !looking.tables,
            cut: course.cut,
        }
    }

    /// What would become of the users that are gone. Why they would be held, if they would.
    async fn foresee_removals(
        &self,
        looking: &mut Looking<'_>,
        watched: &Watched,
        course: &Course,
        shortfall: Option<&Shortfall>,
    ) -> Result<Option<Shortfall>, Error> {
        let heard = removal::is_heard(shortfall, course);
        let controlled = course.present > 0;
        let (client, watched) = (&self.client.id, watched.only());
        let mut candidates = Vec::new();
        // Nobody is gone who was never there: without tables, the list is empty.
        if !looking.gone.is_empty() {
            candidates = with_retries(|| self.store.candidates(client, &looking.gone, controlled)).await?;
        }
        if !heard {
            for candidate in &candidates {
                (looking.show)(Planned::Gone(candidate, Fate::NotCounted));
            }
            return Ok(None);
        }
        let is_proven =
            |candidate: &Candidate| candidate.is_proven(self.removal.confirmations, self.removal.min_age);
        let proven = candidates.iter().filter(|candidate| is_proven(candidate)).count() as u64;
        let held = if proven > 0 {
            // Removals come last: what the batches insert and restore is live by then.
            let live = with_retries(|| self.store.live_users(client, watched)).await?
                + looking.counts.inserted
                + looking.counts.restored;
            let mut said_gone: HashSet<UserId> = with_retries(|| self.store.said_gone(client, watched))
                .await?
                .into_iter()
                .collect();
            said_gone.extend(candidates.iter().map(|candidate| candidate.removal.user_id));
            for seen in &looking.sighted {
                said_gone.remove(seen);
            }
            removal::hold(
                proven,
                said_gone.len() as u64,
                live,
                course.present,
                &self.removal,
            )
            .map(|hold| hold.shortfall(None))
        } else if !controlled
            && looking.tables
            && with_retries(|| self.store.has_only_removed(client, watched)).await?
        {
            None
        } else {
            removal::without_control(course)
        };
        for candidate in &candidates {
            let fate = match (is_proven(candidate), &held) {
                (false, _) => Fate::Waits,
                (true, Some(_)) => Fate::Held,
                (true, None) => Fate::Removed,
            };
            (looking.show)(Planned::Gone(candidate, fate));
        }
        if held.is_none() {
            looking.counts.removed = proven;
        }
        Ok(held)
    }

    fn foreseen(&self, counts: RunCounts, shortfall: Option<Shortfall>) -> Report {
        let complete = if counts.changes() > 0 {
            RunOutcome::Applied
        } else {
            RunOutcome::NoChange
        };
        let (outcome, failure) = shortfall
            .as_ref()
            .map_or((complete, Failure::Fault), |shortfall| {
                (shortfall.outcome, shortfall.failure)
            });
        let error = shortfall.map(|shortfall| shortfall.error);
        Report::new(self, None, outcome, counts, counts.requests, error, failure)
    }
}
