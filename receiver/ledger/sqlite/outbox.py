"""The outbox: who is told, what is claimed to be told, and what became of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import timedelta

from receiver import breaker
from receiver.breaker import FINAL_WAITS_FOR
from receiver.ledger.deliveries import (
    AttemptResult,
    ClaimedDelivery,
    DeliveryState,
    Settled,
    Settlement,
    Subscription,
)
from receiver.ledger.sqlite.outboxhealth import begin_anew, health_of, note_health, sweep_clients, write_health
from receiver.ledger.sqlite.outboxwriting import give_turn, supersede, take_turn
from receiver.ledger.sqlite.rows import event_of
from submitter.moments import Moment, millis


def subscribe(raw: sqlite3.Connection, subscriptions: Sequence[Subscription], *, now: Moment) -> None:
    """As Outbox.subscribe."""
    raw.execute("delete from subscriptions")
    raw.executemany(
        "insert into subscriptions (destination, type, provider) values (?, ?, ?)",
        [
            (each.destination, str(type_), provider)
            for each in subscriptions
            for type_ in sorted(each.types)
            for provider in sorted(each.providers) or [""]
        ],
    )
    for each in subscriptions:
        moved = raw.execute(
            """
            insert into destinations (name, target) values (?, ?)
                on conflict (name) do update set target = excluded.target where target is not excluded.target
            """,
            (each.destination, each.target),
        )
        if moved.rowcount:
            begin_anew(raw, each.destination, now=now)


def release_leases(raw: sqlite3.Connection, *, now: Moment) -> None:
    """What another process was telling is due again: who holds the file's lock knows that it has ended."""
    raw.execute("update deliveries set next_at = ?, is_leased = 0 where next_at is not null and is_leased", (now,))
    raw.execute("update destinations set paused_until = ?, probe = null where probe is not null", (now,))
    sweep_clients(raw, now=now)


def claim(
    raw: sqlite3.Connection, destination: str, *, now: Moment, lease: timedelta, limit: int
) -> list[ClaimedDelivery]:
    """As Outbox.claim_deliveries."""
    health = health_of(raw, destination)
    room = breaker.room(health, limit=limit, now=now)
    if room <= 0:
        return []
    found = raw.execute(
        """
        select deliveries.key, deliveries.fence, deliveries.attempts, events.*
          from deliveries join events using (position)
         where destination = ? and next_at <= ? order by next_at, key limit ?
        """,
        (destination, now, room),
    ).fetchall()
    if not found:
        return []
    until = now + millis(lease)
    raw.execute(
        """
        update deliveries set next_at = ?, is_leased = 1, fence = fence + 1, attempts = attempts + 1
         where key in (select value from json_each(?))
        """,
        (until, json.dumps([row["key"] for row in found])),
    )
    if health.is_open:
        write_health(raw, destination, breaker.probing(health, found[0]["key"], until=until))
    return [
        ClaimedDelivery(
            key=row["key"],
            fence=row["fence"] + 1,
            destination=destination,
            attempts=row["attempts"] + 1,
            event=event_of(row),
        )
        for row in found
    ]


def settle(raw: sqlite3.Connection, settlements: Sequence[Settlement]) -> Settled:
    """As Outbox.settle_deliveries."""
    counted: list[bool] = []
    disabled: list[str] = []
    for settlement in settlements:
        row = raw.execute(
            """
            select destination, external_task_id, attempts from deliveries where key = ? and fence = ? and is_leased
            """,
            (settlement.key, settlement.fence),
        ).fetchone()
        counted.append(row is not None)
        if row is not None:
            _settle_one(raw, row, settlement)
            if note_health(raw, row["destination"], settlement):
                disabled.append(row["destination"])
    return Settled(counted=counted, disabled=disabled)


def redeliver(raw: sqlite3.Connection, keys: Sequence[int], *, now: Moment) -> int:
    """As Outbox.redeliver. One that is under way stays so."""
    found = raw.execute(
        """
        select key, destination, external_task_id from deliveries
         where key in (select value from json_each(?)) and not is_leased order by position
        """,
        (json.dumps(list(keys)),),
    ).fetchall()
    for key, destination, external_task_id in found:
        raw.execute(
            """
            update deliveries
               set state = 'open', attempts = 0, reason = null, settled_at = null,
                   next_at = case when external_task_id is null then ? end
             where key = ?
            """,
            (now, key),
        )
        take_turn(raw, destination, external_task_id)
        give_turn(raw, destination, external_task_id, now=now)
    for destination in {row["destination"] for row in found}:
        begin_anew(raw, destination, now=now)
    return len(found)


def _settle_one(raw: sqlite3.Connection, row: sqlite3.Row, settlement: Settlement) -> None:
    closed = _closed_as(settlement)
    is_counted = settlement.result is not AttemptResult.CUT_SHORT
    raw.execute(
        """
        update deliveries
           set state = :state, next_at = :next_at, settled_at = :settled_at, is_leased = 0,
               attempts = attempts - :taken_back, reason = :reason
         where key = :key
        """,
        {
            "state": str(closed or DeliveryState.OPEN),
            "next_at": None if closed else settlement.retry_at or settlement.now,
            "settled_at": settlement.now if closed else None,
            "taken_back": not is_counted,
            "reason": settlement.reason or None,
            "key": settlement.key,
        },
    )
    if closed is None and not (is_counted and row["attempts"] >= FINAL_WAITS_FOR):
        return
    if closed is None:
        supersede(raw, row["destination"], row["external_task_id"], now=settlement.now)
    give_turn(raw, row["destination"], row["external_task_id"], now=settlement.now)


def _closed_as(settlement: Settlement) -> DeliveryState | None:
    """What the delivery has become for good, if it has."""
    match settlement.result:
        case AttemptResult.DELIVERED:
            return DeliveryState.DELIVERED
        case AttemptResult.REFUSED | AttemptResult.GONE:
            return DeliveryState.DEAD
        case AttemptResult.FAILED:
            return DeliveryState.DEAD if settlement.retry_at is None else None
        case AttemptResult.CUT_SHORT:
            return None
