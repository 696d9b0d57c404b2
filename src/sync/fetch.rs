//! Asking, a bounded number of requests at a time.

mod failure;
mod listing;
mod trial;

use std::panic;

use futures_util::{StreamExt, future::Either, stream::FuturesUnordered};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub(super) use listing::{End, Listing, Manner, list};
use trial::Trial;

use super::{
    Course,
    asks::{Ask, Batch, One},
    frontier::{Frontier, UnitId},
    queue::{Sender, Sighting},
};
use crate::{
    calcom::{Error, Lesson, Roll, Source},
    model::{ClientId, Fingerprint, Observation, Seen},
};

/// So many users that no request by addresses found, and that are there under the very address, mean that the server does not find
/// users by address: unless more were found so.
const MAX_OVERLOOKED: u64 = 20;

/// A cap on the users of an answer that is lower is no cap, but chance.
const FEWEST_USERS: usize = 10;

/// What a pass does with what it sees.
pub(super) struct Delivery<'a> {
    pub(super) observations: Sender<'a>,
    pub(super) frontier: &'a Frontier,
    /// Told of users that are dealt with.
    pub(super) told: &'a (dyn Fn(u64) + Sync),
}

impl Delivery<'_> {
    /// False when nobody takes observations any more.
    async fn deliver(
        &self,
        seen: Seen,
        expected: Option<Fingerprint>,
        unit: Option<UnitId>,
        course: &mut Course,
    ) -> bool {
        match seen {
            Seen::Unchanged(_) => {
                let mut one = PassedOver::default();
                one.add(unit, self);
                return self.pass_over(one, course);
            }
            Seen::Observed {
                observation,
                fingerprint,
            } => {
                let sighting = Sighting {
                    observation,
                    fingerprint,
                    expected,
                    unit,
                };
                if !self.observations.send(sighting).await {
                    return false;
                }
            }
        }
        (self.told)(1);
        true
    }

    /// Users that came in the bytes of their fingerprints. False when nobody takes observations any more.
    fn pass_over(&self, mut users: PassedOver, course: &mut Course) -> bool {
        // Nobody writes any more: it failed.
        if self.observations.is_closed() {
            return false;
        }
        course.passed_over += users.count;
        users.tell(self);
        (self.told)(users.count);
        true
    }
}

/// Users of one answer that need not be looked at, told of together as far as they are of the same unit.
#[derive(Debug, Default)]
struct PassedOver {
    count: u64,
    unit: Option<UnitId>,
    of_unit: usize,
}

impl PassedOver {
    fn add(&mut self, unit: Option<UnitId>, delivery: &Delivery<'_>) {
        if unit != self.unit {
            self.tell(delivery);
            self.unit = unit;
        }
        self.count += 1;
        self.of_unit += 1;
    }

    fn tell(&mut self, delivery: &Delivery<'_>) {
        if let Some(unit) = self.unit {
            delivery.frontier.done(unit, self.of_unit);
        }
        self.of_unit = 0;
    }
}

/// Asks for whatever comes through `asks`, and delivers what is seen. Ends early when the client as a whole is refused, when
/// Cal.com is away, when `cancel` is cancelled, or when nobody takes the observations any more.
pub(super) async fn fetch<S: Source>(
    source: &S,
    client: &ClientId,
    mut asks: mpsc::Receiver<Ask>,
    concurrency: usize,
    cancel: &CancellationToken,
    delivery: Delivery<'_>,
    course: &mut Course,
) {
    let concurrency = concurrency.max(1);
    let mut fetching = Fetching {
        source,
        client,
        delivery,
        course,
        // Depth first, so that what fails is narrowed down before more is asked.
        again: Vec::new(),
        unavailable_in_a_row: 0,
        failures_in_a_row: 0,
        halved_in_a_row: 0,
        found: 0,
        overlooked: 0,
        trial: None,
    };
    let mut under_way = FuturesUnordered::new();
    let mut more = true;
    loop {
        while under_way.len() < concurrency
            && let Some(ask) = fetching.again.pop()
        {
            under_way.push(start(source, ask));
        }
        if under_way.is_empty() && !more {
            break;
        }
        let has_room = under_way.len() < concurrency;
        let next = tokio::select! {
            biased;
            () = cancel.cancelled() => {
                fetching.course.cut = true;
                break;
            }
            Some(answered) = under_way.next(), if !under_way.is_empty() => Either::Left(answered),
            // While it is open whether users can be asked for by address, no others are.
            ask = asks.recv(), if has_room && more && fetching.trial.is_none() => Either::Right(ask),
        };
        match next {
            Either::Left(answered) => {
                let answered = answered.unwrap_or_else(|ended| panic::resume_unwind(ended.into_panic()));
                if !fetching.take(answered).await {
                    break;
                }
            }
            Either::Right(Some(ask)) => under_way.push(start(source, ask)),
            Either::Right(None) => more = false,
        }
    }
}

enum Answered {
    One(One, Result<Seen, Error>),
    Many(Batch, Result<Roll, Error>),
}

/// In a task of its own: what is done about an answer takes more time than all else, and there may be several cores.
fn start<S: Source>(source: &S, ask: Ask) -> AbortOnDropHandle<Answered> {
    let source = source.clone();
    AbortOnDropHandle::new(tokio::spawn(async move { answer(&source, ask).await }))
}

async fn answer<S: Source>(source: &S, ask: Ask) -> Answered {
    match ask {
        Ask::One(one) => {
            let answer = source.get(&one.target).await;
            Answered::One(one, answer)
        }
        Ask::Many(batch) => {
            let answer = source.by_addresses(&batch.targets).await;
            Answered::Many(batch, answer)
        }
    }
}

struct Fetching<'a, S> {
    source: &'a S,
    client: &'a ClientId,
    delivery: Delivery<'a>,
    course: &'a mut Course,
    /// To be asked before anything else.
    again: Vec<Ask>,
    unavailable_in_a_row: u32,
    failures_in_a_row: u32,
    halved_in_a_row: u32,
    /// Users that requests by addresses found.
    found: u64,
    /// Users that none found although they are there.
    overlooked: u64,
    /// A request by addresses was refused, and it is open why.
    trial: Option<Trial>,
}

impl<S: Source> Fetching<'_, S> {
    /// False when there is no point in going on.
    async fn take(&mut self, answered: Answered) -> bool {
        match answered {
            Answered::One(one, Ok(seen)) => {
                self.is_answered();
                self.hear_control(one.target.id, true);
                if one.missed && is_where_it_was(&one, &seen) {
                    self.overlooked += 1;
                    if self.overlooked > MAX_OVERLOOKED && self.overlooked > self.found {
                        self.source.learn(Lesson::NotByAddresses);
                    }
                }
                self.delivery
                    .deliver(seen, one.target.fingerprint, one.unit, self.course)
                    .await
            }
            Answered::One(one, Err(error)) => {
                self.hear_control(one.target.id, false);
                self.fail(one.target.id, 1, error)
            }
            Answered::Many(batch, Ok(roll)) => {
                if batch.on_trial {
                    self.end_trial();
                }
                self.take_roll(batch, roll).await
            }
            Answered::Many(batch, Err(error)) => self.take_failure(batch, error),
        }
    }

    fn is_answered(&mut self) {
        self.unavailable_in_a_row = 0;
        self.failures_in_a_row = 0;
        self.halved_in_a_row = 0;
    }

    async fn take_roll(&mut self, batch: Batch, roll: Roll) -> bool {
        self.is_answered();
        let mut is_seen = vec![false; batch.len()];
        let seen_any = !roll.seen.is_empty();
        let mut passed_over = PassedOver::default();
        for seen in roll.seen {
            // Whoever was not asked for is somebody else's business.
            let Some(place) = batch.place_of(seen.user_id()).filter(|place| !is_seen[*place]) else {
                continue;
            };
            is_seen[place] = true;
            self.found += 1;
            let (expected, unit) = (batch.targets[place].fingerprint, batch.units[place]);
            if let Seen::Unchanged(_) = seen {
                passed_over.add(unit, &self.delivery);
            } else if !self.delivery.deliver(seen, expected, unit, self.course).await {
                return false;
            }
        }
        if !self.delivery.pass_over(passed_over, self.course) {
            return false;
        }
        let (asked, cut_at) = (batch.len(), batch.cut_at);
        let missing = batch.without(&is_seen);
        if roll.unasked > (roll.records / 10).max(1) {
            self.source.learn(Lesson::NotByAddresses);
        } else if let Some(records) = cut_at
            && seen_any
        {
            // They were there all the time. If it was for want of room, this answer is as full as it can be.
            let found = is_seen.iter().filter(|seen| **seen).count();
            if records >= FEWEST_USERS && found == asked.min(records) {
                self.source.learn(Lesson::AtMostUsers(records));
            }
        } else if cut_at.is_none() && is_suspicious(asked, roll.records) {
            let missing = missing.cut_at(roll.records);
            self.again.extend(missing.cut(self.client, &self.source.reach()));
            return true;
        }
        self.again.extend(missing.one_by_one(true).rev());
        true
    }
}

/// Whether so many are missing that the answer may have been cut off by a cap on their number.
fn is_suspicious(asked: usize, records: usize) -> bool {
    const FEW: usize = 2;
    records > 0 && records < asked && asked - records > (asked / 10).max(FEW)
}

/// Whether a user that was not found by its address is there, under this very address.
fn is_where_it_was(one: &One, seen: &Seen) -> bool {
    match seen {
        Seen::Unchanged(_) => true,
        Seen::Observed {
            observation: Observation::Present(user),
            ..
        } => one.target.email.as_deref() == Some(&user.email),
        Seen::Observed { .. } => false,
    }
}
