"""SqliteLedger: the protocol of `receiver.ledger.base`, over one writer and one reader.

Long and not divided: each method binds one function of a module beside this one to the writer's queue, or asks the
reader, so that there is nothing to be read here but the list.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
import structlog

from receiver.keys import StoredKey
from receiver.ledger.base import Asked, Change, Claim, Heard, Judge, PageResult, Pause, WriterState
from receiver.ledger.deliveries import (
    ClaimedDelivery,
    DeliveryPage,
    DeliveryQuery,
    DestinationState,
    Places,
    Settled,
    Settlement,
    Subscription,
)
from receiver.ledger.errors import LedgerUnusable, Refusal, Unwritable
from receiver.ledger.migrate import migrate_sqlite
from receiver.ledger.openings import Lane, Opened, Opening, Unsent
from receiver.ledger.reading import AccountState, History, KeptUnreadable, Page, Query, Seen, StoredEvent, WireQuery
from receiver.ledger.sqlite import (
    claiming,
    keys,
    outbox,
    outboxclients,
    paths,
    pictures,
    replaying,
    sending,
    soundings,
    stops,
    together,
    unreadable,
)
from receiver.ledger.sqlite.connection import connect_reader, connect_writer, in_thread
from receiver.ledger.sqlite.hearing import Hear
from receiver.ledger.sqlite.lock import LedgerLock
from receiver.ledger.sqlite.looking import Looks
from receiver.ledger.sqlite.opening import open_task, promise
from receiver.ledger.sqlite.openingtogether import OpenTogether, is_free
from receiver.ledger.sqlite.reader import SqliteReader
from receiver.ledger.sqlite.writer import Single, Writer
from receiver.lifecycle import HELD_FOR
from receiver.listing import Sharing
from receiver.pathhealth import PathHealth
from receiver.straggler import Outcome
from receiver.task import Decision, Record, Task
from receiver.wiretask import WireTask
from submitter.moments import Moment, millis
from submitter.providers.base import Trust

T = TypeVar("T")
log = structlog.get_logger("ledger")


class SqliteLedger:
    """The ledger in one file. Open it with `SqliteLedger.open`, close it with `aclose`.

    `on_change` is called on the loop after each commit that changed something.
    """

    def __init__(self, lock: LedgerLock, connection: aiosqlite.Connection, reader: SqliteReader, looks: Looks) -> None:
        self.on_change: Callable[[Change], None] = lambda _: None
        self._lock = lock
        self._connection = connection
        self._reader = reader
        self._looks = looks
        self._hear: Hear | None = None
        self._open = OpenTogether()
        self._writer = Writer(connection, on_commit=self._committed)

    @classmethod
    async def open(
        cls, path: Path, *, now: Moment, address: str | None = None, lock_wait: timedelta = timedelta(0)
    ) -> SqliteLedger:
        """Lock, migrate and open. Raises LedgerLocked after `lock_wait`, or LedgerUnusable."""
        path = await asyncio.to_thread(path.resolve)  # by another name it would have another lock
        lock = LedgerLock(path)
        await lock.acquire_within(lock_wait, address=address)
        connection: aiosqlite.Connection | None = None
        try:
            await asyncio.to_thread(_make_private, path)
            connection = await connect_writer(path)
            await in_thread(connection, lambda raw: migrate_sqlite(raw, now=now))
            await in_thread(connection, lambda raw: _tidy(raw, now=now))
            reader = SqliteReader(await connect_reader(path))
        except sqlite3.Error as error:
            await _give_up(lock, connection)
            raise LedgerUnusable(f"{path}: {error}. Is it a SQLite database, on a disk that can be written?") from error
        except BaseException:
            await _give_up(lock, connection)
            raise
        return cls(lock, connection, reader, Looks(path))

    async def aclose(self) -> None:
        """Commit what waits, checkpoint, close and let go of the lock."""
        try:
            await self._writer.aclose()
        finally:  # an open connection would hang the exit
            self._looks.close()
            await self._reader.aclose()
            with contextlib.suppress(sqlite3.Error):
                await in_thread(self._connection, _checkpoint)
            await self._connection.close()
            self._lock.release()

    async def drop(self) -> None:
        """Let go as a process that is killed does: nothing is committed any more, and nobody is told of anything.

        For simulations and tests of what such an end leaves behind.
        """
        await self._writer.drop()
        await self._reader.aclose()
        await self._connection.close()
        self._lock.release()

    @property
    def trouble(self) -> str | None:
        """What ails the store, until a commit succeeds again."""
        return self._writer.trouble

    def require_room(self) -> None:
        """As Ledger.require_room."""
        self._writer.require_room()

    @property
    def writer_state(self) -> WriterState:
        """What waits to be written, and what was."""
        return self._writer.state

    async def check(self) -> None:
        """Commit what is larger than a callback, and take it back: raises LedgerUnavailable if that does not fit.

        A callback for a new task alone touches a score of pages: were less tried, a disk that is all but full
        would be called ready, and take none.
        """
        filler = "insert or replace into settings (name, value) values ('check', hex(zeroblob(65536)))"
        await self._write(lambda raw: raw.execute(filler))
        await self._write(lambda raw: raw.execute("delete from settings where name = 'check'"))

    async def setting(self, name: str, otherwise: str) -> str:
        """A value kept with the ledger; the first to ask decides what it is."""

        def kept(raw: sqlite3.Connection) -> str:
            raw.execute("insert or ignore into settings (name, value) values (?, ?)", (name, otherwise))
            return _setting(raw, name) or otherwise

        return await self._write(kept)

    async def kept_setting(self, name: str) -> str | None:
        """A value kept with the ledger, if there is one."""
        return await self._write(lambda raw: _setting(raw, name))

    async def open_task(self, opening: Opening) -> Opened:
        """As Ledger.open_task."""
        if is_free(opening):
            return await self._writer.write(self._open, opening, size=len(opening.request))
        name, inline = opening.external_task_id, opening.inline
        if inline:
            size = sum(map(len, inline.values()))
            await self._write(lambda raw: pictures.keep_inline(raw, name, inline), size=size)
        return await self._write(lambda raw: open_task(raw, opening), size=len(opening.request))

    async def apply(self, batch: Sequence[Heard], judge: Judge) -> list[Decision | Refusal]:
        """As Ledger.apply."""
        if self._hear is None or self._hear.judge is not judge:
            self._hear = Hear(judge)
        futures = [self._writer.enqueue(self._hear, heard, size=len(heard.body)) for heard in batch]
        return [await _judged(future) for future in futures]

    async def promise(self, external_task_id: str) -> Task:
        """As Ledger.promise."""
        return await self._write(lambda raw: promise(raw, external_task_id))

    async def refuse(self, external_task_id: str, reason: str, *, fence: int | None, now: Moment) -> Task:
        """As Ledger.refuse."""
        return await self._write(lambda raw: sending.refuse_task(raw, external_task_id, reason, fence=fence, now=now))

    async def defer(self, external_task_id: str, reason: str, *, fence: int | None, send_at: Moment) -> bool:
        """As Ledger.defer."""
        return await self._write(
            lambda raw: sending.defer_task(raw, external_task_id, reason, fence=fence, send_at=send_at)
        )

    async def unanswered(
        self, external_task_id: str, reason: str, *, query_at: Moment | None, fence: int | None = None
    ) -> bool:
        """As Ledger.unanswered."""
        return await self._write(
            lambda raw: sending.note_unanswered(raw, external_task_id, reason, fence=fence, query_at=query_at)
        )

    async def claim_unsent(self, *, now: Moment, limit: int, lanes: Mapping[str, Lane]) -> list[Unsent]:
        """As Ledger.claim_unsent."""
        return await self._write(lambda raw: sending.claim_unsent(raw, now=now, limit=limit, lanes=lanes))

    async def claim_stragglers(
        self, *, now: Moment, lease: timedelta, limit: int, budgets: Mapping[str, int]
    ) -> list[Claim]:
        """As Ledger.claim_stragglers."""
        return await self._write(
            lambda raw: claiming.claim_stragglers(raw, now=now, lease=lease, limit=limit, budgets=budgets)
        )

    async def claim_round(
        self, provider: str, *, now: Moment, lease: timedelta, limit: int, budget: int, sharing: Sharing
    ) -> list[Claim]:
        """As Ledger.claim_round."""
        return await self._write(
            lambda raw: together.claim_round(
                raw, provider, now=now, lease=lease, limit=limit, per_minute=budget, sharing=sharing
            )
        )

    async def claim_riders(
        self, provider: str, external_task_ids: Sequence[str], *, now: Moment, lease: timedelta
    ) -> list[Claim]:
        """As Ledger.claim_riders."""
        return await self._write(
            lambda raw: together.claim_riders(raw, provider, external_task_ids, now=now, lease=lease)
        )

    async def count_questions(self, asked: Sequence[Asked], pages: Sequence[PageResult] = ()) -> None:
        """As Ledger.count_questions."""
        await self._write(lambda raw: together.count_questions(raw, asked, pages))

    async def listed_tasks(
        self, provider: str, *, external_task_ids: Sequence[str], task_ids: Sequence[str]
    ) -> list[Task]:
        """As Ledger.listed_tasks."""
        return await self._reader.listed_tasks(provider, external_task_ids=external_task_ids, task_ids=task_ids)

    async def count_listed(self, provider: str, *, external_task_ids: Sequence[str], task_ids: Sequence[str]) -> int:
        """As Ledger.count_listed."""
        return await self._reader.count_listed(provider, external_task_ids=external_task_ids, task_ids=task_ids)

    async def accounts(self) -> list[AccountState]:
        """As Ledger.accounts."""
        return await self._reader.accounts()

    async def claim_task(self, external_task_id: str, *, now: Moment, lease: timedelta) -> Claim:
        """As Ledger.claim_task."""
        return await self._write(lambda raw: claiming.claim_task(raw, external_task_id, now=now, lease=lease))

    async def settle(self, outcomes: Sequence[Outcome], judge: Judge, pauses: Sequence[Pause] = ()) -> None:
        """As Ledger.settle."""
        await self._write(lambda raw: claiming.settle(raw, outcomes, judge, pauses))

    async def lift(self, provider: str, *, trial: int) -> bool:
        """As Ledger.lift."""
        return await self._write(lambda raw: stops.lift(raw, provider, trial=trial))

    async def note_start(self, providers: Sequence[str], *, now: Moment) -> None:
        """As Ledger.note_start."""
        await self._write(lambda raw: paths.note_start(raw, providers, now=now))

    async def note_life(self, provider: str, judge: Judge, *, now: Moment) -> PathHealth | None:
        """As Ledger.note_life."""
        return await self._write(lambda raw: paths.note_life(raw, provider, judge, now=now))

    async def plan_anew(self, judge: Judge, *, now: Moment) -> int:
        """As Ledger.plan_anew."""
        return await self._write(lambda raw: paths.plan_anew(raw, judge, now=now))

    async def is_left_to_plan(self) -> bool:
        """As Ledger.is_left_to_plan."""
        return await self._reader.is_left_to_plan()

    async def sound(self, provider: str, judge: Judge, *, now: Moment) -> int:
        """As Ledger.sound."""
        return await self._write(lambda raw: soundings.sound(raw, provider, judge, now=now))

    async def paths(self) -> Mapping[str, PathHealth]:
        """As Ledger.paths."""
        return await self._reader.paths()

    async def settle_overdue(self, judge: Judge, *, now: Moment, limit: int) -> list[Decision]:
        """As Ledger.settle_overdue."""
        held_before = now - millis(HELD_FOR)
        return await self._write(
            lambda raw: claiming.settle_overdue(raw, judge, now=now, held_before=held_before, limit=limit)
        )

    async def send_again(self, external_task_id: str, *, now: Moment) -> Task:
        """As Ledger.send_again."""
        return await self._write(lambda raw: sending.send_again(raw, external_task_id, now=now))

    async def abandon(self, external_task_id: str, *, now: Moment) -> Task:
        """As Ledger.abandon."""
        return await self._write(lambda raw: sending.abandon(raw, external_task_id, now=now))

    async def keep_unreadable(
        self, *, provider: str, external_task_id: str, body: bytes, reason: str, trust: Trust, now: Moment
    ) -> None:
        """As Ledger.keep_unreadable."""
        await self._write(
            lambda raw: unreadable.keep(
                raw,
                provider=provider,
                external_task_id=external_task_id,
                body=body,
                reason=reason,
                trust=trust,
                now=now,
            ),
            size=len(body),
        )

    async def unreadable(self, after: int, *, limit: int) -> list[KeptUnreadable]:
        """As Ledger.unreadable."""
        return await self._reader.unreadable(after, limit=limit)

    async def replay(self, key: int, heard: Heard, judge: Judge) -> Decision | None:
        """As Ledger.replay."""
        try:
            return await self._write(lambda raw: replaying.replay(raw, key, heard, judge), size=len(heard.body))
        except (sqlite3.Error, ValueError, OverflowError) as error:
            raise _unwritable(error) from error

    async def give_reasons(self, reasons: Mapping[int, str]) -> None:
        """As Ledger.give_reasons."""
        await self._write(lambda raw: unreadable.give_reasons(raw, reasons))

    async def subscribe(self, subscriptions: Sequence[Subscription], *, now: Moment) -> None:
        """As Outbox.subscribe."""
        await self._write(lambda raw: outbox.subscribe(raw, subscriptions, now=now))

    async def claim_deliveries(
        self, destination: str, *, now: Moment, lease: timedelta, limit: int
    ) -> list[ClaimedDelivery]:
        """As Outbox.claim_deliveries."""
        return await self._write(lambda raw: outbox.claim(raw, destination, now=now, lease=lease, limit=limit))

    async def claim_client_deliveries(self, *, now: Moment, lease: timedelta, places: Places) -> list[ClaimedDelivery]:
        """As Outbox.claim_client_deliveries."""
        return await self._write(lambda raw: outboxclients.claim_for_clients(raw, now=now, lease=lease, places=places))

    async def settle_deliveries(self, settlements: Sequence[Settlement]) -> Settled:
        """As Outbox.settle_deliveries."""
        return await self._write(lambda raw: outbox.settle(raw, settlements))

    async def redeliver(self, keys: Sequence[int], *, now: Moment) -> int:
        """As Outbox.redeliver."""
        return await self._write(lambda raw: outbox.redeliver(raw, keys, now=now))

    async def next_delivery_at(self, destination: str) -> Moment | None:
        """As Outbox.next_delivery_at."""
        return await self._reader.next_delivery_at(destination)

    async def next_client_delivery_at(self) -> Moment | None:
        """As Outbox.next_client_delivery_at."""
        return await self._reader.next_client_delivery_at()

    async def deliveries(self, query: DeliveryQuery) -> DeliveryPage:
        """As Outbox.deliveries."""
        return await self._reader.deliveries(query)

    async def count_deliveries(self, query: DeliveryQuery) -> int:
        """As Outbox.count_deliveries."""
        return await self._reader.count_deliveries(query)

    async def destinations(self) -> list[DestinationState]:
        """As Outbox.destinations."""
        return await self._reader.destinations()

    async def add_key(self, key: StoredKey) -> StoredKey:
        """As Ledger.add_key."""
        return await self._write(lambda raw: keys.add(raw, key))

    async def revoke_key(self, name: str, *, now: Moment) -> StoredKey:
        """As Ledger.revoke_key."""
        return await self._write(lambda raw: keys.revoke(raw, name, now=now))

    async def keys(self) -> list[StoredKey]:
        """As Ledger.keys."""
        return await self._reader.keys()

    async def record(self, external_task_id: str) -> Record | None:
        """As Ledger.record."""
        return await self._reader.record(external_task_id)

    async def tasks(self, query: Query) -> Page:
        """As Ledger.tasks."""
        return await self._reader.tasks(query)

    async def look(self, provider: str, identity: str, *, tenant: str) -> Sequence[Seen]:
        """As Ledger.look."""
        return self._looks.look(provider, identity, tenant=tenant)

    async def wire_page(self, query: WireQuery) -> Sequence[WireTask]:
        """As Ledger.wire_page."""
        return await self._reader.wire_page(query)

    async def history(self, external_task_id: str) -> History | None:
        """As Ledger.history."""
        return await self._reader.history(external_task_id)

    async def events_after(self, position: int, *, limit: int) -> list[StoredEvent]:
        """As Ledger.events_after."""
        return await self._reader.events_after(position, limit=limit)

    async def newest_position(self) -> int:
        """As Ledger.newest_position."""
        return await self._reader.newest_position()

    async def next_send_at(self, provider: str) -> Moment | None:
        """As Ledger.next_send_at."""
        return await self._reader.next_send_at(provider)

    async def next_query_at(self, provider: str) -> Moment | None:
        """As Ledger.next_query_at."""
        return await self._reader.next_query_at(provider)

    async def next_look_at(self, provider: str, *, now: Moment, budget: int, sharing: Sharing) -> Moment | None:
        """As Ledger.next_look_at."""
        return await self._reader.next_look_at(provider, now=now, budget=budget, sharing=sharing)

    async def next_sounding_at(self, provider: str, judge: Judge, *, now: Moment) -> Moment | None:
        """As Ledger.next_sounding_at."""
        return await self._reader.next_sounding_at(provider, judge, now=now)

    async def next_deadline(self, judge: Judge) -> Moment | None:
        """As Ledger.next_deadline."""
        return await self._reader.next_deadline(judge.strict_providers)

    async def _write(self, act: Callable[[sqlite3.Connection], T], *, size: int = 0) -> T:
        return await self._writer.write(Single(act), None, size=size)

    def _committed(self, outcomes: Sequence[Any]) -> None:
        change = _change_in(outcomes)
        if not (change.tasks or change.has_events):
            return
        try:
            self.on_change(change)
        except Exception:  # the commit is done: what becomes of the news of it must not stop the writer
            log.exception("change.untold", tasks=change.tasks)


def _tidy(raw: sqlite3.Connection, *, now: Moment) -> None:
    """What a process that ended midway left behind."""
    pictures.sweep_pictures(raw)
    outbox.release_leases(raw, now=now)


def _setting(raw: sqlite3.Connection, name: str) -> str | None:
    row = raw.execute("select value from settings where name = ?", (name,)).fetchone()
    return None if row is None else str(row["value"])


def _checkpoint(raw: sqlite3.Connection) -> None:
    raw.execute("pragma wal_checkpoint(truncate)").fetchall()


async def _judged(future: asyncio.Future[Decision | Refusal]) -> Decision | Refusal:
    """The culprit of a batch, found by halving it, is refused; any other trouble is ours, and raised."""
    try:
        return await future
    except (sqlite3.Error, ValueError, OverflowError) as error:
        return _unwritable(error)


def _unwritable(error: Exception) -> Unwritable:
    return Unwritable(f"{type(error).__name__}: {error}")


def _change_in(outcomes: Sequence[object]) -> Change:
    """The tasks that outcomes speak of, and whether events may have been written with them."""
    tasks: list[str] = []
    has_events = has_callbacks = False
    for outcome in outcomes:
        if isinstance(outcome, Decision):
            tasks.append(outcome.task.external_task_id)
            has_events |= bool(outcome.events) or outcome.path is not None
            has_callbacks |= bool(outcome.events) and outcome.task.client_callback_url is not None
        elif isinstance(outcome, Task):
            tasks.append(outcome.external_task_id)
            has_events = True
            has_callbacks |= outcome.client_callback_url is not None
        elif isinstance(outcome, PathHealth):
            has_events = True
        elif isinstance(outcome, Settled):
            has_events |= bool(outcome.disabled)
        elif isinstance(outcome, list):
            within = _change_in(outcome)
            tasks.extend(within.tasks)
            has_events |= within.has_events
            has_callbacks |= within.has_callbacks
    return Change(tasks=tasks, has_events=has_events, has_callbacks=has_callbacks)


def _make_private(path: Path) -> None:
    """A new file is its owner's alone, and SQLite makes those beside it alike. One that is there stays as it is."""
    with contextlib.suppress(OSError):  # where it cannot be made, SQLite says why
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


async def _give_up(lock: LedgerLock, connection: aiosqlite.Connection | None) -> None:
    if connection is not None:
        await connection.close()
    lock.release()
