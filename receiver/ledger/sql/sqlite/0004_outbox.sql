-- The outbox. Until now no delivery was ever written: its table begins anew.

drop index deliveries_open;
drop table deliveries;

alter table events add column about text check (about is null or json_valid(about));

-- Who wants which events: what the configuration said when the ledger was opened. `provider` '' is every provider.
create table subscriptions (
    destination text not null,
    type        text not null,
    provider    text not null default '',
    primary key (destination, type, provider)
) strict, without rowid;

-- How a destination fares, whichever process tells it.
create table destinations (
    name           text    primary key,
    target         blob,                               -- a digest of where it is told: another one is another chance
    failures       integer not null default 0,         -- attempts in a row that came to nothing
    failing_since  integer,
    paused_until   integer not null default 0,         -- nothing is sent before; then one probe, until one arrives
    probe          integer,                            -- the delivery that is out as one; its lease ends at paused_until
    disabled_at    integer,
    disabled_times integer not null default 0,
    reason         text    not null default ''
) strict, without rowid;

-- One row for each event and destination, written with the event. An open one with `next_at` is in turn: it is sent
-- from then on, or its lease ends then. One without waits behind an earlier one of its task.
create table deliveries (
    key              integer primary key autoincrement,
    position         integer not null references events (position),
    destination      text    not null,
    external_task_id text,
    is_final         integer not null,
    state            text    not null default 'open' check (state in ('open', 'delivered', 'dead', 'superseded')),
    attempts         integer not null default 0,
    next_at          integer,
    is_leased        integer not null default 0,
    fence            integer not null default 0,       -- names the latest attempt
    reason           text,
    settled_at       integer,
    unique (position, destination),
    check (next_at is null or state = 'open'),
    check (is_leased = 0 or next_at is not null),
    check ((settled_at is null) = (state = 'open'))
) strict;

create index deliveries_due on deliveries (destination, next_at) where next_at is not null;
create unique index deliveries_in_turn on deliveries (destination, external_task_id) where next_at is not null;
create index deliveries_waiting on deliveries (destination, external_task_id, position) where state = 'open';
create index deliveries_dead on deliveries (destination, key) where state = 'dead';
