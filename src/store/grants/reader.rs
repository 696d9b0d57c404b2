//! What analysts may read.

/// What analysts read. Of passes and rejects they see what docs/queries.md asks for: no tokens, and no record that could not
/// be mirrored.
pub(super) const READER: [(&str, &[&str]); 9] = [
    ("managed_users", &[]),
    ("managed_user_changes", &[]),
    ("managed_users_live", &[]),
    ("managed_users_history", &[]),
    ("managed_users_freshness", &[]),
    ("promoted_fields", &[]),
    (
        "sync_runs",
        &[
            "run_id",
            "client_id",
            "client_name",
            "tick",
            "trigger",
            "outcome",
            "started_at",
            "finished_at",
            "observed",
            "inserted",
            "updated",
            "removed",
            "restored",
            "repaired",
            "unchanged",
            "rejected",
            "missing",
            "unanswered",
            "requests",
            "error",
        ],
    ),
    (
        "rejects",
        &[
            "client_id",
            "user_id",
            "run_id",
            "first_seen_at",
            "changed_at",
            "reason",
            "fields",
        ],
    ),
    ("retention", &["history_from"]),
];
