//! What a pass says of itself before it asks for anybody.

use super::{Pass, estimate};
use crate::{
    calcom::Source,
    clock::{Clock, SystemClock},
};

impl<S: Source> Pass<'_, S> {
    /// Tells whoever looks on how many users are to be asked for, and warns of an end after the next tick.
    ///
    /// `requests` is what the chosen plan takes, as [`estimate::requests`] has it; none where no rate holds them back.
    pub(super) fn foretell(&self, users: u64, requests: Option<u64>) {
        if let Some(progress) = self.progress {
            progress.expects(users);
        }
        let Some(requests) = requests else { return };
        let rate = self.client.requests_per_minute;
        let needed = estimate::duration(requests, rate, self.source.allowance());
        let Some((tick, needed)) = self.next_tick.zip(needed) else {
            return;
        };
        let is_ours = estimate::duration(requests, rate, None) == Some(needed);
        if let Some(warning) = estimate::late(SystemClock.now(), tick, needed, is_ours) {
            tracing::warn!(client.name = self.client.name, requests, "{warning}");
        }
    }
}
