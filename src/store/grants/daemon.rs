//! What passes, and the commands that only look, need of each table.

use crate::store::migrate::MIGRATIONS_TABLE;

pub(super) const LEDGER: &str = "managed_user_changes";

/// Runs are numbered before they are written. Numbers of the ledger need no right: they are the table's own.
pub(super) const SEQUENCE: &str = "sync_runs_run_id_seq";

/// Of the views those that the program asks itself.
pub(super) const VIEWS: [&str; 3] = [
    "managed_users_history",
    "managed_users_freshness",
    "deletable_runs",
];

/// The daemon may read all of it, and write these columns.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) insert: &'static [&'static str],
    pub(super) update: &'static [&'static str],
    pub(super) delete: bool,
}

impl Table {
    const fn read_only(name: &'static str) -> Self {
        Self {
            name,
            insert: &[],
            update: &[],
            delete: false,
        }
    }
}

/// Every table that there is.
pub(super) const TABLES: [Table; 16] = [
    Table {
        name: "managed_users",
        insert: &[
            "id",
            "client_id",
            "email",
            "username",
            "name",
            "bio",
            "time_zone",
            "week_start",
            "created_date",
            "time_format",
            "default_schedule_id",
            "locale",
            "avatar_url",
            "metadata",
            "extra",
            "version",
            "first_seen_at",
            "changed_at",
            "removed_at",
        ],
        // A row that was edited here is set back, whatever it was that was edited.
        update: &[
            "client_id",
            "email",
            "username",
            "name",
            "bio",
            "time_zone",
            "week_start",
            "created_date",
            "time_format",
            "default_schedule_id",
            "locale",
            "avatar_url",
            "metadata",
            "extra",
            "version",
            "first_seen_at",
            "changed_at",
            "removed_at",
        ],
        delete: false,
    },
    Table {
        name: LEDGER,
        insert: &[
            "run_id",
            "user_id",
            "client_id",
            "version",
            "kind",
            "observed_at",
            "changed",
            "after",
        ],
        update: &[],
        delete: false,
    },
    Table {
        name: "sync_runs",
        insert: &[
            "run_id",
            "client_id",
            "client_name",
            "epoch",
            "tick",
            "trigger",
            "process",
            "token",
            "approves",
            "watched",
            "outcome",
            "started_at",
            "finished_at",
            "heartbeat_at",
            "began_at",
            "resumes",
            "done_to",
            "error",
            "failure",
        ],
        update: &[
            "outcome",
            "finished_at",
            "heartbeat_at",
            "observed",
            "inserted",
            "updated",
            "removed",
            "restored",
            "repaired",
            "unchanged",
            "respelled",
            "rejected",
            "missing",
            "unanswered",
            "requests",
            "done_to",
            "held_set",
            "planned_users",
            "planned_requests",
            "fetch_plan",
            "error",
            "failure",
        ],
        // Of retention.
        delete: true,
    },
    Table {
        name: "sync_state",
        insert: &["client_id", "client_name", "epoch", "base_url", "last_run_id"],
        update: &[
            "client_name",
            "epoch",
            "base_url",
            "last_run_id",
            "last_complete_run_id",
            "last_complete_started_at",
            "last_complete_at",
            "fresh_since",
            "fresh_until",
            "fingerprints_renewed_at",
        ],
        delete: false,
    },
    Table {
        name: "missing_users",
        insert: &[
            "client_id",
            "user_id",
            "confirmations",
            "first_missing_at",
            "last_missing_at",
            "last_run_id",
        ],
        update: &[
            "confirmations",
            "unproven",
            "last_missing_at",
            "last_run_id",
            "confirmed_run_id",
        ],
        delete: true,
    },
    Table {
        name: "rejects",
        insert: &[
            "client_id",
            "user_id",
            "run_id",
            "first_seen_at",
            "changed_at",
            "reason",
            "fields",
            "record",
        ],
        update: &["run_id", "changed_at", "reason", "fields", "record"],
        delete: true,
    },
    Table {
        name: "held_sets",
        insert: &[
            "client_id",
            "set_hash",
            "users",
            "live",
            "reason",
            "first_run_id",
            "last_run_id",
            "held_since",
        ],
        update: &["last_run_id"],
        delete: true,
    },
    Table {
        name: "held_removals",
        insert: &["client_id", "user_id", "version"],
        update: &[],
        // The rows go with those of held_sets.
        delete: false,
    },
    Table {
        name: "record_fingerprints",
        insert: &["user_id", "client_id", "version", "fingerprint"],
        update: &["client_id", "version", "fingerprint"],
        delete: false,
    },
    Table {
        name: "rate_limits",
        insert: &["client_id", "noted_at", "remaining", "resets_at", "blocked_until"],
        update: &["noted_at", "remaining", "resets_at", "blocked_until"],
        delete: false,
    },
    Table {
        name: "extra_fields",
        insert: &["field", "first_seen_at", "run_id"],
        update: &[],
        delete: false,
    },
    Table {
        name: "retention",
        insert: &["token", "started_at", "heartbeat_at"],
        update: &[
            "token",
            "started_at",
            "heartbeat_at",
            "finished_at",
            "deleted_runs",
            "deleted_rejects",
            "deleted_versions",
            "folded_users",
            "users_in_doubt",
            "history_from",
        ],
        delete: false,
    },
    Table {
        name: "client_notices",
        insert: &["client_id"],
        update: &[
            "told",
            "told_at",
            "alarmed",
            "message_id",
            "message_type",
            "due",
            "body",
            "tries",
            "next_try_at",
            "claimed_until",
            "told_held",
            "due_held",
        ],
        delete: false,
    },
    Table::read_only("forgotten_users"),
    Table::read_only("promoted_fields"),
    Table::read_only(MIGRATIONS_TABLE),
];
