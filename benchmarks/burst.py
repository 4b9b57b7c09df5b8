"""A thousand submits at once before a cap of slots: how long that takes, whether any is lost, whether it is fair."""

from __future__ import annotations

import http.client
import itertools
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks import serving
from benchmarks.bursting import BURST
from benchmarks.ingest import Say
from benchmarks.plan import Plan
from benchmarks.sink import fetch

SHARES = {"ada": 6, "bob": 3, "eve": 1}  # tenths of the burst that each tenant submits
PATIENCE = 600.0  # seconds for all of it to be done
GLANCE = 0.05


def measure_burst(plan: Plan, folder: Path, say: Say) -> dict[str, Any]:
    """One burst, on behalf of three tenants. The provider has the same cap, and answers 1303 beyond it."""
    counts = {tenant: plan.burst * tenths // 10 for tenant, tenths in SHARES.items()}
    ledger = folder / "burst.db"  # a new one: in the others thousands of tasks run, and take all the slots
    say(f"a burst of {plan.burst:,} submits before {plan.burst_slots} slots")
    seconds, slots = str(plan.burst_task_seconds), str(plan.burst_slots)
    with serving.sandbox(folder, "--pace", "0.02", "--task-seconds", seconds, "--slots", slots) as provider:
        with serving.bursting(ledger, f"{provider.root}/kling", plan.burst_slots) as server:
            began = time.monotonic()
            submitted = _submit(server.port, counts)
            _wait_for(sum(counts.values()), ledger)
            took = time.monotonic() - began
        creates = fetch(provider.port, "/sandbox/requests")["requests"]
    asked = [each for each in creates if each["kind"] == "create"]
    paid = Counter(each["external_task_id"] for each in asked if each["http_status"] == 200)
    return {
        "submits": sum(counts.values()),
        "tenants": counts,
        "slots": plan.burst_slots,
        "seconds": round(took, 1),
        "at_least_seconds": round(sum(counts.values()) * plan.burst_task_seconds / plan.burst_slots, 1),
        "submitted_seconds": submitted,
        "refused": sum(each["http_status"] != 200 for each in asked),
        "sent_twice": sum(count > 1 for count in paid.values()),
        "never_sent": sum(counts.values()) - len(paid),
        **fairness(_moments(ledger)),
    }


def fairness(moments: Sequence[Sequence[str]]) -> dict[str, Any]:
    """How far tenants were apart while all of them waited, of those whose tasks left at each moment, one after another.

    `furthest_ahead` is by how many tasks one was ever ahead of another; `jain` is Jain's index of what each had got
    when the first had none left: 1 where all had the same. Within a moment nobody knows the order.
    """
    counts = Counter(itertools.chain.from_iterable(moments))
    left = dict.fromkeys(counts, 0)
    widest, index = 0, 1.0
    for tenants in moments:
        for tenant in tenants:
            left[tenant] += 1
        if any(left[tenant] == count for tenant, count in counts.items()):
            break
        widest = max(widest, max(left.values()) - min(left.values()))
        index = sum(left.values()) ** 2 / (len(left) * sum(count**2 for count in left.values()))
    return {"furthest_ahead": widest, "jain": round(index, 4)}


def _submit(port: int, counts: Mapping[str, int]) -> float:
    """Seconds until all of them were answered. Raises RuntimeError where that fails."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request("POST", BURST, body=json.dumps(counts))
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"the burst was answered {answer.status}")
        return round(float(json.loads(answer.read())["seconds"]), 2)


def _wait_for(count: int, ledger: Path) -> None:
    """Until so many of the burst's tasks have succeeded. Raises RuntimeError where it does not come to that."""
    until = time.monotonic() + PATIENCE
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as raw:
        while (done := _succeeded(raw)) < count:
            if time.monotonic() > until:
                raise RuntimeError(f"{done} of {count} tasks were done within {PATIENCE:.0f} s")
            time.sleep(GLANCE)


def _succeeded(raw: sqlite3.Connection) -> int:
    found: int = raw.execute("select count(*) from tasks where tenant <> '' and state = 'succeeded'").fetchone()[0]
    return found


def _moments(ledger: Path) -> list[list[str]]:
    """Whose tasks left at each millisecond, from when all had been submitted."""
    with closing(sqlite3.connect(ledger)) as raw:
        rows = raw.execute(
            """
            select sent_at, tenant from tasks
             where tenant <> '' and sent_at > (select max(created_at) from tasks where tenant <> '')
             order by sent_at
            """
        ).fetchall()
    return [[tenant for _, tenant in together] for _, together in itertools.groupby(rows, key=lambda row: row[0])]
