-- Since when a client is fresh cannot be told from the passes that are on record: those without changes are deleted after a while, and
-- how long one counted as fresh depends on the schedule of its time.
alter table sync_state
    add column fresh_since timestamptz;

-- Of the passes before, that is not known any more. What is claimed is true: it was fresh from there on.
update sync_state set fresh_since = last_complete_at;

comment on column sync_state.fresh_since is
    'End of the complete pass with which the client became fresh, and since which none came too late. Null before the first one; a client that was mirrored before this column begins with its newest one of then.';

-- New columns come last.
create or replace view managed_users_freshness as
select
    client_id,
    client_name,
    last_complete_started_at,
    last_complete_at,
    now() - last_complete_started_at as lag,
    case
        when last_complete_at is null then 'never'
        when now() <= fresh_until then 'fresh'
        else 'stale'
    end as verdict,
    fresh_until,
    case when now() <= fresh_until then fresh_since end as fresh_since
from sync_state;

comment on column managed_users_freshness.fresh_since is
    'Since when the verdict is fresh without a break, which begins with the end of a complete pass; null while it is another.';

-- The status page lists passes: skipped ticks, of which there may be many in a row, are none.
create index sync_runs_not_skipped on sync_runs (client_id, run_id desc) where outcome is distinct from 'skipped';
