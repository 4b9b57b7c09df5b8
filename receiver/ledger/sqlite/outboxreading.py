"""What is read of the outbox: when the next delivery is due, pages of them, and how destinations fare."""

from __future__ import annotations

import sqlite3
from typing import Any

from receiver.breaker import Health
from receiver.ledger.deliveries import Delivery, DeliveryPage, DeliveryQuery, DeliveryState, DestinationState
from submitter.moments import Moment

MAX_LIMIT = 500
_HEALTH = ("failures", "failing_since", "paused_until", "disabled_at", "reason")


def next_delivery_at(raw: sqlite3.Connection, destination: str) -> Moment | None:
    """When the first is due; while its breaker is open, not before that lets one pass. None where it is disabled."""
    row = raw.execute(
        """
        select max(next_at, coalesce((select paused_until from destinations where name = :destination), 0))
          from (select min(next_at) as next_at from deliveries where destination = :destination and next_at is not null)
         where next_at is not null
           and not exists (select 1 from destinations where name = :destination and disabled_at is not null)
        """,
        {"destination": destination},
    ).fetchone()
    return None if row is None else row[0]


def page_of(raw: sqlite3.Connection, query: DeliveryQuery) -> DeliveryPage:
    """As Outbox.deliveries."""
    where, values = _where(query)
    limit = min(max(query.limit, 1), MAX_LIMIT)
    found = raw.execute(
        f"""
        select deliveries.*, events.id as event_id, events.type from deliveries join events using (position)
         where {where} order by key desc limit ?
        """,  # noqa: S608 - conditions from below
        (*values, limit + 1),
    ).fetchall()
    shown = [delivery_of(row) for row in found[:limit]]
    return DeliveryPage(deliveries=shown, next=shown[-1].key if len(found) > limit else None)


def count(raw: sqlite3.Connection, query: DeliveryQuery) -> int:
    """As Outbox.count_deliveries."""
    where, values = _where(query)
    text = f"select count(*) from deliveries join events using (position) where {where}"  # noqa: S608 - as above
    counted: int = raw.execute(text, values).fetchone()[0]
    return counted


def destinations(raw: sqlite3.Connection) -> list[DestinationState]:
    """As Outbox.destinations. A client's origin is there while something is open or dead."""
    found = raw.execute(
        """
        select coalesce(failures, 0) as failures, failing_since, coalesce(paused_until, 0) as paused_until,
               disabled_at, coalesce(reason, '') as reason, names.name,
               names.name in (select destination from subscriptions) as is_configured,
               (select count(*) from deliveries where destination = names.name and state = 'open') as open,
               (select count(*) from deliveries where destination = names.name and state = 'dead') as dead
          from (select name from destinations
                union
                select destination from deliveries where state = 'open' and destination >= '@' and destination < 'A'
                union
                select destination from deliveries where state = 'dead' and destination >= '@' and destination < 'A'
               ) as names left join destinations using (name)
         order by names.name
        """
    )
    return [
        DestinationState(
            name=row["name"],
            health=Health(**dict(zip(_HEALTH, row, strict=False))),
            is_configured=bool(row["is_configured"]),
            open=row["open"],
            dead=row["dead"],
        )
        for row in found.fetchall()
        if row["is_configured"] or row["open"] or row["dead"]
    ]


def delivery_of(row: sqlite3.Row) -> Delivery:
    """A row of `deliveries` with its event's id and type."""
    return Delivery(
        key=row["key"],
        event_id=row["event_id"],
        type=row["type"],
        external_task_id=row["external_task_id"],
        destination=row["destination"],
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        reason=row["reason"],
        next_at=row["next_at"],
        settled_at=row["settled_at"],
    )


def _where(query: DeliveryQuery) -> tuple[str, list[Any]]:
    given = [
        ("state = ?", query.state),
        ("destination = ?", query.destination),
        ("events.type = ?", query.type),
        ("deliveries.external_task_id = ?", query.external_task_id),
        ("key < ?", query.after),
    ]
    wanted = [(condition, value) for condition, value in given if value is not None]
    return " and ".join(condition for condition, _ in wanted) or "true", [value for _, value in wanted]
