-- The ledger. Moments are Unix milliseconds; JSON is text; every table is strict.

create table settings (
    name  text primary key,
    value text not null
) strict, without rowid;

create table tasks (
    key                  integer primary key,
    external_task_id     text    not null unique,
    provider             text    not null,
    endpoint             text    check (endpoint in ('omni-image', 'generations')),
    request              text,                        -- JSON, inline pictures as {"sha256","bytes"}; null if adopted
    request_digest       blob,
    opened_by            text,                        -- the Idempotency-Key of an opener that sends it itself
    state                text    not null check (state in
                             ('pending', 'submitted', 'processing', 'succeeded', 'failed', 'refused', 'expired')),
    version              integer not null,
    message              text    not null default '',
    task_id              text,
    task_id_source       text    check (task_id_source in ('callback', 'query', 'answer')),
    upstream_task_id     text,
    images               text    not null default '[]',
    images_asked         integer,
    images_proven        integer not null default 0,
    slots                integer not null default 1,
    settled_by           text    check (settled_by in ('callback', 'query', 'answer', 'refusal', 'deadline')),
    trust                text    check (trust in ('signed', 'token', 'queried')),
    held                 text    check (held in ('succeed', 'failed')),
    doubt                text,
    doubt_since          integer,
    doubt_queries        integer not null default 0,
    adopted              integer not null default 0,
    unit_deduction       text,
    provider_created_at  integer,
    provider_updated_at  integer,
    queries              integer not null default 0,
    reports_applied      integer not null default 0,
    reports_duplicate    integer not null default 0,
    reports_stale        integer not null default 0,
    reports_conflict     integer not null default 0,
    chain                blob,                        -- the hash of the task's latest report
    report_count         integer not null default 0,  -- its rows in `reports`
    created_at           integer not null,
    sent_at              integer,                     -- committed before the first byte leaves
    submitted_at         integer,
    settled_at           integer,
    deadline_at          integer not null,
    -- what is due, and whose turn it is
    send_at              integer,                     -- the sender may send from this moment on
    sends                integer not null default 0,
    send_fence           integer not null default 0,  -- names the latest send; what became of it is said with it
    sent_by_opener       integer not null default 0,  -- whether that send was its opener's, and not our sender's
    unanswered_until     integer,                     -- how long a create without an answer holds its slots
    query_at             integer,                     -- the poller may ask from this moment on
    misses               integer not null default 0,  -- answers in a row that knew no such task
    missed_since         integer,
    lease_until          integer,
    fence                integer not null default 0,  -- names the latest question
    check (settled_at is null or state in ('succeeded', 'failed', 'refused', 'expired')),
    check (send_at is null or state = 'pending'),
    check (state not in ('succeeded', 'failed', 'refused', 'expired') or (settled_at is not null and settled_by is not null)),
    check ((doubt is null) = (doubt_since is null)),
    check (held is null or (doubt is not null and state = 'processing'))
) strict;

create index tasks_by_task_id  on tasks (provider, task_id) where task_id is not null;
create index tasks_by_upstream on tasks (provider, upstream_task_id) where upstream_task_id is not null;
create index tasks_to_send     on tasks (provider, send_at) where send_at is not null;
create index tasks_to_ask      on tasks (provider, query_at) where query_at is not null;
create index tasks_running     on tasks (provider) where state in ('pending', 'submitted', 'processing');
create index tasks_by_deadline on tasks (deadline_at) where state in ('pending', 'submitted', 'processing');
create index tasks_held        on tasks (doubt_since) where held is not null;
create index tasks_doubted     on tasks (provider, query_at) where doubt is not null and query_at is not null;
create index tasks_leased      on tasks (provider, lease_until) where lease_until is not null;
create index tasks_by_state    on tasks (state, key);
create index tasks_by_provider on tasks (provider, key);
create index tasks_by_settler  on tasks (settled_by, key) where settled_by is not null;

-- A picture that a request holds itself, until the create is answered.
create table inline_images (
    external_task_id text not null,
    sha256           text not null,
    content          text not null,
    primary key (external_task_id, sha256)
) strict, without rowid;

-- One row for each fact heard of a task by one road at one trust; `count` says how often.
create table reports (
    task              integer not null references tasks (key),
    fingerprint       blob    not null,
    source            text    not null check (source in ('callback', 'query', 'answer')),
    trust             text    not null check (trust in ('signed', 'token', 'queried')),
    number            integer not null,               -- 1, 2, … within the task
    verdict           text    not null check (verdict in ('applied', 'duplicate', 'stale', 'conflict')),
    status            text    not null,
    provider_task_id  text,
    message           text    not null default '',
    body              blob,
    first_heard_at    integer not null,
    last_heard_at     integer not null,
    count             integer not null default 1,
    previous_hash     blob,                           -- a chain over the task's reports: none can vanish unseen
    hash              blob    not null,
    primary key (task, fingerprint, source, trust),
    check (count >= 1)
) strict, without rowid;

create table events (
    position         integer primary key autoincrement,
    id               text    not null unique,
    type             text    not null,
    external_task_id text,
    time             integer not null,
    task             text    check (task is null or json_valid(task)),  -- the snapshot, byte for byte as it will always be sent
    was              text,
    now_is           text,
    check ((was is null) = (now_is is null))
) strict;

create index events_by_task on events (external_task_id) where external_task_id is not null;

-- The outbox: one row for each event and destination, written with the event.
create table deliveries (
    key          integer primary key,
    position     integer not null references events (position),
    destination  text    not null,
    state        text    not null default 'open' check (state in ('open', 'delivered', 'dead', 'superseded')),
    attempts     integer not null default 0,
    next_at      integer not null,
    reason       text,
    settled_at   integer,
    lease_until  integer,
    fence        integer not null default 0,
    unique (position, destination)
) strict;

create index deliveries_open on deliveries (destination, next_at) where state = 'open';

-- What was asked in the running minute, and until when a provider is left in peace.
create table query_budgets (
    provider       text    primary key,
    window_start   integer not null default 0,
    spent          integer not null default 0,
    spent_on_doubt integer not null default 0,
    paused_until   integer not null default 0,
    pause_reason   text    not null default ''
) strict, without rowid;

-- Callbacks that nobody could read, kept to be looked at.
create table unreadable (
    key              integer primary key autoincrement,
    provider         text    not null,
    external_task_id text    not null,
    heard_at         integer not null,
    reason           text    not null,
    size             integer not null,
    body             blob    not null
) strict;

-- What is left of a pruned task, for good: a late callback for it is known to be late.
create table tombstones (
    external_task_id text    primary key,
    provider         text    not null,
    state            text    not null,
    settled_at       integer,
    version          integer not null
) strict, without rowid;
