-- How the road that each account's callbacks take fares. An account without a row is alive, as far as anybody knows.

create table paths (
    provider   text    primary key,
    state      text    not null check (state in ('alive', 'limping', 'dark')),
    since      integer not null,
    heard_at   integer not null,   -- when the latest callback counted
    revived_at integer not null,   -- what finished before belongs to a darkness that is over
    evidence   real    not null,   -- against the state: receiver/pathhealth.py
    came       real    not null,
    missed     real    not null,
    told       integer not null    -- events path.dark and path.alive: their ids are numbered
) strict, without rowid;
