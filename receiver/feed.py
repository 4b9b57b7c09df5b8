"""The tail of the committed events, shared by all who listen in this process: a thousand of them cost one read."""

from __future__ import annotations

import asyncio
import json
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from receiver.ledger.errors import Overloaded
from receiver.ledger.reading import StoredEvent

PAGE = 64  # events: what one who listens holds at most, besides what all share


class Events(Protocol):
    """Where committed events are read: positions grow in the order of the commits, and none is left out."""

    async def events_after(self, position: int, *, limit: int) -> list[StoredEvent]:
        """As Ledger.events_after."""

    async def newest_position(self) -> int:
        """As Ledger.newest_position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is held for those who listen, and how long over HTTP they are waited for, in seconds."""

    listeners: int = 4_096
    room: int = 1_024  # the newest events, shared; some 2 KiB each
    heartbeat: float = 15.0  # proxies cut a connection that was silent for 30 to 60
    patience: float = 10.0  # for a client that does not take its bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which events somebody wants to hear, of these types and of these tasks, and which he may. None is every one.

    No `providers` are all. What is about no task is for those who hear of all tenants and accounts.
    """

    types: frozenset[str] | None = None
    tasks: frozenset[str] | None = None
    tenant: str | None = None
    providers: frozenset[str] = frozenset()

    def wants(self, event: StoredEvent) -> bool:
        """Whether it is one of them."""
        return (
            (self.types is None or event.type in self.types)
            and (self.tasks is None or event.external_task_id in self.tasks)
            and (self.tenant is None or event.tenant == self.tenant)
            and (not self.providers or _provider_in(event.task) in self.providers)
        )


class Listener:
    """Who hears, in order and once each, the events after `position`. Take until nothing is left, then wait for `bell`.

    `position` moves past what was taken and past what was not wanted: whoever resumes there misses nothing.
    """

    def __init__(self, feed: Feed, wish: Wish) -> None:
        self.position = 0
        self.bell = asyncio.Event()
        self.wish = wish
        self.fault: Exception | None = None
        self.on_end: Callable[[], None] = lambda: None
        self._feed = feed

    @property
    def is_behind(self) -> bool:
        """Whether there are events that it has not looked at."""
        return self.position < self._feed.newest

    @property
    def is_ahead(self) -> bool:
        """Whether it begins after the newest event there is."""
        return self.position > self._feed.newest

    async def take(self) -> list[StoredEvent]:
        """What it wants of the next events. Raises LedgerUnavailable."""
        self.bell.clear()
        if self.fault is not None:
            raise self.fault
        events = await self._feed.after(self.position)
        if events:
            self.position = events[-1].position
        return [event for event in events if self.wish.wants(event)]


class Feed:
    """Reads what was committed once, when `wake` says that something was, for all who listen.

    The newest events are kept; who is further behind reads pages of the ledger. While nobody listens, nothing is
    read. `end` lets everybody go.
    """

    def __init__(self, ledger: Events, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.newest = 0
        self.is_ended = False
        self._ledger = ledger
        self._kept: list[StoredEvent] = []  # without a gap, the last one at `newest`
        self._listeners: set[Listener] = set()
        self._is_cold = True  # nobody listened for a while: `newest` is too old to read on from
        self._is_stale = False  # more was committed than was read
        self._reading: asyncio.Task[None] | None = None

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @asynccontextmanager
    async def listening(self, wish: Wish, *, after: int | None) -> AsyncIterator[Listener]:
        """Listen from a position on; None is from now on: whatever is committed from here is heard.

        Raises Overloaded where too many listen, and LedgerUnavailable.
        """
        if len(self._listeners) >= self.limits.listeners:
            raise Overloaded(f"{len(self._listeners)} listen to events")
        listener = Listener(self, wish)
        self._listeners.add(listener)
        try:
            await self._catch_up()
            if listener.fault is not None:
                raise listener.fault
            listener.position = self.newest if after is None else after
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._is_cold = True

    def wake(self) -> None:
        """Events were committed."""
        self._is_stale = True
        if self._listeners:
            self._read_soon()

    async def after(self, position: int) -> Sequence[StoredEvent]:
        """Up to a page of the events after a position: from what is kept, or from the ledger."""
        if position >= self.newest:
            return ()
        if self._kept and position >= self._kept[0].position - 1:
            first = bisect_right(self._kept, position, key=_position)
            return self._kept[first : first + PAGE]
        return await self._ledger.events_after(position, limit=PAGE)

    def end(self) -> None:
        """The receiver is stopping: everybody is told."""
        self.is_ended = True
        for listener in self._listeners:
            listener.bell.set()
            listener.on_end()

    async def aclose(self) -> None:
        """Wait for the reading in progress."""
        if self._reading is not None:
            await asyncio.wait({self._reading})

    async def _catch_up(self) -> None:
        if self._is_cold or self._is_stale:
            self._read_soon()
        if self._reading is not None:
            await asyncio.wait({self._reading})

    def _read_soon(self) -> None:
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="event feed")

    async def _read(self) -> None:
        """Read until nothing is left to read. Trouble is everybody's: they end, and may listen anew."""
        try:
            while self._listeners and (self._is_cold or self._is_stale):
                await self._read_on()
        except Exception as error:  # noqa: BLE001 - the top of a task: those who listen raise it
            self._is_cold = True
            for listener in self._listeners:
                listener.fault = error
                listener.bell.set()
        finally:
            self._reading = None

    async def _read_on(self) -> None:
        is_cold, self._is_cold, self._is_stale = self._is_cold, False, False
        if is_cold:
            self._kept = []
            self.newest = await self._ledger.newest_position()
            return
        page = await self._ledger.events_after(self.newest, limit=self.limits.room)
        if page:
            self._is_stale = True  # what came while this was read, or did not fit
            self._tell(page)

    def _tell(self, page: Sequence[StoredEvent]) -> None:
        """Ring for those who want any of it; the others have thereby heard it."""
        before, self.newest = self.newest, page[-1].position
        self._kept = [*self._kept, *page][-self.limits.room :]
        for listener in self._listeners:
            if listener.position == before and not any(map(listener.wish.wants, page)):
                listener.position = self.newest
            else:
                listener.bell.set()


@lru_cache(maxsize=1_024)  # each is looked at for all who listen
def _provider_in(snapshot: str | None) -> str | None:
    return None if snapshot is None else json.loads(snapshot)["provider"]


def _position(event: StoredEvent) -> int:
    return event.position
