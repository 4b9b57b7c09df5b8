-- How the sender of what nobody could read was known: it is heard at that trust once it can be read.

alter table unreadable add column trust text not null default 'token' check (trust in ('signed', 'token', 'queried'));

-- Answers to our own questions lie in the same drawer; until now their reasons alone told them apart.
update unreadable set trust = 'queried' where reason like 'create answer: %' or reason like 'query answer: %';

-- Of one task a few are kept, so that one leaked URL does not push out what came for all others.
create index unreadable_by_task on unreadable (external_task_id);
