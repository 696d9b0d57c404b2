//! What a pass has to know before it asks for anybody.

use std::collections::HashSet;

use super::{Pass, Watched, apply::with_retries, targets::GoingOn};
use crate::{
    calcom::Source,
    compare::AnnouncedFields,
    config::FetchPlan,
    model::UserId,
    store::{Error, Run},
};

/// Read once, at the start of a pass. Bounded by what is ever forgotten and announced.
#[derive(Debug)]
pub(super) struct Beforehand {
    /// Whom nobody asks for.
    pub(super) forgotten: HashSet<UserId>,
    pub(super) announced: AnnouncedFields,
    pub(super) plan: FetchPlan,
    pub(super) going_on: GoingOn,
    /// Of the client, in the mirror.
    pub(super) live_users: u64,
    /// Fingerprints of unchanged users are written anew, since most records come in other bytes by now.
    pub(super) renews: bool,
}

impl Beforehand {
    pub(super) async fn of<S: Source>(
        pass: &Pass<'_, S>,
        run: Option<&Run>,
        watched: &Watched,
        tables: bool,
    ) -> Result<Self, Error> {
        let (store, client) = (pass.store, &pass.client.id);
        let mut before = Self {
            forgotten: HashSet::new(),
            announced: AnnouncedFields::default(),
            plan: pass.client.fetch,
            going_on: GoingOn::default(),
            live_users: 0,
            renews: false,
        };
        if tables {
            if watched.is_everyone() {
                before.live_users = with_retries(|| store.live_users(client, None)).await?;
            }
            // A database without them knows nothing.
            before.forgotten = with_retries(|| store.forgotten_ids()).await?;
            before.announced = with_retries(|| store.announced_fields()).await?;
        }
        if let Some(run) = run {
            before.renews = with_retries(|| store.are_most_respelled(run)).await?;
            if let Some(resumed) = &run.resumed {
                before.going_on = GoingOn {
                    done_to: resumed.done_to,
                    since: Some(resumed.began_at),
                    troubled: with_retries(|| store.troubled(run)).await?,
                };
                before.going_on.troubled.retain(|user| watched.contains(*user));
            }
        }
        Ok(before)
    }
}
