"""An open load: each request is due at a moment of its own, whether those before it were answered or not."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import cast
from urllib.parse import urlsplit

from benchmarks.rawload import content_length

PATIENCE = 60.0  # seconds beyond the last one for the answers that are still to come


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A request by its number: when it was due, sent and answered, on the machine's monotonic clock."""

    number: int
    due: float
    sent: float
    answered: float
    is_good: bool


def arrivals(per_second: float, *, seconds: float) -> list[float]:
    """When requests are due, in seconds from the beginning: at random, as they come in the world, from a fixed seed."""
    dice = random.Random(20)
    return list(takewhile(lambda at: at < seconds, accumulate(iter(lambda: dice.expovariate(per_second), None))))


def post_at(due: Sequence[float], requests: Sequence[bytes], *, root: str, connections: int) -> list[Answered]:
    """Send each when it is due, by the first connection that is free. Raises RuntimeError where one has no answer."""
    return asyncio.run(_post(due, requests, root, connections))


def in_microseconds(seconds: Iterable[float]) -> Counter[int]:
    """Counts by whole microseconds, as `quantile_ms` takes them."""
    return Counter(round(each * 1e6) for each in seconds)


class _Load:
    """The connections that are free, the requests that wait for one, and what was answered."""

    def __init__(self, requests: Sequence[bytes]) -> None:
        self.answers: list[Answered] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._free: deque[_Connection] = deque()
        self._waiting: deque[tuple[int, float]] = deque()

    def send(self, number: int, due: float) -> None:
        self._waiting.append((number, due))
        self._go_on()

    def is_free(self, connection: _Connection) -> None:
        self._free.append(connection)
        self._go_on()

    def answer(self, answered: Answered) -> None:
        self.answers.append(answered)
        if len(self.answers) == len(self._requests) and not self.ended.done():
            self.ended.set_result(None)

    def fail(self) -> None:
        if not self.ended.done():
            self.ended.set_exception(RuntimeError(f"a connection broke after {len(self.answers)} answers"))

    def _go_on(self) -> None:
        while self._free and self._waiting:
            number, due = self._waiting.popleft()
            self._free.popleft().send(number, due, self._requests[number])


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._heard = b""
        self._is_waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._load.is_free(self)

    def send(self, number: int, due: float, request: bytes) -> None:
        self._number, self._due, self._sent = number, due, time.monotonic()
        self._is_waiting = True
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, is_whole, body = self._heard.partition(b"\r\n\r\n")
        if not is_whole or len(body) < content_length(head):
            return
        self._heard, self._is_waiting = b"", False
        self._load.answer(
            Answered(
                number=self._number,
                due=self._due,
                sent=self._sent,
                answered=time.monotonic(),
                is_good=head[9:10] == b"2",
            )
        )
        self._load.is_free(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever the reason, it is lost
        if self._is_waiting:
            self._load.fail()


async def _post(due: Sequence[float], requests: Sequence[bytes], root: str, connections: int) -> list[Answered]:
    load, address = _Load(requests[: len(due)]), urlsplit(root)
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: _Connection(load), address.hostname or "", address.port or 80)
        for _ in range(connections)
    ]
    began = time.monotonic()
    for number, at in enumerate(due):
        if (pause := began + at - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        load.send(number, began + at)
    async with asyncio.timeout(PATIENCE):
        await load.ended
    for transport, _ in opened:
        transport.close()
    return load.answers
