"""How fast the gateway answers queries from the ledger, beside an endpoint that says the same to everybody."""

from __future__ import annotations

import http.client
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

from benchmarks import rawload, serving
from benchmarks.bare import CONSTANT
from benchmarks.callbacks import PROVIDER
from benchmarks.ingest import DURABLE, Prepared, Say, Series, fresh_copy
from benchmarks.load import Load, post
from benchmarks.openload import arrivals, post_at
from benchmarks.plan import QUERIED_AT, Plan
from benchmarks.serving import Served
from benchmarks.telling import milliseconds
from benchmarks.waking import get

CONNECTIONS = 64  # of the open load: more than are ever in use at once
IMAGES = f"/gateway/{PROVIDER}/v1/images/omni-image"


def measure_queries(plan: Plan, prepared: Prepared, folder: Path, say: Say) -> dict[str, Any]:
    """The rate at many connections, and latencies at an open load; the runs take turns."""
    paths = [f"{IMAGES}/{task.external_task_id}" for task in prepared.tasks]
    queries = [get(path) for path in paths]
    ledger = fresh_copy(prepared.ledger, folder / "run.db")
    with serving.durable(ledger) as server:
        size = _size_of(server, paths[0])
    servers: Mapping[str, Callable[[], AbstractContextManager[Served]]] = {
        CONSTANT: lambda: serving.bare(CONSTANT, folder, size),
        DURABLE: lambda: serving.durable(ledger),
    }
    loads: dict[str, list[Load]] = {name: [] for name in servers}
    spans: dict[str, list[tuple[float, float, float]]] = {name: [] for name in servers}
    for repetition, name in _turns(plan.repetitions, servers):
        say(f"queries: {name}, {repetition + 1} of {plan.repetitions}")
        with servers[name]() as server:
            loads[name].append(_loaded(server, plan, queries))
            spans[name].append(_at_a_rate(server, plan, queries))
    return {
        "body_bytes": size,
        "connections": QUERIED_AT,
        "closed": [{"endpoint": name, **Series(loads[name]).summary()} for name in servers],
        "per_second": plan.queries_per_second,
        "open": [{"endpoint": name, **medians(spans[name])} for name in servers],
    }


def medians(runs: Sequence[tuple[float, float, float]]) -> dict[str, Any]:
    """Of the medians, 99th percentiles and slowest of some runs, and every run."""
    p50, p99, slowest = (round(statistics.median(run), 3) for run in zip(*runs, strict=True))
    return {"p50_ms": p50, "p99_ms": p99, "slowest_ms": slowest, "runs": [list(run) for run in runs]}


def _turns(repetitions: int, names: Mapping[str, object]) -> Iterator[tuple[int, str]]:
    return ((repetition, name) for repetition in range(repetitions) for name in names)


def _size_of(server: Served, path: str) -> int:
    """How long the answer is that everybody gets. Raises RuntimeError where it is none."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=serving.PATIENCE)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{path} is answered {answer.status}")
        return len(answer.read())


def _loaded(server: Served, plan: Plan, queries: Sequence[bytes]) -> Load:
    rawload.post(queries, root=server.root, connections=QUERIED_AT, seconds=plan.warm_up, is_again=True)
    return post(
        queries, root=server.root, connections=QUERIED_AT, seconds=plan.seconds, by=plan.generator, is_again=True
    )


def _at_a_rate(server: Served, plan: Plan, queries: Sequence[bytes]) -> tuple[float, float, float]:
    due = arrivals(plan.queries_per_second, seconds=plan.open_seconds)
    asked = [queries[number % len(queries)] for number in range(len(due))]
    answers = post_at(due, asked, root=server.root, connections=CONNECTIONS)
    if failed := sum(not each.is_good for each in answers):
        raise RuntimeError(f"{failed} of {len(answers)} queries failed")
    return milliseconds([each.answered - each.due for each in answers])
