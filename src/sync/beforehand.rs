//! What a pass has to know before it asks for anybody.

use std::borrow::Cow;

use super::{Pass, apply::with_retries};
use crate::{compare::AnnouncedFields, model::UserId, store::Error};

/// Read once, at the start of a pass. Bounded by the configuration's list of users, and by what is ever announced.
#[derive(Debug)]
pub(super) struct Beforehand<'a> {
    /// The users to ask for: those of the configuration but for the forgotten ones.
    pub(super) users: Cow<'a, [UserId]>,
    pub(super) announced: AnnouncedFields,
}

impl<'a> Beforehand<'a> {
    /// A database without tables knows nothing.
    pub(super) fn without_tables<S>(pass: &Pass<'a, S>) -> Self {
        Self {
            users: Cow::Borrowed(&pass.client.watch.listed),
            announced: AnnouncedFields::default(),
        }
    }

    pub(super) async fn of<S>(pass: &Pass<'a, S>) -> Result<Self, Error> {
        let watched = &pass.client.watch.listed;
        let forgotten = with_retries(|| pass.store.forgotten_among(watched)).await?;
        let announced = with_retries(|| pass.store.announced_fields()).await?;
        let users = if forgotten.is_empty() {
            Cow::Borrowed(&**watched)
        } else {
            let asked = watched.iter().filter(|id| !forgotten.contains(id));
            Cow::Owned(asked.copied().collect())
        };
        Ok(Self { users, announced })
    }
}
