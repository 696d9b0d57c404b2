//! The client's rate limit, from one process to the next.

use std::time::Duration;

use tokio::time::timeout;

use super::Pass;
use crate::{calcom::Source, store::Error};

/// A database that takes longer has other troubles, of which the pass will tell.
const LIMIT: Duration = Duration::from_secs(5);

impl<S: Source> Pass<'_, S> {
    /// Goes on within what an earlier process has left. Whatever stands in the way of that is no reason to ask nobody: the first answer
    /// says how much is left.
    pub(super) async fn recall_rate(&self) {
        match soon(self.store.rate_limit(&self.client.id)).await {
            Ok(Some(state)) => self.source.resume_rate(state),
            Ok(None) => {}
            Err(error) => self.tell_in_passing(&error, "the state of the rate limit could not be read"),
        }
    }

    /// Notes what is left, for a process that comes after this one. `next`: how long it will be until the next note, during which
    /// requests go on; zero at the end of a pass.
    pub(super) async fn note_rate(&self, next: Duration) {
        let state = self.source.rate_state();
        if state.is_unknown() {
            return;
        }
        let ahead = if next.is_zero() {
            0
        } else {
            self.source.most_within(next)
        };
        let noted = self.store.note_rate_limit(&self.client.id, &state, ahead);
        match soon(noted).await {
            Ok(()) => {}
            // Once a pass is enough.
            Err(error) if next.is_zero() => {
                self.tell_in_passing(&error, "the state of the rate limit could not be noted");
            }
            Err(error) => tracing::debug!(error = %error, "the state of the rate limit is not noted yet"),
        }
    }

    /// Of what does not end a pass. It is said aloud where it will be no better the next time.
    pub(super) fn tell_in_passing(&self, error: &Error, what: &'static str) {
        let client = self.client.name.as_str();
        if error.is_transient() {
            tracing::debug!(client.name = client, error = %error, "{what}");
        } else {
            tracing::warn!(client.name = client, error = %error, "{what}");
        }
    }
}

/// A call that is not worth waiting for long.
pub(super) async fn soon<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(LIMIT, call)
        .await
        .unwrap_or_else(|_| Err(Error::Unavailable("it did not answer in time".to_owned())))
}
