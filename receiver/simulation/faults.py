"""What befalls each simulated task: drawn from a hash of the seed and the task's number, never by dice. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from statistics import NormalDist
from struct import unpack

from receiver.simulation.knobs import Knobs
from submitter.moments import millis

_NORMAL = NormalDist()
_DOUBLED_WITHIN = 30_000  # ms: how much later the second copy of a callback may come
_LATE_WITHIN = 60_000  # ms: how late a callback may be that others overtake
_ON_ITS_WAY = (20, 500)  # ms: what a callback takes to arrive
_ANSWERED_WITHIN = (200, 1_500)  # ms: what a create takes to be answered
_STARTED_WITHIN = (300, 3_000)  # ms: from `submitted` to `processing`
# A look-up refuses what the provider dates more than five minutes before our sending: a clock that is wrong by
# more than that is beyond what is promised.
_STEP_WITHIN = 4 * 60_000
_PEACE = (5, 60)  # s: what a provider asks for who was asked too fast
_GOLDEN = 2_654_435_761  # odd, and far from any small ratio to 2^32: neighbours end up far apart


class CreateFate(StrEnum):
    """What becomes of the first create of a task."""

    ANSWERED = "answered"
    LOST = "lost"  # it never reached the provider
    UNANSWERED = "unanswered"  # it did, and its answer never reached us
    BROKEN = "broken"  # an error of theirs, and no task
    BROKEN_LATE = "broken_late"  # an error of theirs, although there is a task


NOTHING_CREATED = frozenset({CreateFate.LOST, CreateFate.BROKEN})
NOT_ANSWERED = frozenset({CreateFate.LOST, CreateFate.UNANSWERED})


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackFate:
    """How a callback fares: how long each copy of it is on its way. None arrive of one that is lost."""

    copies: tuple[int, ...]


NO_CALLBACK = CallbackFate(copies=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """All that will befall a task. Durations are milliseconds."""

    arrives_at: int
    kind: int  # which of the means its duration was drawn by
    create: CreateFate
    is_early: bool
    answered_after: int
    processing_after: int
    final_after: int
    shown_after: int
    has_failed: bool
    processing: CallbackFate
    final: CallbackFate
    forged_after: int | None
    leaked_after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """A while, in milliseconds since the world's beginning: something is so from `begins` until before `ends`."""

    begins: int
    ends: int

    def __contains__(self, moment: int) -> bool:
        return self.begins <= moment < self.ends


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
    kind = int(chances[14] * len(knobs.means))
    mean = millis(knobs.means[kind])
    log_mean = math.log(mean) - knobs.sigma**2 / 2
    lasting = max(500, int(math.exp(log_mean + knobs.sigma * _NORMAL.inv_cdf(_within(chances[1])))))
    arrives_at = int(spacing * (number + chances[0]))
    final_after = lasting + _stalled(knobs, arrives_at, lasting)
    is_early = chances[3] < knobs.early
    is_final_only = chances[11] < knobs.final_only and not is_early
    return Fate(
        arrives_at=arrives_at,
        kind=kind,
        create=_create_fate(chances[2], knobs.unanswered, chances[12], knobs.create_errors),
        is_early=is_early,
        answered_after=_between(chances[4], _ANSWERED_WITHIN),
        processing_after=min(_between(chances[5], _STARTED_WITHIN), final_after // 2),
        final_after=final_after,
        shown_after=int(chances[13] * millis(knobs.lag)),
        has_failed=chances[6] < knobs.failed,
        processing=NO_CALLBACK if is_final_only else _callback_fate(knobs, number, "processing"),
        final=_callback_fate(knobs, number, "final"),
        forged_after=int(chances[8] * final_after * 2) if chances[7] < knobs.forged else None,
        leaked_after=int(chances[10] * final_after * 2) if chances[9] < knobs.leaked else None,
    )


def is_query_lost(knobs: Knobs, request: int) -> bool:
    """Whether the world's so manieth question is answered by an error."""
    return knobs.query_errors > 0 and _chances(knobs.seed, "query", request)[0] < knobs.query_errors


def throttled_for(knobs: Knobs, request: int) -> int | None:
    """How many seconds the provider wants to be left in peace after its so manieth request, if it does."""
    if knobs.throttle == 0:
        return None
    chance, length = _chances(knobs.seed, "throttle", request)[:2]
    return _between(length, _PEACE) if chance < knobs.throttle else None


def shuffled(knobs: Knobs, request: int, count: int) -> Sequence[int] | None:
    """The order of a list of so many in this answer, where it is another than the order of creation."""
    if knobs.unordered == 0 or _chances(knobs.seed, "order", request)[0] >= knobs.unordered:
        return None
    return sorted(range(count), key=lambda place: (place * _GOLDEN + request) % 2**32)


def dark_spell(knobs: Knobs) -> Spell:
    """From when until when no callback arrives."""
    return _spell(knobs, "dark", knobs.dark)


def maintenance_spell(knobs: Knobs) -> Spell:
    """From when until when everything is answered 503."""
    return _spell(knobs, "maintenance", knobs.maintenance)


def arrears_spell(knobs: Knobs) -> Spell:
    """From when until when the account is refused."""
    return _spell(knobs, "arrears", knobs.arrears)


def stall(knobs: Knobs) -> Spell:
    """From when until when no task gets any further."""
    return _spell(knobs, "stall", knobs.stall)


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
    spell = stall(knobs)
    return max(0, spell.ends - max(spell.begins, arrives_at)) if arrives_at + lasting > spell.begins else 0


def _create_fate(silence: float, unanswered: float, error: float, errors: float) -> CreateFate:
    if silence < unanswered:
        return CreateFate.LOST if silence < unanswered / 2 else CreateFate.UNANSWERED
    if error < errors:
        return CreateFate.BROKEN if error < errors / 2 else CreateFate.BROKEN_LATE
    return CreateFate.ANSWERED


def _spell(knobs: Knobs, name: str, length: timedelta) -> Spell:
    """It begins in the middle third, if at all."""
    begins = int(knobs.span * (1 + _chances(knobs.seed, name, 0)[0]) / 3)
    return Spell(begins=begins, ends=begins + millis(length))


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
