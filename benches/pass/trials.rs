//! Measuring more than once.

use std::time::{Duration, Instant};

use serde::Serialize;

/// As often as this, unless it takes too long.
const TRIALS: usize = 3;

/// And up to so many times, as long as they are short ones: of milliseconds, any may have been disturbed.
const MOST_TRIALS: usize = 11;

/// What is not tried again once this is over: what takes so long varies little.
const PATIENCE: Duration = Duration::from_secs(40);

/// The same for more trials than the usual number.
const SHORT: Duration = Duration::from_secs(6);

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

/// Does it three times, more often where that takes little time, and less often where it takes much.
pub(crate) async fn trials<T>(
    mut one: impl AsyncFnMut(usize) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let start = Instant::now();
    let mut all = Vec::new();
    loop {
        all.push(one(all.len()).await?);
        let patience = if all.len() < TRIALS { PATIENCE } else { SHORT };
        if all.len() == MOST_TRIALS || start.elapsed() >= patience {
            return Ok(all);
        }
    }
}
