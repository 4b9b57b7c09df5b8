"""An app at the end of a webhook, in a process of its own: it verifies nothing, and notes when it was told what."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import uvloop

from benchmarks import serving

PATIENCE = 120.0  # seconds for everything to be told: the slow must be measured, not given up
GLANCE = 0.05


@dataclass(frozen=True, slots=True)
class Told:
    """When the sink was first told of each message, by `webhook-id`, on the machine's monotonic clock.

    `times` is how often it was told in all, `body_bytes` how long a body was on average.
    """

    at: Mapping[str, float]
    times: int
    body_bytes: int

    @property
    def per_second(self) -> float:
        """From the first message to the last."""
        return (len(self.at) - 1) / (self.last - self.first)

    @property
    def first(self) -> float:
        """When the first one came."""
        return min(self.at.values())

    @property
    def last(self) -> float:
        """When the last one came."""
        return max(self.at.values())


@dataclass(frozen=True, slots=True)
class Sink:
    """A sink that listens."""

    port: int

    @property
    def url(self) -> str:
        """Where it is told."""
        return url_of(self.port)

    def told(self, count: int) -> Told:
        """What it was told, once that is so much. Raises RuntimeError where it does not come to that."""
        until = time.monotonic() + PATIENCE
        while (heard := fetch(self.port, "/count")) < count:
            if time.monotonic() > until:
                raise RuntimeError(f"the sink was told {heard} of {count} messages within {PATIENCE:.0f} s")
            time.sleep(GLANCE)
        return Told(**fetch(self.port, "/told"))


def url_of(port: int) -> str:
    """Where a sink at this port is told."""
    return f"http://127.0.0.1:{port}/hook"


@contextlib.contextmanager
def sinking(folder: Path, *, port: int | None = None) -> Iterator[Sink]:
    """A sink that has heard nothing yet; its log is in the folder."""
    port = serving.free_port() if port is None else port
    folder.mkdir(exist_ok=True)
    with serving.served(["-m", "benchmarks.sink", str(port)], port=port, folder=folder, settings={}):
        yield Sink(port)


def fetch(port: int, path: str) -> Any:
    """What a server on this machine answers, as JSON."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=serving.PATIENCE)) as connection:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())


class _Heard:
    """What was told, by all connections."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}
        self._times = 0
        self._bytes = 0

    def note(self, message_id: str, size: int) -> None:
        self._at.setdefault(message_id, time.monotonic())
        self._times += 1
        self._bytes += size

    def shown(self, path: str) -> Any:
        if path == "/told":
            return {"at": self._at, "times": self._times, "body_bytes": self._bytes // max(self._times, 1)}
        return len(self._at)


class _Line(asyncio.Protocol):
    """One connection: a request at a time, each answered once it is whole."""

    def __init__(self, heard: _Heard) -> None:
        self._heard = heard
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own, which does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._unread += data
        head, is_whole, body = self._unread.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(b":") for each in fields)}
        if not is_whole or len(body) < int(headers.get(b"content-length", 0)):
            return
        self._unread = b""
        method, path, _ = line.decode().split(" ")
        if method == "POST":
            self._heard.note(headers[b"webhook-id"].decode(), len(body))
            self._answer(b"")
        else:
            self._answer(json.dumps(self._heard.shown(path)).encode())

    def _answer(self, body: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def _serve(port: int) -> None:
    heard = _Heard()
    server = await asyncio.get_running_loop().create_server(lambda: _Line(heard), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
