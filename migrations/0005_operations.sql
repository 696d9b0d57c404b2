-- What operators see, and what keeps the tables small over the years.
-- What keeps the tables from growing for ever: folded ledgers, and a record of what was deleted.

alter table managed_user_changes
    add column folded_at     timestamptz,
    add column first_seen_at timestamptz,
    add column removed_at    timestamptz,
    -- Not valid: none is folded yet, and they need not be read under a lock.
    add constraint managed_user_changes_folded_check check (
        case
            when folded_at is null then first_seen_at is null and removed_at is null
            else kind = 'insert' and version > 1 and first_seen_at is not null
        end
    ) not valid;

-- A user's ledger begins once.
create unique index managed_user_changes_folded on managed_user_changes (user_id) where folded_at is not null;

comment on table managed_user_changes is
    'The ledger: one row a change. Folding it by version gives managed_users, value for value. Nothing changes it once it is written, but `calmirror forget`, and retention.ledger_days, which folds the oldest versions of a user into one.';
comment on column managed_user_changes.version is
    'The user''s version that this change made; without a gap, from 1 or, where the oldest are folded, from the version into which they were.';
comment on column managed_user_changes.kind is
    'insert, update, removal, restore, or repair: the row had been edited here, and was set back; nothing changed at Cal.com. A version into which earlier ones were folded is an insert.';
comment on column managed_user_changes.folded_at is
    'When versions 1 to this one were folded into this row; null for a version as it was written.';
comment on column managed_user_changes.first_seen_at is
    'Of a folded row: when calmirror first wrote the user. Otherwise null; the first version''s observed_at says it.';
comment on column managed_user_changes.removed_at is
    'Of a folded row: when the user was marked removed, if it was removed as of this version. Otherwise null.';

create table retention (
    only_row         boolean     not null primary key default true check (only_row),
    token            bigint      not null,
    started_at       timestamptz not null,
    heartbeat_at     timestamptz not null,
    finished_at      timestamptz,
    deleted_runs     bigint      not null default 0,
    deleted_rejects  bigint      not null default 0,
    deleted_versions bigint      not null default 0,
    folded_users     bigint      not null default 0,
    users_in_doubt   bigint      not null default 0,
    history_from     timestamptz
);

comment on table retention is
    'One row: the newest time that what [retention] does not keep was deleted, and from when on the ledger is whole. Empty until then.';
comment on column retention.only_row is 'Always true, so that there is one row.';
comment on column retention.token is
    'A random number of whoever began last: whoever began before deletes nothing more.';
comment on column retention.started_at is 'When it began, by the database''s clock.';
comment on column retention.heartbeat_at is 'When a batch was last deleted, or nothing more found to delete.';
comment on column retention.finished_at is 'When nothing was left to delete; null until then, and where it was cut.';
comment on column retention.deleted_runs is 'Rows of sync_runs that were deleted that time.';
comment on column retention.deleted_rejects is 'Rows of rejects that were deleted that time.';
comment on column retention.deleted_versions is 'Rows of managed_user_changes that were folded into others that time.';
comment on column retention.folded_users is
    'Rows of managed_user_changes that became the beginning of their user''s ledger that time; more than once for a user with very many versions.';
comment on column retention.users_in_doubt is
    'Users whose ledger has a fault, and was left as it is that time; `calmirror verify` names them.';
comment on column retention.history_from is
    'managed_users_as_of and managed_users_history are whole from here on; null while nothing was ever folded.';

-- managed_users_as_of() reads it on behalf of whoever may read the mirror.
grant select (history_from) on retention to public;

-- Of a time of which the ledger has only a part, no answer is better than one that lacks users.
create function managed_users_known_at(instant timestamptz, history_from timestamptz) returns boolean
language plpgsql stable
as $$
begin
    if history_from is not null then
        raise exception 'managed_users is not known as of %: older versions of users were folded', instant
            using errcode = 'datetime_field_overflow',
                hint = format('It is known from %s on; managed_user_changes has what is left of earlier times.', history_from);
    end if;
    return true;
end;
$$;

comment on function managed_users_known_at(timestamptz, timestamptz) is
    'For managed_users_as_of: true, or, given since when all users are known, a failure that says so.';

create or replace function managed_users_as_of(instant timestamptz) returns setof managed_users
language sql stable
begin atomic
    select became.*
    from (
        select distinct on (change.user_id)
            change.user_id, change.version, change.kind, change.observed_at, change.after, change.removed_at
        from managed_user_changes as change
        where change.observed_at <= instant
            -- Asked once, before anything is read.
            and (select managed_users_known_at(instant, (
                select r.history_from from retention as r
                where instant < r.history_from and exists (
                    select from managed_user_changes as base
                    where base.folded_at is not null
                        and base.first_seen_at <= instant and base.observed_at > instant
                )
            )))
        order by change.user_id, change.version desc
    ) as latest
    left join managed_user_changes as first_version
        on first_version.user_id = latest.user_id and first_version.version = 1
    -- As a rule there is none, and the index that has them is empty.
    left join managed_user_changes as base
        on base.user_id = latest.user_id and base.folded_at is not null
    -- A repair leaves a removed user removed, since when it was.
    left join lateral (
        select case when earlier.kind = 'removal' then earlier.observed_at else earlier.removed_at end as removed_at
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
        'first_seen_at', coalesce(base.first_seen_at, first_version.observed_at),
        'changed_at', latest.observed_at,
        'removed_at', coalesce(
            removal.removed_at,
            case when latest.kind = 'removal' then latest.observed_at end,
            latest.removed_at
        )
    )) as became
    -- A user whose ledger has lost its beginning is not shown.
    where base.user_id is not null or first_version.user_id is not null;
end;

comment on function managed_users_as_of(timestamptz) is
    'managed_users as it stood at an instant, folded from the ledger; removed users have removed_at set, as in the table. Fails where what was in force at the instant was folded into a later version of its user; from retention.history_from on, nothing was.';

comment on view managed_users_history is
    'Every version of every user with the time in which it was the newest. A version of kind removal, and a repair after it, spans the time in which the user was removed. Where the oldest versions of a user were folded, its history begins with the one into which they were.';
comment on column managed_users_history.version is
    'The user''s version, 1..n, or from the one into which the oldest were folded.';
comment on column managed_users_history.kind is
    'The change that made this version: insert, update, removal, restore or repair; insert of one into which earlier ones were folded.';

-- Only passes of which nothing else is on record are deleted.
create index sync_runs_without_news on sync_runs (finished_at, run_id) where outcome in ('no_change', 'skipped');

-- Each pass that could go is looked up here, so that none of these tables is read as a whole for it.
create index missing_users_by_last_run on missing_users (last_run_id);
create index missing_users_by_confirmed_run on missing_users (confirmed_run_id) where confirmed_run_id is not null;
create index rejects_by_run on rejects (run_id);

-- The oldest rejects of each client, and the passes that rejected anybody, which are few.
create index rejects_by_age on rejects (client_id, changed_at);
create index sync_runs_that_rejected on sync_runs (client_id, started_at) where rejected > 0;

create view deletable_runs as
select r.run_id, r.finished_at
from sync_runs as r
where r.outcome in ('no_change', 'skipped')
    -- Written together with what they count.
    and r.inserted + r.updated + r.removed + r.restored + r.repaired = 0
    -- Looked up for each pass, along the index: the ledger is never read as a whole.
    and (
        select true from managed_user_changes as c
        where c.client_id = r.client_id and c.observed_at between r.started_at and r.finished_at
            and c.run_id = r.run_id
        limit 1
    ) is null
    and (select true from missing_users as m where m.last_run_id = r.run_id limit 1) is null
    and (select true from missing_users as m where m.confirmed_run_id = r.run_id limit 1) is null
    and (select true from rejects as j where j.run_id = r.run_id limit 1) is null
    -- A row or two a client, and one a field.
    and r.run_id not in (
        select last_run_id from sync_state
        union select last_complete_run_id from sync_state where last_complete_run_id is not null
        union select first_run_id from held_sets
        union select last_run_id from held_sets
        union select run_id from extra_fields
    );

comment on view deletable_runs is
    'Passes that changed nothing, and ticks that were skipped, to which nothing refers: retention.no_change_runs_days deletes them.';
comment on column deletable_runs.run_id is 'As in sync_runs.';
comment on column deletable_runs.finished_at is 'As in sync_runs.';

alter table sync_runs
    add column failure text constraint sync_runs_failure_check check (failure in ('refused', 'unavailable', 'fault'));

comment on column sync_runs.failure is
    'Of a failed pass: refused (Cal.com refuses the client''s credentials, or the base address is not the one that the mirror is of), unavailable (Cal.com or the database was away) or fault (anything else that somebody has to change). Null for a pass that was cut off, and for those of before this column.';

create table client_notices (
    client_id     text        not null primary key,
    told          text[]      not null default '{}',
    told_at       timestamptz,
    alarmed       boolean     not null default false,
    message_id    text,
    message_type  text,
    due           text[],
    body          text,
    tries         integer     not null default 0,
    next_try_at   timestamptz,
    claimed_until timestamptz,
    told_held     bigint,
    due_held      bigint,
    constraint client_notices_message_check
        check (num_nulls(message_id, message_type, due, body, next_try_at) in (0, 5))
);

comment on table client_notices is
    'What the webhook was last told of each client, and the message that is to be told next, so that restarts and other daemons repeat nothing. Holds no secret and no values of users.';
comment on column client_notices.client_id is 'The client.';
comment on column client_notices.told is
    'What was told to be wrong and still is: held, stale, refused.';
comment on column client_notices.told_at is 'When a message was last delivered, by the database''s clock; null if never.';
comment on column client_notices.alarmed is
    'Whether the receiver was told of something wrong since it was last told that the client is well, or may have been: its answer did not come.';
comment on column client_notices.message_id is
    'Identity of the message that is to be delivered, the same in each try; null while there is none.';
comment on column client_notices.message_type is 'Its type: client.held, client.stale, client.refused or client.well.';
comment on column client_notices.due is 'What it says is wrong; empty for client.well.';
comment on column client_notices.body is 'The message as it is signed and sent.';
comment on column client_notices.tries is 'How often it was sent.';
comment on column client_notices.next_try_at is 'Not to be sent before.';
comment on column client_notices.claimed_until is
    'A daemon is sending it, and nobody else may before this time; null or past otherwise.';
comment on column client_notices.told_held is
    'The pass that first held the removals that were last told to be held; null if none were.';
comment on column client_notices.due_held is
    'The same of the message that is to be delivered; null where nothing is held.';
-- The status page counts the changes of the last days from the passes, which are far fewer.
create index sync_runs_by_start on sync_runs (client_id, started_at);
