//! What a scrape gets.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use metrics::{counter, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use super::{begin_at_zero, names};
use crate::clock::{Clock, SystemClock};

/// Of what [`Exposition::render`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What becomes of a notification.
const NOTIFIED: [&str; 3] = ["delivered", "failed", "gone"];

/// Tables of which rows are deleted when they are old.
const PRUNED: [&str; 3] = ["sync_runs", "rejects", "managed_user_changes"];

/// The process has one recorder, as the `metrics` facade has it.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// What was counted since the process began, and what is read at each scrape. Clones are the same.
#[derive(Clone, Debug)]
pub struct Exposition {
    kept: PrometheusHandle,
    /// Clients whose series were made.
    begun: Arc<Mutex<BTreeSet<String>>>,
}

impl Exposition {
    /// From here on, what happens is counted. Called again, it is the same recorder.
    pub fn install() -> Self {
        let kept = RECORDER.get_or_init(|| {
            let recorder = builder().build_recorder();
            let handle = recorder.handle();
            if metrics::set_global_recorder(recorder).is_err() {
                tracing::warn!(
                    "somebody else records metrics in this process; those of calmirror stay at zero"
                );
            }
            names::describe_kept();
            for result in NOTIFIED {
                counter!(names::NOTIFICATIONS, "result" => result).increment(0);
            }
            for table in PRUNED {
                counter!(names::RETENTION, "table" => table).increment(0);
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "milliseconds of some thousand years are exact"
            )]
            let now = SystemClock.now().timestamp_millis() as f64 / 1000.0;
            // The one of the process is not there where the unit hides /proc/stat, to which its start refers.
            gauge!(names::STARTED).set(now);
            gauge!(names::WEBHOOK_GONE).set(0.0);
            gauge!(names::RELOAD_OK).set(1.0);
            gauge!(names::RELOADED_AT).set(now);
            handle
        });
        Self {
            kept: kept.clone(),
            begun: Arc::default(),
        }
    }

    /// The series of clients that this has not seen before begin at zero.
    pub fn begin<'a>(&self, clients: impl IntoIterator<Item = &'a str>) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        for client in clients {
            if begun.insert(client.to_owned()) {
                begin_at_zero(client);
            }
        }
    }

    /// To be called every few seconds, so that what is timed does not pile up while nobody scrapes.
    pub fn upkeep(&self) {
        self.kept.run_upkeep();
    }

    /// All there is of these clients, and of the process. `read` sets the gauges that are true now; those that it does not set are
    /// not there.
    ///
    /// What was counted of other clients is kept, and not shown: it is there again with them.
    pub fn render(&self, clients: &BTreeSet<&str>, read: impl FnOnce()) -> String {
        let now = builder().build_recorder();
        let handle = now.handle();
        metrics::with_local_recorder(&now, || {
            names::describe_read();
            let process = Collector::default();
            process.describe();
            process.collect();
            gauge!(names::BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
            read();
        });
        let mut text: String = self
            .kept
            .render()
            .split_inclusive('\n')
            .filter(|line| client_of(line).is_none_or(|client| clients.contains(client)))
            .collect();
        text.push_str(&handle.render());
        text
    }
}

/// Whose series a line is of. Names of clients have nothing in them that would be escaped.
fn client_of(line: &str) -> Option<&str> {
    let (_, labels) = line.split_once("client=\"").filter(|_| !line.starts_with('#'))?;
    labels.split_once('"').map(|(client, _)| client)
}

fn builder() -> PrometheusBuilder {
    let buckets = [
        (names::PASS_DURATION, names::PASS_BUCKETS),
        (names::REQUEST_DURATION, names::REQUEST_BUCKETS),
        (names::BATCH_DURATION, names::BATCH_BUCKETS),
    ];
    buckets
        .into_iter()
        .fold(PrometheusBuilder::new(), |builder, (name, buckets)| {
            builder
                .set_buckets_for_metric(Matcher::Full(name.to_owned()), buckets)
                .expect("there are buckets")
        })
}
