"""Waiting for tasks: the watch that a submitter looks through, and what it makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from typing import Protocol

from submitter.errors import NotAtRest, WatchError
from submitter.shown import FINAL_EVENTS, ShownEvent, ShownTask

DEADLINE = timedelta(minutes=10)  # an image takes seconds, or minutes when a gateway is busy
HOLD = timedelta(seconds=20)  # for how long a receiver is asked to hold one answer: proxies cut it at 30
LOOKS_AT_ONCE = 8


class Watch(Protocol):
    """How tasks fare, as a receiver knows it. Each method raises WatchError."""

    async def look(self, external_task_id: str) -> ShownTask:
        """The task as it is."""

    async def at_rest(self, external_task_id: str, *, within: timedelta) -> ShownTask:
        """The task once it is at rest, or as it is when the time is up, or before."""

    def listening(
        self, *, tasks: Collection[str] | None = None, types: Collection[str] | None = None, after: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[ShownEvent]]:
        """The events after a position, in order and once each; without a position whatever is committed from now on.

        Once the context is entered nothing is missed: enter, then look, then listen. Breaks are bridged.
        """


async def wait(watch: Watch, task: str, *, deadline: timedelta) -> ShownTask:
    """The task at rest. Raises NotAtRest after the deadline, WatchError, and ValueError for a deadline that is none."""
    _require_time(deadline)
    loop = asyncio.get_running_loop()
    until = loop.time() + deadline.total_seconds()
    seen: ShownTask | None = None
    try:
        async with asyncio.timeout_at(until):
            seen = await watch.look(task)  # so that the state is known whatever comes of the rest
            while not seen.is_at_rest:
                left = timedelta(seconds=max(until - loop.time(), 0))
                seen = await watch.at_rest(task, within=min(HOLD, left))
    except TimeoutError:
        raise NotAtRest({task: _state(seen)}, deadline=deadline) from None
    return seen


async def wait_all(watch: Watch, tasks: Sequence[str], *, deadline: timedelta) -> list[ShownTask]:
    """All of them at rest, in the order given. Raises as `wait`."""
    group = _Group(watch, tasks)
    await group.rest(len(group.seen), deadline=deadline)
    return [task for name in tasks if (task := group.seen[name]) is not None]


async def wait_any(watch: Watch, tasks: Sequence[str], *, deadline: timedelta) -> ShownTask:
    """The first that is at rest; where several are, the one named first. Raises as `wait`, and ValueError for none."""
    if not tasks:
        raise ValueError("wait_any needs at least one task")
    group = _Group(watch, tasks)
    await group.rest(1, deadline=deadline)
    return next(task for task in group.seen.values() if task is not None and task.is_at_rest)


async def events(
    watch: Watch, tasks: Collection[str] | None, *, after: int | None, deadline: timedelta
) -> AsyncGenerator[ShownEvent, None]:
    """Events until the deadline, which ends the iteration quietly. Raises as `wait`, but for NotAtRest."""
    _require_time(deadline)
    if after is not None and after < 0:
        raise ValueError(f"after={after}: a position is 0, before the first event, or more")
    until = asyncio.get_running_loop().time() + deadline.total_seconds()
    async with AsyncExitStack() as stack:
        try:
            # Not one time-out around it all: it would go on while the caller is busy with an event.
            async with asyncio.timeout_at(until):
                heard = await stack.enter_async_context(watch.listening(tasks=tasks, after=after))
            while True:
                async with asyncio.timeout_at(until):
                    event = await anext(heard)
                yield event
        except TimeoutError:
            return


class _Group:
    """Many tasks, waited for over one stream of events whatever their number."""

    def __init__(self, watch: Watch, tasks: Collection[str]) -> None:
        self.seen: dict[str, ShownTask | None] = dict.fromkeys(tasks)
        self._watch = watch

    async def rest(self, enough: int, *, deadline: timedelta) -> None:
        """Until so many are at rest. Raises NotAtRest."""
        _require_time(deadline)
        if not self.seen:
            return
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                await self._rest(enough)
        except TimeoutError:
            left = {name: _state(task) for name, task in self.seen.items() if task is None or not task.is_at_rest}
            raise NotAtRest(left, deadline=deadline) from None

    async def _rest(self, enough: int) -> None:
        async with self._watch.listening(tasks=self.seen.keys(), types=FINAL_EVENTS) as events:
            await self._look()
            left = sum(1 for task in self.seen.values() if task is None or not task.is_at_rest)
            while len(self.seen) - left < enough:
                left -= self._has_come_to_rest((await anext(events)).task)

    def _has_come_to_rest(self, told: ShownTask | None) -> bool:
        if told is None or told.external_task_id not in self.seen:
            return False
        known = self.seen[told.external_task_id]
        if known is not None and known.version >= told.version:
            return False  # told late: we have looked since
        self.seen[told.external_task_id] = told
        return known is None or not known.is_at_rest

    async def _look(self) -> None:
        """At each once: it may have come to rest before we listened."""
        left = list(reversed(self.seen))

        async def look_in_turn() -> None:
            while left:
                name = left.pop()
                self.seen[name] = await self._watch.look(name)

        try:
            async with asyncio.TaskGroup() as looking:
                for _ in range(min(LOOKS_AT_ONCE, len(left))):
                    looking.create_task(look_in_turn())
        except* WatchError as errors:
            raise errors.exceptions[0] from None


def _require_time(deadline: timedelta) -> None:
    if deadline <= timedelta(0):
        raise ValueError(f"deadline={deadline!r} is over before anything can be asked: give it some time")


def _state(task: ShownTask | None) -> str | None:
    return None if task is None else task.state
