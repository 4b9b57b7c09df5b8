"""Knobs: the world that is to be simulated, and what makes no world. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import timedelta

from submitter.moments import millis

_RATES = (
    "failed",
    "lost",
    "duplicate",
    "reorder",
    "early",
    "unanswered",
    "create_errors",
    "query_errors",
    "throttle",
    "unordered",
    "final_only",
    "forged",
    "leaked",
)
_SPELLS = ("dark", "stall", "maintenance", "arrears", "lag")
_COUNTS = ("crashes", "clock_steps")
MOST_MEANS = 5  # so many kinds of requests are told apart
# Look-ups of an unanswered create go on for five minutes: a store that lags for longer looks like one that has nothing.
LONGEST_LAG = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """A world to simulate. Rates are shares from 0 to 1: of callbacks, of creates, of queries or of tasks.

    `sigma` is the spread of the logarithm of the durations. Their mean is one of `means`, each as often as the others;
    where they are `told_apart`, each belongs to a model and resolution of its own. About `in_flight` tasks are in
    work at a time. Once in the middle, for so long each: `dark`, no callback arrives at all; `stall`, no task gets any
    further; `maintenance`, everything is answered 503; `arrears`, the account is refused. For up to `lag` a new task is
    not found yet. The first `warm_up` tasks teach the receiver, and are not measured.
    """

    tasks: int = 1_000
    seed: int = 1
    in_flight: int = 50
    means: tuple[timedelta, ...] = (timedelta(seconds=32),)
    sigma: float = 0.3
    told_apart: bool = False
    failed: float = 0.02
    lost: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    early: float = 0.0
    unanswered: float = 0.0
    create_errors: float = 0.0
    query_errors: float = 0.0
    throttle: float = 0.0
    unordered: float = 0.0
    final_only: float = 0.0
    forged: float = 0.0
    leaked: float = 0.0
    dark: timedelta = timedelta(0)
    stall: timedelta = timedelta(0)
    maintenance: timedelta = timedelta(0)
    arrears: timedelta = timedelta(0)
    lag: timedelta = timedelta(0)
    crashes: int = 0
    clock_steps: int = 0
    warm_up: int = 0

    def __post_init__(self) -> None:
        for name in _RATES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}: a share is a number from 0 to 1")
        if problem := next((problem for is_so, problem in self._problems() if is_so), None):
            raise ValueError(problem)

    @property
    def mean(self) -> timedelta:
        """How long a task takes in the mean of all."""
        return sum(self.means, timedelta(0)) / len(self.means)

    @property
    def span(self) -> int:
        """Milliseconds in which all tasks are submitted: by Little's law `in_flight` are in work at a time."""
        return self.tasks * millis(self.mean) // self.in_flight

    @property
    def settings(self) -> dict[str, object]:
        """As JSON shows them: lengths in seconds."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}

    def _problems(self) -> Iterator[tuple[bool, str]]:
        yield self.tasks < 1 or self.in_flight < 1, "there must be a task, and one in flight"
        is_measured = 0 <= self.warm_up < self.tasks
        yield not is_measured, f"warm_up={self.warm_up}: at least one of {self.tasks} tasks is measured"
        is_mixed = 1 <= len(self.means) <= MOST_MEANS
        yield not is_mixed, f"there are {len(self.means)} means: one to {MOST_MEANS} can be mixed"
        is_bounded = min(self.means, default=timedelta(0)) >= timedelta(seconds=1) and 0 <= self.sigma <= 3
        yield not is_bounded, "tasks take a second or more in the mean, and sigma is a number from 0 to 3"
        shortest = min(getattr(self, name) for name in _SPELLS)
        yield shortest < timedelta(0), "no dark spell, maintenance, arrears or lag can be shorter than none"
        fewest = min(getattr(self, name) for name in _COUNTS)
        yield fewest < 0, "neither crashes nor clock steps can be fewer than none"
        yield self.throttle == 1, "throttle=1: a provider that takes no request has no tasks"
        longest = f"{LONGEST_LAG.total_seconds():g} s"
        yield self.lag > LONGEST_LAG, f"lag: a new task that is not found for more than {longest} is taken as lost"


def _plain(value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
