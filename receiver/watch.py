"""LedgerWatch: the submitter's watch, in the process that keeps the ledger; woken by the commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta

from receiver.eventjson import event_json
from receiver.feed import Feed, Listener, Wish
from receiver.ledger.base import Ledger
from receiver.ledger.errors import UnknownTask
from receiver.task import Record
from receiver.taskjson import record_json
from receiver.waiting import Waiting
from submitter.errors import WatchError
from submitter.shown import ShownEvent, ShownTask, shown_event, shown_task


class LedgerWatch:
    """Looks at tasks and listens to events without HTTP, for code that embeds the receiver. See submitter.Watch."""

    def __init__(self, ledger: Ledger, waiting: Waiting, feed: Feed) -> None:
        self._ledger = ledger
        self._waiting = waiting
        self._feed = feed

    async def look(self, external_task_id: str) -> ShownTask:
        """As Watch.look."""
        return await self.at_rest(external_task_id, within=timedelta(0))

    async def at_rest(self, external_task_id: str, *, within: timedelta) -> ShownTask:
        """As Watch.at_rest."""
        try:
            record = await self.record_at_rest(external_task_id, seconds=within.total_seconds())
        except UnknownTask as unknown:
            raise WatchError(str(unknown), code="not_found") from unknown
        if within and self._feed.is_ended and not record.task.is_at_rest:
            raise _stopping()
        return shown_task(record_json(record))

    @asynccontextmanager
    async def listening(
        self, *, tasks: Collection[str] | None = None, types: Collection[str] | None = None, after: int | None = None
    ) -> AsyncIterator[AsyncIterator[ShownEvent]]:
        """As Watch.listening."""
        wish = Wish(types=_chosen(types), tasks=_chosen(tasks))
        async with self._feed.listening(wish, after=after) as listener, aclosing(self._heard(listener)) as events:
            yield events

    async def record_at_rest(self, external_task_id: str, *, seconds: float) -> Record:
        """The task, at rest if it comes to rest in time. Raises UnknownTask.

        Woken by each commit that changes it, and when the receiver is stopping.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        with self._waiting.on(external_task_id) as changed:
            while True:
                changed.clear()
                record = await self._record(external_task_id)
                left = until - loop.time()
                if record.task.is_at_rest or left <= 0 or self._feed.is_ended:
                    return record
                try:
                    await asyncio.wait_for(changed.wait(), left)
                except TimeoutError:
                    return await self._record(external_task_id)

    async def _heard(self, listener: Listener) -> AsyncGenerator[ShownEvent, None]:
        while not self._feed.is_ended:
            for event in await listener.take():
                yield shown_event(event_json(event))
            if not listener.is_behind:
                await listener.bell.wait()
        raise _stopping()

    async def _record(self, external_task_id: str) -> Record:
        record = await self._ledger.record(external_task_id)
        if record is None:
            raise UnknownTask(external_task_id)
        return record


def _chosen(names: Collection[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _stopping() -> WatchError:
    return WatchError("the receiver is stopping", code="shutting_down")
