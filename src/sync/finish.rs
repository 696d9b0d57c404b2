//! The end of a pass: removals, outcome, record.

use super::{
    Course, Pass, Undiscovered, Watched,
    apply::{Retries, bounded, with_retries},
    frontier::Frontier,
    removal,
    report::{self, Report},
};
use crate::{
    calcom::{self, Source},
    compare::ChangeSet,
    config,
    model::{Failure, RunOutcome},
    store::{self, Finish, Run},
};

/// Why a pass did not do all of its work.
#[derive(Debug)]
pub(super) struct Shortfall {
    pub(super) outcome: RunOutcome,
    pub(super) error: String,
    pub(super) failure: Failure,
}

impl<S: Source> Pass<'_, S> {
    pub(super) async fn finish(
        &self,
        run: &Run,
        watched: &Watched,
        course: Course,
        write_error: Option<store::Error>,
        requests: u64,
        frontier: &Frontier,
    ) -> Report {
        // A pass that went through everyone is begun anew, whatever came of it.
        let is_cut = write_error.is_some() || course.cut || course.stopped.is_some();
        let mut shortfall = match write_error {
            Some(error) => Some(Shortfall::of_store(&error)),
            None => Shortfall::of(&course),
        };
        if removal::is_heard(shortfall.as_ref(), &course) {
            match self.remove(run, watched, &course).await {
                Ok(None) => {}
                Ok(Some(held)) => shortfall = Some(held),
                Err(error) => shortfall = Some(Shortfall::of_store(&error)),
            }
        }
        let finish = Finish {
            observed: course.observed,
            rejected: course.rejected,
            missing: course.missing,
            unanswered: course.unanswered,
            requests,
            respelled: course.respelled,
            renewed: course.renewed,
            done_to: frontier.done_to().filter(|_| is_cut),
            shortfall: shortfall.as_ref().map(|shortfall| shortfall.outcome),
            error: shortfall.as_ref().map(|shortfall| shortfall.error.as_str()),
            failure: shortfall.as_ref().map(|shortfall| shortfall.failure),
            fresh_for: Some(self.fresh_for),
        };
        let failure = shortfall
            .as_ref()
            .map_or(Failure::Fault, |shortfall| shortfall.failure);
        self.conclude(run, &finish, failure).await
    }

    /// Puts on record how the pass ended, and reports it.
    pub(super) async fn conclude(&self, run: &Run, finish: &Finish<'_>, failure: Failure) -> Report {
        let error = finish.error.map(str::to_owned);
        let (outcome, counts, error, failure) =
            match with_retries(|| self.store.finish_run(run, finish)).await {
                Ok(record) => (record.outcome, record.counts, error, failure),
                Err(store_error) => {
                    let of_store = Shortfall::of_store(&store_error);
                    let counts = store::RunCounts {
                        observed: finish.observed,
                        ..Default::default()
                    };
                    // What went wrong first says more than that it could not be recorded, but for being overtaken: that is why.
                    let error = error
                        .filter(|_| !matches!(store_error, store::Error::Fenced { .. }))
                        .unwrap_or(of_store.error);
                    (RunOutcome::Failed, counts, Some(error), of_store.failure)
                }
            };
        Report::new(
            self,
            Some(run.id),
            outcome,
            counts,
            finish.requests,
            error,
            failure,
        )
    }

    /// The pass could not even begin: on record all the same, if the database takes it.
    pub(super) async fn never_begun(&self, error: store::Error) -> Report {
        let Shortfall {
            outcome,
            error: text,
            failure,
        } = Shortfall::of_store(&error);
        let mut run_id = None;
        if !error.is_transient() {
            let client = self.client;
            let recorded = self
                .store
                .record_failure(&client.id, &client.name, self.trigger, failure, &text);
            match bounded(recorded).await {
                Ok(id) => run_id = Some(id),
                Err(error) => tracing::debug!(error = %error, "the failed pass could not be recorded"),
            }
        }
        Report::new(
            self,
            run_id,
            outcome,
            store::RunCounts::default(),
            0,
            Some(text),
            failure,
        )
    }

    /// Counts what this pass confirms, and removes the users that are proven gone, unless the guard holds them.
    async fn remove(
        &self,
        run: &Run,
        watched: &Watched,
        course: &Course,
    ) -> Result<Option<Shortfall>, store::Error> {
        if course.missing == 0 {
            return Ok(None);
        }
        let controlled = course.present > 0;
        with_retries(|| self.store.confirm_missing(run, controlled)).await?;
        let mut retries = Retries::default();
        let mut attempted: Option<ChangeSet> = None;
        let mut set_back = false;
        loop {
            let error = match self.try_to_remove(run, watched, course, &mut attempted).await {
                Ok(held) => return Ok(held),
                Err(error) => error,
            };
            if error == store::Error::Conflict {
                // Nothing was written then.
                attempted = None;
            }
            if let store::Error::Edited(users) = &error
                && !set_back
            {
                attempted = None;
                set_back = true;
                self.set_back(run, users).await?;
                continue;
            }
            retries.wait(self.store.name_holder(error).await).await?;
        }
    }

    /// `attempted` is a set that was decided on and sent off, but not answered for.
    async fn try_to_remove(
        &self,
        run: &Run,
        watched: &Watched,
        course: &Course,
        attempted: &mut Option<ChangeSet>,
    ) -> Result<Option<Shortfall>, store::Error> {
        let config::Removal {
            confirmations,
            min_age,
            ..
        } = self.removal;
        let controlled = course.present > 0;
        let gone = bounded(self.store.confirmed_gone(run, confirmations, min_age, controlled)).await?;
        if let Some(attempted) = attempted.take() {
            // All of them were written, or none.
            if gone.is_empty() {
                self.log_removals(&attempted);
            }
        }
        let client = &run.client_id;
        let watched = watched.only();
        if gone.is_empty() {
            if !controlled && bounded(self.store.has_only_removed(client, watched)).await? {
                // There is nobody left to conclude anything of.
                return Ok(None);
            }
            return Ok(removal::without_control(course));
        }
        let proven = gone.len() as u64;
        // Not only those who are proven gone in this very pass: a limit that counts no others would let a large set through in
        // parts.
        let said_gone = bounded(self.store.said_gone(client, watched)).await?.len() as u64;
        // Users that nobody asks for any more make no share of them larger, nor do ids that no user has.
        let live = bounded(self.store.live_users(client, watched)).await?;
        if let Some(held) = removal::hold(proven, said_gone, live, course.present, &self.removal) {
            if bounded(self.store.waits_with(client, &gone)).await? {
                // Whoever gave no answer this time is still in the set.
                bounded(self.store.keep_holding(run)).await?;
            } else {
                bounded(self.store.hold(run, &gone, held.live, held.reason)).await?;
            }
            return Ok(Some(held.shortfall(Some(run.id))));
        }
        let set = attempted.insert(ChangeSet {
            removals: gone,
            ..ChangeSet::default()
        });
        bounded(self.store.apply_removals(run, set)).await?;
        self.log_removals(set);
        Ok(None)
    }

    pub(super) fn log_removals(&self, set: &ChangeSet) {
        if let Some(progress) = self.progress {
            progress.changed(set.removals.len() as u64);
        }
        for removal in &set.removals {
            report::log_removal(self, *removal);
        }
    }
}

impl Shortfall {
    pub(super) fn held(error: String) -> Self {
        Self {
            outcome: RunOutcome::Held,
            error,
            failure: Failure::Fault,
        }
    }

    pub(super) fn of_store(error: &store::Error) -> Self {
        let text = with_remedy(error, error.remedy());
        let failure = match error {
            store::Error::SourceChanged { .. } => Failure::Refused,
            error if error.is_transient() => Failure::Unavailable,
            _ => Failure::Fault,
        };
        Self {
            outcome: RunOutcome::Failed,
            error: text,
            failure,
        }
    }

    pub(super) fn of(course: &Course) -> Option<Self> {
        let partial = |error| Self {
            outcome: RunOutcome::Partial,
            error,
            failure: Failure::Fault,
        };
        if let Some(error) = &course.stopped {
            return Some(Self::of_source(error));
        }
        if course.cut {
            return Some(partial("the pass was asked to stop before its end".to_owned()));
        }
        if let Some((user, error)) = &course.first_unanswered {
            if course.observed == 0 {
                return Some(Self::of_source(error));
            }
            let whom = match course.unanswered {
                1 => format!("user {user}"),
                count => format!("{count} users; the first, {user}"),
            };
            return Some(partial(format!(
                "nothing was learned of {whom}: {}",
                with_remedy(error, error.remedy().as_deref())
            )));
        }
        match &course.undiscovered {
            None => {}
            Some(Undiscovered::Refused(error)) if course.observed == 0 => {
                return Some(Self::of_source(error));
            }
            Some(Undiscovered::Refused(error)) => {
                return Some(partial(format!(
                    "nobody new can be found, since the list of users cannot be had: {}",
                    with_remedy(error, error.remedy().as_deref())
                )));
            }
            Some(Undiscovered::Ceiling) => {
                return Some(partial(
                    "there may be more users than the 500 that Cal.com lists for a client: set `organization_id`, \
                     if the client's organisation lists its users, or give all ids by `users_file` or `users_sql` \
                     instead of `users = \"all\"`"
                        .to_owned(),
                ));
            }
        }
        (course.rejected > 0).then(|| {
            let users = match course.rejected {
                1 => "1 user has a record".to_owned(),
                count => format!("{count} users have records"),
            };
            partial(format!(
                "{users} that cannot be mirrored; `calmirror status` lists them"
            ))
        })
    }

    pub(super) fn of_source(error: &calcom::Error) -> Self {
        let failure = match error {
            calcom::Error::Refused { .. } => Failure::Refused,
            error if error.is_unavailable() => Failure::Unavailable,
            _ => Failure::Fault,
        };
        let text = with_remedy(error, error.remedy().as_deref());
        Self {
            outcome: RunOutcome::Failed,
            error: text,
            failure,
        }
    }
}

fn with_remedy(error: &dyn std::error::Error, remedy: Option<&str>) -> String {
    match remedy {
        Some(remedy) => format!("{error}; {remedy}"),
        None => error.to_string(),
    }
}
