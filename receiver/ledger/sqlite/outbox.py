"""The outbox: deliveries written with their events, whose turn it is, and what became of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from datetime import timedelta

from receiver import breaker
from receiver.breaker import FINAL_WAITS_FOR, Health
from receiver.eventtype import FINAL, EventType
from receiver.ledger.deliveries import (
    AttemptResult,
    ClaimedDelivery,
    DeliveryState,
    Settled,
    Settlement,
    Subscription,
)
from receiver.ledger.sqlite.rows import event_of
from submitter.moments import Moment, iso_or_none, millis

SUPERSEDED = "superseded by a later event of its task"


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
            _begin_anew(raw, each.destination, now=now)


def release_leases(raw: sqlite3.Connection, *, now: Moment) -> None:
    """What another process was telling is due again: who holds the file's lock knows that it has ended."""
    raw.execute("update deliveries set next_at = ?, is_leased = 0 where next_at is not null and is_leased", (now,))
    raw.execute("update destinations set paused_until = ?, probe = null where probe is not null", (now,))


def write_deliveries(raw: sqlite3.Connection, *, after: int) -> None:
    """A delivery of each event behind this position to each destination that wants it.

    Of a task's events the first takes its turn, unless one before it is still open.
    """
    if raw.execute("select 1 from subscriptions limit 1").fetchone() is None:
        return
    raw.execute(
        """
        insert into deliveries (position, destination, external_task_id, is_final, next_at)
        select position, destination, external_task_id, is_final,
               case when external_task_id is null or (place = 1 and not exists (
                        select 1 from deliveries as earlier
                         where earlier.destination = new.destination
                           and earlier.external_task_id = new.external_task_id and earlier.state = 'open'))
                    then time end
          from (select position, destination, external_task_id, time,
                       events.type in (select value from json_each(:final)) as is_final,
                       row_number() over (partition by destination, external_task_id order by position) as place
                  from events cross join subscriptions
                    on subscriptions.type = events.type
                   and (provider = '' or provider = coalesce(json_extract(events.task, '$.provider'),
                                                          json_extract(events.about, '$.path.provider')))
                 where position > :after) as new
         order by position, destination
        """,
        {"after": after, "final": json.dumps(sorted(FINAL))},
    )
    held_up = raw.execute(
        """
        select distinct earlier.destination, earlier.external_task_id, new.time
          from (select destination, deliveries.external_task_id, time from deliveries join events using (position)
                 where position > :after and is_final) as new
          join deliveries as earlier using (destination, external_task_id)
         where earlier.state = 'open' and earlier.position <= :after
           and earlier.attempts >= :patience and not earlier.is_leased
        """,
        {"after": after, "patience": FINAL_WAITS_FOR},
    )
    for destination, external_task_id, now in held_up.fetchall():
        _supersede(raw, destination, external_task_id, now=now)
        _give_turn(raw, destination, external_task_id, now=now)


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
        _write_health(raw, destination, breaker.probing(health, found[0]["key"], until=until))
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
            if _note_health(raw, row["destination"], settlement):
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
        _take_turn(raw, destination, external_task_id)
        _give_turn(raw, destination, external_task_id, now=now)
    for destination in {row["destination"] for row in found}:
        _begin_anew(raw, destination, now=now)
    return len(found)


def health_of(raw: sqlite3.Connection, destination: str) -> Health:
    """How it fares; one that was never heard of is well."""
    row = raw.execute(
        "select failures, failing_since, paused_until, probe, disabled_at, reason from destinations where name = ?",
        (destination,),
    ).fetchone()
    return Health() if row is None else Health(**row)


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
        _supersede(raw, row["destination"], row["external_task_id"], now=settlement.now)
    _give_turn(raw, row["destination"], row["external_task_id"], now=settlement.now)


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


def _supersede(raw: sqlite3.Connection, destination: str, external_task_id: str | None, *, now: Moment) -> None:
    """What stands before the latest final event of the task is old news, if there is one."""
    raw.execute(
        """
        update deliveries set state = 'superseded', settled_at = :now, next_at = null, reason = :reason
         where destination = :destination and external_task_id = :task and state = 'open' and not is_leased
           and position < (select max(position) from deliveries as final
                            where destination = :destination and external_task_id = :task
                              and state = 'open' and is_final)
        """,
        {"destination": destination, "task": external_task_id, "now": now, "reason": SUPERSEDED},
    )


def _give_turn(raw: sqlite3.Connection, destination: str, external_task_id: str | None, *, now: Moment) -> None:
    """The first open one of the task is due, unless another has its turn."""
    raw.execute(
        """
        update deliveries set next_at = :now
         where key = (select key from deliveries
                       where destination = :destination and external_task_id = :task and state = 'open'
                       order by position limit 1)
           and not exists (select 1 from deliveries
                            where destination = :destination and external_task_id = :task and next_at is not null)
        """,
        {"destination": destination, "task": external_task_id, "now": now},
    )


def _take_turn(raw: sqlite3.Connection, destination: str, external_task_id: str | None) -> None:
    """Nothing of the task is due any more, but for what is under way."""
    raw.execute(
        """
        update deliveries set next_at = null
         where destination = ? and external_task_id = ? and next_at is not null and not is_leased
        """,
        (destination, external_task_id),
    )


def _begin_anew(raw: sqlite3.Connection, destination: str, *, now: Moment) -> None:
    """Another chance: whatever was, it is well, and all that waits for it is due."""
    _write_health(raw, destination, Health())
    _make_due(raw, destination, now=now)


def _make_due(raw: sqlite3.Connection, destination: str, *, now: Moment) -> None:
    raw.execute(
        "update deliveries set next_at = :now where destination = :destination and next_at > :now and not is_leased",
        {"destination": destination, "now": now},
    )


def _note_health(raw: sqlite3.Connection, destination: str, settlement: Settlement) -> bool:
    """What the attempt says about its destination; whether it is disabled by it."""
    before = health_of(raw, destination)
    after = _health_after(before, destination, settlement)
    if after == before:
        return False
    _write_health(raw, destination, after)
    if before.is_open and not after.is_open:
        _make_due(raw, destination, now=settlement.now)
    if after.disabled_at is None or before.disabled_at is not None:
        return False
    _tell_disabled(raw, destination, after, now=settlement.now)
    return True


def _health_after(health: Health, destination: str, settlement: Settlement) -> Health:
    now, reason = settlement.now, settlement.reason
    match settlement.result:
        case AttemptResult.DELIVERED:
            return breaker.after_delivered(health)
        case AttemptResult.GONE:
            return breaker.after_gone(health, reason, now=now)
        case AttemptResult.FAILED:
            failed = breaker.after_failed(health, reason, delivery=settlement.key, name=destination, now=now)
            return failed if settlement.pause is None else breaker.after_pause(failed, settlement.pause, now=now)
        case AttemptResult.REFUSED | AttemptResult.CUT_SHORT:
            return breaker.after_nothing(health, delivery=settlement.key, now=now)


def _write_health(raw: sqlite3.Connection, destination: str, health: Health) -> None:
    raw.execute(
        """
        update destinations
           set failures = ?, failing_since = ?, paused_until = ?, probe = ?, disabled_at = ?, reason = ?
         where name = ?
        """,
        (
            health.failures,
            health.failing_since,
            health.paused_until,
            health.probe,
            health.disabled_at,
            health.reason,
            destination,
        ),
    )


def _tell_disabled(raw: sqlite3.Connection, destination: str, health: Health, *, now: Moment) -> None:
    """The event `destination.disabled`, for those who are still told."""
    [times] = raw.execute(
        "update destinations set disabled_times = disabled_times + 1 where name = ? returning disabled_times",
        (destination,),
    ).fetchone()
    about = {
        "destination": {
            "name": destination,
            "reason": health.reason,
            "failing_since": iso_or_none(health.failing_since),
            "disabled_at": iso_or_none(health.disabled_at),
        }
    }
    position = raw.execute(
        "insert into events (id, type, time, about) values (?, ?, ?, ?)",
        # No task's id has a colon: the events of a task are found by what their ids begin with.
        (f"destination:{destination}.{times}", str(EventType.DESTINATION_DISABLED), now, json.dumps(about)),
    ).lastrowid
    write_deliveries(raw, after=(position or 1) - 1)
