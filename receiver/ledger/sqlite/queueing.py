"""The queue before an account's slots: who has room, whose turn it is, and how far each tenant was served."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from receiver.fairness import Served, Waiting, after_turn, given_back, next_turn
from receiver.ledger.openings import Lane, Opening
from receiver.ledger.sqlite.purse import purse_of
from receiver.ledger.sqlite.rows import fetch, update_tasks
from receiver.lifecycle import note
from receiver.units import DAY
from submitter.moments import Moment, millis

UNANSWERED_HOLDS_SLOTS = timedelta(minutes=10)  # a create that nobody answers must not hold them for ever

# What an account has in flight. Adopted tasks count too: they run, whoever sent them.
_SLOTS_TAKEN = """
    select coalesce(sum(slots), 0) from tasks
     where provider = :provider and settled_at is null and send_at is null
       and (state <> 'pending' or unanswered_until > :now)
"""

# From one tenant to the next by the index, however many tasks each of them has waiting.
_TENANTS = """
    with recursive waiting (tenant) as (
        select * from (select tenant from tasks indexed by tasks_by_turn
                        where provider = :provider and send_at is not null order by tenant limit 1)
        union all
        select (select tenant from tasks indexed by tasks_by_turn
                 where provider = :provider and tenant > waiting.tenant and send_at is not null
                 order by tenant limit 1)
          from waiting where waiting.tenant is not null
    )
    select tenant from waiting where tenant is not null
"""

_NEXT_OF_TENANT = """
    select * from tasks indexed by tasks_by_turn
     where provider = :provider and tenant = :tenant and send_at <= :now
     order by send_at, key limit 1
"""


def has_room(raw: sqlite3.Connection, opening: Opening) -> bool:
    """Whether slots are free and nobody waits before it."""
    if opening.slot_limit is None and opening.units_per_day is None:
        return True
    waiting = raw.execute("select 1 from tasks where provider = ? and send_at is not null", (opening.provider,))
    if waiting.fetchone() is not None:
        return False
    if opening.slot_limit is None:
        return True
    return _slots_taken(raw, opening.provider, opening.now) + opening.slots <= opening.slot_limit


def paused_until(raw: sqlite3.Connection, provider: str) -> Moment:
    """Until when the account is left in peace; 0 where it is not."""
    row = raw.execute("select paused_until from query_budgets where provider = ?", (provider,)).fetchone()
    return 0 if row is None else int(row["paused_until"])


def in_turn(raw: sqlite3.Connection, provider: str, lane: Lane, *, now: Moment, limit: int) -> Iterator[sqlite3.Row]:
    """The rows of the tasks that may leave, each to be claimed before the next is asked for; then their turns are over.

    A task that is larger than what is free ends it: those behind it wait too, or it would wait for ever. One that is
    larger than all there is, for there were more when it was written down, leaves when all are free. Slots are free
    again soon, but units only when the day turns: so one that takes more than are left keeps its own tenant's others
    waiting alone, and has its turn before them on the new day. One that no day has units for keeps nobody.
    """
    room = None if lane.slot_limit is None else lane.slot_limit - _slots_taken(raw, provider, now)
    if limit <= 0 or (room is not None and room <= 0) or paused_until(raw, provider) > now:
        return
    served = before = _served(raw, provider)
    heads = _heads(raw, provider, now)
    purse = purse_of(raw, provider, lane.units_per_day, now=now)
    while heads and limit > 0:
        turn = next_turn((waiting for waiting, _ in heads.values()), served)
        if turn is None or (room is not None and min(turn.slots, lane.slot_limit or 0) > room):
            break
        row = heads.pop(turn.tenant)[1]
        if purse is not None:
            price = row["endpoint"], row["request"], row["slots"]
            reason = purse.reason_to_wait(*price)
            if reason is not None:
                note_waiting(raw, row["external_task_id"], reason)
                if purse.fits_no_day(*price):
                    raw.execute("update tasks set send_at = ? where key = ?", (now + millis(DAY), row["key"]))
                    heads |= _head(raw, provider, turn.tenant, now)
                continue
            purse.reserve(row["key"], *price)
        yield row
        served = after_turn(served, turn.tenant, turn.slots)
        room = None if room is None else room - turn.slots
        limit -= 1
        heads |= _head(raw, provider, turn.tenant, now)
    _write(raw, provider, before, served)


def take_turn(raw: sqlite3.Connection, provider: str, tenant: str, slots: int) -> None:
    """One that found room at once, and waited for no turn, has had it all the same."""
    take_turns(raw, provider, [(tenant, slots)])


def take_turns(raw: sqlite3.Connection, provider: str, taken: Iterable[tuple[str, int]]) -> None:
    """The same for several, in their order: whose each is, and how many slots it takes."""
    served = before = _served(raw, provider)
    for tenant, slots in taken:
        served = after_turn(served, tenant, slots)
    _write(raw, provider, before, served)


def give_turn_back(raw: sqlite3.Connection, provider: str, tenant: str, slots: int) -> None:
    """It left, and nothing was created of it."""
    served = _served(raw, provider)
    _write(raw, provider, served, given_back(served, tenant, slots))


def note_waiting(raw: sqlite3.Connection, external_task_id: str, reason: str) -> None:
    """Why a task that could leave must wait."""
    row = fetch(raw, external_task_id)
    row.task = note(row.task, reason)
    update_tasks(raw, [row])


def _slots_taken(raw: sqlite3.Connection, provider: str, now: Moment) -> int:
    taken: int = raw.execute(_SLOTS_TAKEN, {"provider": provider, "now": now}).fetchone()[0]
    return taken


def _heads(raw: sqlite3.Connection, provider: str, now: Moment) -> dict[str, tuple[Waiting, sqlite3.Row]]:
    """The next task of each tenant that has one due."""
    heads: dict[str, tuple[Waiting, sqlite3.Row]] = {}
    for (tenant,) in raw.execute(_TENANTS, {"provider": provider}).fetchall():
        heads |= _head(raw, provider, tenant, now)
    return heads


def _head(raw: sqlite3.Connection, provider: str, tenant: str, now: Moment) -> dict[str, tuple[Waiting, sqlite3.Row]]:
    row = raw.execute(_NEXT_OF_TENANT, {"provider": provider, "tenant": tenant, "now": now}).fetchone()
    if row is None:
        return {}
    return {tenant: (Waiting(tenant=tenant, place=(row["send_at"], row["key"]), slots=row["slots"]), row)}


def _served(raw: sqlite3.Connection, provider: str) -> dict[str, Served]:
    rows = raw.execute("select tenant, start, finish from turns where provider = ?", (provider,))
    return {tenant: Served(start=start, finish=finish) for tenant, start, finish in rows}


def _write(raw: sqlite3.Connection, provider: str, before: Mapping[str, Served], after: Mapping[str, Served]) -> None:
    raw.executemany(
        "delete from turns where provider = ? and tenant = ?",
        [(provider, tenant) for tenant in before.keys() - after.keys()],
    )
    raw.executemany(
        "insert or replace into turns (provider, tenant, start, finish) values (?, ?, ?, ?)",
        [(provider, tenant, each.start, each.finish) for tenant, each in after.items() if before.get(tenant) != each],
    )
