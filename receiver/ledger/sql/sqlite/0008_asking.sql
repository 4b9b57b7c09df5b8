-- What was asked, by the hour, and whose answers are to be doubted; lists and what they were good for; units.

-- A question about many tasks is one request: what was asked is counted apart from the tasks.
create table questions (
    provider text    not null,
    hour     integer not null,                        -- its beginning
    shape    text    not null check (shape in ('single', 'batch', 'page')),
    requests integer not null,
    tasks    integer not null,                        -- that the answers spoke of, or that were asked about alone
    primary key (provider, hour, shape)
) strict, without rowid;

insert into questions (provider, hour, shape, requests, tasks)
select provider, created_at / 3600000 * 3600000, 'single', sum(queries), sum(queries)
  from tasks where queries > 0 group by 1, 2;

create table listings (
    provider   text    not null,
    endpoint   text    not null,                      -- '' for batches, which know no endpoint
    stretch    real    not null,
    idle       integer not null,
    resumes_at integer not null,
    asked_at   text    not null check (json_valid(asked_at)),  -- the latest moment of each page
    primary key (provider, endpoint)
) strict, without rowid;

alter table tasks add column alone integer not null default 0;  -- 1: a page did not show it, 2: a batch did not

alter table query_budgets add column is_stopped integer not null default 0;  -- the pause is for trouble of the account
-- The latest answers, one of each task: [[key, 1 where there was no such task], …]. Where most of the account's tasks
-- are not known to its provider, its questions are paused.
alter table query_budgets add column recent text not null default '[]' check (json_valid(recent));
alter table query_budgets add column unknown_until integer not null default 0;
alter table query_budgets add column unknown_reason text not null default '';

-- What a create of an account with a limit is expected to take, until its final says.
create table reservations (
    task     integer primary key references tasks (key),
    provider text    not null,
    day      integer not null,                        -- its beginning, UTC
    class    text    not null,
    images   integer not null,
    units    real    not null
) strict;

create index reservations_by_provider on reservations (provider);

create table unit_days (
    provider text    not null,
    day      integer not null,
    spent    real    not null,
    primary key (provider, day)
) strict, without rowid;

-- What an image of a class was seen to cost.
create table unit_prices (
    provider text not null,
    class    text not null,
    units    real not null,
    primary key (provider, class)
) strict, without rowid;
