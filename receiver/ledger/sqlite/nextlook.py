"""When somebody should look for what to ask about or send: read, so that looks which claim nothing write nothing."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

from receiver.ledger.sqlite.budget import Budget
from receiver.ledger.sqlite.claiming import is_any_due
from receiver.ledger.sqlite.stops import rest_of
from receiver.ledger.sqlite.together import LOOKED_AT, due_of, listings_of, round_of
from receiver.listing import Sharing
from submitter.moments import Moment, millis

NOT_MORE_OFTEN = timedelta(seconds=0.5)  # where hundreds wait for company, one more falls due all the time

# What is leased waits for its lease.
_NEXT_QUERY_AT = """
    select min(due) from (
        select * from (select query_at as due from tasks
                        where provider = :provider and query_at is not null and lease_until is null
                        order by query_at limit 1)
        union all
        select max(query_at, lease_until) from tasks indexed by tasks_leased
         where provider = :provider and lease_until is not null and query_at is not null
    )
"""


def next_send_at(raw: sqlite3.Connection, provider: str) -> Moment | None:
    """As Ledger.next_send_at."""
    text = "select min(send_at) from tasks where provider = ? and send_at is not null"
    at: Moment | None = raw.execute(text, (provider,)).fetchone()[0]
    return None if at is None else max(at, rest_of(raw, provider).until)


def next_query_at(raw: sqlite3.Connection, provider: str) -> Moment | None:
    """As Ledger.next_query_at."""
    at: Moment | None = raw.execute(_NEXT_QUERY_AT, {"provider": provider}).fetchone()[0]
    return at


def next_look_at(
    raw: sqlite3.Connection, provider: str, *, now: Moment, per_minute: int, sharing: Sharing
) -> Moment | None:
    """As Ledger.next_look_at."""
    first = next_query_at(raw, provider)
    if first is None or first > now:
        return first
    budget = Budget(raw, provider, per_minute=per_minute, now=now)
    if budget.rests_until > now:
        return budget.rests_until
    if _is_worth_claiming(raw, provider, budget, sharing, now=now):
        return first
    return _next_chance(raw, provider, budget, sharing, now=now)


def _is_worth_claiming(
    raw: sqlite3.Connection, provider: str, budget: Budget, sharing: Sharing, *, now: Moment
) -> bool:
    """Whether a claim would take anything."""
    if not sharing.is_possible:
        return is_any_due(raw, provider, budget, now=now)
    due = due_of(raw, provider, now=now)
    # Of so many some are on another page than the one that was just asked for.
    return len(due) >= LOOKED_AT or bool(round_of(raw, provider, due, budget, sharing, now=now).keys)


def _next_chance(raw: sqlite3.Connection, provider: str, budget: Budget, sharing: Sharing, *, now: Moment) -> Moment:
    """What is due waits: for company until somebody's patience ends or more falls due, or for doubt's next minute."""
    ends = [
        at + millis(sharing.patience)
        for listing in listings_of(raw, provider).values()
        for at in listing.asked_at.values()
        if at <= now < at + millis(sharing.patience)
    ]
    more = raw.execute(
        "select min(query_at) from tasks where provider = ? and query_at > ?", (provider, now)
    ).fetchone()[0]
    if more is not None:
        ends.append(max(more, now + millis(NOT_MORE_OFTEN)))
    if budget.left_for_doubt <= 0:
        ends.append(budget.ends_at)
    return min(ends, default=now + millis(NOT_MORE_OFTEN))
