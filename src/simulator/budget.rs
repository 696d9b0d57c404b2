//! A client's rate limit, as somebody outside of its requests sees and uses it.

use super::{
    Simulator,
    throttle::{Budget, Tracker},
};

impl Simulator {
    /// Takes so many hits out of a client's bucket, now, as if another program with the same client id had asked. Going
    /// over blocks. They are no requests: neither [`Simulator::requests`] nor [`Budget::refused`] counts them.
    pub fn burn(&self, client_id: &str, hits: u32) {
        let now = self.service.clock.now().timestamp_millis();
        self.service
            .throttle
            .burn(Tracker::Client(client_id.to_owned()), hits, now);
    }

    /// How much of its bucket a client has used, and what has become of it since the start or the last
    /// [`Simulator::set_rate_limit`].
    pub fn budget(&self, client_id: &str) -> Budget {
        let now = self.service.clock.now().timestamp_millis();
        self.service
            .throttle
            .budget(&Tracker::Client(client_id.to_owned()), now)
    }
}
