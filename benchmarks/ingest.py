"""How fast callbacks are kept: against the competitors, with few and many old tasks, and when they are duplicates."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks import competitors, ledgers, rawload, serving
from benchmarks.cache import KeptLedger
from benchmarks.callbacks import Created, heard_of, requests
from benchmarks.competitors import EACH, NOOP, SHARED
from benchmarks.load import Load, post
from benchmarks.plan import JUDGED_AT, Plan
from benchmarks.serving import Served

DURABLE = "durable"
NEWEST_OF_FEW, NEWEST_OF_MANY, RANDOM_OF_MANY = "newest, few old", "newest, many old", "random, many old"
FASTER = 1.5  # how much faster a run may be than the no-op's that said how many callbacks are needed
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Series:
    """The runs of one kind, which were interleaved with those of the others."""

    runs: Sequence[Load]

    def summary(self) -> dict[str, Any]:
        """Medians over the runs, with the lowest and highest rate, and every run."""
        rates = [run.per_second for run in self.runs]
        return {
            "per_second": round(statistics.median(rates), 1),
            "slowest": round(min(rates), 1),
            "fastest": round(max(rates), 1),
            "p50_ms": round(statistics.median(run.p50_ms for run in self.runs), 3),
            "p99_ms": round(statistics.median(run.p99_ms for run in self.runs), 3),
            "answered": sum(run.answered for run in self.runs),
            "failed": sum(run.failed for run in self.runs),
            "runs": [asdict(run) for run in self.runs],
        }


@dataclass(frozen=True, slots=True)
class Prepared:
    """What every run begins with: the newest tasks, their callbacks, and the databases that hold the tasks."""

    tasks: Sequence[Created]
    callbacks: Sequence[bytes]
    ledger: Path
    afternoon: Path


def prepare(plan: Plan, few: KeptLedger, folder: Path, *, seconds: float | None = None) -> Prepared:
    """As many newest tasks as no server can hear of in one run: the no-op's rate says how many these are."""
    seconds = plan.seconds if seconds is None else seconds
    tasks = [Created(f"t_{number}", str(number)) for number in range(1_000)]
    with serving.competitor(NOOP, folder / "none.db") as server:
        callbacks = list(requests(tasks))
        rates = [
            _loaded(server, plan, callbacks, each, is_again=True).per_second for each in {*plan.connections, JUDGED_AT}
        ]
    count = max(plan.newest, ceil(max(rates) * (seconds + plan.warm_up) * FASTER / 2))
    ledger, afternoon = folder / "prepared.db", folder / "afternoon.db"
    fresh_copy(few.path, ledger)
    created = ledgers.add_submitted(ledger, ledgers.template(is_settled=False), count, now=_now())
    competitors.prepare(afternoon, created)
    return Prepared(created, list(requests(created)), ledger, afternoon)


def compare(plan: Plan, prepared: Prepared, folder: Path, say: Say) -> list[dict[str, Any]]:
    """Durable ingest and its competitors, one after the other and over again, at each number of connections."""
    rows = []
    for connections in plan.connections:
        runs: dict[str, list[Load]] = {NOOP: [], DURABLE: [], EACH: [], SHARED: []}
        for repetition in range(plan.repetitions):
            for name, series in runs.items():
                say(f"{connections} connections: {name}, {repetition + 1} of {plan.repetitions}")
                series.append(_run(name, plan, prepared, folder, connections))
        summaries = {name: Series(series).summary() for name, series in runs.items()}
        rows += [{"connections": connections, "server": name, **summary} for name, summary in summaries.items()]
    return rows


def compare_sizes(
    plan: Plan, few: KeptLedger, many: KeptLedger, prepared: Prepared, folder: Path, say: Say
) -> list[dict[str, Any]]:
    """Few old tasks, many, and many with the callbacks for tasks from all over the ledger."""
    count = len(prepared.tasks)
    submitted = ledgers.template(is_settled=False)
    copied = folder / "few.db"
    runs: dict[str, list[Load]] = {NEWEST_OF_FEW: [], NEWEST_OF_MANY: [], RANDOM_OF_MANY: []}
    for repetition in range(plan.repetitions):
        for name, series in runs.items():
            say(f"{name}: {repetition + 1} of {plan.repetitions}")
            path = fresh_copy(few.path, copied) if name == NEWEST_OF_FEW else many.path
            if name == RANDOM_OF_MANY:
                tasks = many.take_running(count)
            else:
                tasks = ledgers.add_submitted(path, submitted, count, now=_now())
            ledgers.put_off_questions(path)
            load, taken = _durable_run(plan, path, list(requests(tasks)), JUDGED_AT)
            series.append(load)
            if name == RANDOM_OF_MANY:
                many.put_back(tasks[heard_of(tasks, taken) :])
    sizes = {NEWEST_OF_FEW: plan.few_old, NEWEST_OF_MANY: plan.many_old, RANDOM_OF_MANY: plan.many_old}
    return [{"case": name, "old": sizes[name], **Series(series).summary()} for name, series in runs.items()]


def compare_duplicates(plan: Plan, prepared: Prepared, folder: Path, say: Say) -> list[dict[str, Any]]:
    """Callbacks that say something new, then some of the very same again and again, at the same server."""
    runs: dict[str, list[Load]] = {"applied": [], "duplicate": []}
    for repetition in range(plan.repetitions):
        say(f"duplicates: {repetition + 1} of {plan.repetitions}")
        path = fresh_copy(prepared.ledger, folder / "run.db")
        with serving.durable(path) as server:
            warmed = _warmed(server, plan, prepared.callbacks, JUDGED_AT)
            applied = _loaded(server, plan, prepared.callbacks[warmed:], JUDGED_AT)
            heard = prepared.callbacks[: min(plan.duplicates, warmed + applied.taken - JUDGED_AT)]
            runs["applied"].append(applied)
            runs["duplicate"].append(_loaded(server, plan, heard, JUDGED_AT, is_again=True))
    return [{"verdict": name, **Series(series).summary()} for name, series in runs.items()]


def fresh_copy(database: Path, copied: Path) -> Path:
    """The copy, on disk before anything is measured: the writing of it must not be measured too."""
    for old in copied.parent.glob(f"{copied.name}*"):
        old.unlink()
    shutil.copyfile(database, copied)
    with copied.open("rb") as file:
        os.fsync(file.fileno())
    return copied


def _run(name: str, plan: Plan, prepared: Prepared, folder: Path, connections: int) -> Load:
    if name == DURABLE:
        path = fresh_copy(prepared.ledger, folder / "run.db")
        load, _ = _durable_run(plan, path, prepared.callbacks, connections)
        return load
    path = fresh_copy(prepared.afternoon, folder / "run.db")
    with serving.competitor(name, path) as server:
        if name == NOOP:
            _warmed(server, plan, prepared.callbacks, connections)
            return _loaded(server, plan, prepared.callbacks, connections, is_again=True)
        with _nothing_lost(path) as answered:
            warmed = _warmed(server, plan, prepared.callbacks, connections)
            load = _loaded(server, plan, prepared.callbacks[warmed:], connections)
            answered.append(warmed + load.answered)
    return load


def _durable_run(plan: Plan, ledger: Path, callbacks: Sequence[bytes], connections: int) -> tuple[Load, int]:
    """What was measured, and how many of the callbacks were taken in all."""
    with _nothing_lost(ledger) as answered, serving.durable(ledger) as server:
        warmed = _warmed(server, plan, callbacks, connections)
        load = _loaded(server, plan, callbacks[warmed:], connections)
        answered.append(warmed + load.answered - load.failed)
    return load, warmed + load.taken


def _warmed(server: Served, plan: Plan, callbacks: Sequence[bytes], connections: int) -> int:
    """How many callbacks it took before the measuring begins. All of them were answered."""
    seen = rawload.post(callbacks, root=server.root, connections=connections, seconds=plan.warm_up, is_again=False)
    if seen.failed:
        raise RuntimeError(f"{seen.failed} callbacks failed before the measuring began")
    return seen.taken


def _loaded(
    server: Served, plan: Plan, callbacks: Sequence[bytes], connections: int, *, is_again: bool = False
) -> Load:
    return post(
        callbacks,
        root=server.root,
        connections=connections,
        seconds=plan.seconds,
        by=plan.generator,
        is_again=is_again,
    )


@contextlib.contextmanager
def _nothing_lost(database: Path) -> Iterator[list[int]]:
    """Raise RuntimeError where fewer events were written than callbacks acknowledged: the body says how many."""
    before = _last_event(database)
    acknowledged: list[int] = []
    yield acknowledged
    written = _last_event(database) - before
    if written < sum(acknowledged):
        raise RuntimeError(f"{sum(acknowledged)} callbacks were acknowledged, and {written} are in {database}")


def _last_event(database: Path) -> int:
    with contextlib.closing(sqlite3.connect(database)) as raw:
        position: int = raw.execute("select coalesce(max(position), 0) from events").fetchone()[0]
        return position


def _now() -> int:
    return int(time.time() * 1000)
