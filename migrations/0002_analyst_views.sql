-- What analysts read. The names of these views and of their columns are kept stable from here on.

create view managed_users_live as
select
    id,
    client_id,
    -- Cal.com stores local+<clientId>@domain; the address that a person knows has no such suffix.
    case
        when right(split.local, length(split.suffix)) = split.suffix
            then left(split.local, -length(split.suffix)) || split.domain
        else email
    end as contact_email,
    email,
    username,
    name,
    bio,
    time_zone,
    week_start,
    created_date,
    time_format,
    default_schedule_id,
    locale,
    avatar_url,
    metadata,
    extra,
    version,
    first_seen_at,
    changed_at
from managed_users
cross join lateral (
    select
        left(email, length(email) - strpos(reverse(email), '@')) as local,
        right(email, strpos(reverse(email), '@')) as domain,
        '+' || client_id as suffix
) as split
where removed_at is null;

comment on view managed_users_live is 'The managed users that exist now, with the address that a person knows.';
comment on column managed_users_live.id is 'As in managed_users.';
comment on column managed_users_live.client_id is 'As in managed_users.';
comment on column managed_users_live.contact_email is 'The address without Cal.com''s +<clientId> suffix.';
comment on column managed_users_live.email is 'As in managed_users: with the suffix.';
comment on column managed_users_live.username is 'As in managed_users.';
comment on column managed_users_live.name is 'As in managed_users.';
comment on column managed_users_live.bio is 'As in managed_users.';
comment on column managed_users_live.time_zone is 'As in managed_users.';
comment on column managed_users_live.week_start is 'As in managed_users.';
comment on column managed_users_live.created_date is 'As in managed_users.';
comment on column managed_users_live.time_format is 'As in managed_users.';
comment on column managed_users_live.default_schedule_id is 'As in managed_users.';
comment on column managed_users_live.locale is 'As in managed_users.';
comment on column managed_users_live.avatar_url is 'As in managed_users.';
comment on column managed_users_live.metadata is 'As in managed_users.';
comment on column managed_users_live.extra is 'As in managed_users.';
comment on column managed_users_live.version is 'As in managed_users.';
comment on column managed_users_live.first_seen_at is 'As in managed_users.';
comment on column managed_users_live.changed_at is 'As in managed_users.';

create view managed_users_history as
select
    change.user_id,
    change.version,
    change.kind,
    change.observed_at as valid_from,
    lead(change.observed_at) over (partition by change.user_id order by change.version) as valid_to,
    change.run_id,
    change.changed,
    change.client_id,
    became.email,
    became.username,
    became.name,
    became.bio,
    became.time_zone,
    became.week_start,
    became.created_date,
    became.time_format,
    became.default_schedule_id,
    became.locale,
    became.avatar_url,
    became.metadata,
    became.extra
from managed_user_changes as change
cross join lateral jsonb_populate_record(null::managed_users, change.after) as became;

comment on view managed_users_history is
    'Every version of every user with the time in which it was the newest. A version of kind removal spans the time in which the user was removed.';
comment on column managed_users_history.user_id is 'The managed user.';
comment on column managed_users_history.version is 'The user''s version, 1..n.';
comment on column managed_users_history.kind is 'The change that made this version: insert, update, removal or restore.';
comment on column managed_users_history.valid_from is 'When this version became the newest.';
comment on column managed_users_history.valid_to is 'When the next one did; null for the newest version.';
comment on column managed_users_history.run_id is 'The pass that wrote it, in sync_runs.';
comment on column managed_users_history.changed is 'The fields that differ from the version before, with old and new.';
comment on column managed_users_history.client_id is 'As in managed_users.';
comment on column managed_users_history.email is 'As in managed_users, at that version.';
comment on column managed_users_history.username is 'As in managed_users, at that version.';
comment on column managed_users_history.name is 'As in managed_users, at that version.';
comment on column managed_users_history.bio is 'As in managed_users, at that version.';
comment on column managed_users_history.time_zone is 'As in managed_users, at that version.';
comment on column managed_users_history.week_start is 'As in managed_users, at that version.';
comment on column managed_users_history.created_date is 'As in managed_users, at that version.';
comment on column managed_users_history.time_format is 'As in managed_users, at that version.';
comment on column managed_users_history.default_schedule_id is 'As in managed_users, at that version.';
comment on column managed_users_history.locale is 'As in managed_users, at that version.';
comment on column managed_users_history.avatar_url is 'As in managed_users, at that version.';
comment on column managed_users_history.metadata is 'As in managed_users, at that version.';
comment on column managed_users_history.extra is 'As in managed_users, at that version.';

-- The body is parsed now, so that the function finds its tables whatever the caller's search path.
create function managed_users_as_of(instant timestamptz) returns setof managed_users
language sql stable
begin atomic
    select (jsonb_populate_record(null::managed_users, latest.after || jsonb_build_object(
        'version', latest.version,
        'first_seen_at', first_version.observed_at,
        'changed_at', latest.observed_at,
        'removed_at', case when latest.kind = 'removal' then latest.observed_at end
    ))).*
    from (
        select distinct on (change.user_id)
            change.user_id, change.version, change.kind, change.observed_at, change.after
        from managed_user_changes as change
        where change.observed_at <= instant
        order by change.user_id, change.version desc
    ) as latest
    join managed_user_changes as first_version
        on first_version.user_id = latest.user_id and first_version.version = 1;
end;

comment on function managed_users_as_of(timestamptz) is
    'managed_users as it stood at an instant, folded from the ledger; removed users have removed_at set, as in the table.';

create view managed_users_freshness as
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
    fresh_until
from sync_state;

comment on view managed_users_freshness is
    'How far the mirror of each client can be trusted. Moves only when a pass that observed every watched user has committed.';
comment on column managed_users_freshness.client_id is 'The client.';
comment on column managed_users_freshness.client_name is 'What the configuration calls the client.';
comment on column managed_users_freshness.last_complete_started_at is 'Start of the newest pass that observed every watched user.';
comment on column managed_users_freshness.last_complete_at is 'End of that pass.';
comment on column managed_users_freshness.lag is 'Time since that pass started: no row of a live user that was watched then is older news than this.';
comment on column managed_users_freshness.verdict is 'fresh, stale (more than a tick overdue) or never.';
comment on column managed_users_freshness.fresh_until is 'When the verdict turns stale unless another complete pass ends before.';
