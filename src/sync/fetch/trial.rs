//! Finding out what it means that a request by addresses was refused.
//!
//! One answer may be that of whatever stands in front of Cal.com and is in trouble. So one of the request's users is asked for by its
//! id, and if Cal.com answers that, the others are by their addresses once more. Who refuses it again does not list users so.

use super::Fetching;
use crate::{
    calcom::{Lesson, Source},
    model::UserId,
    sync::asks::{Ask, Batch, One},
};

#[derive(Debug)]
pub(super) struct Trial {
    /// The user that is asked for by its id.
    control: UserId,
    /// The request on trial without that user. None while it is made again.
    batch: Option<Batch>,
    /// What else was refused meanwhile: no more than was under way.
    others: Vec<Batch>,
}

impl<S: Source> Fetching<'_, S> {
    /// A request by addresses was refused as such.
    pub(super) fn take_refusal(&mut self, batch: Batch) {
        if batch.on_trial {
            self.source.learn(Lesson::NotByAddresses);
            self.ask_otherwise(batch);
        } else if let Some(trial) = &mut self.trial {
            trial.others.push(batch);
        } else if self.source.reach().by_addresses {
            self.try_again(batch, Vec::new());
        } else {
            self.ask_otherwise(batch);
        }
    }

    /// Asks for a user of the refused request by its id.
    fn try_again(&mut self, mut batch: Batch, others: Vec<Batch>) {
        let Some((target, unit)) = batch.take_first() else {
            return;
        };
        self.trial = Some(Trial {
            control: target.id,
            batch: Some(batch),
            others,
        });
        self.again.push(Ask::One(One {
            target,
            unit,
            missed: false,
        }));
    }

    /// A user was asked for by its id: Cal.com answered, or nothing was learned.
    pub(super) fn hear_control(&mut self, user: UserId, is_answered: bool) {
        let Some(trial) = self.trial.as_mut().filter(|trial| trial.control == user) else {
            return;
        };
        let Some(mut batch) = trial.batch.take() else {
            return;
        };
        if batch.len() == 0 {
            // Nobody is left to be asked for so.
            self.end_trial();
        } else if is_answered {
            batch.on_trial = true;
            self.again.push(Ask::Many(batch));
        } else {
            let others = std::mem::take(&mut trial.others);
            self.try_again(batch, others);
        }
    }

    /// The request on trial has its answer: the others are asked for as far as is known by now.
    pub(super) fn end_trial(&mut self) {
        for refused in self.trial.take().map(|trial| trial.others).unwrap_or_default() {
            self.ask_otherwise(refused);
        }
    }
}
