"""What asking cost, what plain loops would have cost for the same tasks, and how late news came. Pure arithmetic."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from submitter.moments import Moment, millis

# A fixed loop as integrators write it (CometAPI advises 20 to 30 s), and the loops that popular clients run.
LOOPS = tuple(timedelta(seconds=each) for each in (30, 25, 20, 0.5, 0.1))
_GROWTH = math.log(1.01)  # delays are told apart by a hundredth of themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A settled task: when it was submitted, when the provider says it was finished, and when we knew.

    `submitted_at` is None where somebody else sent it, `finished_at` where nobody said.
    """

    provider: str
    submitted_at: Moment | None
    finished_at: Moment | None
    settled_at: Moment
    settled_by: str
    unit_deduction: str | None


class Delays:
    """How long things took, as a histogram whose bins grow with them: a thousand or two, however many there are."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self.count = 0

    def add(self, delay_ms: int) -> None:
        """One more; a clock that is ahead of ours makes no delay negative."""
        self._bins[int(math.log1p(max(0, delay_ms)) / _GROWTH)] += 1
        self.count += 1

    def quantile(self, share: float) -> int | None:
        """Milliseconds that this share of them did not exceed, to a hundredth; None where there are none."""
        wanted = math.ceil(share * self.count)
        seen = 0
        for place in sorted(self._bins):
            seen += self._bins[place]
            if seen >= wanted:
                return round(math.expm1((place + 0.5) * _GROWTH))
        return None


@dataclass(slots=True, kw_only=True)
class Loop:
    """What asking about each task every so often would have cost."""

    every: timedelta
    requests: int = 0
    delays: Delays = field(default_factory=Delays)

    def add(self, duration_ms: int) -> None:
        """A task that took so long: the loop asks until it is finished, and knows at its next turn."""
        every = millis(self.every)
        asked = max(1, -(-duration_ms // every))
        self.requests += asked
        self.delays.add(asked * every - duration_ms)


@dataclass(slots=True, kw_only=True)
class AccountTally:
    """What one account's tasks came to."""

    settled: int = 0
    units: float = 0.0
    without_units: int = 0


class Savings:
    """The settled tasks of a while, added one by one and forgotten."""

    def __init__(self) -> None:
        self.loops = [Loop(every=every) for every in LOOPS]
        self.delays: dict[str, Delays] = {"callback": Delays(), "query": Delays()}
        self.accounts: dict[str, AccountTally] = {}
        self.compared = 0

    def add(self, life: Life) -> None:
        """One more task."""
        self._tally(life)
        if life.finished_at is not None and life.settled_by in self.delays:
            self.delays[life.settled_by].add(life.settled_at - life.finished_at)
        if life.submitted_at is None:
            return
        self.compared += 1
        # Where the provider's clock is ahead of ours, or nobody said: when we knew.
        finished_at = life.settled_at if life.finished_at is None else min(life.finished_at, life.settled_at)
        duration = max(0, finished_at - life.submitted_at)
        for loop in self.loops:
            loop.add(duration)

    @property
    def settled(self) -> int:
        """How many there were."""
        return sum(each.settled for each in self.accounts.values())

    def _tally(self, life: Life) -> None:
        tally = self.accounts.setdefault(life.provider, AccountTally())
        tally.settled += 1
        units = units_of(life.unit_deduction)
        if units is None:
            tally.without_units += 1
        else:
            tally.units += units


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Requests that were made, by shape, and the tasks that their answers told of."""

    provider: str
    shape: str
    requests: int
    tasks: int


def made_by_shape(asked: Sequence[Requests]) -> Mapping[str, int]:
    """How many requests of each shape, whoever was asked."""
    made: Counter[str] = Counter()
    for each in asked:
        made[each.shape] += each.requests
    return made


def units_of(text: str | None) -> float | None:
    """A provider's text for what a task cost, where it is a number that makes sense."""
    if text is None:
        return None
    try:
        units = float(text)
    except ValueError:
        return None
    return units if math.isfinite(units) and units >= 0 else None
