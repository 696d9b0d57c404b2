//! Rows that a pass is about to write and that somebody has edited in Postgres.

use super::{Pass, apply::with_retries};
use crate::{
    measured,
    model::UserId,
    store::{Error, Repair, RepairRun, Run},
};

impl<S> Pass<'_, S> {
    /// Sets rows back to what the ledger says, so that what the pass writes next is a change at Cal.com and nothing else.
    ///
    /// # Errors
    ///
    /// [`Error::Edited`] when the ledger of a user cannot be relied on.
    pub(super) async fn set_back(&self, run: &Run, users: &[UserId]) -> Result<(), Error> {
        let repair = RepairRun::within(run);
        let mut left = Vec::new();
        for done in with_retries(|| self.store.repair(&repair, users)).await? {
            match done {
                Repair::SetBack { user_id, version, .. } => {
                    measured::changes(&self.client.name, "repair", 1);
                    tracing::warn!(
                        client.name = %self.client.name,
                        user.id = user_id.0,
                        change.kind = "repair",
                        change.version = version,
                        "a row of managed_users had been edited in Postgres, and is set back to what the ledger says"
                    );
                }
                Repair::Deleted { user_id } => tracing::warn!(
                    client.name = %self.client.name,
                    user.id = user_id.0,
                    "a row of managed_users that the ledger does not know is deleted"
                ),
                Repair::Left { user_id } => left.push(user_id),
            }
        }
        if left.is_empty() {
            Ok(())
        } else {
            Err(Error::Edited(left))
        }
    }
}
