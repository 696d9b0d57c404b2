//! Waiting for what cannot be waited on but only asked for.

use std::time::{Duration, Instant};

/// Ever longer pauses between questions, up to a limit in all.
#[derive(Debug)]
pub(super) struct Patience {
    end: Instant,
    pause: Duration,
}

impl Patience {
    const FIRST_PAUSE: Duration = Duration::from_millis(5);
    const LONGEST_PAUSE: Duration = Duration::from_millis(200);

    pub(super) fn of(limit: Duration) -> Self {
        Self {
            end: Instant::now() + limit,
            pause: Self::FIRST_PAUSE,
        }
    }

    /// Pauses; `false`, at once, when the limit has passed.
    pub(super) async fn wait(&mut self) -> bool {
        if Instant::now() >= self.end {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Self::LONGEST_PAUSE);
        true
    }
}
