//! Every metric: its name, its help text, its kind.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// The label that says which client of the configuration is meant.
pub(crate) const CLIENT: &str = "client";

pub(crate) const PASSES: &str = "calmirror_passes_total";
pub(crate) const OBSERVED: &str = "calmirror_users_observed_total";
pub(crate) const CHANGES: &str = "calmirror_changes_total";
pub(crate) const REQUESTS: &str = "calmirror_requests_total";
pub(crate) const NOTIFICATIONS: &str = "calmirror_notifications_total";
pub(crate) const RETENTION: &str = "calmirror_retention_deleted_rows_total";

pub(crate) const PASS_DURATION: &str = "calmirror_pass_duration_seconds";
pub(crate) const REQUEST_DURATION: &str = "calmirror_request_duration_seconds";
pub(crate) const BATCH_DURATION: &str = "calmirror_batch_duration_seconds";

pub(crate) const WEBHOOK_GONE: &str = "calmirror_webhook_gone";
pub(crate) const RELOAD_OK: &str = "calmirror_config_last_reload_successful";
pub(crate) const RELOADED_AT: &str = "calmirror_config_last_reload_success_timestamp_seconds";

pub(crate) const STARTED: &str = "calmirror_start_time_seconds";
pub(crate) const BUILD: &str = "calmirror_build_info";
pub(crate) const DATABASE_UP: &str = "calmirror_database_up";
pub(crate) const FRESH: &str = "calmirror_fresh";
pub(crate) const LAG: &str = "calmirror_lag_seconds";
pub(crate) const LAST_COMPLETE: &str = "calmirror_last_complete_pass_timestamp_seconds";
pub(crate) const NEXT_PASS: &str = "calmirror_next_pass_timestamp_seconds";
pub(crate) const PASS_RUNNING: &str = "calmirror_pass_running";
pub(crate) const LIVE: &str = "calmirror_live_users";
pub(crate) const REMOVED: &str = "calmirror_removed_users";
pub(crate) const REJECTS: &str = "calmirror_rejects";
pub(crate) const MISSING: &str = "calmirror_missing_users";
pub(crate) const HELD: &str = "calmirror_held_users";
pub(crate) const REFUSED: &str = "calmirror_refused";
pub(crate) const RATE: &str = "calmirror_rate_limit_requests";
pub(crate) const RATE_LEFT: &str = "calmirror_rate_limit_remaining";
pub(crate) const RATE_BLOCKED: &str = "calmirror_rate_limit_blocked";
pub(crate) const BEAT: &str = "calmirror_scheduler_last_beat_timestamp_seconds";

/// Every metric of ours with its kind, and those of the process that dashboards go by. Rules and dashboards rest on these names.
pub const METRICS: [(&str, &str); 33] = [
    (PASSES, "counter"),
    (OBSERVED, "counter"),
    (CHANGES, "counter"),
    (REQUESTS, "counter"),
    (NOTIFICATIONS, "counter"),
    (RETENTION, "counter"),
    (PASS_DURATION, "histogram"),
    (REQUEST_DURATION, "histogram"),
    (BATCH_DURATION, "histogram"),
    (STARTED, "gauge"),
    (BUILD, "gauge"),
    (DATABASE_UP, "gauge"),
    (FRESH, "gauge"),
    (LAG, "gauge"),
    (LAST_COMPLETE, "gauge"),
    (NEXT_PASS, "gauge"),
    (PASS_RUNNING, "gauge"),
    (LIVE, "gauge"),
    (REMOVED, "gauge"),
    (REJECTS, "gauge"),
    (MISSING, "gauge"),
    (HELD, "gauge"),
    (REFUSED, "gauge"),
    (RATE, "gauge"),
    (RATE_LEFT, "gauge"),
    (RATE_BLOCKED, "gauge"),
    (BEAT, "gauge"),
    (WEBHOOK_GONE, "gauge"),
    (RELOAD_OK, "gauge"),
    (RELOADED_AT, "gauge"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_open_fds", "gauge"),
];

/// From what an answer of the simulator takes to the longest time-out that is usual.
pub(super) const REQUEST_BUCKETS: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// From a batch that only compares to one that waits for locks.
pub(super) const BATCH_BUCKETS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// From a handful of users to a first fill.
pub(super) const PASS_BUCKETS: &[f64] = &[
    0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
];

/// Says what the metrics mean that are kept from one scrape to the next.
pub(super) fn describe_kept() {
    describe_counter!(PASSES, Unit::Count, "Passes that ended, by outcome.");
    describe_counter!(
        OBSERVED,
        Unit::Count,
        "Users that Cal.com said something about, counted at the end of each pass."
    );
    describe_counter!(
        CHANGES,
        Unit::Count,
        "Versions written to the ledger, by kind, counted at the end of each pass."
    );
    describe_counter!(
        REQUESTS,
        Unit::Count,
        "HTTP tries made to Cal.com, by class of status; none: no answer."
    );
    describe_counter!(
        NOTIFICATIONS,
        Unit::Count,
        "Notifications, by what became of them."
    );
    describe_counter!(
        RETENTION,
        Unit::Count,
        "Rows deleted because they were older than they are kept, by table."
    );
    describe_histogram!(
        PASS_DURATION,
        Unit::Seconds,
        "How long passes took that were not skipped."
    );
    describe_histogram!(
        REQUEST_DURATION,
        Unit::Seconds,
        "How long HTTP tries to Cal.com took, with reading the answer."
    );
    describe_histogram!(
        BATCH_DURATION,
        Unit::Seconds,
        "How long comparing and writing a batch of observations took."
    );
    describe_gauge!(STARTED, Unit::Seconds, "When calmirror was started.");
    describe_gauge!(
        WEBHOOK_GONE,
        "Whether the webhook has said since the configuration was loaded that it wants no more notifications."
    );
    describe_gauge!(
        RELOAD_OK,
        "Whether the newest attempt to load the configuration succeeded."
    );
    describe_gauge!(
        RELOADED_AT,
        Unit::Seconds,
        "When the configuration in force was loaded."
    );
}

/// Says what the gauges mean that are read at each scrape.
pub(super) fn describe_read() {
    describe_gauge!(BUILD, "Always 1; the version is a label.");
    describe_gauge!(
        DATABASE_UP,
        "Whether the database answers and has the tables of this version. Without it there are no gauges of the mirror."
    );
    describe_gauge!(FRESH, "Whether the newest complete pass still counts as fresh.");
    describe_gauge!(
        LAG,
        Unit::Seconds,
        "Time since the start of the newest complete pass: no row is older news. Absent before the first one."
    );
    describe_gauge!(
        LAST_COMPLETE,
        Unit::Seconds,
        "When the newest complete pass ended."
    );
    describe_gauge!(NEXT_PASS, Unit::Seconds, "When the next pass is due.");
    describe_gauge!(PASS_RUNNING, "Whether this process is making a pass now.");
    describe_gauge!(LIVE, Unit::Count, "Users in the mirror that are not removed.");
    describe_gauge!(
        REMOVED,
        Unit::Count,
        "Users in the mirror that are marked removed."
    );
    describe_gauge!(
        REJECTS,
        Unit::Count,
        "Users whose present record cannot be mirrored."
    );
    describe_gauge!(
        MISSING,
        Unit::Count,
        "Live users that Cal.com says are gone: candidates for removal."
    );
    describe_gauge!(
        HELD,
        Unit::Count,
        "Users whose removal waits for calmirror approve."
    );
    describe_gauge!(
        REFUSED,
        "Whether Cal.com refuses the client's credentials, or its base address is not the recorded one."
    );
    describe_gauge!(
        RATE,
        Unit::Count,
        "Requests a minute that calmirror allows itself; 0: no limit of its own."
    );
    describe_gauge!(
        RATE_LEFT,
        Unit::Count,
        "Requests left in Cal.com's window, less the reserve. Absent while Cal.com has not said it."
    );
    describe_gauge!(RATE_BLOCKED, "Whether nothing is asked because of a 429.");
    describe_gauge!(
        BEAT,
        Unit::Seconds,
        "When the scheduler's loop last came round, about once a second."
    );
}
