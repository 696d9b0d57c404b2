-- What lets a pass ask little and read little: fingerprints of records, the state of each client's rate limit, and how far a
-- pass has come.

create table record_fingerprints (
    user_id     bigint not null primary key,
    client_id   text   not null,
    version     integer not null check (version > 0),
    fingerprint bytea  not null check (octet_length(fingerprint) = 16)
) with (fillfactor = 90);

comment on table record_fingerprints is
    'A hash of the bytes in which Cal.com last sent a user that was read in full. The same bytes again are the same user, and are not read. A cache: emptying it costs time only.';
comment on column record_fingerprints.user_id is 'The managed user.';
comment on column record_fingerprints.client_id is 'The client that the user belongs to.';
comment on column record_fingerprints.version is
    'The user''s version that was made from those bytes. Of another version of the user, they say nothing.';
comment on column record_fingerprints.fingerprint is
    'The first 16 bytes of SHA-256 over the version of the reading rules and the record as it came. Says nothing of a row that was edited here.';

-- In the order of ids, which is the order in which a pass asks.
create index managed_users_live_by_client_and_id on managed_users (client_id, id) where removed_at is null;
drop index managed_users_live_by_client;

create table rate_limits (
    client_id     text        not null primary key,
    noted_at      timestamptz not null,
    remaining     bigint,
    resets_at     timestamptz,
    blocked_until timestamptz
);

comment on table rate_limits is
    'What Cal.com last said of each client''s rate limit, so that a restarted calmirror goes on within it.';
comment on column rate_limits.client_id is 'The client.';
comment on column rate_limits.noted_at is 'When this was written.';
comment on column rate_limits.remaining is
    'Requests that could still be made in the window, less those that may be made before the next note; null while the server has not said it.';
comment on column rate_limits.resets_at is 'When the window ends; null while the server has not said it.';
comment on column rate_limits.blocked_until is
    'The end of the latest block that a pass waits for; null if there was none.';

alter table sync_runs
    add column began_at         timestamptz,
    add column resumes          bigint,
    add column done_to          bigint,
    add column planned_users    bigint,
    add column planned_requests bigint,
    add column fetch_plan       text,
    add column respelled        bigint not null default 0;

update sync_runs set began_at = started_at;

comment on column sync_runs.began_at is
    'Start of the first pass of those that this one goes on from; started_at where it goes on from none. Every user was observed after it.';
comment on column sync_runs.resumes is 'The pass that was cut and that this one goes on from; null if it began from the start.';
comment on column sync_runs.done_to is
    'Every user to be asked for with an id up to this one has been dealt with; null before the first. A pass that is cut is gone on from here.';
comment on column sync_runs.planned_users is 'How many users the pass was to ask for, as far as was known when it began.';
comment on column sync_runs.planned_requests is 'How many requests the pass expected to make; null where it did not say.';
comment on column sync_runs.fetch_plan is 'How users were asked for: get, bulk or list; null where the pass never got so far.';
comment on column sync_runs.respelled is
    'Unchanged users whose records came in other bytes than those of the fingerprint, and so were read in full.';

alter table sync_state
    add column fingerprints_renewed_at timestamptz;

comment on column sync_state.fingerprints_renewed_at is
    'When fingerprints were last written for users that had not changed, since most records came in other bytes; null if never.';

comment on column sync_state.last_complete_started_at is
    'Start of that pass, or of the one that it went on from: no row of a live user that was watched then is older news than this.';

comment on column sync_runs.observed is
    'Users that Cal.com said something about: present, gone or unreadable. Of a pass under way, as of heartbeat_at.';
comment on column sync_runs.requests is 'HTTP tries made. Of a pass under way, as of heartbeat_at.';
