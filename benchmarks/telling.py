"""How soon an app is told: from the moment a callback is due to the signed webhook at a sink."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import serving
from benchmarks.bare import FORWARD
from benchmarks.callbacks import Created, request
from benchmarks.ingest import DURABLE, Prepared, Say, fresh_copy
from benchmarks.load import quantile_ms
from benchmarks.openload import Answered, arrivals, in_microseconds, post_at
from benchmarks.plan import Plan
from benchmarks.serving import App, Served
from benchmarks.sink import Sink, sinking

CONNECTIONS = 32  # more than are ever in use at once: no callback waits for one
FINALS = ("task.succeeded", "task.failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """One run, in milliseconds: until told, until answered, and how late the load itself was."""

    p50_ms: float
    p99_ms: float
    slowest_ms: float
    answered_p50_ms: float
    answered_p99_ms: float
    late_p99_ms: float
    told: int
    told_twice: int


def measure_telling(plan: Plan, prepared: Prepared, folder: Path, say: Say) -> list[dict[str, Any]]:
    """The receiver, and an endpoint that posts on and keeps nothing: medians over the runs, which take turns."""
    runs: dict[str, list[Telling]] = {FORWARD: [], DURABLE: []}
    due = arrivals(plan.told_per_second, seconds=plan.told_warm_up + plan.told_seconds)
    tasks = prepared.tasks[: len(due)]
    for repetition in range(plan.tellings):
        for name, series in runs.items():
            say(f"telling {plan.told_per_second} a second: {name}, {repetition + 1} of {plan.tellings}")
            with sinking(folder / "sink") as sink:
                series.append(_run(name, plan, prepared, tasks, due, folder, sink))
    return [{"endpoint": name, "per_second": plan.told_per_second, **_summary(series)} for name, series in runs.items()]


def milliseconds(seconds: Sequence[float]) -> tuple[float, float, float]:
    """The median, the 99th percentile and the slowest. Not a number where there is nothing."""
    counts = in_microseconds(seconds)
    p50, p99, slowest = (round(quantile_ms(counts, share), 3) for share in (0.5, 0.99, 1.0))
    return p50, p99, slowest


def _run(
    name: str, plan: Plan, prepared: Prepared, tasks: Sequence[Created], due: Sequence[float], folder: Path, sink: Sink
) -> Telling:
    if name == FORWARD:
        with serving.bare(FORWARD, folder, sink.port) as server:
            return _told(plan, server, tasks, due, sink)
    ledger = fresh_copy(prepared.ledger, folder / "run.db")
    with serving.durable(ledger, App(name="app", url=sink.url, events=FINALS)) as server:
        return _told(plan, server, tasks, due, sink)


def _told(plan: Plan, server: Served, tasks: Sequence[Created], due: Sequence[float], sink: Sink) -> Telling:
    """Every task succeeds, so that each callback is one webhook. Raises RuntimeError where one is missing."""
    finals = [request(task, "succeed") for task in tasks]
    answers = post_at(due, finals, root=server.root, connections=CONNECTIONS)
    if failed := sum(not each.is_good for each in answers):
        raise RuntimeError(f"{failed} of {len(answers)} callbacks failed")
    told = sink.told(len(answers))
    at = {message_id.partition(".")[0]: moment for message_id, moment in told.at.items()}
    warm = min(each.due for each in answers) + plan.told_warm_up
    return _telling([each for each in answers if each.due >= warm], tasks, at, told_twice=told.times - len(told.at))


def _telling(
    answers: Sequence[Answered], tasks: Sequence[Created], at: Mapping[str, float], *, told_twice: int
) -> Telling:
    p50, p99, slowest = milliseconds([at[tasks[each.number].external_task_id] - each.due for each in answers])
    answered_p50, answered_p99, _ = milliseconds([each.answered - each.due for each in answers])
    _, late_p99, _ = milliseconds([each.sent - each.due for each in answers])
    return Telling(
        p50_ms=p50,
        p99_ms=p99,
        slowest_ms=slowest,
        answered_p50_ms=answered_p50,
        answered_p99_ms=answered_p99,
        late_p99_ms=late_p99,
        told=len(answers),
        told_twice=told_twice,
    )


def _summary(runs: Sequence[Telling]) -> dict[str, Any]:
    rows = [asdict(run) for run in runs]
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0] if name.endswith("_ms")}
    sums = {name: sum(row[name] for row in rows) for name in ("told", "told_twice")}
    return {**medians, **sums, "runs": rows}
