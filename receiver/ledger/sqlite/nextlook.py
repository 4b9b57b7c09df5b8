"""When somebody should look for what to ask about or send: read, so that looks which claim nothing write nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import timedelta

from receiver.ledger.sqlite.budget import Budget
from receiver.ledger.sqlite.claiming import is_any_due
from receiver.ledger.sqlite.stops import rest_of
from receiver.ledger.sqlite.together import LOOKED_AT, candidates_of, due_of, due_soon, listings_of
from receiver.listing import Sharing, choose
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
    if not sharing.is_possible:
        if is_any_due(raw, provider, budget, now=now):
            return first
        return _when_more_is_due(raw, provider, _ends(raw, provider, budget, sharing, now=now), now=now)
    return _next_round(raw, provider, budget, sharing, first, now=now)


def _next_round(
    raw: sqlite3.Connection, provider: str, budget: Budget, sharing: Sharing, first: Moment, *, now: Moment
) -> Moment:
    """`first` where a claim would take anything; otherwise when what is due has waited for company, or for its budget.

    More of what would wait as well is no reason to look before.
    """
    due = due_of(raw, provider, now=now)
    ends = _ends(raw, provider, budget, sharing, now=now)
    by_then = due_of(raw, provider, now=min(ends)) if ends else due
    if len(by_then) >= LOOKED_AT:
        return first  # of so many some are on another page than the one that was just asked for
    soon, listings = due_soon(raw, provider, now=now, within=sharing.patience), listings_of(raw, provider)
    candidates = candidates_of(raw, provider, by_then, budget, sharing, soon=soon)
    keys = {row["key"] for row in due}
    if choose([each for each in candidates if each.key in keys], sharing, listings, soon=soon, now=now).keys:
        return first
    if ends and not choose(candidates, sharing, listings, soon=0, now=now).keys:  # they are each other's company
        return min(ends)
    return _when_more_is_due(raw, provider, ends, now=now)


def _ends(raw: sqlite3.Connection, provider: str, budget: Budget, sharing: Sharing, *, now: Moment) -> Sequence[Moment]:
    """When the patience ends in which company was waited for, and doubt's minute if it is spent."""
    ends = [
        at + millis(sharing.patience)
        for listing in listings_of(raw, provider).values()
        for at in listing.asked_at.values()
        if at <= now < at + millis(sharing.patience)
    ]
    return ends if budget.left_for_doubt else [*ends, budget.ends_at]


def _when_more_is_due(raw: sqlite3.Connection, provider: str, ends: Sequence[Moment], *, now: Moment) -> Moment:
    more = raw.execute(
        "select min(query_at) from tasks where provider = ? and query_at > ?", (provider, now)
    ).fetchone()[0]
    soonest = now + millis(NOT_MORE_OFTEN)
    if more is not None:
        ends = [*ends, max(more, soonest)]
    return min(ends, default=soonest)
