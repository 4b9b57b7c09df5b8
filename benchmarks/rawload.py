"""The load generator where wrk is not installed: raw sockets on uvloop, so that it costs as little as Python can."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import uvloop

PATIENCE = 60.0  # seconds beyond the run for the answers that are still to come


@dataclass(slots=True)
class Seen:
    """What the connections saw together; latencies are counts by microseconds."""

    latencies: Counter[int] = field(default_factory=Counter)
    failed: int = 0
    taken: int = 0
    seconds: float = 0.0
    is_exhausted: bool = False


def post(requests: Sequence[bytes], *, root: str, connections: int, seconds: float, is_again: bool) -> Seen:
    """Send these, in their order, for so many seconds, and wait for the answers: each once, or over and over."""
    stock = _Stock(requests, seconds=seconds, is_again=is_again)
    return uvloop.run(_post(stock, root=root, connections=connections, seconds=seconds))


def content_length(head: bytes) -> int:
    """How long the body is that comes after this head."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


class _Stock:
    """The requests that are left, and what became of the others."""

    def __init__(self, requests: Sequence[bytes], *, seconds: float, is_again: bool) -> None:
        self.seen = Seen()
        self._requests = requests
        self._is_again = is_again
        self._seconds = seconds
        self._began = math.inf  # with the first request, which is sent however late a busy machine gets to it

    def take(self) -> bytes | None:
        """The next one, or None once the time is up or nothing is left."""
        self._began = min(self._began, time.perf_counter())
        if time.perf_counter() >= self._began + self._seconds:
            return None
        if self.seen.taken >= len(self._requests) and not self._is_again:
            self.seen.is_exhausted = True
            return None
        request = self._requests[self.seen.taken % len(self._requests)]
        self.seen.taken += 1
        return request

    def answered(self, *, after: float, is_good: bool) -> None:
        """One answer, so many seconds after its request."""
        self.seen.latencies[int(after * 1e6)] += 1
        self.seen.failed += not is_good
        self.seen.seconds = time.perf_counter() - self._began


class _Connection(asyncio.Protocol):
    """One request at a time. `ended` is done when nothing more is sent, or the connection is lost."""

    def __init__(self, stock: _Stock) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stock = stock
        self._heard = b""
        self._sent_at = 0.0
        self._is_waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own, which does not inherit from it
        self._send()

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, is_whole, body = self._heard.partition(b"\r\n\r\n")
        if not is_whole or len(body) < content_length(head):
            return
        self._heard = b""
        self._is_waiting = False
        self._stock.answered(after=time.perf_counter() - self._sent_at, is_good=head[9:10] == b"2")
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever the reason, it is lost
        self._stock.seen.failed += self._is_waiting
        if not self.ended.done():
            self.ended.set_result(None)

    def _send(self) -> None:
        request = self._stock.take()
        if request is None:
            self._transport.close()
            return
        self._is_waiting = True
        self._sent_at = time.perf_counter()
        self._transport.write(request)


async def _post(stock: _Stock, *, root: str, connections: int, seconds: float) -> Seen:
    address = urlsplit(root)
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: _Connection(stock), address.hostname or "", address.port or 80)
        for _ in range(connections)
    ]
    async with asyncio.timeout(seconds + PATIENCE):
        await asyncio.gather(*(protocol.ended for _, protocol in opened))
    return stock.seen
