"""What befalls each simulated task: drawn from a hash of the seed and the task's number, never by dice. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from enum import StrEnum
from statistics import NormalDist
from struct import unpack

from submitter.moments import millis

_RATES = (
    "failed",
    "lost",
    "duplicate",
    "reorder",
    "early",
    "unanswered",
    "query_errors",
    "final_only",
    "forged",
    "leaked",
)
_NORMAL = NormalDist()
_DOUBLED_WITHIN = 30_000  # ms: how much later the second copy of a callback may come
_LATE_WITHIN = 60_000  # ms: how late a callback may be that others overtake
_ON_ITS_WAY = (20, 500)  # ms: what a callback takes to arrive
_ANSWERED_WITHIN = (200, 1_500)  # ms: what a create takes to be answered
_STARTED_WITHIN = (300, 3_000)  # ms: from `submitted` to `processing`
# A look-up refuses what the provider dates more than five minutes before our sending: a clock that is wrong by
# more than that is beyond what is promised.
_STEP_WITHIN = 4 * 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """A world to simulate. Rates are shares from 0 to 1: of callbacks, of creates, of queries or of tasks.

    `sigma` is the spread of the logarithm of the durations, whose mean is `mean`. About `in_flight` tasks are in
    work at a time. `dark` is how long, once in the middle, no callback arrives at all, and `stall` how long no task
    gets any further. The first `warm_up` tasks teach the receiver, and are not measured.
    """

    tasks: int = 1_000
    seed: int = 1
    in_flight: int = 50
    mean: timedelta = timedelta(seconds=32)
    sigma: float = 0.3
    failed: float = 0.02
    lost: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    early: float = 0.0
    unanswered: float = 0.0
    query_errors: float = 0.0
    final_only: float = 0.0
    forged: float = 0.0
    leaked: float = 0.0
    dark: timedelta = timedelta(0)
    stall: timedelta = timedelta(0)
    crashes: int = 0
    clock_steps: int = 0
    warm_up: int = 0

    def __post_init__(self) -> None:
        for name in _RATES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: a share is a number from 0 to 1")
        if self.tasks < 1 or self.in_flight < 1:
            raise ValueError("there must be a task, and one in flight")
        if not 0 <= self.warm_up < self.tasks:
            raise ValueError(f"warm_up={self.warm_up}: at least one of {self.tasks} tasks is measured")
        if self.mean < timedelta(seconds=1) or not 0 <= self.sigma <= 3:
            raise ValueError("tasks take a second or more in the mean, and sigma is a number from 0 to 3")
        if min(self.crashes, self.clock_steps, millis(self.dark), millis(self.stall)) < 0:
            raise ValueError("neither crashes, clock steps, a dark spell nor a stall can be less than none")

    @property
    def span(self) -> int:
        """Milliseconds in which all tasks are submitted: by Little's law `in_flight` are in work at a time."""
        return self.tasks * millis(self.mean) // self.in_flight

    @property
    def settings(self) -> dict[str, object]:
        """As JSON shows them."""
        return {
            each.name: value.total_seconds() if isinstance(value := getattr(self, each.name), timedelta) else value
            for each in fields(self)
        }


class CreateFate(StrEnum):
    """What becomes of the first create of a task."""

    ANSWERED = "answered"
    LOST = "lost"  # it never reached the provider
    UNANSWERED = "unanswered"  # it did, and its answer never reached us


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackFate:
    """How a callback fares: how long each copy of it is on its way. None arrive of one that is lost."""

    copies: tuple[int, ...]


NO_CALLBACK = CallbackFate(copies=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """All that will befall a task. Durations are milliseconds."""

    arrives_at: int
    create: CreateFate
    is_early: bool
    answered_after: int
    processing_after: int
    final_after: int
    has_failed: bool
    processing: CallbackFate
    final: CallbackFate
    forged_after: int | None
    leaked_after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """From `at` milliseconds on, the receiver's clock is `offset` ahead of the world's."""

    at: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """A kill at `at` milliseconds, when what goes on has committed so often; back after `down` milliseconds."""

    at: int
    commits: int
    down: int


def fate_of(knobs: Knobs, number: int) -> Fate:
    """What befalls the task of this number, whatever happens to others."""
    chances = _chances(knobs.seed, "task", number)
    spacing = knobs.span / knobs.tasks
    mean = millis(knobs.mean)
    log_mean = math.log(mean) - knobs.sigma**2 / 2
    lasting = max(500, int(math.exp(log_mean + knobs.sigma * _NORMAL.inv_cdf(_within(chances[1])))))
    arrives_at = int(spacing * (number + chances[0]))
    final_after = lasting + _stalled(knobs, arrives_at, lasting)
    is_early = chances[3] < knobs.early
    is_final_only = chances[11] < knobs.final_only and not is_early
    return Fate(
        arrives_at=arrives_at,
        create=_create_fate(chances[2], knobs.unanswered),
        is_early=is_early,
        answered_after=_between(chances[4], _ANSWERED_WITHIN),
        processing_after=min(_between(chances[5], _STARTED_WITHIN), final_after // 2),
        final_after=final_after,
        has_failed=chances[6] < knobs.failed,
        processing=NO_CALLBACK if is_final_only else _callback_fate(knobs, number, "processing"),
        final=_callback_fate(knobs, number, "final"),
        forged_after=int(chances[8] * final_after * 2) if chances[7] < knobs.forged else None,
        leaked_after=int(chances[10] * final_after * 2) if chances[9] < knobs.leaked else None,
    )


def is_query_lost(knobs: Knobs, request: int) -> bool:
    """Whether the world's so manieth question is answered by an error."""
    return knobs.query_errors > 0 and _chances(knobs.seed, "query", request)[0] < knobs.query_errors


def dark_spell(knobs: Knobs) -> tuple[int, int]:
    """From when until when no callback arrives, in milliseconds: it begins in the middle third, if at all."""
    begins = int(knobs.span * (1 + _chances(knobs.seed, "dark", 0)[0]) / 3)
    return begins, begins + millis(knobs.dark)


def stall(knobs: Knobs) -> tuple[int, int]:
    """From when until when no task gets any further, as `dark_spell`."""
    begins = int(knobs.span * (1 + _chances(knobs.seed, "stall", 0)[0]) / 3)
    return begins, begins + millis(knobs.stall)


def clock_steps(knobs: Knobs) -> list[Step]:
    """When the receiver's clock is set, and how far from the truth, in order."""
    steps = []
    for number in range(knobs.clock_steps):
        when, where = _chances(knobs.seed, "clock", number)[:2]
        steps.append(Step(at=int(knobs.span * when), offset=int(_STEP_WITHIN * (2 * where - 1))))
    return sorted(steps, key=lambda step: step.at)


def crashes(knobs: Knobs) -> list[Crash]:
    """When the receiver is killed, in order."""
    kills = []
    lasting = knobs.span + 2 * millis(knobs.mean)
    for number in range(knobs.crashes):
        when, how_far, how_long = _chances(knobs.seed, "crash", number)[:3]
        kills.append(Crash(at=int(lasting * when), commits=int(4 * how_far), down=int(20_000 * how_long)))
    return sorted(kills, key=lambda crash: crash.at)


def _stalled(knobs: Knobs, arrives_at: int, lasting: int) -> int:
    """How much longer a task takes that runs in the stall, or begins in it."""
    if not knobs.stall:
        return 0
    begins, ends = stall(knobs)
    return max(0, ends - max(begins, arrives_at)) if arrives_at + lasting > begins else 0


def _create_fate(chance: float, unanswered: float) -> CreateFate:
    if chance >= unanswered:
        return CreateFate.ANSWERED
    return CreateFate.LOST if chance < unanswered / 2 else CreateFate.UNANSWERED


def _callback_fate(knobs: Knobs, number: int, name: str) -> CallbackFate:
    lost, way, late, lateness, doubled, apart = _chances(knobs.seed, name, number)[:6]
    if lost < knobs.lost:
        return CallbackFate(copies=())
    first = _between(way, _ON_ITS_WAY) + (int(lateness * _LATE_WITHIN) if late < knobs.reorder else 0)
    if doubled < knobs.duplicate:
        return CallbackFate(copies=(first, first + int(apart * _DOUBLED_WITHIN)))
    return CallbackFate(copies=(first,))


def _chances(seed: int, name: str, number: int) -> Sequence[float]:
    """Sixteen numbers from 0 to 1, the same for the same key."""
    digest = hashlib.blake2b(f"{seed}:{name}:{number}".encode()).digest()
    return [word / 2**32 for word in unpack("<16I", digest)]


def _between(chance: float, bounds: tuple[int, int]) -> int:
    least, most = bounds
    return least + int(chance * (most - least))


def _within(chance: float) -> float:
    """As the normal distribution takes it: neither 0 nor 1."""
    return min(max(chance, 1e-9), 1 - 1e-9)
