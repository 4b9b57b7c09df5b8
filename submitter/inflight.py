"""Work that goes on whoever hangs up, and is waited for at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")


class InFlight:
    """Work that is finished whoever hangs up: a create that has begun may be paid for."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def __len__(self) -> int:
        """How much of it is under way."""
        return len(self._tasks)

    async def run(self, work: Coroutine[object, object, T]) -> T:
        """The work's result; cancelling the caller leaves the work running."""
        return await asyncio.shield(self.begin(work))

    def begin(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Let it run, and go on."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    async def drain(self) -> None:
        """Wait for all of it."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def settle(self) -> None:
        """Wait for what is under way at this moment, and not for what begins meanwhile."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def end(self, *, within: timedelta) -> None:
        """Wait for all of it for so long, and cancel what is left: it says itself what became of it.

        What will not be cancelled is left behind, after as long again.
        """
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within.total_seconds())
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within.total_seconds())

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # a caller that hung up does not ask for it: what happened is written down


async def wait_for_one(*works: InFlight, within: timedelta) -> None:
    """Until one piece of any of these is done, or the time is up."""
    tasks = {task for work in works for task in work._tasks}  # noqa: SLF001 - its own module
    if tasks:
        await asyncio.wait(tasks, timeout=within.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
