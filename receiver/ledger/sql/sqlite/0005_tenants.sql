-- Whose a task is, what its client calls it, and the keys of those who may ask. Tenant '' is the operator.

alter table tasks add column tenant text not null default '';
alter table tasks add column client_task_id text;               -- the id that a gateway's client gave
alter table tasks add column client_callback_url text;          -- where that client wants to be called back
alter table tasks add column promised integer not null default 0;  -- its client was told that the task is ours
alter table tasks add column idempotency_key text;
alter table tasks add column is_series integer not null default 0;  -- its result is one: the wire shows it elsewhere

create unique index tasks_by_client on tasks (tenant, provider, client_task_id) where client_task_id is not null;
create unique index tasks_by_idempotency on tasks (tenant, idempotency_key) where idempotency_key is not null;
create index tasks_of_tenant on tasks (tenant, key) where tenant <> '';
create index tasks_running_of_tenant on tasks (tenant) where tenant <> '' and settled_at is null;

alter table events add column tenant text;  -- whose task it is about; null where it is about none

update events set tenant = '' where external_task_id is not null;

-- Keys are kept as SHA-256: whoever reads the ledger learns none. A pair's secret is derived and not kept at all.
create table keys (
    name         text    primary key,
    kind         text    not null check (kind in ('bearer', 'pair')),
    access_key   text    unique,                     -- a pair's first half, which is no secret
    digest       blob    unique,                     -- a bearer key's
    tenant       text,                               -- null: it sees all tenants' tasks
    scopes       text    not null check (json_valid(scopes)),
    providers    text    not null check (json_valid(providers)),  -- empty is all
    quota        integer check (quota > 0),          -- tasks that its tenant may have running
    pass_through integer not null default 0,
    created_at   integer not null,
    revoked_at   integer,
    check ((kind = 'pair') = (access_key is not null)),
    check ((kind = 'bearer') = (digest is not null))
) strict, without rowid;
