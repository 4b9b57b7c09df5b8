-- What a provider has said and its words are passed on for: what a task took off the balance, why an account is stopped.

alter table tasks add column balance_deduction text check (balance_deduction is null or json_valid(balance_deduction));

-- With its event, for a client is told the same at every attempt; the task may learn it later.
alter table events add column balance_deduction text
    check (balance_deduction is null or json_valid(balance_deduction));

-- Trouble of the account itself, as creates are told of it while the pause lasts: [HTTP status, code, message].
alter table query_budgets add column refusal text check (refusal is null or json_valid(refusal));
