"""What the gateway adds to a create: the same one straight to the provider that the sandbox plays, and through it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import serving
from benchmarks.ingest import Prepared, Say, fresh_copy
from benchmarks.openload import arrivals, post_at
from benchmarks.plan import Plan
from benchmarks.queries import IMAGES, medians
from benchmarks.serving import Served
from benchmarks.telling import milliseconds

CONNECTIONS = 16  # more than are ever in use at once
STRAIGHT, THROUGH = "straight", "through"
PATHS = {STRAIGHT: "/kling/v1/images/omni-image", THROUGH: IMAGES}
LONG = "600"  # seconds that a task takes: none ends while creates are measured


def measure_creates(plan: Plan, prepared: Prepared, folder: Path, say: Say) -> dict[str, Any]:
    """Medians over the runs, which take turns; the provider answers as soon as it can."""
    runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in PATHS}
    with serving.sandbox(folder, "--pace", "0", "--task-seconds", LONG) as provider:
        for repetition in range(plan.repetitions):
            ledger = fresh_copy(prepared.ledger, folder / "run.db")
            with serving.durable(ledger, provider=f"{provider.root}/kling") as gateway:
                for name, server in {STRAIGHT: provider, THROUGH: gateway}.items():
                    say(f"creates: {name}, {repetition + 1} of {plan.repetitions}")
                    runs[name].append(_created(plan, server, PATHS[name]))
    rows = [{"endpoint": name, **medians(series)} for name, series in runs.items()]
    return {
        "per_second": plan.creates_per_second,
        "rows": rows,
        "added_p50_ms": round(rows[1]["p50_ms"] - rows[0]["p50_ms"], 3),
    }


def _created(plan: Plan, server: Served, path: str) -> tuple[float, float, float]:
    """Latencies of creates at an open load. Raises RuntimeError where one is refused."""
    due = arrivals(plan.creates_per_second, seconds=plan.open_seconds)
    answers = post_at(due, [_create(path)] * len(due), root=server.root, connections=CONNECTIONS)
    if failed := sum(not each.is_good for each in answers):
        raise RuntimeError(f"{failed} of {len(answers)} creates at {path} failed")
    return milliseconds([each.answered - each.due for each in answers])


def _create(path: str) -> bytes:
    body = json.dumps({"model_name": "kling-image-o1", "prompt": "a quay at dawn", "n": 1}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer any\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
