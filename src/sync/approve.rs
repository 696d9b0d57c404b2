//! Letting a held set of removals through, if the world still agrees.

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{
    Pass, Report, Watched,
    apply::{Retries, bounded, with_retries},
    finish::Shortfall,
};
use crate::{
    calcom::{self, Disposition, Source},
    compare::{ChangeSet, Removal},
    model::{Failure, Observation, RunOutcome, UserId},
    store::{self, Finish, Run},
};

/// So many other users are asked at most for a sign that the client is still there.
const CONTROLS: usize = 20;

/// What was found when the users were asked once more.
#[derive(Debug, Default)]
struct Inquiry {
    observed: u64,
    missing: u64,
    refusal: Option<Refusal>,
}

/// Why the set is not let through.
#[derive(Debug)]
enum Refusal {
    Expired,
    /// A user of the set is not asked for any more.
    Unwatched(UserId),
    /// A user of the set answered.
    Present(UserId),
    /// None of the client's other users answered.
    NoControl,
    Unanswered(UserId, calcom::Error),
    Interrupted,
    Store(store::Error),
}

impl<S: Source> Pass<'_, S> {
    /// Removes exactly the users of a set that waits, if Cal.com still says of each that it is gone.
    ///
    /// `trigger` names the run that held the set; `set_hash` is from [`store::Store::held_by`]. Freshness does not move, since
    /// other users are asked only as a control.
    pub async fn approve(&self, set_hash: &str, cancel: &CancellationToken) -> Report {
        let started = tokio::time::Instant::now();
        let requests_before = self.source.requests();
        let mut inquiry = Inquiry::default();
        let watched = match Watched::of(self.client, self.store).await {
            Ok(watched) => watched,
            Err(error) => return self.never_begun(error).await,
        };
        // The fence is taken only when there is something to write: a pass under way is not ended for a refusal.
        let asked = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Refusal::Interrupted),
            asked = self.while_told(None, requests_before, Box::pin(self.ask(set_hash, &watched, &mut inquiry))) => asked,
        };
        let requests = || self.source.requests() - requests_before;
        let mut report = match asked {
            Ok(()) => match Box::pin(self.begin(&watched, cancel)).await {
                Ok(run) => {
                    let work = Box::pin(async {
                        inquiry.refusal = self.let_through(&run, set_hash).await.err();
                        self.conclude_approval(&run, inquiry, requests()).await
                    });
                    self.while_alive(&run, None, &cancel.child_token(), work).await
                }
                Err(report) => report,
            },
            Err(refusal) => self.refuse(refusal, &inquiry, requests()).await,
        };
        report.duration_s = started.elapsed().as_secs_f64();
        report.log(self.lines);
        report
    }

    /// Whether the world agrees with the set.
    async fn ask(&self, set_hash: &str, watched: &Watched, inquiry: &mut Inquiry) -> Result<(), Refusal> {
        // Nobody is asked at another address than the one that the mirror is of.
        match with_retries(|| self.store.source_of(&self.client.id)).await {
            Ok(Some(recorded)) if recorded != self.base_url => {
                return Err(Refusal::Store(store::Error::SourceChanged {
                    client: self.client.name.clone(),
                    recorded,
                    configured: self.base_url.to_owned(),
                }));
            }
            Ok(_) => {}
            Err(error) => return Err(Refusal::Store(error)),
        }
        self.recall_rate().await;
        let set = self.held(set_hash).await?;
        if let Some(removal) = set
            .removals
            .iter()
            .find(|removal| !watched.contains(removal.user_id))
        {
            return Err(Refusal::Unwatched(removal.user_id));
        }
        self.ask_for_control(&set.removals, watched, inquiry).await?;
        let asked = self.ask_for_each(&set.removals, inquiry).await;
        if let Err(Refusal::Present(user)) = &asked {
            with_retries(|| self.store.record_sighting(&self.client.id, *user))
                .await
                .map_err(Refusal::Store)?;
        }
        asked
    }

    async fn held(&self, set_hash: &str) -> Result<ChangeSet, Refusal> {
        match with_retries(|| self.store.held_removals(&self.client.id, set_hash)).await {
            Ok(Some(removals)) => Ok(ChangeSet {
                removals,
                ..ChangeSet::default()
            }),
            Ok(None) => Err(Refusal::Expired),
            Err(error) => Err(Refusal::Store(error)),
        }
    }

    /// Under the fence, so that the set stays what it is.
    async fn let_through(&self, run: &Run, set_hash: &str) -> Result<(), Refusal> {
        let set = self.held(set_hash).await?;
        let mut retries = Retries::default();
        let mut attempted = false;
        loop {
            let error = match bounded(self.store.apply_removals(run, &set)).await {
                Ok(()) => {
                    self.log_removals(&set);
                    return Ok(());
                }
                Err(error) => error,
            };
            if error == store::Error::Conflict {
                // Either an attempt that was not answered had been written, or somebody was forgotten meanwhile.
                let removed = with_retries(|| self.store.removed_in(run))
                    .await
                    .map_err(Refusal::Store)?;
                if attempted && removed == set.removals.len() as u64 {
                    self.log_removals(&set);
                    return Ok(());
                }
                self.held(set_hash).await?;
            } else {
                attempted = true;
            }
            retries.wait(error).await.map_err(Refusal::Store)?;
        }
    }

    /// A refusal that took no fence: on record all the same.
    async fn refuse(&self, refusal: Refusal, inquiry: &Inquiry, requests: u64) -> Report {
        let Shortfall {
            outcome,
            error,
            failure,
        } = refusal.shortfall();
        let client = self.client;
        let recorded = self
            .store
            .record_failure(&client.id, &client.name, self.trigger, failure, &error);
        let run_id = match bounded(recorded).await {
            Ok(id) => Some(id),
            Err(error) => {
                tracing::debug!(error = %error, "the refused approval could not be recorded");
                None
            }
        };
        let counts = store::RunCounts {
            observed: inquiry.observed,
            missing: inquiry.missing,
            ..Default::default()
        };
        Report::new(self, run_id, outcome, counts, requests, Some(error), failure)
    }

    /// One of the client's other users answers, or there is no other one.
    async fn ask_for_control(
        &self,
        removals: &[Removal],
        watched: &Watched,
        inquiry: &mut Inquiry,
    ) -> Result<(), Refusal> {
        let held: Vec<UserId> = removals.iter().map(|removal| removal.user_id).collect();
        let (client, watched) = (&self.client.id, watched.only());
        let known = with_retries(|| self.store.live_among(client, watched, &held, CONTROLS))
            .await
            .map_err(Refusal::Store)?;
        for user in &known {
            match self.source.get_user(*user).await {
                Ok(Observation::Present(_)) => {
                    inquiry.observed += 1;
                    return Ok(());
                }
                Ok(_) => inquiry.observed += 1,
                // One user's trouble says nothing of the client.
                Err(error) if error.disposition() == Disposition::Skip => {}
                Err(error) => return Err(Refusal::Unanswered(*user, error)),
            }
        }
        if known.is_empty()
            && with_retries(|| self.store.live_users(client, watched))
                .await
                .map_err(Refusal::Store)?
                <= held.len() as u64
        {
            // The set is everyone. Who approves it says that this is so.
            Ok(())
        } else {
            Err(Refusal::NoControl)
        }
    }

    async fn ask_for_each(&self, removals: &[Removal], inquiry: &mut Inquiry) -> Result<(), Refusal> {
        let mut answers = stream::iter(removals)
            .map(|removal| async { (removal.user_id, self.source.get_user(removal.user_id).await) })
            .buffer_unordered(self.concurrency.max(1));
        while let Some((user, answer)) = answers.next().await {
            match answer {
                Ok(Observation::Gone(_)) => {
                    inquiry.observed += 1;
                    inquiry.missing += 1;
                    if let Some(progress) = self.progress {
                        progress.observed(1);
                    }
                }
                Ok(Observation::Present(_) | Observation::Unreadable(_)) => {
                    return Err(Refusal::Present(user));
                }
                Err(error) => return Err(Refusal::Unanswered(user, error)),
            }
        }
        Ok(())
    }

    async fn conclude_approval(&self, run: &Run, inquiry: Inquiry, requests: u64) -> Report {
        let shortfall = inquiry.refusal.map(Refusal::shortfall);
        let finish = Finish {
            observed: inquiry.observed,
            rejected: 0,
            missing: inquiry.missing,
            unanswered: 0,
            requests,
            respelled: 0,
            renewed: false,
            done_to: None,
            shortfall: shortfall.as_ref().map(|shortfall| shortfall.outcome),
            error: shortfall.as_ref().map(|shortfall| shortfall.error.as_str()),
            failure: shortfall.as_ref().map(|shortfall| shortfall.failure),
            fresh_for: None,
        };
        let failure = shortfall
            .as_ref()
            .map_or(Failure::Fault, |shortfall| shortfall.failure);
        self.conclude(run, &finish, failure).await
    }
}

impl Refusal {
    fn shortfall(self) -> Shortfall {
        let failed = |error: String| Shortfall {
            outcome: RunOutcome::Failed,
            error,
            failure: Failure::Fault,
        };
        match self {
            Self::Expired => failed("the held set is over; nothing is removed".to_owned()),
            Self::Unwatched(user) => failed(format!(
                "user {user} of the held set was taken out of the configuration: nothing is removed; the next pass looks anew"
            )),
            Self::Present(user) => failed(format!(
                "user {user} of the held set answers again: nothing is removed, and the set is over; the next pass looks anew"
            )),
            Self::NoControl => failed(
                "no other user of the client answers, so nothing shows that the client is still there: nothing is removed"
                    .to_owned(),
            ),
            Self::Unanswered(user, error) => {
                let of_source = Shortfall::of_source(&error);
                Shortfall {
                    error: format!("nothing was learned of user {user}, and nothing is removed: {}", of_source.error),
                    ..of_source
                }
            }
            Self::Interrupted => failed("the approval was asked to stop; nothing is removed".to_owned()),
            Self::Store(error) => Shortfall::of_store(&error),
        }
    }
}
