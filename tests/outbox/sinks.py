"""An app at the other end of a webhook: a server on a real socket that remembers what it was told, and misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from tests.patience import PATIENCE


@dataclass(frozen=True, slots=True)
class Told:
    """One request. The names of headers are in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Line:
    """One connection, and what was asked on it last."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes = b""

    async def say(self, text: bytes) -> None:
        self.writer.write(text)
        await self.writer.drain()

    async def hang(self) -> None:
        """Until the other side has had enough."""
        await self.reader.read()


Answering = Callable[[Line], Awaitable[None]]


def status(code: int, *headers: str, body: bytes = b"") -> Answering:
    """An answer as it should be."""
    lines = "".join(f"{header}\r\n" for header in headers)
    answer = f"HTTP/1.1 {code} Whatever\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body

    async def answer_so(line: Line) -> None:
        await line.say(answer)

    return answer_so


@dataclass(slots=True)
class Sink:
    """Such an app. `answer` may be changed at any moment."""

    answer: Answering = field(default_factory=lambda: status(204))
    told: list[Told] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    def url(self, host: str = "127.0.0.1", *, scheme: str = "http", path: str = "/hook") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        line = Line(reader, writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
                while True:
                    self.told.append(await self._request(line))
                    await self.answer(line)
        finally:
            self.open.discard(writer)

    async def hang_up(self) -> None:
        """On everybody."""
        for writer in self.open:
            writer.transport.abort()
        while self.open:  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0)

    async def _request(self, line: Line) -> Told:
        line.head = await line.reader.readuntil(b"\r\n\r\n")
        first, *rest = line.head.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in rest)}
        return Told(first, headers, await line.reader.readexactly(int(headers["content-length"])))


@contextlib.asynccontextmanager
async def sinking(
    answer: Answering | None = None, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Sink]:
    """A sink, on a port of its own unless one is given."""
    sink = Sink() if answer is None else Sink(answer)
    server = await asyncio.start_server(sink.serve, host, port, ssl=tls)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
        async with asyncio.timeout(PATIENCE):
            await sink.hang_up()
