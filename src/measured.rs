//! What is counted and timed, for Prometheus: one function for each thing that happens.
//!
//! Without a recorder, which only the daemon installs, they do nothing. Labels are names of configured clients and words of
//! fixed lists, so that there is no end of neither.

mod exposition;
mod names;

use std::time::Duration;

use metrics::{counter, histogram};

use crate::model::RunOutcome;

pub use exposition::{CONTENT_TYPE, Exposition};
pub use names::METRICS;
pub(crate) use names::*;

/// What an HTTP try came to. `none`: there was no answer.
const CLASSES: [&str; 6] = ["2xx", "3xx", "4xx", "429", "5xx", "none"];

const KINDS: [&str; 5] = ["insert", "update", "removal", "restore", "repair"];

/// A try of an HTTP request to Cal.com is over.
pub fn request(client: &str, status: Option<u16>, took: Duration) {
    let class = match status {
        None => "none",
        Some(429) => "429",
        Some(500..) => "5xx",
        Some(400..) => "4xx",
        Some(300..) => "3xx",
        Some(_) => "2xx",
    };
    counter!(REQUESTS, CLIENT => client.to_owned(), "class" => class).increment(1);
    histogram!(REQUEST_DURATION, CLIENT => client.to_owned()).record(took);
}

/// A batch of observations was compared and, where it differed, written.
pub fn batch(client: &str, took: Duration) {
    histogram!(BATCH_DURATION, CLIENT => client.to_owned()).record(took);
}

/// A pass ended, or a tick had none.
pub fn pass(client: &str, outcome: RunOutcome) {
    counter!(PASSES, CLIENT => client.to_owned(), "outcome" => outcome.as_str()).increment(1);
}

/// A pass that was not skipped took so long, from its beginning to its report.
pub fn pass_took(client: &str, took: Duration) {
    histogram!(PASS_DURATION, CLIENT => client.to_owned()).record(took);
}

/// Cal.com has said something of so many users.
pub fn observed(client: &str, users: u64) {
    counter!(OBSERVED, CLIENT => client.to_owned()).increment(users);
}

/// So many versions of a kind were written: of `compare::ChangeKind`, or `repair`.
pub fn changes(client: &str, kind: &'static str, versions: u64) {
    counter!(CHANGES, CLIENT => client.to_owned(), "kind" => kind).increment(versions);
}

/// Makes every series of a client that counts or times, so that the first event of each is seen as an increase.
fn begin_at_zero(client: &str) {
    for outcome in RunOutcome::ALL {
        counter!(PASSES, CLIENT => client.to_owned(), "outcome" => outcome.as_str()).increment(0);
    }
    for class in CLASSES {
        counter!(REQUESTS, CLIENT => client.to_owned(), "class" => class).increment(0);
    }
    for kind in KINDS {
        changes(client, kind, 0);
    }
    observed(client, 0);
    for timed in [PASS_DURATION, REQUEST_DURATION, BATCH_DURATION] {
        drop(histogram!(timed, CLIENT => client.to_owned()));
    }
}
