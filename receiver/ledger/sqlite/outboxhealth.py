"""How destinations fare, as rows: what each attempt says about the one it was made at."""

from __future__ import annotations

import json
import sqlite3

from receiver import breaker
from receiver.breaker import Health
from receiver.eventtype import EventType
from receiver.ledger.deliveries import AttemptResult, Settlement
from receiver.ledger.sqlite.outboxwriting import give_turns, write_deliveries
from receiver.origins import BEYOND_CLIENTS, CLIENTS, is_clients
from submitter.moments import Moment, iso_or_none, millis


def health_of(raw: sqlite3.Connection, destination: str) -> Health:
    """How it fares; one that was never heard of is well."""
    row = raw.execute(
        "select failures, failing_since, paused_until, probe, disabled_at, reason from destinations where name = ?",
        (destination,),
    ).fetchone()
    return Health() if row is None else Health(**row)


def note_health(raw: sqlite3.Connection, destination: str, settlement: Settlement) -> bool:
    """What the attempt says about its destination; whether it is disabled by it."""
    before = health_of(raw, destination)
    after = _health_after(before, destination, settlement)
    if after == before:
        return False
    write_health(raw, destination, after)
    if is_clients(destination):
        _give_up_late(raw, destination, after, now=settlement.now)
    if before.is_open and not after.is_open:
        _make_due(raw, destination, now=settlement.now)
    if after.disabled_at is None or before.disabled_at is not None:
        return False
    _tell_disabled(raw, destination, after, now=settlement.now)
    return True


def write_health(raw: sqlite3.Connection, destination: str, health: Health) -> None:
    """How it fares from now on. A client's origin has a row only while there is something to say of it."""
    if is_clients(destination) and health == Health():
        raw.execute("delete from destinations where name = ?", (destination,))
        return
    if is_clients(destination):
        _make_row(raw, destination, now=health.failing_since or 0)  # a new one fails for the first time
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


def sweep_clients(raw: sqlite3.Connection, *, now: Moment) -> None:
    """Forget how clients' origins fared for which nothing waits any more."""
    raw.execute(
        """
        delete from destinations
         where name >= ? and name < ? and paused_until <= ?
           and not exists (select 1 from deliveries where destination = name and state = 'open')
        """,
        (CLIENTS, BEYOND_CLIENTS, now),
    )


def begin_anew(raw: sqlite3.Connection, destination: str, *, now: Moment) -> None:
    """Another chance: whatever was, it is well, and all that waits for it is due."""
    write_health(raw, destination, Health())
    _make_due(raw, destination, now=now)


def _health_after(health: Health, destination: str, settlement: Settlement) -> Health:
    now, reason = settlement.now, settlement.reason
    match settlement.result:
        case AttemptResult.DELIVERED:
            return breaker.after_delivered(health)
        case AttemptResult.GONE if not is_clients(destination):
            return breaker.after_gone(health, reason, now=now)
        case AttemptResult.FAILED:
            failed = breaker.after_failed(
                health,
                reason,
                delivery=settlement.key,
                name=destination,
                now=now,
                disabled_after=None if is_clients(destination) else breaker.DISABLED_AFTER,
            )
            return failed if settlement.pause is None else breaker.after_pause(failed, settlement.pause, now=now)
        case AttemptResult.REFUSED | AttemptResult.GONE | AttemptResult.CUT_SHORT:
            return breaker.after_nothing(health, delivery=settlement.key, now=now)


def _make_row(raw: sqlite3.Connection, destination: str, *, now: Moment) -> None:
    """A new one takes along those that are not needed any more: nobody makes the table grow by naming origins."""
    known = raw.execute("select 1 from destinations where name = ?", (destination,)).fetchone()
    if known is None:
        sweep_clients(raw, now=now)
        raw.execute("insert into destinations (name) values (?)", (destination,))


def _give_up_late(raw: sqlite3.Connection, destination: str, health: Health, *, now: Moment) -> None:
    """While its breaker is open, few attempts are spent: what has waited for too long at it is not waited with."""
    if not breaker.is_time_to_give_up(health, now=now):
        return
    raw.execute(
        """
        update deliveries set state = 'dead', settled_at = :now, next_at = null, reason = :reason
         where destination = :destination and state = 'open' and not is_leased
           and (select time from events where events.position = deliveries.position) <= :before
        """,
        {
            "destination": destination,
            "now": now,
            "before": now - millis(breaker.CLIENT_WAITS_FOR),
            "reason": health.reason,
        },
    )
    give_turns(raw, destination, now=now)


def _make_due(raw: sqlite3.Connection, destination: str, *, now: Moment) -> None:
    raw.execute(
        "update deliveries set next_at = :now where destination = :destination and next_at > :now and not is_leased",
        {"destination": destination, "now": now},
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
