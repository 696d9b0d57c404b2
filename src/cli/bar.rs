//! How far a pass has come: a bar on a terminal, and elsewhere lines in the log.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::MissedTickBehavior;

use crate::{
    calcom::{ApiClient, Source},
    sync::{Pass, Progress},
    telemetry,
};

/// As often as an eye can follow.
const REDRAW_EVERY: Duration = Duration::from_millis(100);

/// What shows one pass while it runs.
#[derive(Debug)]
pub(super) struct Bar {
    bar: ProgressBar,
    progress: Progress,
}

impl Bar {
    /// On standard error; indicatif hides it where that is no terminal.
    pub(super) fn of(client: &str) -> Self {
        let style = ProgressStyle::with_template("{prefix:<12} {wide_bar} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::no_length()
            .with_prefix(client.to_owned())
            .with_style(style);
        Self {
            bar: telemetry::progress().add(bar),
            progress: Progress::default(),
        }
    }

    /// What the pass counts in.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// How often the log says what the bar cannot show.
    pub(super) fn tell_every(&self) -> Option<Duration> {
        self.bar.is_hidden().then_some(Pass::<ApiClient>::TELL_EVERY)
    }

    /// Shows how far the work has come until it is done.
    pub(super) async fn over<T>(&self, source: &impl Source, work: impl Future<Output = T>) -> T {
        if self.bar.is_hidden() {
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        let mut redraws = tokio::time::interval(REDRAW_EVERY);
        redraws.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                done = &mut work => {
                    self.draw(source);
                    return done;
                }
                _ = redraws.tick() => self.draw(source),
            }
        }
    }

    fn draw(&self, source: &impl Source) {
        self.progress.asked(source.requests());
        let so_far = self.progress.snapshot();
        if let Some(expected) = so_far.expected {
            self.bar.set_length(expected);
        }
        self.bar.set_position(so_far.observed);
        self.bar.set_message(so_far.to_string());
    }

    /// Takes it away.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Leaves it as it is.
    pub(super) fn leave(&self) {
        self.bar.abandon();
    }
}
