-- What lets the mirror be trusted: which process holds a pass, removals that wait for an operator, repairs, people who asked
-- to be forgotten, and fields that Cal.com begins to send.

alter table sync_runs
    add column trigger      text   not null default 'schedule'
        constraint sync_runs_trigger_check check (trigger in ('schedule', 'operator', 'approval', 'repair')),
    add column process      bigint,
    add column token        bigint,
    add column heartbeat_at timestamptz,
    add column held_set     text,
    add column approves     bigint,
    add column repaired     bigint not null default 0,
    add column watched      bigint;

update sync_runs set trigger = 'operator' where tick is null;

-- Of several processes, one makes the pass of a tick.
create index sync_runs_by_tick on sync_runs (client_id, tick) where tick is not null;

comment on column sync_runs.trigger is
    'What asked for the pass: schedule, operator (by hand), approval (of a held set) or repair (of rows that were edited here).';
comment on column sync_runs.process is
    'A random number of the process that made the pass; null where the pass never began.';
comment on column sync_runs.token is
    'A random number of the attempt, so that a beginning whose answer was lost is found again; null where the pass never began.';
comment on column sync_runs.heartbeat_at is 'When the pass last showed that it is alive; null where it never began.';
comment on column sync_runs.held_set is 'The hash of the set of removals that the pass held, as in held_sets; null if it held none.';
comment on column sync_runs.repaired is
    'Rows of managed_users that had been edited in Postgres, and were set back to what the ledger says.';
comment on column sync_runs.watched is
    'A hash of the ids that the pass was to look at, so that passes over different lists are told apart; null where it never began.';
comment on column sync_runs.approves is 'The pass whose held set this one let through; null unless trigger is approval.';

alter table missing_users
    add column unproven integer not null default 0
        constraint missing_users_unproven_check check (unproven >= 0);

comment on column missing_users.unproven is
    'In how many passes Cal.com said so while no other user of the client answered: not enough for a removal unless an operator approves it.';

create table held_sets (
    client_id    text        not null primary key,
    set_hash     text        not null,
    users        bigint      not null check (users > 0),
    live         bigint      not null,
    reason       text        not null check (reason in ('limit', 'everyone', 'no_control')),
    first_run_id bigint      not null,
    last_run_id  bigint      not null,
    held_since   timestamptz not null
);

comment on table held_sets is
    'Removals that wait for `calmirror approve`: one set a client, that of its newest pass. A pass that finds another set replaces it, a complete one that finds none deletes it.';
comment on column held_sets.client_id is 'The client.';
comment on column held_sets.set_hash is 'SHA-256, in hexadecimal, of the set''s users and the versions that their removals would make.';
comment on column held_sets.users is 'How many users the set would remove.';
comment on column held_sets.live is 'Of how many live users.';
comment on column held_sets.reason is
    'limit (more than a pass may remove), everyone (all of the client''s live users) or no_control (no other user of the client answered).';
comment on column held_sets.first_run_id is 'The first pass that held exactly this set.';
comment on column held_sets.last_run_id is 'The newest pass that held exactly this set.';
comment on column held_sets.held_since is 'When the set was first held.';

create table held_removals (
    client_id text    not null references held_sets (client_id) on delete cascade,
    user_id   bigint  not null,
    version   integer not null check (version > 1),
    primary key (client_id, user_id)
);

comment on table held_removals is 'The users of held_sets.';
comment on column held_removals.client_id is 'The client.';
comment on column held_removals.user_id is 'The user whose removal waits.';
comment on column held_removals.version is 'The user''s version that the removal would make.';

create table forgotten_users (
    user_id      bigint      not null primary key,
    forgotten_at timestamptz not null
);

comment on table forgotten_users is
    'Users that `calmirror forget` erased: nothing else is kept of them, and no pass mirrors them again.';
comment on column forgotten_users.user_id is 'Cal.com''s id of the user.';
comment on column forgotten_users.forgotten_at is 'When the user was erased, by the database''s clock.';

create table extra_fields (
    field         text        not null primary key,
    first_seen_at timestamptz not null,
    run_id        bigint      not null
);

comment on table extra_fields is
    'Fields of Cal.com''s answers that this version of calmirror does not know; their values are in managed_users.extra.';
comment on column extra_fields.field is 'The field''s name on the wire, cut at 200 characters.';
comment on column extra_fields.first_seen_at is 'When the field was first seen, by the database''s clock.';
comment on column extra_fields.run_id is 'The pass that saw it first.';

create table promoted_fields (
    field       text        not null primary key,
    column_name text        not null unique,
    promoted_at timestamptz not null
);

comment on table promoted_fields is
    'Fields that were mirrored in managed_users.extra by an earlier version of calmirror and have a column of their own now.';
comment on column promoted_fields.field is 'The field''s name on the wire.';
comment on column promoted_fields.column_name is 'The column of managed_users.';
comment on column promoted_fields.promoted_at is 'When the column was filled from extra, by the database''s clock.';

-- The functions that read it are called by whoever may read the mirror. It holds names of fields and nothing else.
grant select on promoted_fields to public;

-- The ledger is never rewritten: what an old version put into `extra` is read as the column that it became.
create function managed_user_promoted(after jsonb) returns jsonb
language sql stable
begin atomic
    select case
        when count(*) = 0 then after
        else after
            || jsonb_object_agg(p.column_name, after -> 'extra' -> p.field)
            || jsonb_build_object('extra', (after -> 'extra') - array_agg(p.field))
    end
    from promoted_fields as p
    where (after -> 'extra') ? p.field;
end;

comment on function managed_user_promoted(jsonb) is
    'A user''s fields as the ledger has them, with each promoted field moved from extra to its column.';

-- Called by the migration that adds a column for a field: fills it from `extra`, which is no change of any user.
create function promote_extra_field(wire_field text, column_name text) returns bigint
language plpgsql
as $$
declare
    moved bigint;
begin
    insert into promoted_fields (field, column_name, promoted_at) values (wire_field, column_name, now());
    execute format(
        'update managed_users as m set %1$I = became.%1$I, extra = m.extra - %2$L
         from managed_users as old
         cross join lateral jsonb_populate_record(
             null::managed_users, jsonb_build_object(%1$L, old.extra -> %2$L)
         ) as became
         where old.id = m.id and m.extra ? %2$L',
        column_name, wire_field
    );
    get diagnostics moved = row_count;
    delete from extra_fields where field = wire_field;
    return moved;
end;
$$;

comment on function promote_extra_field(text, text) is
    'For migrations: moves a field from managed_users.extra into its own column, without a new version of any user.';

-- Not valid: what is there fulfilled the narrower one, and need not be read again under a lock.
alter table managed_user_changes
    drop constraint managed_user_changes_kind_check,
    add constraint managed_user_changes_kind_check
        check (kind in ('insert', 'update', 'removal', 'restore', 'repair')) not valid;

comment on column managed_user_changes.kind is
    'insert, update, removal, restore, or repair: the row had been edited here, and was set back; nothing changed at Cal.com.';
comment on column managed_user_changes.changed is
    'For an update, a restore or a repair, each field that differs: {"time_zone": {"old": ..., "new": ...}}; empty for an insert or a removal. The old value of a repair is what was found in managed_users.';

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
    became.extra
from managed_user_changes as change
cross join lateral jsonb_populate_record(null::managed_users, case
    -- Asked once, not for each row.
    when exists (select from promoted_fields) then managed_user_promoted(change.after)
    else change.after
end) as became;

comment on view managed_users_history is
    'Every version of every user with the time in which it was the newest. A version of kind removal, and a repair after it, spans the time in which the user was removed.';
comment on column managed_users_history.kind is
    'The change that made this version: insert, update, removal, restore or repair.';

create or replace function managed_users_as_of(instant timestamptz) returns setof managed_users
language sql stable
begin atomic
    select became.*
    from (
        select distinct on (change.user_id)
            change.user_id, change.version, change.kind, change.observed_at, change.after
        from managed_user_changes as change
        where change.observed_at <= instant
        order by change.user_id, change.version desc
    ) as latest
    join managed_user_changes as first_version
        on first_version.user_id = latest.user_id and first_version.version = 1
    -- A repair leaves a removed user removed, since when it was.
    left join lateral (
        select case when earlier.kind = 'removal' then earlier.observed_at end as removed_at
        from managed_user_changes as earlier
        where latest.kind = 'repair' and earlier.user_id = latest.user_id
            and earlier.version < latest.version and earlier.kind <> 'repair'
        order by earlier.version desc
        limit 1
    ) as removal on true
    -- Not as (…).* in the list above, which would make the row once for each of its columns.
    cross join lateral jsonb_populate_record(null::managed_users, case
        when exists (select from promoted_fields) then managed_user_promoted(latest.after)
        else latest.after
    end || jsonb_build_object(
        'version', latest.version,
        'first_seen_at', first_version.observed_at,
        'changed_at', latest.observed_at,
        'removed_at', coalesce(
            removal.removed_at,
            case when latest.kind = 'removal' then latest.observed_at end
        )
    )) as became;
end;
