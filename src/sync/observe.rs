//! The observing part of a pass: targets, requests and batches, all at once.

use std::{collections::HashSet, sync::atomic::AtomicBool};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Course, Pass, Undiscovered, Watched,
    apply::{self, Hand},
    beforehand::{Beforehand, Expected},
    fetch::{self, Delivery, End, Listing, Manner},
    frontier::Frontier,
    queue::Room,
    rate::soon,
    targets::{Halt, Targets},
};
use crate::{
    calcom::{Reach, Source},
    config::FetchPlan,
    model::{Target, UserId},
    store::{Error, Run, Unsettled},
};

/// Requests that wait to be made. More than a page of targets makes of 250 users each, some thirty kilobytes, so that the next page is
/// read while these are under way.
const ASKS: usize = 32;

/// As many as Cal.com's list can hold.
pub(super) const LISTED: usize = Reach::MAX_OFFSET + Reach::USERS;

impl<S: Source> Pass<'_, S> {
    /// Fetching and writing overlap: one half of the channel each.
    pub(super) async fn observe(
        &self,
        hand: &mut Hand<'_, '_>,
        watched: &Watched,
        frontier: &Frontier,
        cancel: &CancellationToken,
    ) -> (Course, Result<(), Error>) {
        let (run, tables) = match hand {
            Hand::Looking(looking) => (None, looking.tables),
            Hand::Writing(run) => (Some(*run), true),
        };
        let before = match Beforehand::of(self, run, watched, tables).await {
            Ok(before) => before,
            Err(error) => return (Course::default(), Err(self.store.name_holder(error).await)),
        };
        let room = Room::new();
        let (sender, receiver) = room.queue();
        self.foretell(before.expected.users, before.expected.requests);
        let told = |count: u64| {
            if let Some(progress) = self.progress {
                progress.observed(count);
            }
        };
        let delivery = Delivery {
            observations: sender,
            frontier,
            told: &told,
        };
        let noting = async {
            if let Some(run) = run {
                self.note_plan(run, &before).await;
            }
        };
        // The writer's failure ends the fetching: it drops its half of the channel.
        let ((mut course, read), (tally, written), ()) = tokio::join!(
            self.read(watched, &before, tables, frontier, delivery, cancel),
            apply::take_batches(self, hand, receiver, frontier, &before),
            noting,
        );
        course.present = tally.present + course.passed_over;
        course.observed = tally.observed + course.passed_over;
        course.rejected = tally.rejected;
        course.missing = tally.missing;
        course.respelled = tally.respelled;
        course.renewed = tally.renewed;
        (course, written.and(read))
    }

    /// Puts on record what is about to be done, while it is begun. Whatever stands in the way of that is no reason to end a pass.
    async fn note_plan(&self, run: &Run, before: &Beforehand) {
        let Expected { users, requests } = before.expected;
        let noted = apply::with_retries(|| self.store.note_plan(run, before.plan.as_str(), users, requests));
        if let Err(error) = soon(noted).await {
            self.tell_in_passing(&error, "what the pass is about to do could not be noted");
        }
    }

    /// Asks for everyone who is watched.
    async fn read(
        &self,
        watched: &Watched,
        before: &Beforehand,
        tables: bool,
        frontier: &Frontier,
        delivery: Delivery<'_>,
        cancel: &CancellationToken,
    ) -> (Course, Result<(), Error>) {
        let mut course = Course::default();
        let mut already = HashSet::new();
        // After the list, whoever may not have been on it is asked for by address.
        let mut plan = match before.plan {
            FetchPlan::List => FetchPlan::Bulk,
            plan => plan,
        };
        let mut discovers = watched.is_everyone();
        if self.is_listed(watched, before) {
            // Whoever is on it is delivered, and not written yet, when it is left out of what comes after.
            frontier.stay();
            let known = match self.known_for_list(watched, &before.unsettled, tables).await {
                Ok(known) => known,
                Err(error) => return (course, Err(self.store.name_holder(error).await)),
            };
            let wanted = |user: UserId| watched.contains(user) && !before.forgotten.contains(&user);
            // Of those who are to be asked for, some may be gone for long.
            let expected = match known.len() {
                0 => usize::try_from(before.expected.users).unwrap_or(usize::MAX),
                known => known,
            };
            let Listing { observed, end } = fetch::list(
                self.source,
                &known,
                wanted,
                Manner {
                    until_empty: discovers,
                    expected: (self.concurrency > 1).then_some(expected),
                },
                cancel,
                &delivery,
                &mut course,
            )
            .await;
            already = observed;
            match end {
                End::Over => return (course, Ok(())),
                // Whoever is not on a list that is whole is probably gone, which only a request by id can tell.
                End::Whole => {
                    discovers = false;
                    plan = FetchPlan::Get;
                }
                End::Ceiling => course.undiscovered = Some(Undiscovered::Ceiling),
                End::Refused(error) => course.undiscovered = Some(Undiscovered::Refused(error)),
            }
        } else if discovers {
            course.undiscovered = Some(Undiscovered::Ceiling);
        }
        if !discovers || self.client.watch.organization_id.is_some() {
            course.undiscovered = None;
        }
        let (asks, asked) = mpsc::channel(ASKS);
        let targets = Targets {
            pass: self,
            watched,
            tables,
            plan,
            discovers,
            going_on: &before.going_on,
            forgotten: &before.forgotten,
            unsettled: &before.unsettled,
            already: &already,
            controlled: AtomicBool::new(false),
            frontier,
            asks,
        };
        // Whoever is asked for last may be waited for when nobody listens any more.
        let over = CancellationToken::new();
        let giving = async {
            tokio::select! {
                given = targets.give() => given,
                () = over.cancelled() => Err(Halt::Unwanted),
            }
        };
        let fetching = async {
            let concurrency = self.concurrency;
            fetch::fetch(
                self.source,
                &self.client.id,
                asked,
                concurrency,
                cancel,
                delivery,
                &mut course,
            )
            .await;
            over.cancel();
        };
        let (given, ()) = tokio::join!(giving, fetching);
        match given {
            Ok(()) | Err(Halt::Unwanted) => (course, Ok(())),
            Err(Halt::Store(error)) => (course, Err(self.store.name_holder(error).await)),
            Err(Halt::Source(error)) => {
                course.undiscovered = Some(Undiscovered::Refused(error));
                (course, Ok(()))
            }
        }
    }

    /// Whether the pages of the client's list are asked for first.
    fn is_listed(&self, watched: &Watched, before: &Beforehand) -> bool {
        // More than Cal.com lists cannot be discovered by the list, nor is it worth its requests.
        before.plan == FetchPlan::List || (watched.is_everyone() && before.live_users <= LISTED as u64)
    }

    /// Of those who may be on the list, what the mirror knows.
    async fn known_for_list(
        &self,
        watched: &Watched,
        unsettled: &Unsettled,
        tables: bool,
    ) -> Result<Vec<Target>, Error> {
        if !tables {
            return Ok(Vec::new());
        }
        let (store, client) = (self.store, &self.client.id);
        let known = match watched.only() {
            // Most of them cannot be on it.
            Some(users) if users.len() > LISTED => Vec::new(),
            Some(users) => {
                let users: Vec<UserId> = users.iter().collect();
                apply::with_retries(|| store.targets(client, &users, unsettled, None)).await?
            }
            None => apply::with_retries(|| store.live_targets(client, None, LISTED, unsettled, None)).await?,
        };
        let target = |known: crate::store::KnownTarget| Target {
            id: known.id,
            email: Some(known.email),
            fingerprint: known.fingerprint,
        };
        Ok(known.into_iter().map(target).collect())
    }
}
