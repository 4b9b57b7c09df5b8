"""The queue before an account's slots: who has room, whose turn it is, and how far each tenant was served."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

from receiver.fairness import Served, Waiting, after_turn, given_back, next_turn, virtual_time
from receiver.ledger.openings import Lane, Opening
from receiver.ledger.sqlite.purse import purse_of
from receiver.ledger.sqlite.rows import fetch, update_tasks
from receiver.ledger.sqlite.stops import Rest
from receiver.lifecycle import note
from receiver.units import DAY
from submitter.moments import Moment, millis

WOKEN_AT_ONCE = 256  # more than are ever claimed at once
FORGOTTEN_AT_ONCE = 64

# What an account has in flight. Adopted tasks count too: they run, whoever sent them.
_SLOTS_TAKEN = """
    select coalesce(sum(slots), 0) from tasks
     where provider = :provider and settled_at is null and send_at is null
       and (state <> 'pending' or unanswered_until > :now)
"""

# The next tasks of those tenants whose turn begins first, of equals the oldest; after the one at this place.
_FIRST_HEADS = """
    select tasks.*, heads.begins as begins from heads cross join tasks on tasks.key = heads.task
     where heads.provider = :provider and heads.begins is not null and heads.send_at <= :now
       and (heads.begins, heads.send_at, heads.task) > (:begins, :send_at, :task)
     order by heads.begins, heads.send_at, heads.task limit :limit
"""

_HEAD_OF_TENANT = """
    select tasks.*, null as begins from heads cross join tasks on tasks.key = heads.task
     where heads.provider = :provider and heads.tenant = :tenant and heads.send_at <= :now
"""

# The oldest first: of those that lag behind nobody they are the next, so that the others may wait for another claim.
_WAKE = """
    update heads set begins = max(:virtual, coalesce(
               (select finish from turns where turns.provider = heads.provider and turns.tenant = heads.tenant), 0))
     where provider = :provider and tenant in (
           select tenant from heads indexed by heads_asleep
            where provider = :provider and begins is null and send_at <= :now
            order by send_at, task limit :limit)
"""

# The tenants named, and the one whose task began last: what the rule needs to know of them is the same.
_SERVED = """
    select tenant, start, finish from turns
     where provider = :provider and tenant in (select value from json_each(:tenants))
    union
    select * from (select tenant, start, finish from turns where provider = :provider order by start desc limit 1)
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


def in_turn(
    raw: sqlite3.Connection, provider: str, lane: Lane, rest: Rest, *, now: Moment, limit: int
) -> Iterator[sqlite3.Row]:
    """The rows of the tasks that may leave, each to be claimed before the next is asked for; then their turns are over.

    A task that is larger than what is free ends it: those behind it wait too, or it would wait for ever. One that is
    larger than all there is, for there were more when it was written down, leaves when all are free. Slots are free
    again soon, but units only when the day turns: so one that takes more than are left keeps its own tenant's others
    waiting alone, and has its turn before them on the new day. One that no day has units for keeps nobody.
    """
    room = None if lane.slot_limit is None else lane.slot_limit - _slots_taken(raw, provider, now)
    if limit <= 0 or (room is not None and room <= 0) or rest.until > now:
        return
    limit = 1 if rest.is_on_trial else limit
    queue = _Queue(raw, provider, now=now, most=limit)
    purse = purse_of(raw, provider, lane.units_per_day, now=now)
    while limit > 0 and (turn := queue.next_turn()) is not None:
        if room is not None and min(turn.slots, lane.slot_limit or 0) > room:
            break
        row = queue.take(turn)
        if row["deadline_at"] <= now:  # it expires at this very moment, and nobody is to pay for it
            continue
        if purse is not None:
            price = row["endpoint"], row["request"], row["slots"]
            reason = purse.reason_to_wait(*price)
            if reason is not None:
                note_waiting(raw, row["external_task_id"], reason)
                if purse.fits_no_day(*price):
                    raw.execute("update tasks set send_at = ? where key = ?", (now + millis(DAY), row["key"]))
                    queue.add_next_of(turn.tenant)
                continue
            purse.reserve(row["key"], *price)
        yield row
        queue.serve(turn)
        room = None if room is None else room - turn.slots
        limit -= 1
    queue.write()


class _Queue:
    """The tenants that come into question for so many turns, however many wait, and how far each was served.

    Who is not among the first `most` by the index has no turn before all of these have had theirs.
    """

    def __init__(self, raw: sqlite3.Connection, provider: str, *, now: Moment, most: int) -> None:
        self._raw = raw
        self._provider = provider
        self._now = now
        self._most = most
        self._heads: dict[str, tuple[Waiting, sqlite3.Row]] = {}
        self._read_up_to = (-1, 0, 0)
        self._read = self._taken = 0
        virtual = virtual_time(_served(raw, provider))
        raw.execute(_WAKE, {"provider": provider, "virtual": virtual, "now": now, "limit": WOKEN_AT_ONCE})
        self._served = self._before = _served(raw, provider)

    def next_turn(self) -> Waiting | None:
        """Whose turn it is, of those whose task was not taken."""
        if self._taken >= self._read:
            self._read_on()
        return next_turn((waiting for waiting, _ in self._heads.values()), self._served)

    def take(self, turn: Waiting) -> sqlite3.Row:
        """The task whose turn it is: it is not in question any more, whether it leaves or not."""
        self._taken += 1
        return self._heads.pop(turn.tenant)[1]

    def serve(self, turn: Waiting) -> None:
        """What was taken has left: the tenant's next task comes into question behind it."""
        self._served = after_turn(self._served, turn.tenant, turn.slots)
        self.add_next_of(turn.tenant)

    def add_next_of(self, tenant: str) -> None:
        """The tenant's next task, where it has one that may leave."""
        found = self._raw.execute(_HEAD_OF_TENANT, {"provider": self._provider, "tenant": tenant, "now": self._now})
        self._add(found.fetchall())

    def write(self) -> None:
        """Keep how far they were served."""
        _write(self._raw, self._provider, self._before, self._served)

    def _read_on(self) -> None:
        """As many more, from where the last reading ended."""
        begins, send_at, task = self._read_up_to
        place = {"begins": begins, "send_at": send_at, "task": task}
        found = self._raw.execute(
            _FIRST_HEADS, {"provider": self._provider, "now": self._now, "limit": self._most, **place}
        ).fetchall()
        if not found:
            return
        self._read += len(found)
        self._read_up_to = found[-1]["begins"], found[-1]["send_at"], found[-1]["key"]
        known = _served(self._raw, self._provider, [row["tenant"] for row in found])
        self._before = {**known, **self._before}
        self._served = {**known, **self._served}
        self._add(row for row in found if row["tenant"] not in self._heads)

    def _add(self, rows: Iterable[sqlite3.Row]) -> None:
        for row in rows:
            place = row["send_at"], row["key"]
            self._heads[row["tenant"]] = Waiting(tenant=row["tenant"], place=place, slots=row["slots"]), row


def take_turn(raw: sqlite3.Connection, provider: str, tenant: str, slots: int) -> None:
    """One that found room at once, and waited for no turn, has had it all the same."""
    take_turns(raw, provider, [(tenant, slots)])


def take_turns(raw: sqlite3.Connection, provider: str, taken: Sequence[tuple[str, int]]) -> None:
    """The same for several, in their order: whose each is, and how many slots it takes."""
    served = before = _served(raw, provider, [tenant for tenant, _ in taken])
    for tenant, slots in taken:
        served = after_turn(served, tenant, slots)
    _write(raw, provider, before, served)


def give_turn_back(raw: sqlite3.Connection, provider: str, tenant: str, slots: int) -> None:
    """It left, and nothing was created of it."""
    served = _served(raw, provider, [tenant])
    _write(raw, provider, served, given_back(served, tenant, slots))
    raw.execute("update heads set begins = null where provider = ? and tenant = ?", (provider, tenant))


def note_waiting(raw: sqlite3.Connection, external_task_id: str, reason: str) -> None:
    """Why a task that could leave must wait."""
    row = fetch(raw, external_task_id)
    row.task = note(row.task, reason)
    update_tasks(raw, [row])


def _slots_taken(raw: sqlite3.Connection, provider: str, now: Moment) -> int:
    taken: int = raw.execute(_SLOTS_TAKEN, {"provider": provider, "now": now}).fetchone()[0]
    return taken


def _served(raw: sqlite3.Connection, provider: str, tenants: Sequence[str] = ()) -> dict[str, Served]:
    rows = raw.execute(_SERVED, {"provider": provider, "tenants": json.dumps(tenants)})
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
    # Who lags behind everybody by now, and was not looked at. A few for each turn are more than turns ever add.
    raw.execute(
        """
        delete from turns where provider = :provider and tenant in (
            select tenant from (select tenant, start from turns indexed by turns_by_finish
                                 where provider = :provider and finish <= :virtual order by finish limit :limit)
             where start < :virtual
        )
        """,
        {"provider": provider, "virtual": virtual_time(after), "limit": FORGOTTEN_AT_ONCE},
    )
