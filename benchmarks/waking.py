"""How soon a waiter is answered: from the callback's 200 to the end of `GET /v1/tasks/{id}?wait=20`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import uvloop

from benchmarks import serving
from benchmarks.callbacks import Created, request
from benchmarks.ingest import Prepared, Say, fresh_copy
from benchmarks.plan import Plan
from benchmarks.rawload import content_length
from benchmarks.telling import milliseconds

AT_ONCE = 100  # who wait at the same time
WAIT = 20  # seconds that each asks for
PATIENCE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Woken:
    """One waiter, in seconds: after the callback was answered, after it was sent; and a plain look at the same task."""

    after_answer: float
    after_callback: float
    plain: float


def measure_waking(plan: Plan, prepared: Prepared, folder: Path, say: Say) -> dict[str, Any]:
    """Many wait, each for a task of its own, and are woken one after the other."""
    path = fresh_copy(prepared.ledger, folder / "run.db")
    woken: list[_Woken] = []
    with serving.durable(path) as server:
        for first in range(0, plan.waiters, AT_ONCE):
            say(f"waiters: {first} of {plan.waiters}")
            waiting = prepared.tasks[first : min(first + AT_ONCE, plan.waiters)]
            woken += uvloop.run(_wake(server.port, waiting))
    return {
        "waiters": len(woken),
        "after_answer": _spread([each.after_answer for each in woken]),
        "after_callback": _spread([each.after_callback for each in woken]),
        "plain": _spread([each.plain for each in woken]),
    }


class Line:
    """A kept connection to a server on this machine, for one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connect."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, request: bytes) -> None:
        """Send it, and do not wait."""
        self._writer.write(request)

    async def head(self) -> bytes:
        """The head of the answer. Raises RuntimeError unless that is a 200."""
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
        if head[9:12] != b"200":
            raise RuntimeError(f"answered {head.splitlines()[0].decode()!r}")
        return head

    async def answer(self) -> float:
        """When the whole answer was there."""
        head = await self.head()
        await self.reader.readexactly(content_length(head))
        return time.monotonic()

    async def aclose(self) -> None:
        """Hang up: a server that ends waits for those who have not."""
        self._writer.close()
        await self._writer.wait_closed()


def get(path: str, *fields: str) -> bytes:
    """A GET as it stands on the wire."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


async def _wake(port: int, tasks: Sequence[Created]) -> list[_Woken]:
    waiters = [await Line.open(port) for _ in tasks]
    caller = await Line.open(port)
    for waiter, task in zip(waiters, tasks, strict=True):
        waiter.send(get(f"/v1/tasks/{task.external_task_id}?wait={WAIT}"))
    # Ledgers are read one after the other: who asks last is answered when all the others have looked.
    caller.send(get(f"/v1/tasks/{tasks[-1].external_task_id}"))
    await caller.answer()
    woken = [await _wake_one(caller, waiter, task) for waiter, task in zip(waiters, tasks, strict=True)]
    for line in (*waiters, caller):
        await line.aclose()
    return woken


async def _wake_one(caller: Line, waiter: Line, task: Created) -> _Woken:
    sent = time.monotonic()
    caller.send(request(task, "succeed"))
    answered, woken = await asyncio.gather(caller.answer(), waiter.answer())
    looked = time.monotonic()
    caller.send(get(f"/v1/tasks/{task.external_task_id}"))
    return _Woken(after_answer=woken - answered, after_callback=woken - sent, plain=await caller.answer() - looked)


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    p50, p99, slowest = milliseconds(seconds)
    return {"p50_ms": p50, "p99_ms": p99, "slowest_ms": slowest}
