"""The questions worth asking about a silent task, and when: the plan of least expected cost. Pure.

`docs/polling.md` derives it. A question costs its price; a finished task that nobody knows of costs its worth for
each second, and once more where it stays unknown for longer than a plain loop would have left it. From the last
moment `t` at which the task was known to run, the next question at `s` costs, per task that was sent,

    price · (lost · S(t) + (1 - lost) · S(s))  +  lost · ∫ t..s worth(s - x) dF(x)  +  what comes after s,

since a lost task is silent if it ran at `t`, and another one is silent only if it still runs at `s`.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from receiver.durations import Curve, curve_of, quantile

LATE_AFTER = 17.0  # seconds: what a plain loop leaves unknown at worst; providers advise 20 to 30
LATE_COUNTS = 20.0  # seconds more that being later than that is worth
LONGEST_PLANNED = 3_600.0  # seconds: beyond, a task is asked about by the fixed plan's growing intervals
_STEPS = 96  # even ones through the bulk of the tasks; then ever larger ones
_GROWTH = 1.07
_SOONEST = 0.5  # seconds: an age a little before one of the grid is that one
_REST = 2e-4  # the share of tasks that the plan does not foresee


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What a question costs, and what a second's earlier knowledge is worth: only their ratio matters."""

    query_price: float = 11.0
    second_worth: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """Ages in seconds at which a question may be asked, and after each "it runs" the best next one."""

    ages: Sequence[float]
    following: Sequence[int]
    costs: _Costs

    def after(self, running: float, *, now: float) -> float | None:
        """The best age, not before `now`, of a task that ran at the age of `running`; None past the plan's end."""
        last = len(self.ages) - 1
        place = bisect_right(self.ages, running + _SOONEST) - 1
        if place >= last:
            return None
        planned = self.ages[self.following[place]]
        if planned >= now:
            return planned
        candidates = range(max(place + 1, bisect_left(self.ages, now)), last + 1)
        if not candidates:
            return None
        return self.ages[min(candidates, key=lambda each: self.costs.of(place, each))]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Costs:
    """The terms of the cost on the grid of ages, and what is left to pay after each."""

    ages: Sequence[float]
    within: Sequence[float]  # F: the share that has ended
    area: Sequence[float]  # the integral of F
    early: Sequence[float]  # F at LATE_AFTER before: whoever ended by then is told late
    rest: Sequence[float]
    lost: float
    worth: Worth

    def of(self, start: int, end: int) -> float:
        """Of asking at `end` where the task was last known to run at `start`, and of what comes after."""
        known = self.within[start]
        waited = self.area[end] - self.area[start] - known * (self.ages[end] - self.ages[start])
        late = max(0.0, self.early[end] - known) * LATE_COUNTS
        asked = self.lost * (1 - known) + (1 - self.lost) * (1 - self.within[end])
        delay = self.lost * self.worth.second_worth * (waited + late)
        return self.worth.query_price * asked + delay + self.rest[end]


@lru_cache(maxsize=256)
def plan_questions(histogram: bytes, lost: float, worth: Worth) -> Questions:
    """The best plan where tasks take as the histogram suggests and this share of callbacks is lost."""
    curve = curve_of(histogram)
    ages = _grid(curve)
    within = [curve(age) for age in ages]
    area = [0.0]
    for place in range(1, len(ages)):
        area.append(area[-1] + (within[place] + within[place - 1]) / 2 * (ages[place] - ages[place - 1]))
    early = [curve(age - LATE_AFTER) for age in ages]
    rest = [0.0] * len(ages)
    following = [len(ages) - 1] * len(ages)
    costs = _Costs(ages=ages, within=within, area=area, early=early, rest=rest, lost=lost, worth=worth)
    for start in range(len(ages) - 2, -1, -1):
        following[start], rest[start] = _best(costs, start)
    return Questions(ages=ages, following=following, costs=costs)


def _best(costs: _Costs, start: int) -> tuple[int, float]:
    """The next question after "it runs" at `start`, and what it and all after it cost.

    As `_Costs.of`, written out: it is tried for each pair of ages. Delay only grows with the age.
    """
    ages, within, area, early, rest = costs.ages, costs.within, costs.area, costs.early, costs.rest
    known, age, base = within[start], ages[start], area[start]
    price, heard = costs.worth.query_price, (1 - costs.lost) * costs.worth.query_price
    second = costs.lost * costs.worth.second_worth
    sure = price * costs.lost * (1 - known)
    best, least = len(ages) - 1, math.inf
    for end in range(start + 1, len(ages)):
        late = early[end] - known
        waited = area[end] - base - known * (ages[end] - age)
        delay = second * (waited + LATE_COUNTS * late if late > 0 else waited)
        if sure + delay > least:
            break
        cost = sure + delay + heard * (1 - within[end]) + rest[end]
        if cost < least:
            best, least = end, cost
    return best, least


def _grid(curve: Curve) -> list[float]:
    """The ages to choose from: none before the first tasks end, even through the bulk, growing in the tail."""
    first, bulk = quantile(curve, 0.002), quantile(curve, 0.99)
    end = min(LONGEST_PLANNED, quantile(curve, 1 - _REST))
    step = (bulk - first) / _STEPS
    ages = [0.0, *(first + step * place for place in range(_STEPS + 1))]
    while ages[-1] < end:
        ages.append(ages[-1] + max(step, ages[-1] * (_GROWTH - 1)))
    return ages
