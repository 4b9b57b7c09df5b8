"""The only loop and the only sleep: each duty has a lane of its own, and wakes when something of it is due."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

import structlog

from receiver.ledger.errors import LedgerError
from submitter.inflight import InFlight, wait_for_one
from submitter.moments import Moment

log = structlog.get_logger("worker")

LONGEST_SLEEP = 5.0  # seconds: another process (a tick) may change what is due
BLOCKED_SLEEP = 0.5  # something is due and may not be done yet: a budget is spent, slots are taken
AFTER_TROUBLE = 2.0  # before a failing store is tried again
GRACE = timedelta(seconds=1)  # for what a tick has begun, when its time is up


class Duty(Protocol):
    """Something the worker does, batch by batch."""

    async def run_once(self, now: Moment) -> Mapping[str, int]:
        """One bounded batch; what was done, as counts."""

    async def next_due_at(self) -> Moment | None:
        """When there is something to do."""


class Worker:
    """Runs its duties side by side until it is told to stop: one that hangs delays no other."""

    def __init__(
        self, duties: Sequence[Duty], *, clock: Callable[[], Moment], sending: InFlight, telling: InFlight
    ) -> None:
        """`sending` and `telling` are what duties begin and do not wait for: a tick does."""
        self.duties = duties
        self._sending = sending
        self._telling = telling
        self._clock = clock
        self._bells = {duty: asyncio.Event() for duty in duties}
        self._is_stopping = False
        self._is_running = False

    def wake(self, *duties: Duty) -> None:
        """Something of these duties, or of any, may be due before the worker thinks so."""
        for duty in duties or self.duties:
            self._bells[duty].set()

    def take_woken(self) -> list[Duty]:
        """Whom the bells have rung for since this was last asked: for who runs the turns himself."""
        woken = [duty for duty, bell in self._bells.items() if bell.is_set()]
        for duty in woken:
            self._bells[duty].clear()
        return woken

    async def settle(self) -> None:
        """Wait for the creates that turns have begun: for who runs the turns himself."""
        await self._sending.settle()

    def stop(self) -> None:
        """End each lane after the batch it is in."""
        self._is_stopping = True
        self.wake()

    async def run(self) -> None:
        """Work until stopped."""
        self._is_running = True
        async with asyncio.TaskGroup() as lanes:
            for duty, bell in self._bells.items():
                lanes.create_task(self._lane(duty, bell), name=f"worker {type(duty).__name__}")

    async def tick(self, seconds: float) -> dict[str, int]:
        """Turns of every duty until nothing is left to do, or the seconds are up: for platforms without a worker.

        What a duty has begun is waited for. Where no worker goes on with it, telling is cut short in the end; a
        create never is, and ends by its account's time-out.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        done: dict[str, int] = {"sent": 0, "asked": 0, "overdue": 0, "told": 0, "turns": 0}
        while not self._is_stopping:
            done["turns"] += 1
            turns = await asyncio.gather(*(duty.run_once(self._clock()) for duty in self.duties))
            for counts in turns:
                for name in counts.keys() & done.keys():
                    done[name] += counts[name]
            is_idle = not any(any(counts.values()) for counts in turns)
            is_under_way = self._sending or self._telling
            if loop.time() >= until or (is_idle and (self._is_running or not is_under_way)):
                break
            await wait_for_one(self._sending, self._telling, within=timedelta(seconds=until - loop.time()))
        if not self._is_running:
            await asyncio.gather(self._telling.end(within=GRACE), self._sending.settle())
        return done

    async def _lane(self, duty: Duty, bell: asyncio.Event) -> None:
        """Trouble of the store is waited out; anything else is logged, and work goes on."""
        while not self._is_stopping:
            bell.clear()
            try:
                pause = await self.turn(duty)
            except LedgerError as error:
                log.warning("worker.waits", duty=type(duty).__name__, reason=str(error))
                pause = AFTER_TROUBLE
            except Exception:
                log.exception("worker.stumbled", duty=type(duty).__name__)
                pause = AFTER_TROUBLE
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(bell.wait(), pause)

    async def turn(self, duty: Duty) -> float:
        """One batch if anything is due; how many seconds to sleep after it, unless woken."""
        pause = await self.pause_before(duty)
        if pause > 0:
            return pause
        counts = await duty.run_once(self._clock())
        return 0.0 if any(counts.values()) else BLOCKED_SLEEP

    async def pause_before(self, duty: Duty) -> float:
        """How many seconds to sleep before anything is due, unless woken; none where something is."""
        due = await duty.next_due_at()
        until_due = LONGEST_SLEEP if due is None else (due - self._clock()) / 1000
        return max(0.0, min(until_due, LONGEST_SLEEP))
