"""What the receiver costs besides time: how soon it is ready, and the memory it takes idle and under load."""

from __future__ import annotations

import itertools
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import ledgers, serving
from benchmarks.callbacks import requests
from benchmarks.ingest import Prepared, Say, fresh_copy
from benchmarks.load import post
from benchmarks.plan import JUDGED_AT, Plan

IMPORTS = "import starlette, uvicorn, httpx, pydantic, aiosqlite, structlog"
IDLE_AFTER = 1.0  # seconds from ready to idle
SAMPLES = 10  # of the memory under load: the first of them is what the last is compared with


def measure_starts(plan: Plan, prepared: Prepared, folder: Path, say: Say) -> dict[str, Any]:
    """Milliseconds from spawning `serve` to the first 200 of /readyz, and of an interpreter that only imports."""
    path = fresh_copy(prepared.ledger, folder / "run.db")
    ready, imported = [], []
    for number in range(plan.starts + 1):
        say(f"starts: {number} of {plan.starts}")
        imported.append(_import_seconds())
        with serving.durable(path) as server:
            ready.append(server.ready_after)
    del ready[0], imported[0]  # these read the code from disk
    return {"ready_ms": _spread(ready), "import_ms": _spread(imported), "imports": IMPORTS}


def measure_memory(plan: Plan, prepared: Prepared, folder: Path, say: Say) -> dict[str, Any]:
    """Resident and proportional MiB of one server: idle, and after each tenth of many callbacks."""
    path = fresh_copy(prepared.ledger, folder / "run.db")
    # As many more as may be sent beyond the last tenth, for the load is bounded by time.
    spare = len(prepared.callbacks)
    tasks = ledgers.add_submitted(
        path, ledgers.template(is_settled=False), (plan.memory_callbacks + spare) // 2, now=int(time.time() * 1000)
    )
    callbacks = _Left(requests(tasks))
    with serving.durable(path) as server:
        time.sleep(IDLE_AFTER)
        samples = [{"callbacks": 0, **memory_mib(server.process.pid)}]
        failed = 0
        for tenth in range(1, SAMPLES + 1):
            if callbacks.taken >= plan.memory_callbacks * tenth // SAMPLES:
                continue  # a short run goes beyond several of them at once
            while callbacks.taken < plan.memory_callbacks * tenth // SAMPLES:
                load = post(
                    callbacks.first(spare),
                    root=server.root,
                    connections=JUDGED_AT,
                    seconds=plan.seconds,
                    by=plan.generator,
                )
                callbacks.drop(load.taken)
                failed += load.failed
            samples.append({"callbacks": callbacks.taken, **memory_mib(server.process.pid)})
            say(f"memory: {callbacks.taken:,} of {plan.memory_callbacks:,} callbacks, {samples[-1]['rss']} MiB")
    grown = {kind: round(samples[-1][kind] - samples[1][kind], 1) for kind in ("rss", "pss")}
    return {"idle": samples[0], "loaded": samples[-1], "grown_mib": grown, "failed": failed, "samples": samples}


def memory_mib(process_id: int) -> dict[str, float]:
    """Resident; proportional, where pages that others share count by their share; and unique: pages of its own."""
    text = Path(f"/proc/{process_id}/smaps_rollup").read_text()
    kib = {name: int(count) for name, count in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    counted = {"rss": kib["Rss"], "pss": kib["Pss"], "uss": kib["Private_Clean"] + kib["Private_Dirty"]}
    return {kind: round(count / 1024, 1) for kind, count in counted.items()}


class _Left:
    """The callbacks that are still to be sent, made as they are needed: a million of them at once are large."""

    def __init__(self, callbacks: Iterator[bytes]) -> None:
        self.taken = 0
        self._coming = callbacks
        self._next: list[bytes] = []

    def first(self, count: int) -> list[bytes]:
        self._next += itertools.islice(self._coming, count - len(self._next))
        return self._next

    def drop(self, count: int) -> None:
        self.taken += count
        del self._next[:count]


def _import_seconds() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", IMPORTS], env=serving.environment(), check=True)
    return time.perf_counter() - began


def _spread(seconds: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(seconds) * 1000, 1),
        "fastest": round(min(seconds) * 1000, 1),
        "slowest": round(max(seconds) * 1000, 1),
    }
