//! Measuring more than once.

use std::time::{Duration, Instant};

use serde::Serialize;

/// As often as this, unless it takes too long.
const TRIALS: usize = 3;

/// What is not tried again once this is over: what takes so long varies little.
const PATIENCE: Duration = Duration::from_secs(40);

/// Seconds of a number of trials.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Seconds {
    pub(crate) best: f64,
    pub(crate) median: f64,
    pub(crate) all: Vec<f64>,
}

impl Seconds {
    pub(crate) fn of(all: Vec<f64>) -> Self {
        let mut sorted = all.clone();
        sorted.sort_by(f64::total_cmp);
        Self {
            best: sorted.first().copied().unwrap_or_default(),
            median: sorted.get(sorted.len() / 2).copied().unwrap_or_default(),
            all,
        }
    }
}

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all: Vec<_> = self.all.iter().map(|seconds| format!("{seconds:.3}")).collect();
        write!(f, "{} s", all.join(", "))
    }
}

/// Does it up to three times, the preparation of each trial included.
pub(crate) async fn trials<T>(
    mut one: impl AsyncFnMut(usize) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let start = Instant::now();
    let mut all = Vec::new();
    while all.len() < TRIALS && (all.is_empty() || start.elapsed() < PATIENCE) {
        all.push(one(all.len()).await?);
    }
    Ok(all)
}
