-- Fewer indexes to touch for each report: a task runs for as long as it is not settled (the checks on `tasks` say
-- so), and an event's id begins with its task's.

drop index tasks_running;
drop index tasks_by_deadline;
drop index events_by_task;

create index tasks_running     on tasks (provider) where settled_at is null;
create index tasks_by_deadline on tasks (deadline_at) where settled_at is null;
