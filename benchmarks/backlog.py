"""A dead app comes back: how fast what it missed is told, and whether another app notices."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks import ledgers, serving
from benchmarks.bare import LOOP
from benchmarks.callbacks import Created, request
from benchmarks.ingest import DURABLE, Prepared, Say, fresh_copy
from benchmarks.openload import arrivals, post_at
from benchmarks.plan import Plan
from benchmarks.serving import App, Served
from benchmarks.sink import GLANCE, PATIENCE, Sink, Told, fetch, sinking, url_of
from benchmarks.telling import CONNECTIONS, FINALS, milliseconds
from receiver.breaker import PAUSES
from receiver.eventtype import EventType
from receiver.ledger.deliveries import Subscription
from receiver.ledger.sqlite.connection import begin, connect_writer, in_thread
from receiver.ledger.sqlite.outbox import subscribe
from receiver.ledger.sqlite.outboxwriting import write_deliveries
from submitter.moments import Moment, millis

BACK, OTHER = "back", "other"
BESIDE = "durable, another app told meanwhile"
ONLY_OTHER = ("task.processing",)
AGO = timedelta(minutes=1)  # all of a task's events are past by now, and so due
LATEST_PROBE = PAUSES.first.total_seconds() * 1.2  # after the breaker has opened: pauses are spread by a tenth
SLOWER = 2.0  # how much longer a drain with callbacks beside it may take than the one without


@dataclass(frozen=True, slots=True)
class Waited:
    """How soon the other app was told, in milliseconds, and of how many callbacks."""

    p50_ms: float
    p99_ms: float
    count: int


def measure_backlog(plan: Plan, prepared: Prepared, folder: Path, say: Say) -> dict[str, Any]:
    """Rates of a bare loop of httpx, of the drain, and of a drain beside callbacks; they take turns."""
    rates: dict[str, list[float]] = {LOOP: [], DURABLE: [], BESIDE: []}
    before, meanwhile, body_bytes = [], [], 0
    ledger = folder / "backlog.db"
    fresh_copy(prepared.ledger, ledger)
    settled = ledgers.template(is_settled=True)
    asyncio.run(_fall_behind(ledger, settled, plan.backlog, now=int(time.time() * 1000)))
    for repetition in range(plan.drains):
        say(f"a backlog of {plan.backlog:,}: {repetition + 1} of {plan.drains}")
        drained = _drained(plan, ledger, folder)
        rates[DURABLE].append(drained.per_second)
        body_bytes = drained.body_bytes
        rates[LOOP].append(_looped(plan, folder, body_bytes=body_bytes).per_second)
        say(f"a backlog beside callbacks: {repetition + 1} of {plan.drains}")
        seconds = LATEST_PROBE + SLOWER * plan.backlog / drained.per_second
        beside = _drained_beside(plan, prepared.tasks, ledger, folder, seconds=seconds)
        rates[BESIDE].append(beside[0].per_second)
        before.append(beside[1])
        meanwhile.append(beside[2])
    return {
        "events": plan.backlog,
        "body_bytes": body_bytes,
        "per_second": {name: round(statistics.median(each), 1) for name, each in rates.items()},
        "runs": {name: [round(rate, 1) for rate in each] for name, each in rates.items()},
        "before": _median(before),
        "meanwhile": _median(meanwhile),
    }


async def _fall_behind(ledger: Path, settled: ledgers.Template, count: int, *, now: Moment) -> None:
    """So many tasks have succeeded that `back` was not told of: the deliveries are written as the product does."""
    connection = await connect_writer(ledger)

    def write(raw: sqlite3.Connection) -> None:
        begin(raw)
        finals = frozenset({EventType.SUCCEEDED, EventType.FAILED})
        subscribe(raw, [Subscription(destination=BACK, types=finals)], now=now)
        [(last,)] = raw.execute("select coalesce(max(position), 0) from events").fetchall()
        ledgers.mint(raw, [now - millis(AGO)] * count)
        ledgers.multiply(raw, settled)
        write_deliveries(raw, after=last)
        raw.execute("commit")
        raw.execute("pragma wal_checkpoint(truncate)").fetchall()

    try:
        await in_thread(connection, write)
    finally:
        await connection.close()


def _drained(plan: Plan, ledger: Path, folder: Path) -> Told:
    """What `back` is told from the first delivery to the last."""
    port = serving.free_port()
    run = fresh_copy(ledger, folder / "run.db")
    with serving.durable(run, App(name=BACK, url=url_of(port), events=FINALS)) as server:
        _wait_until_dead(server)
        with sinking(folder / BACK, port=port) as sink:
            return sink.told(plan.backlog)


def _drained_beside(
    plan: Plan, tasks: Sequence[Created], ledger: Path, folder: Path, *, seconds: float
) -> tuple[Told, Waited, Waited]:
    """The same while callbacks come that only `other` is told of: before `back` is there again, and meanwhile."""
    due = arrivals(plan.beside_per_second, seconds=seconds)[: len(tasks)]  # where the drain was slow, there are too few
    news = [request(task, "processing") for task in tasks[: len(due)]]
    with _two_apps(ledger, folder) as (server, other, port):
        _wait_until_dead(server)
        with sinking(folder / BACK, port=port) as back:
            answers = post_at(due, news, root=server.root, connections=CONNECTIONS)
            heard = other.told(len(answers)).at
            drained = back.told(plan.backlog)
    at = {message_id.partition(".")[0]: moment for message_id, moment in heard.items()}
    waits = [(each.due, at[tasks[each.number].external_task_id] - each.due) for each in answers]
    before = [wait for moment, wait in waits if moment < drained.first]
    meanwhile = [wait for moment, wait in waits if drained.first <= moment <= drained.last]
    return drained, _waited(before), _waited(meanwhile)


@contextlib.contextmanager
def _two_apps(ledger: Path, folder: Path) -> Iterator[tuple[Served, Sink, int]]:
    """A receiver that tells one that is there and one that is not yet: the port where it will be."""
    run = fresh_copy(ledger, folder / "run.db")
    with sinking(folder / OTHER) as other:
        port = serving.free_port()
        apps = [
            App(name=OTHER, url=other.url, events=ONLY_OTHER),
            App(name=BACK, url=url_of(port), events=FINALS),
        ]
        with serving.durable(run, *apps) as server:
            yield server, other, port


def _looped(plan: Plan, folder: Path, *, body_bytes: int) -> Told:
    """The same sink, told as much by a bare loop."""
    with sinking(folder / BACK) as sink:
        numbers = [str(sink.port), str(plan.backlog), str(body_bytes)]
        subprocess.run(
            [sys.executable, "-m", "benchmarks.bare", LOOP, *numbers],
            env=serving.environment(),
            check=True,
            timeout=PATIENCE,
        )
        return sink.told(plan.backlog)


def _wait_until_dead(server: Served) -> None:
    """Until its breaker has opened."""
    until = time.monotonic() + serving.PATIENCE
    while not any(each["state"] == "open" for each in fetch(server.port, "/v1/destinations")["destinations"]):
        if time.monotonic() > until:
            raise RuntimeError(f"no breaker opened within {serving.PATIENCE:.0f} s")
        time.sleep(GLANCE)


def _waited(seconds: Sequence[float]) -> Waited:
    p50, p99, _ = milliseconds(seconds)
    return Waited(p50, p99, len(seconds))


def _median(runs: Sequence[Waited]) -> dict[str, float]:
    return {
        "p50_ms": statistics.median(run.p50_ms for run in runs),
        "p99_ms": statistics.median(run.p99_ms for run in runs),
        "count": sum(run.count for run in runs),
    }
