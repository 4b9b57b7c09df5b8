"""Clients of the event stream that read as much as a test wants them to, and events in numbers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from submitter import OmniImageRequest, Submission
from tests.flows.builders import House, Json
from tests.patience import PATIENCE


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a stream."""

    id: int
    type: str
    data: Json


@dataclass(slots=True)
class Hearing:
    """A connection that streams, read byte by byte: chunks and blocks are taken apart here, not by what is tested."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    last_id: int | None = None
    texts: list[str] = field(default_factory=list)  # blocks as they came, comments too
    _unread: bytes = b""

    async def block(self) -> str | None:
        """The next block, or None at the end, however it ends."""
        while b"\n\n" not in self._unread:
            chunk = await self._chunk()
            if chunk is None:
                return None
            self._unread += chunk
        text, _, self._unread = self._unread.partition(b"\n\n")
        self.texts.append(text.decode())
        for line in self.texts[-1].split("\n"):
            if line.startswith("id: "):
                self.last_id = int(line.removeprefix("id: "))
        return self.texts[-1]

    async def event(self) -> Told | None:
        """The next event."""
        while (text := await self.block()) is not None:
            fields = dict(line.split(": ", 1) for line in text.split("\n"))
            if "data" in fields:
                return Told(int(fields["id"]), fields["event"], json.loads(fields["data"]))
        return None

    async def events(self, count: int) -> list[Told]:
        """So many events."""
        async with asyncio.timeout(PATIENCE):
            found = [await self.event() for _ in range(count)]
        assert None not in found
        return [each for each in found if each is not None]

    async def to_the_end(self) -> list[Told]:
        """All events until the connection ends."""
        found = []
        async with asyncio.timeout(PATIENCE):
            while (event := await self.event()) is not None:
                found.append(event)
        return found

    async def _chunk(self) -> bytes | None:
        try:
            size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
            chunk = await self.reader.readexactly(size + 2)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return chunk[:-2] if size else None


@contextlib.asynccontextmanager
async def hearing(
    house: House, query: str = "", *, receive_buffer: int | None = None, **headers: Any
) -> AsyncIterator[Hearing]:
    """A stream, its head read. Underscores in names of headers are hyphens."""
    near = socket.socket()
    if receive_buffer is not None:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    near.setblocking(False)
    await asyncio.get_running_loop().sock_connect(near, ("127.0.0.1", house.port))
    reader, writer = await asyncio.open_connection(sock=near, limit=4096 if receive_buffer else 2**20)
    named = {"host": "127.0.0.1", "accept": "text/event-stream"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    writer.write(f"GET /v1/events{query} HTTP/1.1\r\n{lines}\r\n".encode())
    try:
        async with asyncio.timeout(PATIENCE):
            first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        said = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
        yield Hearing(reader, writer, int(first.split()[1]), said)
    finally:
        writer.transport.abort()


async def write_events(house: House, count: int, *, name: str = "e", reason: str = "no") -> None:
    """So many tasks `{name}0`, `{name}1`, … each opened and refused: an event each."""

    async def one(number: int) -> None:
        request = OmniImageRequest(prompt="a red fox")
        named = f"{name}{number}"
        submission = Submission(provider="cometapi", request=request, external_task_id=named)
        await house.runtime.journal.write_down(submission)
        await house.runtime.ledger.refuse(named, reason, fence=None, now=house.runtime.clock())

    await asyncio.gather(*(one(number) for number in range(count)))
