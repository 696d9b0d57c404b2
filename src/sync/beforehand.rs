//! What a pass has to know before it asks for anybody.

use std::collections::HashSet;

use super::{
    Pass, Watched,
    apply::with_retries,
    estimate::{self, Population},
    observe::LISTED,
    targets::GoingOn,
};
use crate::{
    calcom::Source,
    compare::AnnouncedFields,
    config::FetchPlan,
    model::{UserId, UserSet},
    store::{Counted, Error, Run, Unsettled},
};

/// Read once, at the start of a pass. Bounded by what is ever forgotten and announced.
#[derive(Debug)]
pub(super) struct Beforehand {
    /// Whom nobody asks for.
    pub(super) forgotten: HashSet<UserId>,
    pub(super) announced: AnnouncedFields,
    /// Whose answers are read whatever their bytes are.
    pub(super) unsettled: Unsettled,
    pub(super) plan: FetchPlan,
    pub(super) going_on: GoingOn,
    /// Of the client, in the mirror.
    pub(super) live_users: u64,
    pub(super) expected: Expected,
    /// Fingerprints of unchanged users are written anew, since most records come in other bytes by now.
    pub(super) renews: bool,
}

/// What a pass expects of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expected {
    pub(super) users: u64,
    /// None where nobody waits for them.
    pub(super) requests: Option<u64>,
}

impl Beforehand {
    pub(super) async fn of<S: Source>(
        pass: &Pass<'_, S>,
        run: Option<&Run>,
        watched: &Watched,
        tables: bool,
    ) -> Result<Self, Error> {
        let store = pass.store;
        let mut before = Self {
            forgotten: HashSet::new(),
            announced: AnnouncedFields::default(),
            unsettled: Unsettled::default(),
            plan: pass.client.fetch,
            going_on: GoingOn::default(),
            live_users: 0,
            expected: Expected::default(),
            renews: false,
        };
        if tables {
            // A database without them knows nothing.
            let reading = with_retries(|| store.prior(&pass.client.id));
            let (prior, ()) = tokio::join!(reading, pass.recall_rate());
            let prior = prior?;
            before.forgotten = prior.forgotten;
            before.announced = prior.announced;
            before.unsettled = prior.unsettled;
            before.renews = prior.most_respelled;
        }
        if let Some((run, resumed)) = run.and_then(|run| Some((run, run.resumed?))) {
            before.going_on = GoingOn {
                done_to: resumed.done_to,
                since: Some(resumed.began_at),
                troubled: with_retries(|| store.troubled(run)).await?,
            };
            let troubled = &mut before.going_on.troubled;
            troubled.retain(|user| watched.contains(*user));
            if !troubled.is_empty() {
                // One who should answer, for a control.
                let (client, but) = (&pass.client.id, troubled.clone());
                let control = with_retries(|| store.live_among(client, watched.only(), &but, 1)).await?;
                troubled.extend(control.into_iter().filter(|user| Some(*user) <= resumed.done_to));
                troubled.sort_unstable();
            }
        }
        before.choose(pass, watched, tables).await?;
        Ok(before)
    }

    /// Settles how users are asked for.
    async fn choose<S: Source>(
        &mut self,
        pass: &Pass<'_, S>,
        watched: &Watched,
        tables: bool,
    ) -> Result<(), Error> {
        let (store, client) = (pass.store, &pass.client.id);
        let reach = pass.source.reach();
        let everyone = watched.is_everyone();
        // A list shows everyone whatever is done already, so it is no alternative when a pass goes on.
        let goes_on = self.going_on.done_to.is_some();
        let after = self.going_on.done_to.filter(|_| self.plan != FetchPlan::List);
        let troubled: UserSet = after
            .iter()
            .flat_map(|_| &self.going_on.troubled)
            .copied()
            .collect();
        let listed = (watched.ids().len_after(after) + troubled.len()) as u64;
        let waits = pass.client.requests_per_minute > 0 || pass.source.allowance().is_some();
        if self.plan == FetchPlan::Auto && (listed > LISTED as u64 || goes_on) && !waits {
            // Nobody waits for a limit, so there is nothing to foresee, and of so many users no list is an alternative.
            self.plan = FetchPlan::Bulk;
        }
        if !everyone && self.plan != FetchPlan::Auto && !waits {
            self.expected.users = listed;
            return Ok(());
        }
        let counted = if tables {
            let given = |users: &[UserId]| watched.listed_addresses(users);
            let mut counted =
                with_retries(|| store.population(client, watched.ids(), given, everyone, after)).await?;
            if !troubled.is_empty() {
                counted +=
                    with_retries(|| store.population(client, &troubled, |_| Vec::new(), false, None)).await?;
            }
            counted
        } else {
            Counted {
                users: listed,
                ..Counted::default()
            }
        };
        if everyone {
            self.live_users = with_retries(|| store.live_users(client, None)).await?;
        }
        let mut population = Population::of(counted, everyone);
        if watched.is_queried_for_addresses() {
            // Which ones is found out page by page.
            population = population.with_all_addresses();
        }
        // Of these it is known that each is asked for by its id.
        let refused = pass.source.refused_addresses().count(|user| {
            watched.contains(user) && (after.is_none_or(|after| user > after) || troubled.contains(user))
        });
        population.with_address = population.with_address.saturating_sub(refused);
        if everyone && self.plan == FetchPlan::Auto {
            // Beside the list, which is asked for in any case where it may be whole.
            self.plan = FetchPlan::Bulk;
        }
        self.plan = match estimate::choose(self.plan, &population, &reach) {
            FetchPlan::List if self.plan == FetchPlan::Auto && goes_on => FetchPlan::Bulk,
            plan => plan,
        };
        let requests = estimate::requests(self.plan, &population, &reach);
        self.expected = Expected {
            users: population.users,
            requests,
        };
        Ok(())
    }
}
