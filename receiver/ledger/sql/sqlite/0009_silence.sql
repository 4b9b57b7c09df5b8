-- When an account's silence was last sounded by a handful of questions, and how often since its latest callback.

alter table paths add column sounded_at integer not null default 0;
alter table paths add column soundings integer not null default 0;
