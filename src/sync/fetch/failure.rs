//! Requests of which nothing is learned, and when to stop.

use super::Fetching;
use crate::{
    calcom::{Disposition, Error, Lesson, Scope, Source},
    model::UserId,
    sync::asks::{Ask, Batch},
};

/// So many requests in a row without an answer, each after its retries, mean that Cal.com is away: asking for the others
/// would only take long.
const MAX_UNAVAILABLE_IN_A_ROW: u32 = 10;

/// So many in a row for any reason mean the same, or that what answers is not Cal.com. More than the above, since some
/// reasons are a single user's, and users of a kind may stand together.
const MAX_FAILURES_IN_A_ROW: u32 = 100;

/// So many requests for several users in a row that fail for want of an answer mean that Cal.com is away, rather than that
/// one of the users is too much for it: halves of 250 are down to one before.
const MAX_HALVED_IN_A_ROW: u32 = 20;

impl<S: Source> Fetching<'_, S> {
    /// False when there is no point in going on, here and below.
    pub(super) fn take_failure(&mut self, batch: Batch, error: Error) -> bool {
        let on_trial = batch.on_trial;
        let goes_on = match (error.scope(), &error) {
            (_, Error::InvalidAddress(_)) => {
                self.narrow_down(batch);
                true
            }
            (Scope::Size, _) => self.halve(batch, error),
            (Scope::Route, Error::LimitRefused { max }) => {
                let most = max.unwrap_or(batch.len() / 2).min(batch.len().saturating_sub(1));
                self.source.learn(Lesson::AtMostUsers(most));
                tracing::debug!(users = batch.len(), error = %error, "fewer users are asked for at once");
                self.ask_otherwise(batch);
                true
            }
            (Scope::Route, _) => {
                tracing::debug!(users = batch.len(), error = %error, "a request by addresses is refused");
                self.take_refusal(batch);
                true
            }
            (Scope::Client, _) => {
                let first = batch.targets.first().map_or(UserId(0), |target| target.id);
                self.fail(first, batch.len() as u64, error)
            }
        };
        if on_trial {
            self.end_trial();
        }
        goes_on
    }

    /// The server takes one of the addresses for none. Down to the last two each is asked for by its address, so that it is known whose it is.
    fn narrow_down(&mut self, batch: Batch) {
        if let [target] = &batch.targets[..] {
            tracing::debug!(user.id = target.id.0, "cal.com takes the user's address for none");
            self.source.learn_refused(target);
            self.again.extend(batch.one_by_one(false));
        } else {
            self.again.extend(batch.split().into_iter().rev().map(Ask::Many));
        }
    }

    fn halve(&mut self, batch: Batch, error: Error) -> bool {
        if let Error::TooLong { bytes } = error {
            self.source.learn(Lesson::TooManyBytes(bytes));
        }
        if error.is_unavailable() {
            self.halved_in_a_row += 1;
            if self.halved_in_a_row >= MAX_HALVED_IN_A_ROW {
                self.course.unanswered += batch.len() as u64;
                self.course.stopped = Some(error);
                return false;
            }
        }
        tracing::debug!(users = batch.len(), error = %error, "a request for many users is halved");
        let halves = batch.halves(self.client, &self.source.reach());
        self.again.extend(halves.into_iter().rev());
        true
    }

    /// Asks for the same users in requests that the server may answer, as far as it has shown itself.
    pub(super) fn ask_otherwise(&mut self, batch: Batch) {
        let asks = batch.cut(self.client, &self.source.reach());
        self.again.extend(asks.into_iter().rev());
    }

    /// Nothing was learned of so many users.
    pub(super) fn fail(&mut self, first: UserId, users: u64, error: Error) -> bool {
        tracing::debug!(user.id = first.0, users, error = %error, "nothing was learned of a user");
        self.course.unanswered += users;
        self.failures_in_a_row += 1;
        // A refusal of one user, as opposed to trouble, is neither here nor there.
        if error.disposition() == Disposition::Retry || error.is_unavailable() {
            self.unavailable_in_a_row += 1;
        }
        if error.disposition() == Disposition::StopClient
            || self.unavailable_in_a_row >= MAX_UNAVAILABLE_IN_A_ROW
            || self.failures_in_a_row >= MAX_FAILURES_IN_A_ROW
        {
            self.course.stopped = Some(error);
            return false;
        }
        self.course.first_unanswered.get_or_insert((first, error));
        true
    }
}
