"""The simulated days of a real receiver: a heap of moments, and what happens at them."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from receiver.ledger.errors import LedgerError
from receiver.simulation.client import REQUESTS, SimulatedClient
from receiver.simulation.clock import VirtualClock
from receiver.simulation.faults import Crash, Step, clock_steps, crashes, dark_spell
from receiver.simulation.knobs import Knobs
from receiver.simulation.receiving import OpenReceiver, Receiver, configuration, open_real
from receiver.simulation.world import BEGINNING, PROVIDER, Life, World, forged_object, task_object
from receiver.worker import AFTER_TROUBLE, LONGEST_SLEEP, Duty
from submitter.client import ProviderClient
from submitter.errors import Refused
from submitter.journal import Submission
from submitter.moments import Moment, millis
from submitter.report import ReportedStatus
from submitter.settings import ProviderSettings

Act: TypeAlias = Callable[[], Coroutine[Any, Any, None]]

BEAT = 250  # ms: turns are taken on it, so that what is due together is asked about together
WINDOW = 2_000  # ms: what happens within it, up to the next turn, runs side by side and shares commits
EXPECTED = 256  # submissions that are drawn ahead
IDLE = int(LONGEST_SLEEP * 1_000)  # ms: all idle looks fall on it, which makes for fewer windows, and fuller ones
MOST_AT_ONCE = 1_024  # a quarter of what may wait for the ledger's writer
RESUBMITTED_AFTER = 60_000  # ms: who was refused tries again
FORGED_TOKEN = "A" * 24  # that it is none is the point


class Unsettled(Exception):
    """The simulation came to no end: something is due for ever."""


class _Thing(NamedTuple):
    """Something that happens. Of one moment, what was known of earlier happens first."""

    at: Moment
    number: int
    act: Act
    duty: Duty | None  # whose turn it is


class Simulation:
    """One world, one receiver, from the first submission to the moment when nothing is due any more."""

    def __init__(
        self,
        knobs: Knobs,
        folder: Path,
        *,
        polling: dict[str, Any] | None = None,
        account: dict[str, Any] | None = None,
        open_receiver: OpenReceiver = open_real,
    ) -> None:
        """`polling` and `account` are keys of their tables; the ledger's file is made in `folder`."""
        self.knobs = knobs
        self.world = World(knobs)
        self.clock = VirtualClock()
        self.stumbles: list[str] = []
        self.times_killed = 0
        self._open_receiver = open_receiver
        self._config = configuration(folder / "ledger.db", polling=polling or {}, account=account or {})
        self._dark = dark_spell(knobs)
        self._receiver: Receiver | None = None
        self._heap: list[_Thing] = []
        self._numbers = count()
        self._world_things = 0  # of the heap: what is not a turn
        self._turns: dict[Duty, Moment] = {}
        self._crashes: list[Crash] = crashes(knobs)
        # What is expired late is late by half an hour at most, the longest silence between two looks.
        self._horizon = BEGINNING + knobs.span + 3 * millis(self._config.polling.give_up_after) + 3_600_000

    @property
    def receiver(self) -> Receiver:
        """The receiver that lives now. Raises RuntimeError while there is none."""
        if self._receiver is None:
            raise RuntimeError("the receiver is down")
        return self._receiver

    async def run(self) -> None:
        """Until the world has said everything and the receiver has nothing to do. Raises Unsettled.

        The receiver stays open: `aclose` ends it.
        """
        self.clock.set(BEGINNING)
        for step in clock_steps(self.knobs):
            self._at(BEGINNING + step.at, partial(self._step, step))
        self._at(BEGINNING, partial(self._expect, 0))
        await self._begin()
        while self._heap:
            if self._heap[0].at > self._horizon:
                raise Unsettled(f"the receiver still has something to do after {self._horizon - BEGINNING} ms")
            if self._receiver is not None and self._crashes and self._heap[0].at >= BEGINNING + self._crashes[0].at:
                await self._crash(self._crashes.pop(0))
            else:
                await self._happen(await self._next_window())
            self._wake()

    async def aclose(self) -> None:
        """End the receiver."""
        if self._receiver is not None:
            await self._receiver.aclose()

    async def _begin(self) -> None:
        others = asyncio.all_tasks()
        runtime = await self._open_receiver(self._config, clock=self.clock, connect=self._connect)
        self._receiver = Receiver(runtime, others)
        self._turns.clear()
        for duty in runtime.worker.duties:
            self._turn_at(self.clock.true_now, duty)

    def _connect(self, name: str, settings: ProviderSettings, *, clock: Callable[[], Moment]) -> ProviderClient:
        return SimulatedClient(
            name,
            settings,
            clock=clock,
            world=self.world,
            time=self.clock,
            on_created=self._created,
            on_refused=self._refused,
        )

    def _at(self, moment: Moment, act: Act) -> None:
        self._world_things += 1
        heapq.heappush(self._heap, _Thing(moment, next(self._numbers), act, duty=None))

    def _pop(self) -> _Thing:
        thing = heapq.heappop(self._heap)
        self._world_things -= thing.duty is None
        return thing

    async def _next_window(self) -> list[_Thing]:
        things = [self._pop()]
        if things[0].duty is not None:
            return things
        until = things[0].at + WINDOW
        while self._heap and self._heap[0].at < until and len(things) < MOST_AT_ONCE:
            if self._heap[0].duty is None:
                things.append(self._pop())
            elif not await self._is_mere_look(self._heap[0], now=things[0].at):
                break
        return things

    async def _is_mere_look(self, turn: _Thing, *, now: Moment) -> bool:
        """Whether this is an idle lane's look that will find nothing, as its duty sees it now: then it is put off."""
        duty = turn.duty
        if duty is None or turn.at % IDLE or self._receiver is None or not self._world_things:
            return False
        if self._turns.get(duty) == turn.at:
            self.clock.set(now)
            try:
                pause = await self._receiver.runtime.worker.pause_before(duty)
            except Exception:  # noqa: BLE001 - its turn meets it again, and notes it
                return False
            if pause >= LONGEST_SLEEP:
                self.clock.set(turn.at)
            next_look = self._next_look(pause)
            if next_look <= turn.at:
                return False
            del self._turns[duty]
            self._turn_at(next_look, duty)
        heapq.heappop(self._heap)
        return True

    async def _happen(self, things: list[_Thing]) -> None:
        if len(things) == 1:
            await self._run(things[0])
        else:
            await asyncio.gather(*map(self._run, things))
            self.clock.set(things[-1].at)  # for whom they woke

    async def _run(self, thing: _Thing) -> None:
        self.clock.set(thing.at)
        await thing.act()

    async def _step(self, step: Step) -> None:
        self.clock.step(step.offset)
        self.world.moods.excuse(told_since=BEGINNING)

    async def _expect(self, first: int) -> None:
        """The apps' wishes, so many at a time: a heap of all of them would be slow."""
        following = min(first + EXPECTED, self.knobs.tasks)
        expected = [self.world.wanted(number) for number in range(first, following)]
        for life in expected:
            self._at(BEGINNING + life.fate.arrives_at, partial(self._submit, life))
        if following < self.knobs.tasks:
            self._at(BEGINNING + expected[-1].fate.arrives_at, partial(self._expect, following))

    async def _submit(self, life: Life) -> None:
        """An app submits, and does so again under the same id until it hears that it was written down."""
        again = partial(self._submit, life)
        if self._receiver is None:
            self._at(self.clock.true_now + 1_000, again)
            return
        request = REQUESTS[life.fate.kind if self.knobs.told_apart else 0]
        submission = Submission(provider=PROVIDER, request=request, external_task_id=life.external_task_id)
        try:
            with suppress(Refused):
                await self._receiver.runtime.submit(submission)
        except asyncio.CancelledError:
            self._at(self.clock.true_now + 1_000, again)
            raise

    def _refused(self, life: Life) -> None:
        """The provider wants no task of this account now. Its app tries again, under the same id."""
        self._at(self.clock.true_now + RESUBMITTED_AFTER, partial(self._submit, life))

    async def _created(self, life: Life, *, answered_at: Moment) -> None:
        """The provider has taken a task: all its callbacks are on their way, and whatever others say of it."""
        began, fate = self.clock.true_now, life.fate
        started = partial(self._deliver, life, ReportedStatus.PROCESSING)
        for way in fate.processing.copies:
            if fate.is_early:
                self._at(answered_at, started)
            else:
                self._at(began + fate.processing_after + way, started)
        for way in fate.final.copies:
            self._at(began + fate.final_after + way, partial(self._deliver, life, life.final))
        if fate.forged_after is not None:
            self._at(began + fate.forged_after, partial(self._forge, life, is_token_known=False))
        if fate.leaked_after is not None:
            self._at(began + fate.leaked_after, partial(self._forge, life, is_token_known=True))
        if fate.is_early and fate.processing.copies:
            await started()

    async def _deliver(self, life: Life, status: ReportedStatus) -> None:
        """The provider calls back, once: what is not acknowledged is not sent again."""
        if self.clock.true_now - BEGINNING in self._dark:
            return
        body = task_object(life, status, self.clock.true_now)
        if await self._knock(life, life.callback_url, body):
            life.acknowledged += 1
            life.true_finals_acknowledged += status is life.final
        else:
            life.unacknowledged += 1

    async def _forge(self, life: Life, *, is_token_known: bool) -> None:
        """Somebody claims the opposite of the truth, with the task's own URL or with a guess at it."""
        if not is_token_known:
            guessed = f"{life.callback_url.rpartition('/')[0]}/{FORGED_TOKEN}"
            life.strangers_acknowledged += await self._knock(life, guessed, forged_object(life))
            return
        life.forgeries += 1
        if await self._knock(life, life.callback_url, forged_object(life)):
            life.acknowledged += 1
        else:
            life.unacknowledged += 1

    async def _knock(self, life: Life, url: str, body: bytes) -> bool:
        if self._receiver is None:
            return False
        try:
            return await self._receiver.take(url, body)
        except asyncio.CancelledError:
            life.unacknowledged += 1
            raise

    def _turn_at(self, moment: Moment, duty: Duty) -> None:
        """The duty's next turn, if it has none before: on the beat, so that what is due together is asked together."""
        beat = -(-moment // BEAT) * BEAT
        if beat < self._turns.get(duty, beat + 1):
            self._turns[duty] = beat
            heapq.heappush(self._heap, _Thing(beat, next(self._numbers), partial(self._turn, duty, beat), duty))

    async def _turn(self, duty: Duty, beat: Moment) -> None:
        """A turn of the worker's lane, and when the next one is. One that was put forward is not run twice."""
        if self._receiver is None or self._turns.get(duty) != beat:
            return
        del self._turns[duty]
        try:
            pause = await self._receiver.runtime.worker.turn(duty)
            await self._receiver.runtime.worker.settle()
        except LedgerError:
            pause = AFTER_TROUBLE
        except Exception as error:  # noqa: BLE001 - as the worker's lane: it is noted, and work goes on
            self.stumbles.append(f"{type(duty).__name__}: {type(error).__name__}: {error}")
            pause = AFTER_TROUBLE
        if pause < LONGEST_SLEEP or self._world_things:
            self._turn_at(self._next_look(pause), duty)
            return
        due = await self._next_due()  # nothing comes from outside any more: the nights between are passed over
        if due is not None:
            self._turn_at(max(self._next_look(pause), due), duty)

    def _next_look(self, pause: float) -> Moment:
        """When a lane that sleeps so many seconds looks again."""
        next_look = self.clock.true_now + max(1, int(pause * 1000))
        if pause >= LONGEST_SLEEP:
            next_look -= next_look % IDLE
        return next_look

    async def _next_due(self) -> Moment | None:
        """When anything is due, by the world's clock: what one duty does may leave something to another."""
        dues = [await duty.next_due_at() for duty in self.receiver.runtime.worker.duties]
        known = [due for due in dues if due is not None]
        return min(known) - self.clock() + self.clock.true_now if known else None

    def _wake(self) -> None:
        if self._receiver is None:
            return
        for duty in self._receiver.runtime.worker.take_woken():
            self._turn_at(self.clock.true_now, duty)

    async def _crash(self, crash: Crash) -> None:
        """Kill the receiver in the midst of what comes next, and begin again a while after."""
        self.times_killed += 1
        victim = self._pop()
        self.clock.set(victim.at)
        await self.receiver.run_until_killed(self._run(victim), commits=crash.commits)
        self._receiver = None
        self.world.moods.excuse(told_since=victim.at)
        self._turns.clear()
        self._at(victim.at + crash.down, self._begin)
