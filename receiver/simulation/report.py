"""What a simulation came to: questions asked, how late finals were known, and how plain polling would have fared."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from receiver.simulation.clock import VirtualClock
from receiver.simulation.invariants import Broken
from receiver.simulation.knobs import Knobs
from receiver.simulation.pathstory import PathStory
from receiver.simulation.world import BEGINNING, Life
from receiver.task import SettledBy, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """How many finals, and how long after the provider had them they were known, in seconds; `ranked` has each."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    ranked: Sequence[float] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """Another way to ask about the very same tasks."""

    name: str
    queries_per_task: float
    delay_p50: float | None
    delay_p95: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationReport:
    """The outcome of a simulation, as `hookledger simulate` prints it: of the measured tasks, but for `broken`."""

    knobs: Mapping[str, object]
    tasks: int
    states: Mapping[str, int]
    settled_by: Mapping[str, int]
    requests: int
    queries_per_task: float
    delay_by_callback: Delays
    delay_by_query: Delays
    rivals: Sequence[Rival]
    path: PathStory
    times_killed: int
    virtual_seconds: float
    broken: Sequence[Broken]

    @property
    def dark_noticed_after(self) -> float | None:
        """Seconds from the dark spell's beginning; None without one, or if it was not noticed since then."""
        return None if self.path.spell is None else self.path.spell.noticed_after

    def as_json(self) -> dict[str, object]:
        """Plain values, but for each single delay."""
        shown = {**asdict(self), "dark_noticed_after": self.dark_noticed_after}
        for road in ("delay_by_callback", "delay_by_query"):
            del shown[road]["ranked"]
        return shown


def figures(
    knobs: Knobs,
    lives: Sequence[Life],
    tasks: Mapping[str, Task],
    *,
    requests: int,
    clock: VirtualClock,
    times_killed: int,
    path: PathStory,
    loops: Sequence[float],
    broken: Sequence[Broken],
) -> SimulationReport:
    """Everything that can be counted. `lives` are those that are measured, and `requests` what was asked for them.

    `loops` are the fixed intervals, in seconds, to compare with.
    """
    known = _known_after(lives, tasks, clock)
    measured = [tasks[life.external_task_id] for life in lives if life.external_task_id in tasks]
    lasting = [life.fate.final_after / 1000 for life in lives if life.created_at is not None]
    return SimulationReport(
        knobs=knobs.settings,
        tasks=len(lives),
        states=dict(Counter(str(task.state) for task in measured)),
        settled_by=dict(Counter(str(task.settled_by) for task in measured)),
        requests=requests,
        queries_per_task=requests / len(lives),
        delay_by_callback=_delays(known[SettledBy.CALLBACK]),
        delay_by_query=_delays(known[SettledBy.QUERY]),
        rivals=[*(_fixed_loop(every, lasting) for every in loops), _oracle(lives)],
        path=path,
        times_killed=times_killed,
        virtual_seconds=(max((task.settled_at or BEGINNING for task in tasks.values()), default=BEGINNING) - BEGINNING)
        / 1000,
        broken=broken,
    )


def _known_after(
    lives: Sequence[Life], tasks: Mapping[str, Task], clock: VirtualClock
) -> Mapping[SettledBy, Sequence[float]]:
    """How many seconds after the provider had them finals were known, by what brought them."""
    known: dict[SettledBy, list[float]] = {SettledBy.CALLBACK: [], SettledBy.QUERY: []}
    for life in lives:
        task = tasks.get(life.external_task_id)
        if task is None or task.settled_by not in known or life.forgeries:
            continue  # what was forged may be believed before it is over
        if task.is_settled and task.settled_at is not None and life.final_at is not None:
            known_at = clock.true_moment_of(task.settled_at, not_before=life.final_at)
            known[task.settled_by].append((known_at - life.final_at) / 1000)
    return known


def _fixed_loop(every: float, lasting: Sequence[float]) -> Rival:
    """Asks about each task every so many seconds until it is over, from when it was created."""
    rounds = [max(1, math.ceil(seconds / every)) for seconds in lasting]
    late = _delays([turns * every - seconds for turns, seconds in zip(rounds, lasting, strict=True)])
    return Rival(
        name=f"a loop of {every:g} s",
        queries_per_task=sum(rounds) / max(1, len(lasting)),
        delay_p50=late.p50,
        delay_p95=late.p95,
    )


def _oracle(lives: Sequence[Life]) -> Rival:
    """Knows whose final callback is lost, and asks about each of those tasks once, when it is over."""
    lost = sum(life.true_finals_acknowledged == 0 for life in lives)
    return Rival(name="an oracle", queries_per_task=lost / len(lives), delay_p50=0.0, delay_p95=0.0)


def _delays(seconds: Sequence[float]) -> Delays:
    ranked = sorted(seconds)
    return Delays(
        count=len(ranked),
        p50=percentile(ranked, 50),
        p95=percentile(ranked, 95),
        p99=percentile(ranked, 99),
        ranked=ranked,
    )


def percentile(ranked: Sequence[float], percent: int) -> float | None:
    """The nearest rank, of what is in order."""
    if not ranked:
        return None
    return round(ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)], 3)
