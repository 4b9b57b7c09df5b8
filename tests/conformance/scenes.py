"""What the conformance scenarios arrange with: raw requests, a file that another holds, and the ledger's own word."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from receiver.callback_url import PROBE, mint_callback_url
from receiver.ledger.sqlite.connection import in_thread
from submitter.moments import Moment
from submitter.signatures import sign
from tests.flows.builders import WEBHOOK_SECRET, House, Json, path_of, report

SECRET = "a callback secret of these scenarios"
IMAGE = "https://cdn.example/fox.png"
SUCCEED = report("succeed", task_id="5", images=[IMAGE])
WHOLE_STORY = ["task.submitted", "task.processing", "task.succeeded"]


async def awaited(house: House, account: str, name: str, **fields: Any) -> str:
    """The path at which a task is called back about that the provider took, and is silent about."""
    answer = await house.submit(account, "a red fox [[drop_all,seconds=600]]", name, **fields)
    assert 201 == answer.status_code, answer.text
    return path_of(house.runtime.journal.callback_url(account, name))


def minted(account: str, name: str, *, secret: str = SECRET) -> str:
    """The same path, where the receiver is another process and its secret is known."""
    return path_of(mint_callback_url("http://x", provider=account, external_task_id=name, secret=secret))


def said(answer: httpx.Response) -> tuple[int, str]:
    """The status, and the verdict or the problem's code."""
    document = answer.json()
    return answer.status_code, document["verdict" if answer.status_code == 200 else "code"]


def signed(body: bytes, *, sent_at: Moment, secret: str = WEBHOOK_SECRET, message_id: str = "msg_1") -> dict[str, str]:
    """The headers of a callback that Kling signed."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_at // 1000),
        "webhook-signature": sign(secret, message_id=message_id, sent_at=sent_at, body=body),
    }


async def finals(house: House, name: str) -> list[str]:
    """The types of a task's events that tell of an end."""
    return [each for each in await house.events(name) if each not in {"task.submitted", "task.processing"}]


def urls(task: Json) -> list[str]:
    """The images that a task shows."""
    return [image["url"] for image in task["images"]]


def ledger_of(house: House) -> Path:
    """The file that this receiver writes."""
    return Path(house.runtime.config.ledger.url.removeprefix("sqlite:///"))


def rows(ledger: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a query finds in the file, beside the receiver."""
    connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


async def set_up_writer(house: House, pragma: str) -> None:
    """Tell the connection that writes something else than the receiver told it."""
    await in_thread(house.runtime.ledger._connection, lambda raw: raw.execute(pragma).fetchall())


@contextlib.asynccontextmanager
async def held_up(house: House) -> AsyncIterator[None]:
    """The receiver while somebody else writes its file: commits wait, and do not fail before this is over."""
    await set_up_writer(house, "pragma busy_timeout = 60000")
    other = sqlite3.connect(ledger_of(house), isolation_level=None)
    other.execute("begin exclusive")
    try:
        yield
    finally:
        other.execute("rollback")
        other.close()


@dataclass(frozen=True, slots=True)
class Line:
    """A connection on which requests are written byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """A request and the status and body of its answer. Raises OSError or EOFError where none comes."""
        self.writer.write(request)
        return await self.answer()

    async def answer(self) -> tuple[int, bytes]:
        """The status and body of the answer that comes next."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return int(head.split(b" ", 2)[1]), await self.reader.readexactly(int(length.split(b":")[1]))

    def reset(self) -> None:
        """Cut it as a dying network does: no farewell."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    """A line to a server on this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def post_of(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a callback."""
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def all_read(port: int) -> None:
    """What was sent before on other lines has been read: requests that came after it were answered."""
    for _ in range(3):
        async with line_to(port) as line:
            await line.ask(post_of(f"/callbacks/{PROBE}/{PROBE}/{PROBE}", b""))


async def post_all(
    port: int,
    requests: Sequence[bytes],
    *,
    lines: int = 16,
    on_answer: Callable[[Sequence[int]], object] = lambda _statuses: None,
) -> list[int]:
    """The status of each request's answer, sent over so many connections; 0 where none came."""
    statuses = [0] * len(requests)
    numbers = iter(range(len(requests)))

    async def work() -> None:
        with contextlib.suppress(OSError, EOFError):
            async with line_to(port) as line:
                for number in numbers:
                    statuses[number], _ = await line.ask(requests[number])
                    on_answer(statuses)

    await asyncio.gather(*(work() for _ in range(lines)))
    return statuses


def numbered(first: int, count: int) -> list[bytes]:
    """The final callbacks of so many tasks, each of its own."""
    return [
        post_of(minted("cometapi", f"t-{number}"), SUCCEED.replace(b'"5"', b'"%d"' % number))
        for number in range(first, first + count)
    ]


def in_effect(ledger: Path) -> dict[str, int]:
    """How often each task's success was told, of those that have succeeded."""
    return dict(
        rows(
            ledger,
            """
            select external_task_id, (select count(*) from events where events.external_task_id = tasks.external_task_id
                                         and type = 'task.succeeded')
              from tasks where state = 'succeeded'
            """,
        )
    )
