//! What analysts' queries and programs rest on from one version to the next.

use super::{TestDb, texts};

/// Columns of the first release, in their order. New ones come after them, and none is ever taken away.
const COLUMNS: [(&str, &str); 6] = [
    (
        "managed_users",
        "id bigint, client_id text, email text, username text, name text, bio text, time_zone text, week_start text, \
         created_date timestamp with time zone, time_format integer, default_schedule_id bigint, locale text, \
         avatar_url text, metadata jsonb, extra jsonb, version integer, first_seen_at timestamp with time zone, \
         changed_at timestamp with time zone, removed_at timestamp with time zone",
    ),
    (
        "managed_user_changes",
        "change_id bigint, run_id bigint, user_id bigint, client_id text, version integer, kind text, \
         observed_at timestamp with time zone, changed jsonb, after jsonb",
    ),
    (
        "managed_users_live",
        "id bigint, client_id text, contact_email text, email text, username text, name text, bio text, time_zone text, \
         week_start text, created_date timestamp with time zone, time_format integer, default_schedule_id bigint, \
         locale text, avatar_url text, metadata jsonb, extra jsonb, version integer, \
         first_seen_at timestamp with time zone, changed_at timestamp with time zone",
    ),
    (
        "managed_users_history",
        "user_id bigint, version integer, kind text, valid_from timestamp with time zone, \
         valid_to timestamp with time zone, run_id bigint, changed jsonb, client_id text, email text, username text, \
         name text, bio text, time_zone text, week_start text, created_date timestamp with time zone, \
         time_format integer, default_schedule_id bigint, locale text, avatar_url text, metadata jsonb, extra jsonb",
    ),
    (
        "managed_users_freshness",
        "client_id text, client_name text, last_complete_started_at timestamp with time zone, \
         last_complete_at timestamp with time zone, lag interval, verdict text",
    ),
    (
        "rejects",
        "client_id text, user_id bigint, run_id bigint, first_seen_at timestamp with time zone",
    ),
];

#[tokio::test]
async fn no_column_that_analysts_read_is_gone() {
    let db = TestDb::new().await;
    let pool = db.pool().await;
    let found = texts(
        &pool,
        "select c.relname || ': ' || string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum)
         from pg_class as c
         join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v')
         group by c.relname",
    )
    .await;
    for (name, columns) in COLUMNS {
        let start = format!("{name}: {columns}");
        assert!(
            found.iter().any(|line| line.starts_with(&start)),
            "not as it was: {start}\n{found:#?}"
        );
    }
    pool.close().await;
}
