//! Letting a held set of removals through, if the world still agrees.

use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{
    Pass, Report,
    apply::{Retries, bounded, with_retries},
    finish::Shortfall,
    report::Failure,
};
use crate::{
    calcom::{self, Source},
    compare::{ChangeSet, Removal},
    model::{Observation, RunOutcome, UserId},
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
        let mut report = match Box::pin(self.begin(cancel)).await {
            Ok(run) => {
                // Ends the asking when the operator says so, and when another pass has begun.
                let cancel = cancel.child_token();
                let work = Box::pin(self.let_through(&run, set_hash, &cancel));
                let inquiry = self.while_alive(&run, &cancel, work).await;
                let requests = self.source.requests() - requests_before;
                self.conclude_approval(&run, inquiry, requests).await
            }
            Err(report) => report,
        };
        report.duration_s = started.elapsed().as_secs_f64();
        report.log(self.lines);
        report
    }

    async fn let_through(&self, run: &Run, set_hash: &str, cancel: &CancellationToken) -> Inquiry {
        let mut inquiry = Inquiry::default();
        let set = match with_retries(|| self.store.held_removals(run, set_hash)).await {
            Ok(Some(removals)) => ChangeSet {
                removals,
                ..ChangeSet::default()
            },
            Ok(None) => {
                inquiry.refusal = Some(Refusal::Expired);
                return inquiry;
            }
            Err(error) => {
                inquiry.refusal = Some(Refusal::Store(error));
                return inquiry;
            }
        };
        let asked = async {
            self.ask_for_control(&set.removals, &mut inquiry).await?;
            self.ask_for_each(&set.removals, &mut inquiry).await
        };
        let asked = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Refusal::Interrupted),
            asked = asked => asked,
        };
        let done = match asked {
            Ok(()) => self.apply_approved(run, set_hash, &set).await,
            Err(refusal) => Err(refusal),
        };
        inquiry.refusal = done.err();
        inquiry
    }

    /// One of the client's other users answers, or there is no other one.
    async fn ask_for_control(&self, removals: &[Removal], inquiry: &mut Inquiry) -> Result<(), Refusal> {
        let is_held = |user: &UserId| {
            removals
                .binary_search_by_key(user, |removal| removal.user_id)
                .is_ok()
        };
        let others: Vec<UserId> = self
            .client
            .users
            .iter()
            .copied()
            .filter(|user| !is_held(user))
            .collect();
        let known = with_retries(|| self.store.live_among(&self.client.id, &others, CONTROLS))
            .await
            .map_err(Refusal::Store)?;
        for user in &known {
            match self.source.get_user(*user).await {
                Ok(Observation::Present(_)) => {
                    inquiry.observed += 1;
                    return Ok(());
                }
                Ok(_) => inquiry.observed += 1,
                Err(error) => return Err(Refusal::Unanswered(*user, error)),
            }
        }
        if known.is_empty() {
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
                        progress(inquiry.missing);
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

    async fn apply_approved(&self, run: &Run, set_hash: &str, set: &ChangeSet) -> Result<(), Refusal> {
        let mut retries = Retries::default();
        let mut attempted = false;
        loop {
            let error = match bounded(self.store.apply_removals(run, set)).await {
                Ok(()) => {
                    self.log_removals(set);
                    return Ok(());
                }
                Err(error) => error,
            };
            // A set that was written waits no more.
            if attempted && error == store::Error::Conflict {
                match bounded(self.store.held_removals(run, set_hash)).await {
                    Ok(None) => {
                        self.log_removals(set);
                        return Ok(());
                    }
                    Ok(Some(_)) => {}
                    Err(error) => return Err(Refusal::Store(error)),
                }
            }
            attempted = true;
            retries.wait(error).await.map_err(Refusal::Store)?;
        }
    }

    async fn conclude_approval(&self, run: &Run, inquiry: Inquiry, requests: u64) -> Report {
        let shortfall = inquiry.refusal.map(Refusal::shortfall);
        let finish = Finish {
            observed: inquiry.observed,
            rejected: 0,
            missing: inquiry.missing,
            unanswered: 0,
            requests,
            shortfall: shortfall.as_ref().map(|shortfall| shortfall.outcome),
            error: shortfall.as_ref().map(|shortfall| shortfall.error.as_str()),
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
            Self::Present(user) => failed(format!(
                "user {user} of the held set answers again: nothing is removed; the next pass looks anew"
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
