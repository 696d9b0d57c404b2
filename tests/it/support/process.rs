//! Processes that are not ours to wait for.

use std::time::Duration;

use super::world::LIMIT;

/// Nothing tells us of the end of another process's child, so this asks.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let wait = async {
        while !is_so() {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(LIMIT, wait)
        .await
        .unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"));
}
