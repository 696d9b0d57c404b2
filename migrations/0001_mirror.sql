-- The mirror, its ledger, and what a pass keeps of itself.
--
-- Names are unqualified: the migration runs with the configured schema alone on its search path, and so does every
-- statement of the program.

create table managed_users (
    id                  bigint      not null primary key,
    client_id           text        not null,
    email               text        not null,
    username            text,
    name                text,
    bio                 text,
    time_zone           text        not null,
    week_start          text        not null,
    created_date        timestamptz not null,
    time_format         integer,
    default_schedule_id bigint,
    locale              text,
    avatar_url          text,
    metadata            jsonb check (jsonb_typeof(metadata) = 'object'),
    extra               jsonb       not null default '{}' check (jsonb_typeof(extra) = 'object'),
    version             integer     not null check (version > 0),
    first_seen_at       timestamptz not null,
    changed_at          timestamptz not null,
    removed_at          timestamptz
);

-- The guard counts a client's live users, and most of what analysts ask starts there.
create index managed_users_live_by_client on managed_users (client_id) where removed_at is null;

comment on table managed_users is
    'One row a managed user that Cal.com has ever shown us: the last accepted observation. No column changes unless the user changed; how fresh the table is stands in managed_users_freshness.';
comment on column managed_users.id is 'Cal.com''s id of the user; unique within one Cal.com instance.';
comment on column managed_users.client_id is 'The platform OAuth client that the user belongs to.';
comment on column managed_users.email is 'The address as Cal.com keeps it, local+<clientId>@domain; managed_users_live has the plain one.';
comment on column managed_users.username is 'Cal.com''s user name, made from the address unless set.';
comment on column managed_users.name is 'The name shown to those who book.';
comment on column managed_users.bio is 'Free text about the user; null also on servers that do not know the field.';
comment on column managed_users.time_zone is 'An IANA name, as the source spells it; old rows hold bad case.';
comment on column managed_users.week_start is 'The first day of the user''s week, in English.';
comment on column managed_users.created_date is 'When the user was created at Cal.com.';
comment on column managed_users.time_format is '12 or 24; null where the user never chose.';
comment on column managed_users.default_schedule_id is 'Cal.com''s id of the schedule that is used unless an event type names another.';
comment on column managed_users.locale is 'Language tag, as free text.';
comment on column managed_users.avatar_url is 'Address of the user''s picture.';
comment on column managed_users.metadata is 'Key-value data that the client keeps with the user; null when there is none.';
comment on column managed_users.extra is 'Fields of Cal.com''s answer that this version of calmirror does not know, by their names on the wire.';
comment on column managed_users.version is '1 for the first observation, one more for each change since; equals the user''s newest version in managed_user_changes.';
comment on column managed_users.first_seen_at is 'When calmirror first wrote the user: the database''s clock.';
comment on column managed_users.changed_at is 'When the newest version was written: the database''s clock.';
comment on column managed_users.removed_at is 'When the user was marked removed; null while the user is live. A restored user is live again.';

create table managed_user_changes (
    change_id   bigint      generated always as identity primary key,
    run_id      bigint      not null,
    user_id     bigint      not null,
    client_id   text        not null,
    version     integer     not null check (version > 0),
    kind        text        not null check (kind in ('insert', 'update', 'removal', 'restore')),
    observed_at timestamptz not null,
    changed     jsonb       not null,
    after       jsonb       not null,
    unique (user_id, version)
);

create index managed_user_changes_by_client_and_time on managed_user_changes (client_id, observed_at);

comment on table managed_user_changes is
    'The ledger: one row a change, never changed once written. Folding it by version gives managed_users, value for value.';
comment on column managed_user_changes.change_id is 'Order of writing; gaps mean nothing.';
comment on column managed_user_changes.run_id is 'The pass that wrote the change, in sync_runs.';
comment on column managed_user_changes.user_id is 'The managed user.';
comment on column managed_user_changes.client_id is 'The client that the user belongs to.';
comment on column managed_user_changes.version is 'The user''s version that this change made; 1..n without a gap.';
comment on column managed_user_changes.kind is 'insert, update, removal or restore.';
comment on column managed_user_changes.observed_at is 'When the change was written: the clock of the batch''s transaction.';
comment on column managed_user_changes.changed is
    'For an update or a restore, each field that differs: {"time_zone": {"old": ..., "new": ...}}; empty for an insert or a removal.';
comment on column managed_user_changes.after is 'The user''s fields as they became, by column name.';

create table sync_runs (
    run_id      bigint      generated always as identity primary key,
    client_id   text        not null,
    client_name text        not null,
    epoch       bigint,
    tick        timestamptz,
    outcome     text check (outcome in ('applied', 'no_change', 'held', 'partial', 'skipped', 'failed')),
    started_at  timestamptz not null,
    finished_at timestamptz,
    observed    bigint      not null default 0,
    inserted    bigint      not null default 0,
    updated     bigint      not null default 0,
    removed     bigint      not null default 0,
    restored    bigint      not null default 0,
    unchanged   bigint      not null default 0,
    rejected    bigint      not null default 0,
    missing     bigint      not null default 0,
    unanswered  bigint      not null default 0,
    requests    bigint      not null default 0,
    error       text
);

create index sync_runs_by_client on sync_runs (client_id, run_id desc);

-- A pass that begins closes what an earlier one of its client left open; the index holds only those.
create index sync_runs_open on sync_runs (client_id) where outcome is null;

comment on table sync_runs is 'One row a pass over one client.';
comment on column sync_runs.run_id is 'Identity of the pass.';
comment on column sync_runs.client_id is 'The client that the pass was over.';
comment on column sync_runs.client_name is 'What the configuration called the client at that time.';
comment on column sync_runs.epoch is 'The fence that the pass took; null where it never got so far.';
comment on column sync_runs.tick is 'When the schedule had the pass due; null for a pass that was asked for by hand.';
comment on column sync_runs.outcome is 'How the pass ended; null while it is under way.';
comment on column sync_runs.started_at is 'Start, by the database''s clock.';
comment on column sync_runs.finished_at is 'End, by the database''s clock.';
comment on column sync_runs.observed is 'Users that Cal.com said something about: present, gone or unreadable.';
comment on column sync_runs.inserted is 'Users written for the first time.';
comment on column sync_runs.updated is 'Users with a changed field.';
comment on column sync_runs.removed is 'Users marked removed.';
comment on column sync_runs.restored is 'Removed users that answered again.';
comment on column sync_runs.unchanged is 'Users that were as the mirror had them; nothing was written for them.';
comment on column sync_runs.rejected is 'Users whose record could not be mirrored; see rejects.';
comment on column sync_runs.missing is 'Users that Cal.com said are not the client''s, whether or not they were ever mirrored.';
comment on column sync_runs.unanswered is 'Users about whom nothing was learned.';
comment on column sync_runs.requests is 'HTTP tries made.';
comment on column sync_runs.error is 'What went wrong, in one line; never a secret and never a user''s data.';

create table sync_state (
    client_id                text        not null primary key,
    client_name              text        not null,
    epoch                    bigint      not null,
    base_url                 text        not null,
    last_run_id              bigint      not null,
    last_complete_run_id     bigint,
    last_complete_started_at timestamptz,
    last_complete_at         timestamptz,
    fresh_until              timestamptz
);

comment on table sync_state is 'One row a client: the fence, the source, and the newest complete pass.';
comment on column sync_state.client_id is 'The client.';
comment on column sync_state.client_name is 'What the configuration calls the client.';
comment on column sync_state.epoch is 'The fence: each pass takes the next number, and a pass with an older one can write nothing.';
comment on column sync_state.base_url is 'The Cal.com instance that the client''s users are mirrored from.';
comment on column sync_state.last_run_id is 'The newest pass, however it ended.';
comment on column sync_state.last_complete_run_id is 'The newest pass that observed every watched user.';
comment on column sync_state.last_complete_started_at is 'Start of that pass: no row of a live user that was watched then is older news than this.';
comment on column sync_state.last_complete_at is 'End of that pass.';
comment on column sync_state.fresh_until is 'Until when that pass counts as fresh: the second tick after it, and as long again as the pass took.';

create table missing_users (
    client_id        text        not null,
    user_id          bigint      not null,
    confirmations    integer     not null check (confirmations >= 0),
    first_missing_at timestamptz not null,
    last_missing_at  timestamptz not null,
    last_run_id      bigint      not null,
    confirmed_run_id bigint,
    primary key (client_id, user_id)
);

comment on table missing_users is
    'Users that Cal.com says are not the client''s: candidates for removal while they are live in the mirror. A sighting deletes the row, and so does the removal.';
comment on column missing_users.client_id is 'The client that was asked.';
comment on column missing_users.user_id is 'The user that was asked for.';
comment on column missing_users.confirmations is 'In how many passes Cal.com said so while another user of the client answered; stays 0 for a user that was never mirrored.';
comment on column missing_users.first_missing_at is 'When it said so first.';
comment on column missing_users.last_missing_at is 'When it said so last; for a user that was never mirrored, first.';
comment on column missing_users.last_run_id is 'The pass in which it said so last.';
comment on column missing_users.confirmed_run_id is 'The pass that counted last.';

create table rejects (
    client_id     text        not null,
    user_id       bigint      not null,
    run_id        bigint      not null,
    first_seen_at timestamptz not null,
    changed_at    timestamptz not null,
    reason        text        not null,
    fields        text[]      not null,
    record        text        not null,
    primary key (client_id, user_id)
);

comment on table rejects is
    'Users whose present record cannot be mirrored. Their rows in managed_users stay as they were. A record that can be read again deletes the row.';
comment on column rejects.client_id is 'The client that was asked.';
comment on column rejects.user_id is 'The user that was asked for.';
comment on column rejects.run_id is 'The pass that wrote this row.';
comment on column rejects.first_seen_at is 'When the user was first rejected.';
comment on column rejects.changed_at is 'When the reason or the record last changed.';
comment on column rejects.reason is 'What is wrong, field by field; no values.';
comment on column rejects.fields is 'The fields at fault, by their names on the wire; empty when the record as a whole is.';
comment on column rejects.record is 'The record as it came, cut at 64 KiB. Personal data.';
