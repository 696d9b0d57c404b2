-- A folded version is an insert, of a removed user too: the history says which is which.

create or replace view managed_users_history as
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
    became.extra,
    change.folded_at,
    coalesce(
        removal.removed_at,
        case when change.kind = 'removal' then change.observed_at end,
        change.removed_at
    ) as removed_at
from managed_user_changes as change
-- A repair leaves a removed user removed, since when it was.
left join lateral (
    select case when earlier.kind = 'removal' then earlier.observed_at else earlier.removed_at end as removed_at
    from managed_user_changes as earlier
    where change.kind = 'repair' and earlier.user_id = change.user_id
        and earlier.version < change.version and earlier.kind <> 'repair'
    order by earlier.version desc
    limit 1
) as removal on true
cross join lateral jsonb_populate_record(null::managed_users, case
    -- Asked once, not for each row.
    when exists (select from promoted_fields) then managed_user_promoted(change.after)
    else change.after
end) as became;

comment on view managed_users_history is
    'Every version of every user with the time in which it was the newest. Where removed_at is set, that is a time in which the user was removed. Where the oldest versions of a user were folded, its history begins with the one into which they were.';
comment on column managed_users_history.kind is
    'The change that made this version: insert, update, removal, restore or repair. Of one into which earlier ones were folded it is insert, also where the user was removed by then.';
comment on column managed_users_history.folded_at is
    'When versions 1 to this one were folded into it; null for a version as it was written.';
comment on column managed_users_history.removed_at is
    'When the user was marked removed, if it was removed as of this version; null if it was live.';
