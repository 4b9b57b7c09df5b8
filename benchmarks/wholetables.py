"""What asking came to on the whole receiver: as tables for `docs/polling.md`, and as two pictures. Arithmetic alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeAlias

from benchmarks.asking import SHAPES, Asked, best
from benchmarks.askingplot import Line, plot
from receiver.simulation.report import percentile

LOSSES = (0.0, 0.01, 1.0)
PLOTTED = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
PLOTTED_SHAPES = [shape.name for shape in SHAPES[:3]]  # of one class
TO_BEST = 1.15  # of the best plan's queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A distribution, by its name, and the share of callbacks lost."""

    shape: str
    lost: float
    has_list: bool = False

    def __str__(self) -> str:
        return f"{self.shape}, {self.lost:.1%} lost{', by list' if self.has_list else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One world of a case: queries for each task, and how late each final was that a query found, in order."""

    queries: float
    delays: Sequence[float] = field(repr=False)
    oracle: float
    loop_queries: float
    loop_p95: float

    @property
    def p95(self) -> float:
        """Of those found by query; 0 where there are none."""
        return percentile(self.delays, 95) or 0.0


Found: TypeAlias = Mapping[Case, Sequence[Measured]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What the issue aims at for a case of the plain distribution."""

    case: Case
    asked: str
    says: str
    is_met: Callable[[Measured], bool]


_PLAIN = SHAPES[0].name
AIMS = (
    Aim(
        case=Case(shape=_PLAIN, lost=0.0),
        asked="one by one",
        says="≤ 0.01",
        is_met=lambda each: each.queries <= 0.01,
    ),
    Aim(
        case=Case(shape=_PLAIN, lost=0.01),
        asked="one by one",
        says="≤ 0.03, p95 ≤ 45 s",
        is_met=lambda each: each.queries <= 0.03 and each.p95 <= 45,
    ),
    Aim(
        case=Case(shape=_PLAIN, lost=1.0),
        asked="one by one",
        says="≤ 0.75 of the loop's, p95 ≤ its",
        is_met=lambda each: each.queries <= 0.75 * each.loop_queries and each.p95 <= each.loop_p95,
    ),
    Aim(
        case=Case(shape=_PLAIN, lost=1.0, has_list=True),
        asked="by list, 500 in flight",
        says="≤ 0.05, p95 ≤ the loop's",
        is_met=lambda each: each.queries <= 0.05 and each.p95 <= each.loop_p95,
    ),
)


def tables(found: Found) -> Iterator[str]:
    """The aims of one class, and every distribution beside the best plan."""
    yield "\n".join(_aims(found))
    yield "\n".join(_distributions(found))


def pictures(found: Found) -> dict[str, str]:
    """Queries and delay over loss, by the names of their files."""
    points = [f"{lost:.1%}" for lost in PLOTTED]
    runs = {name: [found[Case(shape=name, lost=lost)] for lost in PLOTTED] for name in PLOTTED_SHAPES}
    queries = [Line(label=name, values=[_queries(each) for each in of]) for name, of in runs.items()]
    delays = [Line(label=name, values=_delays(of)) for name, of in runs.items()]
    plain = [found[Case(shape=_PLAIN, lost=lost)] for lost in PLOTTED]
    queries.append(Line(label="20 s loop", values=[fmean(each.loop_queries for each in of) for of in plain]))
    queries.append(Line(label="oracle", values=[_oracle(of) for of in plain]))
    delays.append(Line(label="20 s loop", values=[fmean(each.loop_p95 for each in of) for of in plain]))
    return {
        "polling-queries.svg": plot("queries per task", points, queries),
        "polling-delay.svg": plot("delay of those found by query, p95, in seconds", points, delays),
    }


def _delays(runs: Sequence[Sequence[Measured]]) -> list[float]:
    """At each share lost; none where nothing is lost, for what was found there was about to be heard."""
    return [0.0 if lost == 0 else _pooled_p95(each) for lost, each in zip(PLOTTED, runs, strict=True)]


def _aims(found: Found) -> Iterator[str]:
    yield "| lost | asked | queries per task, by seed | oracle | p95 of those found, s | 20 s loop | aim | met |"
    yield "|---|---|---|---|---|---|---|---|"
    for aim in AIMS:
        worlds = found[aim.case]
        oracle = _each(worlds, lambda world: f"{world.oracle:.4f}")
        yield (
            f"| {aim.case.lost:.0%} | {aim.asked} | {_each(worlds, _of_queries)} | {oracle} | {_each(worlds, _of_p95)} "
            f"| {_loop(worlds)} | {aim.says} | {sum(map(aim.is_met, worlds))} of {len(worlds)} |"
        )


def _distributions(found: Found) -> Iterator[str]:
    yield "| times | lost | queries per task, by seed | p95, s | best plan | to best | 20 s loop | to loop |"
    yield "|---|---|---|---|---|---|---|---|"
    for shape in SHAPES:
        for lost in LOSSES:
            worlds = found[Case(shape=shape.name, lost=lost)]
            to_loop = _queries(worlds) / fmean(each.loop_queries for each in worlds)
            yield (
                f"| {shape.name} | {lost:.0%} | {_each(worlds, _of_queries)} | {_each(worlds, _of_p95)} "
                f"| {beside_best(shape.name, worlds)} | {_loop(worlds)} | {to_loop:.2f} |"
            )


def beside_best(name: str, worlds: Sequence[Measured]) -> str:
    """What the best plan comes to, and by how much these worlds asked more: bold where that misses its aim."""
    known = best_plan(name, worlds)
    if known is None:
        return "— | —"
    ratio = _queries(worlds) / known.queries
    is_met = ratio <= TO_BEST and _pooled_p95(worlds) <= _patience(worlds)
    return f"{known.queries:.4f} at {known.p95:.1f} s | {f'{ratio:.2f}' if is_met else f'**{ratio:.2f}**'}"


def best_plan(name: str, worlds: Sequence[Measured]) -> Asked | None:
    """The fewest questions of who knows the distribution and the loss; None where there is nothing to ask about.

    At no worse p95 than the loop's where all are lost, else than what these worlds came to.
    """
    lost = _oracle(worlds)
    patience = _patience(worlds)
    if lost == 0 or patience < 1:
        return None
    return best(next(shape for shape in SHAPES if shape.name == name), lost, patience)


def _patience(worlds: Sequence[Measured]) -> float:
    return fmean(each.loop_p95 for each in worlds) if _oracle(worlds) == 1 else _pooled_p95(worlds)


def _pooled_p95(worlds: Sequence[Measured]) -> float:
    return percentile(sorted(delay for each in worlds for delay in each.delays), 95) or 0.0


def _queries(worlds: Sequence[Measured]) -> float:
    return fmean(each.queries for each in worlds)


def _oracle(worlds: Sequence[Measured]) -> float:
    return fmean(each.oracle for each in worlds)


def _loop(worlds: Sequence[Measured]) -> str:
    return f"{max(each.loop_queries for each in worlds):.2f} at {max(each.loop_p95 for each in worlds):.1f} s"


def _each(worlds: Sequence[Measured], shown: Callable[[Measured], str]) -> str:
    return ", ".join(map(shown, worlds))


def _of_queries(world: Measured) -> str:
    return f"{world.queries:.4f}" if world.queries < 1 else f"{world.queries:.2f}"


def _of_p95(world: Measured) -> str:
    return f"{world.p95:.1f}" if world.delays else "—"
