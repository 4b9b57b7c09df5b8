"""The one queue of writes: what arrives while a commit runs shares the next one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import aiosqlite
import structlog

from receiver.ledger.base import WriterState
from receiver.ledger.errors import LedgerUnavailable, Overloaded, Refusal
from receiver.ledger.sqlite.connection import begin, begin_at_once, in_thread, is_store_trouble, raw_of

log = structlog.get_logger("ledger")

MAX_BATCH = 256
MAX_BATCH_BYTES = 4 * 1024 * 1024
SHORT_BYTES = 512 * 1024
MAX_WAITING = 4_096
MAX_WAITING_BYTES = 256 * 1024 * 1024

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
Item_contra = TypeVar("Item_contra", contravariant=True)
Outcome_co = TypeVar("Outcome_co", covariant=True)


class Write(Protocol[Item_contra, Outcome_co]):
    """A kind of write. Entries of one kind in a batch are run in one call."""

    is_short: bool  # whether an entry takes so little that it may be run on the loop

    def run(self, raw: sqlite3.Connection, items: Sequence[Item_contra]) -> Sequence[Outcome_co | Refusal]:
        """Run them inside the open transaction; an outcome for each, in order."""


class Single(Generic[Outcome]):
    """A write that stands alone in its call, though not in its transaction."""

    is_short = False

    def __init__(self, act: Callable[[sqlite3.Connection], Outcome]) -> None:
        self._act = act

    def run(self, raw: sqlite3.Connection, items: Sequence[None]) -> Sequence[Outcome | Refusal]:
        """Run it once. A Refusal is raised before anything is written, so the batch goes on."""
        try:
            return [self._act(raw) for _ in items]
        except Refusal as refusal:
            return [refusal]


@dataclass(frozen=True, slots=True)
class _Entry:
    write: Write[Any, Any]
    item: Any
    size: int
    future: asyncio.Future[Any]


class _Run(NamedTuple):
    """The entries of a batch that are one kind of write."""

    write: Write[Any, Any]
    entries: list[_Entry]


class Writer:
    """Takes entries, commits them in batches, and answers each after its commit.

    A caller that goes away does not take its entry along. `trouble` says what ails the store, until a
    commit succeeds again.
    """

    def __init__(self, connection: aiosqlite.Connection, *, on_commit: Callable[[Sequence[Any]], None]) -> None:
        self.trouble: str | None = None
        self._connection = connection
        self._on_commit = on_commit
        self._waiting: deque[_Entry] = deque()
        self._waiting_bytes = 0
        self._batches = 0
        self._entries = 0
        self._bell = asyncio.Event()
        self._is_closing = False
        self._loop_task = asyncio.create_task(self._run(), name="ledger writer")

    async def write(self, write: Write[Item, Outcome], item: Item, *, size: int = 0) -> Outcome:
        """The outcome, once it is on disk. Raises Overloaded, LedgerUnavailable or the entry's own Refusal."""
        outcome = await self.enqueue(write, item, size=size)
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    def enqueue(self, write: Write[Item, Outcome], item: Item, *, size: int = 0) -> asyncio.Future[Outcome | Refusal]:
        """The same without waiting: the future holds the outcome or the Refusal."""
        self.require_room(size)
        entry = _Entry(write, item, size, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        self._waiting_bytes += size
        self._bell.set()
        return entry.future

    def require_room(self, size: int = 0) -> None:
        """Raises Overloaded where an entry of this size would not be taken, and LedgerUnavailable at the end."""
        if self._is_closing:
            raise LedgerUnavailable("the receiver is shutting down")
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES:
            raise Overloaded(f"{len(self._waiting)} writes are waiting for the disk")

    @property
    def state(self) -> WriterState:
        """For those who watch."""
        return WriterState(
            waiting=len(self._waiting),
            waiting_bytes=self._waiting_bytes,
            batches=self._batches,
            entries=self._entries,
            trouble=self.trouble,
        )

    async def aclose(self) -> None:
        """Commit what waits, then stop."""
        self._is_closing = True
        self._bell.set()
        try:
            await asyncio.shield(self._loop_task)
        except asyncio.CancelledError:  # who closes goes away: what waits is committed all the same
            await asyncio.wait({self._loop_task})
            raise

    async def drop(self) -> None:
        """Stop where it is, as a process that is killed: what is not committed is taken back, and nobody told."""
        self._is_closing = True
        self._loop_task.cancel()
        await asyncio.wait({self._loop_task})

    async def _run(self) -> None:
        while not (self._is_closing and not self._waiting):
            await self._bell.wait()
            self._bell.clear()
            while self._waiting:
                await self._commit(self._next_batch())

    def _next_batch(self) -> list[_Entry]:
        batch: list[_Entry] = []
        size = 0
        while self._waiting and len(batch) < MAX_BATCH:
            if batch and size + self._waiting[0].size > MAX_BATCH_BYTES:
                break
            entry = self._waiting.popleft()
            size += entry.size
            batch.append(entry)
        self._waiting_bytes -= size
        return batch

    async def _commit(self, batch: list[_Entry]) -> None:
        """Commit a batch; where its data is at fault, halve it until the culprit stands alone."""
        try:
            outcomes = await self._transact(batch)
        except sqlite3.Error as error:
            if is_store_trouble(error):
                trouble = f"{type(error).__name__}: {error}"
                self._remember(trouble)
                _fail(batch, LedgerUnavailable(trouble))
            else:
                await self._halve(batch, error)
        except Exception as error:  # noqa: BLE001 - the top of the writer's loop: whatever it is, it belongs to one entry
            await self._halve(batch, error)
        else:
            self._remember(None)
            self._batches += 1
            self._entries += len(batch)
            for entry, outcome in zip(batch, outcomes, strict=True):
                if not entry.future.done():
                    entry.future.set_result(outcome)
            self._on_commit(outcomes)

    async def _transact(self, batch: list[_Entry]) -> list[Any]:
        """The outcomes of a batch, once it is on disk.

        The statements of a short batch run here, on the loop, and only its commit, which waits for the disk, in
        the connection's thread: two threads that want the interpreter by turns cost more than the statements do
        (docs/decisions.md). What may take long runs in the thread from beginning to end.
        """
        raw = raw_of(self._connection)
        if not (_is_short(batch) and begin_at_once(raw)):
            return await in_thread(self._connection, lambda raw: _transact(raw, batch))
        try:
            outcomes = _run_all(raw, batch)
            await in_thread(self._connection, lambda raw: raw.execute("commit"))
        except BaseException:
            _roll_back(raw)
            raise
        return outcomes

    def _remember(self, trouble: str | None) -> None:
        """What ails the store, said when it begins and when it ends."""
        if trouble is not None and self.trouble is None:
            log.error("ledger.trouble", reason=trouble, fix="look at the disk: until then nothing is acknowledged")
        elif trouble is None and self.trouble is not None:
            log.info("ledger.recovered")
        self.trouble = trouble

    async def _halve(self, batch: list[_Entry], error: Exception) -> None:
        if len(batch) == 1:
            _fail(batch, error)
            return
        middle = len(batch) // 2
        await self._commit(batch[:middle])
        await self._commit(batch[middle:])


def _transact(raw: sqlite3.Connection, batch: Sequence[_Entry]) -> list[Any]:
    begin(raw)
    try:
        outcomes = _run_all(raw, batch)
        raw.execute("commit")
    except BaseException:
        _roll_back(raw)
        raise
    return outcomes


def _run_all(raw: sqlite3.Connection, batch: Sequence[_Entry]) -> list[Any]:
    """The outcome of each, in the batch's order."""
    outcomes: dict[int, Any] = {}
    for run in _runs(batch):
        of_run = run.write.run(raw, [entry.item for entry in run.entries])
        outcomes |= zip(map(id, run.entries), of_run, strict=True)
    return [outcomes[id(entry)] for entry in batch]


def _roll_back(raw: sqlite3.Connection) -> None:
    if raw.in_transaction:
        raw.execute("rollback")


def _is_short(batch: Sequence[_Entry]) -> bool:
    return sum(entry.size for entry in batch) <= SHORT_BYTES and all(entry.write.is_short for entry in batch)


def _runs(batch: Sequence[_Entry]) -> list[_Run]:
    """Entries of one kind together, in the order they came; what stands alone keeps its place among them.

    Kinds may pass each other: nobody knows of an entry's outcome before the commit, so that none of a batch was made
    for another's sake.
    """
    runs: list[_Run] = []
    joined: dict[int, _Run] = {}
    for entry in batch:
        if isinstance(entry.write, Single):
            joined.clear()
        run = joined.get(id(entry.write))
        if run is None:
            run = joined[id(entry.write)] = _Run(entry.write, [])
            runs.append(run)
        run.entries.append(entry)
    return runs


def _fail(batch: Sequence[_Entry], error: Exception) -> None:
    for entry in batch:
        if not entry.future.done():
            entry.future.set_exception(error)
            entry.future.exception()  # read once: a caller that went away leaves no warning behind
