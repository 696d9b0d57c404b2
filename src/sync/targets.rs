//! Whom to ask for, in the order of ids, page by page: nobody holds all users at once.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
};

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use super::{
    Pass,
    apply::with_retries,
    asks::{Ask, Batches},
    frontier::{Frontier, UNIT, UnitId},
    watched::Watched,
};
use crate::{
    calcom::{self, Reach, Source},
    config::FetchPlan,
    model::{Target, UserId},
    store::{self, KnownTarget, Unsettled},
};

/// Users that are read from the database at once: a few milliseconds of it, and half a megabyte.
const PAGE: usize = 5_000;

/// The first time it is fewer, and each time twice as many as before, so that requests begin early and none waits for the next page.
const FIRST_PAGE: usize = 1_000;

/// Why there are no more targets.
#[derive(Debug)]
pub(super) enum Halt {
    Store(store::Error),
    Source(calcom::Error),
    /// Nobody takes them any more.
    Unwanted,
}

impl From<store::Error> for Halt {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// Where a pass goes on from, if it does.
#[derive(Clone, Debug, Default)]
pub(super) struct GoingOn {
    /// Everyone up to here was dealt with.
    pub(super) done_to: Option<UserId>,
    /// Whoever changed since then was observed since then.
    pub(super) since: Option<DateTime<Utc>>,
    /// Users up to `done_to` that have to be looked at in each pass: missing ones and rejects.
    pub(super) troubled: Vec<UserId>,
}

/// Gives out what is to be asked for.
pub(super) struct Targets<'a, 'p, S> {
    pub(super) pass: &'a Pass<'p, S>,
    pub(super) watched: &'a Watched,
    /// The database has tables.
    pub(super) tables: bool,
    pub(super) plan: FetchPlan,
    /// Users are looked for in the organisation's list.
    pub(super) discovers: bool,
    pub(super) going_on: &'a GoingOn,
    pub(super) forgotten: &'a HashSet<UserId>,
    pub(super) unsettled: &'a Unsettled,
    /// Users that were observed already.
    pub(super) already: &'a HashSet<UserId>,
    /// One of those who changed since an earlier pass began was asked for all the same.
    pub(super) controlled: AtomicBool,
    pub(super) frontier: &'a Frontier,
    pub(super) asks: mpsc::Sender<Ask>,
}

impl<S: Source> Targets<'_, '_, S> {
    pub(super) async fn give(self) -> Result<(), Halt> {
        let mut batches = Batches::new(&self.pass.client.id, None);
        self.troubled(&mut batches).await?;
        if self.watched.is_everyone() {
            self.live(&mut batches).await?;
            // The ids begin anew.
            self.send(batches.rest()).await?;
            self.listed_besides(&mut batches).await?;
            // Addresses of an organisation's users come in no order of ids.
            self.send(batches.rest()).await?;
            self.of_organization().await
        } else {
            self.listed(&mut batches).await?;
            self.send(batches.rest()).await
        }
    }

    async fn troubled(&self, batches: &mut Batches<'_>) -> Result<(), Halt> {
        for page in self.going_on.troubled.chunks(PAGE) {
            let known = self.known(page).await?;
            self.take(page, known, false, batches).await?;
        }
        self.send(batches.rest()).await
    }

    /// The users of a list.
    async fn listed(&self, batches: &mut Batches<'_>) -> Result<(), Halt> {
        let mut after = self.going_on.done_to;
        let mut most = FIRST_PAGE;
        while let Some(page) = self.watched.ids().pages_after(after, most).next() {
            after = page.last().copied();
            most = PAGE.min(most * 2);
            let known = self.known(&page).await?;
            self.take(&page, known, true, batches).await?;
        }
        Ok(())
    }

    /// Everyone whom the mirror has.
    async fn live(&self, batches: &mut Batches<'_>) -> Result<(), Halt> {
        if !self.tables {
            return Ok(());
        }
        let (store, client) = (self.pass.store, &self.pass.client.id);
        let mut after = self.going_on.done_to;
        let mut most = FIRST_PAGE;
        loop {
            let since = self.going_on.since;
            let known =
                with_retries(|| store.live_targets(client, after, most, self.unsettled, since)).await?;
            let Some(last) = known.last() else { return Ok(()) };
            after = Some(last.id);
            most = PAGE.min(most * 2);
            let ids: Vec<UserId> = known.iter().map(|known| known.id).collect();
            self.take(&ids, known, true, batches).await?;
        }
    }

    /// Listed users whom the mirror does not have, where everyone is watched.
    async fn listed_besides(&self, batches: &mut Batches<'_>) -> Result<(), Halt> {
        for page in self.watched.ids().pages(PAGE) {
            let known = self.known(&page).await?;
            let troubled = &self.going_on.troubled;
            let is_new = |id: &UserId| {
                known.binary_search_by_key(id, |known| known.id).is_err()
                    && troubled.binary_search(id).is_err()
            };
            let new: Vec<UserId> = page.into_iter().filter(is_new).collect();
            self.take(&new, Vec::new(), false, batches).await?;
        }
        Ok(())
    }

    /// Users whom the mirror does not have, from the organisation's list. Each is asked for at the client's own address.
    async fn of_organization(&self) -> Result<(), Halt> {
        let Some(organization) = self.pass.client.watch.organization_id.filter(|_| self.discovers) else {
            return Ok(());
        };
        let mut skip = 0;
        let mut first_page = None;
        let mut before = None;
        loop {
            let page = self.pass.source.organization_page(organization, skip).await;
            let mut page = page.map_err(Halt::Source)?;
            if page.first.is_some() && page.first == before {
                return Err(Halt::Source(calcom::Error::Garbled(
                    "the organisation's list does not go on",
                )));
            }
            before = page.first;
            skip += page.records;
            page.found.sort_by_key(|target| target.id);
            page.found.dedup_by_key(|target| target.id);
            let ids: Vec<UserId> = page.found.iter().map(|target| target.id).collect();
            let known = self.known(&ids).await?;
            let mut batches = Batches::new(&self.pass.client.id, None);
            let is_new = |target: &Target| {
                known.binary_search_by_key(&target.id, |known| known.id).is_err()
                    && !self.is_settled(target.id)
                    && !self.watched.ids().contains(target.id)
            };
            page.found.retain(is_new);
            self.add(page.found, None, &mut batches).await?;
            self.send(batches.rest()).await?;
            // A server may give fewer than it is asked for.
            if page.records == 0 || page.records < *first_page.get_or_insert(page.records) {
                break;
            }
        }
        Ok(())
    }

    async fn known(&self, users: &[UserId]) -> Result<Vec<KnownTarget>, Halt> {
        if !self.tables || users.is_empty() {
            return Ok(Vec::new());
        }
        let (store, client) = (self.pass.store, &self.pass.client.id);
        let since = self.going_on.since;
        Ok(with_retries(|| store.targets(client, users, self.unsettled, since)).await?)
    }

    fn is_settled(&self, user: UserId) -> bool {
        self.forgotten.contains(&user) || self.already.contains(&user)
    }

    /// Who changed since is there, which a pass has to see of one: without, it would conclude nothing of those that are missing.
    fn is_control(&self, known: &KnownTarget) -> bool {
        known.fingerprint.is_some() && !self.controlled.swap(true, Ordering::Relaxed)
    }

    /// Asks for these users, of whom `known` says what the mirror knows; both are ascending. With `counts` they are part of what a
    /// pass goes through in the order of ids, and those who changed since an earlier one began are left out.
    async fn take(
        &self,
        users: &[UserId],
        known: Vec<KnownTarget>,
        counts: bool,
        batches: &mut Batches<'_>,
    ) -> Result<(), Halt> {
        let mut known = known.into_iter().peekable();
        let mut targets = Vec::with_capacity(users.len());
        let mut unknown = Vec::new();
        for id in users {
            while known.next_if(|known| known.id < *id).is_some() {}
            let found = known.next_if(|known| known.id == *id);
            let is_spared = |known: &KnownTarget| counts && known.changed_since && !self.is_control(known);
            if self.is_settled(*id) || found.as_ref().is_some_and(is_spared) {
                continue;
            }
            if found.is_none() {
                unknown.push(*id);
            }
            targets.push(found.map_or(Target::unknown(*id), |known| Target {
                id: known.id,
                email: Some(known.email),
                fingerprint: known.fingerprint,
            }));
        }
        if self.plan == FetchPlan::Bulk && !unknown.is_empty() {
            let addresses = self.watched.addresses(self.pass.store, &unknown).await;
            for (user, address) in addresses {
                if let Ok(place) = targets.binary_search_by_key(&user, |target| target.id) {
                    targets[place].email = Some(address);
                }
            }
        }
        let mut targets = targets.into_iter().peekable();
        for run in users.chunks(UNIT) {
            let Some(last) = run.last() else { continue };
            let mut asked = Vec::with_capacity(run.len());
            while let Some(target) = targets.next_if(|target| target.id <= *last) {
                asked.push(target);
            }
            let unit = counts.then(|| self.frontier.open(*last, asked.len()));
            self.add(asked, unit, batches).await?;
        }
        Ok(())
    }

    async fn add(
        &self,
        targets: Vec<Target>,
        unit: Option<UnitId>,
        batches: &mut Batches<'_>,
    ) -> Result<(), Halt> {
        let mut reach = self.pass.source.reach();
        reach.by_addresses &= self.plan == FetchPlan::Bulk;
        let by_id = Reach {
            by_addresses: false,
            ..reach
        };
        let refused = self.pass.source.refused_addresses();
        let mut asks = Vec::new();
        for target in targets {
            let reach = if refused.contains(&target) { &by_id } else { &reach };
            batches.add(target, unit, reach, &mut asks);
        }
        self.send(asks).await
    }

    async fn send(&self, asks: impl IntoIterator<Item = Ask>) -> Result<(), Halt> {
        for ask in asks {
            self.asks.send(ask).await.map_err(|_| Halt::Unwanted)?;
        }
        Ok(())
    }
}
