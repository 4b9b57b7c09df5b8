"""SqliteLedger: the protocol of `receiver.ledger.base`, over one writer and one reader."""

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
from receiver.ledger.base import Change, WriterState
from receiver.ledger.errors import LedgerUnusable, Refusal, Unwritable
from receiver.ledger.judging import Heard, Judge
from receiver.ledger.migrate import migrate_sqlite
from receiver.ledger.openings import Lane, Opened, Opening, Unsent
from receiver.ledger.reading import History, KeptUnreadable, Page, Query, Seen, StoredEvent, WireQuery
from receiver.ledger.sqlite import keys, outbox, pictures, replaying, sending, unreadable
from receiver.ledger.sqlite.changes import change_in
from receiver.ledger.sqlite.connection import connect_reader, connect_writer, in_thread
from receiver.ledger.sqlite.hearing import Hear
from receiver.ledger.sqlite.lock import LedgerLock
from receiver.ledger.sqlite.looking import Looks
from receiver.ledger.sqlite.opening import open_task, promise
from receiver.ledger.sqlite.openingtogether import OpenTogether, is_free
from receiver.ledger.sqlite.reader import SqliteReader
from receiver.ledger.sqlite.storeasking import SqliteAsking
from receiver.ledger.sqlite.storeoutbox import SqliteOutbox
from receiver.ledger.sqlite.writer import Writer
from receiver.task import Decision, Record, Task
from receiver.wiretask import WireTask
from submitter.moments import Moment
from submitter.providers.base import Trust

T = TypeVar("T")
log = structlog.get_logger("ledger")


class SqliteLedger(SqliteAsking, SqliteOutbox):
    """The ledger in one file. Open it with `SqliteLedger.open`, close it with `aclose`.

    `on_change` is called on the loop after each commit that changed something.
    """

    def __init__(self, lock: LedgerLock, connection: aiosqlite.Connection, reader: SqliteReader, looks: Looks) -> None:
        self.on_change: Callable[[Change], None] = lambda _: None
        self._lock = lock
        self._connection = connection
        self._looks = looks
        self._hear: Hear | None = None
        self._open = OpenTogether()
        super().__init__(Writer(connection, on_commit=self._committed), reader)

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

    def _committed(self, outcomes: Sequence[Any]) -> None:
        change = change_in(outcomes)
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


def _make_private(path: Path) -> None:
    """A new file is its owner's alone, and SQLite makes those beside it alike. One that is there stays as it is."""
    with contextlib.suppress(OSError):  # where it cannot be made, SQLite says why
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


async def _give_up(lock: LedgerLock, connection: aiosqlite.Connection | None) -> None:
    if connection is not None:
        await connection.close()
    lock.release()
