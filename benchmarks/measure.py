"""All the measuring, in its order."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import ingest, machine
from benchmarks.aims import judged
from benchmarks.backlog import measure_backlog
from benchmarks.burst import measure_burst
from benchmarks.cache import KeptLedger, kept_ledger
from benchmarks.creates import measure_creates
from benchmarks.ingest import Prepared, Say
from benchmarks.listeners import measure_listeners
from benchmarks.plan import Plan
from benchmarks.queries import measure_queries
from benchmarks.resources import measure_memory, measure_starts
from benchmarks.telling import measure_telling
from benchmarks.waking import measure_waking
from submitter.submit import system_clock


def measure(plan: Plan, *, say: Say) -> dict[str, Any]:
    """Every figure as JSON has it: the machine, the plan, its sections, and the aims."""
    began = time.monotonic()
    results: dict[str, Any] = {
        "machine": machine.facts(plan.cache, generator=plan.generator),
        "plan": asdict(plan) | {"cache": str(plan.cache.name)},
    }
    few = kept_ledger(plan.cache, plan.few_old, now=system_clock(), at_least_running=0, say=say)
    with tempfile.TemporaryDirectory(dir=plan.cache) as name:
        folder = Path(name)
        prepared = ingest.prepare(plan, few, folder)
        results["newest"] = len(prepared.tasks)
        measuring: dict[str, Callable[[], Any]] = {
            "starts": lambda: measure_starts(plan, prepared, folder, say),
            "servers": lambda: ingest.compare(plan, prepared, folder, say),
            "duplicates": lambda: ingest.compare_duplicates(plan, prepared, folder, say),
            "memory": lambda: measure_memory(plan, prepared, folder, say),
            "telling": lambda: measure_telling(plan, prepared, folder, say),
            "backlog": lambda: measure_backlog(plan, prepared, folder, say),
            "waking": lambda: measure_waking(plan, prepared, folder, say),
            "listeners": lambda: measure_listeners(plan, prepared, folder, say),
            "queries": lambda: measure_queries(plan, prepared, folder, say),
            "creates": lambda: measure_creates(plan, prepared, folder, say),
            "burst": lambda: measure_burst(plan, folder, say),
            "sizes": lambda: ingest.compare_sizes(plan, few, _many(plan, prepared, say), prepared, folder, say),
        }
        results |= {section: measuring[section]() for section in plan.sections}
    results["aims"] = judged(results)
    results["minutes"] = round((time.monotonic() - began) / 60, 1)
    return results


def _many(plan: Plan, prepared: Prepared, say: Say) -> KeptLedger:
    needed = len(prepared.tasks) * plan.repetitions  # more than it will come to, for durable ingest is no no-op
    return kept_ledger(plan.cache, plan.many_old, now=system_clock(), at_least_running=needed, say=say)
