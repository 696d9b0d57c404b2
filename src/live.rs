//! What this process is doing now: passes under way, how the last ones ended, the scheduler's beat.
//!
//! Clones share one state. The daemon writes it; the HTTP server reads it, and is told when there is news.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{DateTime, Utc};
use tokio::{sync::watch, time::Instant};

use crate::sync::{Progress, Report, Snapshot};

/// More names than that are no line any more.
const MOST_NAMED: usize = 10;

/// The shared state.
#[derive(Clone, Debug, Default)]
pub struct Live(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Counts what has begun and ended.
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    under_way: BTreeMap<String, Progress>,
    reports: BTreeMap<String, Report>,
    beat: Option<Instant>,
    reload_refused_at: Option<DateTime<Utc>>,
}

/// A pass is under way until this is dropped, however it ends.
#[derive(Debug)]
pub struct UnderWay {
    live: Live,
    client: String,
}

impl Live {
    /// A pass over a client begins; it counts in `progress`.
    #[must_use]
    pub fn begins(&self, client: &str, progress: Progress) -> UnderWay {
        self.state().under_way.insert(client.to_owned(), progress);
        self.tell();
        UnderWay {
            live: self.clone(),
            client: client.to_owned(),
        }
    }

    /// A pass has ended so.
    pub fn ended(&self, report: Report) {
        self.state().reports.insert(report.client.clone(), report);
        self.tell();
    }

    /// How far the passes under way have come, by client.
    pub fn under_way(&self) -> BTreeMap<String, Snapshot> {
        let state = self.state();
        let passes = state.under_way.iter();
        passes
            .map(|(client, progress)| (client.clone(), progress.snapshot()))
            .collect()
    }

    /// The source of a client has made so many requests in all. Heard by its pass under way, which by itself says it only now and
    /// then.
    pub fn asked(&self, client: &str, requests: u64) {
        if let Some(progress) = self.state().under_way.get(client) {
            progress.asked(requests);
        }
    }

    /// Only these clients are configured from now on: how the last passes of others ended is forgotten.
    pub fn keep(&self, clients: &BTreeSet<String>) {
        self.state().reports.retain(|client, _| clients.contains(client));
        self.tell();
    }

    /// How the last pass of each client ended that this process has made.
    pub fn reports(&self) -> BTreeMap<String, Report> {
        self.state().reports.clone()
    }

    /// Changes whenever a pass begins or ends.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.0.news.subscribe()
    }

    /// The scheduler's loop has come round.
    pub fn beat(&self) {
        self.state().beat = Some(Instant::now());
    }

    /// When the scheduler's loop last came round; none before its first time.
    pub fn last_beat(&self) -> Option<Instant> {
        self.state().beat
    }

    /// A reload was refused at this time, or, with none, the configuration is again the one that the operator wants.
    pub fn reloaded(&self, refused_at: Option<DateTime<Utc>>) {
        self.state().reload_refused_at = refused_at;
    }

    /// When the newest reload was, if it was refused.
    pub fn reload_refused_at(&self) -> Option<DateTime<Utc>> {
        self.state().reload_refused_at
    }

    fn tell(&self) {
        self.0.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Whoever panicked in between has left whole entries behind.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Live {
    /// In one line: passes under way, or else how the last ones ended.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        let (what, said): (_, Vec<_>) = if state.under_way.is_empty() {
            let last = |report: &Report| format!("{} {}", report.client, report.outcome);
            ("last passes", state.reports.values().map(last).collect())
        } else {
            ("passes under way", state.under_way.keys().cloned().collect())
        };
        write!(f, "{what}: {}", said[..said.len().min(MOST_NAMED)].join(", "))?;
        match said.len().checked_sub(MOST_NAMED) {
            None | Some(0) => Ok(()),
            Some(others) => write!(f, " and {others} more"),
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.live.state().under_way.remove(&self.client);
        self.live.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Failure, RunOutcome};

    fn report(client: &str) -> Report {
        Report {
            client: client.to_owned(),
            run_id: None,
            outcome: RunOutcome::NoChange,
            observed: 0,
            inserted: 0,
            updated: 0,
            removed: 0,
            restored: 0,
            unchanged: 0,
            rejected: 0,
            missing: 0,
            requests: 0,
            duration_s: 0.0,
            error: None,
            failure: Failure::Fault,
            made_elsewhere: false,
        }
    }

    #[test]
    fn what_goes_on_is_one_line_whatever_the_number_of_clients() {
        let live = Live::default();
        assert_eq!(live.to_string(), "last passes: ");
        let passes: Vec<_> = (10..22)
            .map(|number| live.begins(&format!("c{number}"), Progress::default()))
            .collect();
        let line = live.to_string();
        assert_eq!(
            line,
            "passes under way: c10, c11, c12, c13, c14, c15, c16, c17, c18, c19 and 2 more"
        );
        drop(passes);
    }

    #[test]
    fn a_pass_is_under_way_until_it_ends_and_both_are_news() {
        let live = Live::default();
        let mut news = live.news();
        let progress = Progress::default();
        let under_way = live.begins("acme", progress.clone());
        assert!(news.has_changed().expect("the sender lives"));
        news.mark_unchanged();
        progress.observed(7);
        live.asked("acme", 3);
        live.asked("globex", 5);
        let so_far = live.under_way();
        assert_eq!(
            (so_far.len(), so_far["acme"].observed, so_far["acme"].requests),
            (1, 7, 3)
        );
        drop(under_way);
        assert!(live.under_way().is_empty());
        assert!(news.has_changed().expect("the sender lives"));
    }

    #[test]
    fn how_passes_ended_is_forgotten_with_their_client() {
        let live = Live::default();
        for client in ["acme", "globex"] {
            live.ended(report(client));
        }
        let mut news = live.news();
        live.keep(&BTreeSet::from(["globex".to_owned()]));
        assert!(news.has_changed().expect("the sender lives"), "systemd is told");
        news.mark_unchanged();
        assert_eq!(live.reports().into_keys().collect::<Vec<_>>(), ["globex"]);
        assert_eq!(live.to_string(), "last passes: globex no_change");
    }
}
