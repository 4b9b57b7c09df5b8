"""The aims of asking, measured on the whole receiver: its ledger, its worker, its lists, in a simulated world.

    python -m benchmarks.wholeasking --tasks 3000

Each row is simulated for five seeds; a part of the tasks teaches before any is counted. Prints the first table of
`docs/polling.md` as Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from receiver.simulation import Knobs, SimulationReport, simulate_world

SEEDS = range(1, 6)
LOOP = 20.0
MEMORY = Path("/dev/shm")
FOLDER = MEMORY if MEMORY.is_dir() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A share of callbacks lost, the tasks in flight and before the count, and what is aimed at."""

    lost: float
    has_list: bool = False
    in_flight: int = 20
    warm_up: int = 200
    aim: str
    is_met: Callable[[SimulationReport], bool]

    def knobs(self, seed: int, tasks: int) -> Knobs:
        """The world of this row; so many tasks are counted."""
        return Knobs(
            tasks=tasks + self.warm_up,
            warm_up=self.warm_up,
            seed=seed,
            in_flight=self.in_flight,
            lost=self.lost,
            failed=0.0,
            final_only=1.0,
        )


def _late(report: SimulationReport) -> float:
    return report.delay_by_query.p95 or 0.0


def _loops(report: SimulationReport) -> tuple[float, float]:
    loop = report.rivals[0]
    return loop.queries_per_task, loop.delay_p95 or 0.0


ROWS = (
    Row(lost=0.0, aim="≤ 0.01", is_met=lambda each: each.queries_per_task <= 0.01),
    Row(
        lost=0.01,
        aim="≤ 0.03, p95 ≤ 45 s",
        is_met=lambda each: each.queries_per_task <= 0.03 and _late(each) <= 45,
    ),
    Row(
        lost=1.0,
        aim="≤ 0.75 of the loop's, p95 ≤ its",
        is_met=lambda each: each.queries_per_task <= 0.75 * _loops(each)[0] and _late(each) <= _loops(each)[1],
    ),
    Row(
        lost=1.0,
        has_list=True,
        in_flight=500,
        warm_up=2_000,
        aim="≤ 0.05, p95 ≤ the loop's",
        is_met=lambda each: each.queries_per_task <= 0.05 and _late(each) <= _loops(each)[1],
    ),
)


def main() -> None:
    """Simulate and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tasks", type=int, default=3_000, help="counted for each seed, after those that teach")
    tasks = arguments.parse_args().tasks
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(
        "| lost | asked | queries per task, by seed | oracle | p95 of those found by query, s | 20 s loop | aim | met |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in ROWS:
        print(_line(row, [asyncio.run(_simulated(row, seed, tasks)) for seed in SEEDS]), flush=True)


async def _simulated(row: Row, seed: int, tasks: int) -> SimulationReport:
    account = {"flags": {"list_query": row.has_list}}
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        return await simulate_world(row.knobs(seed, tasks), Path(folder), account=account, loops=[LOOP])


def _line(row: Row, reports: Sequence[SimulationReport]) -> str:
    if any(each.broken for each in reports):
        raise SystemExit(f"an invariant broke: {next(each.broken for each in reports if each.broken)[0]}")
    queries = ", ".join(f"{each.queries_per_task:.4f}" for each in reports)
    late = ", ".join("—" if each.delay_by_query.p95 is None else f"{each.delay_by_query.p95:.1f}" for each in reports)
    oracle = ", ".join(f"{each.rivals[-1].queries_per_task:.4f}" for each in reports)
    asked, worst = (max(figures) for figures in zip(*map(_loops, reports), strict=True))
    met = sum(map(row.is_met, reports))
    how = f"by list, {row.in_flight} in flight" if row.has_list else "one by one"
    return (
        f"| {row.lost:.0%} | {how} | {queries} | {oracle} | {late} | {asked:.2f} at {worst:.1f} s "
        f"| {row.aim} | {met} of {len(reports)} |"
    )


if __name__ == "__main__":
    main()
