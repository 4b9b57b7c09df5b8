"""What a thousand who listen cost a server while nothing happens: memory, and CPU for their heartbeats."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import serving
from benchmarks.bare import IDLE
from benchmarks.callbacks import request
from benchmarks.ingest import DURABLE, Prepared, Say, fresh_copy
from benchmarks.plan import Plan
from benchmarks.resources import memory_mib
from benchmarks.serving import Served
from benchmarks.waking import Line, get

SETTLED_AFTER = 1.0  # seconds, from the last connection or answer to a sample
WARMED_BY = 20  # listeners that come and go before the first sample
SPARE_FILES = 100  # that this process has open besides
PATIENCE = 30.0


def measure_listeners(plan: Plan, prepared: Prepared, folder: Path, say: Say) -> list[dict[str, Any]]:
    """The receiver, and a Starlette endpoint that streams nothing."""
    _allow_open_files(plan.listeners + SPARE_FILES)
    say(f"{plan.listeners:,} listen to a bare stream")
    with serving.bare(IDLE, folder) as server:
        rows = [{"endpoint": IDLE, **uvloop.run(_listen(plan, server))}]
    say(f"{plan.listeners:,} listen to events")
    with serving.durable(fresh_copy(prepared.ledger, folder / "run.db")) as server:
        [task, *_] = prepared.tasks
        rows.append({"endpoint": DURABLE, **uvloop.run(_listen(plan, server, news=request(task, "succeed")))})
    return rows


async def _listen(plan: Plan, server: Served, *, news: bytes | None = None) -> dict[str, Any]:
    """Memory without and with the listeners; CPU while they are idle; and with news, how soon all of them have it."""
    process_id = server.process.pid
    async with _listening(server.port, WARMED_BY):
        pass
    await asyncio.sleep(SETTLED_AFTER)
    alone = memory_mib(process_id)
    async with _listening(server.port, plan.listeners) as lines:
        await asyncio.sleep(SETTLED_AFTER)
        listened_to, cpu, began = memory_mib(process_id), _cpu_seconds(process_id), time.monotonic()
        await asyncio.sleep(plan.idle_seconds)
        cpu, seconds = _cpu_seconds(process_id) - cpu, time.monotonic() - began
        after = memory_mib(process_id)
        told_ms = None if news is None else round(1000 * await _tell_all(server.port, lines, news), 1)
    most = {kind: max(listened_to[kind], after[kind]) for kind in ("rss", "uss")}
    return {
        "listeners": plan.listeners,
        "alone": alone,
        "listened_to": most,
        "cost_mib": {kind: round(most[kind] - alone[kind], 1) for kind in most},
        "idle_cpu_percent": round(100 * cpu / seconds, 2),
        "all_told_ms": told_ms,
    }


@contextlib.asynccontextmanager
async def _listening(port: int, count: int) -> AsyncIterator[list[Line]]:
    """So many listen. Raises RuntimeError where the answer is no stream of events."""
    lines = []
    try:
        for _ in range(count):
            line = await Line.open(port)
            lines.append(line)
            line.send(get("/v1/events", "Accept: text/event-stream"))
            if b"text/event-stream" not in await line.head():
                raise RuntimeError("/v1/events does not stream")
        yield lines
    finally:
        for line in lines:
            await line.aclose()


async def _tell_all(port: int, lines: list[Line], news: bytes) -> float:
    """Seconds from a callback's being sent until every one of these has heard of it: they are alive, all of them."""
    caller = await Line.open(port)
    began = time.monotonic()
    caller.send(news)
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(line.reader.readuntil(b"event: task.succeeded") for line in lines))
    seconds = time.monotonic() - began
    await caller.answer()
    await caller.aclose()
    return seconds


def _cpu_seconds(process_id: int) -> float:
    """User's and system's, of all its threads (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _allow_open_files(count: int) -> None:
    """Servers have one for each listener too, and inherit what this process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (count if hard == resource.RLIM_INFINITY else min(count, hard), hard)
        )
