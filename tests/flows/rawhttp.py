"""A client that sends bytes as they are, and reads what is answered to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.flows.builders import House
from tests.patience import PATIENCE


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def said(self) -> tuple[int, str]:
        """The status, and the verdict or the problem's code."""
        document = json.loads(self.body) if self.body else {}
        return self.status, document.get("code") or document.get("verdict") or ""


@dataclass(frozen=True, slots=True)
class Line:
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        """Piece by piece, whether the other side still listens or not."""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()

    def hang_up_half(self) -> None:
        """Say that no more will be sent; go on reading."""
        self.writer.write_eof()

    async def reply(self) -> Reply | None:
        """The next answer, or None where the connection ends instead."""
        async with asyncio.timeout(PATIENCE):
            try:
                head = await self.reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
            first, *lines = head.decode("latin-1").strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
            return Reply(int(first.split()[1]), headers, body)

    async def replies(self) -> list[Reply]:
        """Every answer until the connection ends."""
        heard = []
        while (reply := await self.reply()) is not None:
            heard.append(reply)
        return heard


@contextlib.asynccontextmanager
async def line_to(house: House | int, first: bytes = b"") -> AsyncIterator[Line]:
    """A connection to this receiver, or port, closed at the end. What is said first is there when it is accepted."""
    near = socket.create_connection(("127.0.0.1", house if isinstance(house, int) else house.port))
    near.sendall(first)
    near.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=near)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def answers_to(house: House, first: bytes = b"", *pieces: bytes) -> list[Reply]:
    """What these bytes are answered with until the receiver ends the connection."""
    async with line_to(house, first) as line:
        await line.send(*pieces)
        return await line.replies()


def request(path: str, body: bytes | None = None, **headers: Any) -> bytes:
    """A well-formed request: a POST if it has a body. Underscores in names of headers are hyphens."""
    named = {"host": "127.0.0.1"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        named.setdefault("content-length", len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items() if value is not None)
    method = "GET" if body is None else "POST"
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + (body or b"")
