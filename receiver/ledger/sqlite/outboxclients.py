"""What is due to tasks' clients: of many origins that nobody configured, so that none keeps another waiting."""

from __future__ import annotations

import heapq
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias

from receiver.ledger.deliveries import CalledBack, ClaimedDelivery, Places
from receiver.ledger.reading import StoredEvent
from receiver.ledger.sqlite.outbox import claim
from receiver.ledger.sqlite.outboxwriting import ToClient
from receiver.origins import BEYOND_CLIENTS, CLIENTS, client_destination, tenant_of
from receiver.task import EVENT_OF_STATE, Event, TaskState
from submitter.moments import Moment

_Waiting: TypeAlias = tuple[int, Moment, str]  # how many are under way to it, since when the first is due, its name

_STATUSES = frozenset(EVENT_OF_STATE.values())

# From one origin's name to the next in the index, and from each straight to its first: whatever waits there.
_ORIGINS = """
    with recursive origins (name) as (
        select min(destination) from deliveries indexed by deliveries_due
         where next_at is not null and destination >= :clients and destination < :beyond
        union all
        select (select min(destination) from deliveries indexed by deliveries_due
                 where next_at is not null and destination > origins.name and destination < :beyond)
          from origins where name is not null
    )
    select name,
           (select min(next_at) from deliveries where destination = name and next_at is not null) as due_at,
           coalesce((select paused_until from destinations where destinations.name = origins.name), 0) as paused_until
      from origins where name is not null
"""
_RANGE = {"clients": CLIENTS, "beyond": BEYOND_CLIENTS}


def called_back(events: Sequence[Event], *, after: int) -> list[ToClient]:
    """Which of these events, written behind this position, are told to a client, and where.

    A refusal is, where its client had been told by then that the task is ours: else it was the answer itself.
    """
    return [
        (position, client_destination(event.task.client_callback_url, tenant=event.task.tenant))
        for position, event in enumerate(events, start=after + 1)
        if event.task.client_callback_url is not None
        and event.type in _STATUSES
        and (event.task.state is not TaskState.REFUSED or event.task.promised)
    ]


def claim_for_clients(
    raw: sqlite3.Connection, *, now: Moment, lease: timedelta, places: Places
) -> list[ClaimedDelivery]:
    """As Outbox.claim_client_deliveries."""
    under_way = _under_way(raw, now=now)
    of_tenants = Counter[str]()
    for name, count in under_way.items():
        of_tenants[tenant_of(name)] += count
    waiting = _waiting(raw, under_way, now=now)
    claimed: list[ClaimedDelivery] = []
    while waiting and of_tenants.total() < places.in_all:
        tenant = min(waiting, key=lambda each: of_tenants[each])
        queue = waiting[tenant]
        if not queue or of_tenants[tenant] >= places.of_tenant or queue[0][0] >= places.of_origin:
            del waiting[tenant]
            continue
        busy, due_at, name = heapq.heappop(queue)
        found = claim(raw, name, now=now, lease=lease, limit=1)
        if found:
            claimed.extend(replace(each, client=_client_of(raw, each.event)) for each in found)
            of_tenants[tenant] += 1
            heapq.heappush(queue, (busy + 1, due_at, name))
    return claimed


def next_client_delivery_at(raw: sqlite3.Connection) -> Moment | None:
    """As Outbox.next_client_delivery_at."""
    text = f"select min(max(due_at, paused_until)) from ({_ORIGINS})"  # noqa: S608 - the text from above
    found: Moment | None = raw.execute(text, _RANGE).fetchone()[0]
    return found


def _under_way(raw: sqlite3.Connection, *, now: Moment) -> Counter[str]:
    """How many are, by origin. What is past its lease is not: it is due."""
    found = raw.execute(
        """
        select destination, count(*) from deliveries indexed by deliveries_to_clients_under_way
         where is_leased and destination >= '@' and destination < 'A' and next_at > ? group by destination
        """,
        (now,),
    )
    return Counter(dict(found.fetchall()))


def _waiting(raw: sqlite3.Connection, under_way: Counter[str], *, now: Moment) -> dict[str, list[_Waiting]]:
    """The origins at which something is due that may leave, by tenant: heaps."""
    text = f"select name, due_at from ({_ORIGINS}) where due_at <= :now and paused_until <= :now"  # noqa: S608 - as above
    waiting: dict[str, list[_Waiting]] = {}
    for name, due_at in raw.execute(text, {**_RANGE, "now": now}).fetchall():
        waiting.setdefault(tenant_of(name), []).append((under_way[name], due_at, name))
    for queue in waiting.values():
        heapq.heapify(queue)
    return waiting


def _client_of(raw: sqlite3.Connection, event: StoredEvent) -> CalledBack | None:
    """Whom the event is for. None where the task is gone, and with it the URL."""
    row = raw.execute(
        """
        select client_callback_url, tenant, client_task_id, is_series,
               (select balance_deduction from events where position = ?) as balance_deduction
          from tasks where external_task_id = ?
        """,
        (event.position, event.external_task_id),
    ).fetchone()
    if row is None or row["client_callback_url"] is None:
        return None
    return CalledBack(
        url=row["client_callback_url"],
        tenant=row["tenant"],
        task_id=row["client_task_id"],
        is_series=bool(row["is_series"]),
        balance_deduction=row["balance_deduction"],
    )
