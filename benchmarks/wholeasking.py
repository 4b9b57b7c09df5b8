"""The aims of asking, measured on the whole receiver: its ledger, its worker, its lists, in simulated worlds.

    python -m benchmarks.wholeasking --tasks 3000 --plot docs

Five distributions of durations by three shares of loss and five seeds; a part of the tasks teaches before any is
counted. Writes the measured part of `docs/polling.md` and its two pictures. What was measured is kept in the cache
folder, as long as the receiver's code is what it was: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import structlog

from benchmarks.asking import LOOP, SEEDS, SHAPES, WARM_UP
from benchmarks.report import page_with
from benchmarks.wholetables import LOSSES, PLOTTED, PLOTTED_SHAPES, Case, Found, Measured, pictures, tables
from receiver.simulation import Knobs, simulate_world

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".bench"
MEMORY = Path("/dev/shm")
BEGIN = "<!-- results of asking: written by `python -m benchmarks.wholeasking` -->"
IN_FLIGHT = 20
MANY = 500  # in flight, where a list is asked
LONGER = 10  # times as many teach there: with fewer, most of the measured ones began before anything was learned
GARBAGE_AT = 50_000  # objects: as `hookledger simulate` has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured: so many tasks after so many that teach, in each world of these seeds."""

    tasks: int
    warm_up: int
    seeds: Sequence[int]
    processes: int
    cache: Path


def main() -> None:
    """Simulate, print, and write where it was asked for."""
    arguments = _arguments()
    plan = Plan(
        tasks=arguments.tasks,
        warm_up=arguments.warm_up,
        seeds=SEEDS[: arguments.seeds],
        processes=arguments.processes,
        cache=arguments.cache,
    )
    shares = LOSSES if arguments.plot is None else sorted({*LOSSES, *PLOTTED})
    found = measure(plan, [each for each in cases() if each.lost in shares])
    made = [_extent(plan), *tables(found)]
    print("\n\n".join(made))
    if arguments.plot is not None:
        page = arguments.plot / "polling.md"
        page.write_text(page_with(page.read_text(encoding="utf-8"), BEGIN, made), encoding="utf-8")
        for name, picture in pictures(found).items():
            (arguments.plot / name).write_text(picture, encoding="utf-8")


def cases() -> Iterator[Case]:
    """What the tables need first, and then the points between."""
    yield from (Case(shape=shape.name, lost=lost) for shape in SHAPES for lost in LOSSES)
    yield Case(shape=SHAPES[0].name, lost=1.0, has_list=True)
    between = [lost for lost in PLOTTED if lost not in LOSSES]
    yield from (Case(shape=name, lost=lost) for name in PLOTTED_SHAPES for lost in between)


def measure(plan: Plan, wanted: Sequence[Case]) -> Found:
    """All of it, in as many processes at once; what is in the cache already is not measured again."""
    kept = plan.cache / f"asking-{_code()}-{plan.tasks}-{plan.warm_up}.jsonl"
    plan.cache.mkdir(parents=True, exist_ok=True)
    done = _read(kept)
    missing = [(case, seed) for case in wanted for seed in plan.seeds if (case, seed) not in done]
    began = time.monotonic()
    pool = ProcessPoolExecutor(plan.processes, mp_context=get_context("spawn"), initializer=_be_quiet)
    with pool, kept.open("a", encoding="utf-8") as lines:
        futures = {pool.submit(simulated, case, seed, plan.tasks, plan.warm_up): (case, seed) for case, seed in missing}
        for number, future in enumerate(as_completed(futures), start=1):
            case, seed = futures[future]
            done[case, seed] = measured = future.result()
            lines.write(json.dumps({"case": asdict(case), "seed": seed, "measured": asdict(measured)}) + "\n")
            lines.flush()
            _say(f"{number}/{len(missing)} in {time.monotonic() - began:.0f} s: {case} seed {seed}: {measured}")
    return {case: [done[case, seed] for seed in plan.seeds] for case in wanted}


def simulated(case: Case, seed: int, tasks: int, warm_up: int) -> Measured:
    """One world. Raises SystemExit where an invariant broke."""
    knobs = knobs_of(case, seed, tasks, warm_up)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        account = {"flags": {"list_query": case.has_list}}
        report = asyncio.run(simulate_world(knobs, Path(folder), account=account, loops=[LOOP]))
    if report.broken:
        raise SystemExit(f"{case}, seed {seed}: an invariant broke: {report.broken[0]}")
    loop, oracle = report.rivals
    return Measured(
        queries=report.queries_per_task,
        delays=tuple(report.delay_by_query.ranked),
        oracle=oracle.queries_per_task,
        loop_queries=loop.queries_per_task,
        loop_p95=loop.delay_p95 or 0.0,
    )


def knobs_of(case: Case, seed: int, tasks: int, warm_up: int) -> Knobs:
    """The world of this case. Of a mixture's classes nobody is told which one a task belongs to."""
    parts = next(shape.parts for shape in SHAPES if shape.name == case.shape)
    teaching = warm_up * LONGER if case.has_list else warm_up
    return Knobs(
        tasks=tasks + teaching,
        warm_up=teaching,
        seed=seed,
        in_flight=MANY if case.has_list else IN_FLIGHT,
        means=tuple(timedelta(seconds=mean) for _, mean, _ in parts),
        sigma=parts[0][2],
        lost=case.lost,
        failed=0.0,
        final_only=1.0,
    )


def _extent(plan: Plan) -> str:
    return (
        f"Counted are {plan.tasks} tasks for each of {len(plan.seeds)} seeds, after {plan.warm_up} that teach where "
        f"{IN_FLIGHT} are in flight, and {plan.warm_up * LONGER} where it is {MANY}."
    )


def _be_quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    gc.freeze()
    gc.set_threshold(GARBAGE_AT, 10, 10)


def _read(kept: Path) -> dict[tuple[Case, int], Measured]:
    if not kept.exists():
        return {}
    entries = map(json.loads, kept.read_text(encoding="utf-8").splitlines())
    return {(Case(**each["case"]), each["seed"]): _measured(each["measured"]) for each in entries}


def _measured(fields: Mapping[str, object]) -> Measured:
    return Measured(**{**fields, "delays": tuple(fields["delays"])})  # type: ignore[arg-type]


def _code() -> str:
    """What the receiver's code is: what another one came to would be no measurement of it."""
    digest = hashlib.sha256()
    for package in ("receiver", "submitter"):
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in {".py", ".sql"}:
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=3_000, help="counted for each seed, after those that teach")
    parser.add_argument("--warm-up", type=int, default=WARM_UP, help="tasks that teach; ten times as many for the list")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many of the seeds")
    parser.add_argument("--processes", type=int, default=2, help="worlds that are simulated at the same time")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where what was measured is kept")
    parser.add_argument(
        "--plot", type=Path, help="a folder whose polling.md gets the tables, and beside it the pictures"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
