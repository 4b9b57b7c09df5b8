-- Running tasks to be planned anew in pieces, whose turn it is in the queue, and until when a task may wait unsent.

-- The path of this account has turned: those of its tasks that run and have a key up to `until` are planned anew, the
-- oldest first. Those up to `done` were.
create table replans (
    provider text    primary key,
    done     integer not null,
    until    integer not null
) strict, without rowid;

-- A tenant that waits at an account: its next task, and where its turn begins (receiver/fairness.py). That is null
-- until a claim has seen that the task may leave.
create table heads (
    provider text    not null,
    tenant   text    not null,
    send_at  integer not null,
    task     integer not null,
    begins   integer,
    primary key (provider, tenant)
) strict, without rowid;

create index heads_in_turn on heads (provider, begins, send_at, task) where begins is not null;
create index heads_asleep on heads (provider, send_at, task) where begins is null;

insert into heads (provider, tenant, send_at, task)
select provider, tenant, send_at, key from (
    select provider, tenant, send_at, key,
           row_number() over (partition by provider, tenant order by send_at, key) as place
      from tasks where send_at is not null
) where place = 1;

-- Whoever writes `send_at`, the next task of its tenant is its next.
create trigger heads_on_opening after insert on tasks when new.send_at is not null
begin
    insert into heads (provider, tenant, send_at, task) values (new.provider, new.tenant, new.send_at, new.key)
    on conflict (provider, tenant) do update set send_at = excluded.send_at, task = excluded.task, begins = null
     where (excluded.send_at, excluded.task) < (send_at, task);
end;

create trigger heads_on_change after update of send_at, provider, tenant on tasks
    when new.send_at is not old.send_at or (new.send_at is not null
         and (new.provider <> old.provider or new.tenant <> old.tenant))
begin
    delete from heads where provider = old.provider and tenant = old.tenant and task = old.key;
    insert into heads (provider, tenant, send_at, task)
    select * from (select provider, tenant, send_at, key from tasks indexed by tasks_by_turn
                    where provider = old.provider and tenant = old.tenant and send_at is not null
                    order by send_at, key limit 1)
     where true
    on conflict (provider, tenant) do nothing;
    insert into heads (provider, tenant, send_at, task)
    select new.provider, new.tenant, new.send_at, new.key where new.send_at is not null
    on conflict (provider, tenant) do update set send_at = excluded.send_at, task = excluded.task, begins = null
     where (excluded.send_at, excluded.task) < (send_at, task);
end;

create trigger heads_on_deletion after delete on tasks when old.send_at is not null
begin
    delete from heads where provider = old.provider and tenant = old.tenant and task = old.key;
    insert into heads (provider, tenant, send_at, task)
    select * from (select provider, tenant, send_at, key from tasks indexed by tasks_by_turn
                    where provider = old.provider and tenant = old.tenant and send_at is not null
                    order by send_at, key limit 1)
     where true
    on conflict (provider, tenant) do nothing;
end;

-- The virtual time is the greatest start; who lags behind it is forgotten.
create index turns_by_start on turns (provider, start);
create index turns_by_finish on turns (provider, finish);

-- The deadline before the latest send, which moved it: where that came to nothing, it holds again.
alter table tasks add column deadline_before integer;
