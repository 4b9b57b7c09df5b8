-- An account that was stopped is tried with one request alone before the rest leaves.

alter table query_budgets add column is_on_trial integer not null default 0;  -- stopped, and not served since
alter table query_budgets add column trial integer not null default 0;        -- the number of the latest one, its fence

update query_budgets set is_on_trial = is_stopped;
