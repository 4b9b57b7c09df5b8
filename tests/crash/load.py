"""Callbacks over kept connections, as many at once as there are connections, until the server is gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from random import Random

from tests.crash.book import Book
from tests.crash.script import OPENED, Post, Script

CONNECTIONS = 16
_WINDOW = 48  # posts to choose the next from: so far apart may neighbours arrive
_HOST = "127.0.0.1"


class Load:
    """One life's load. `exchanges` says what was asked on each connection, by our port and in order.

    `enough` is set once the book has `until` acknowledgements, or once the server is gone.
    """

    def __init__(
        self, script: Script, book: Book, *, dice: Random, first: Sequence[Post] = (), until: int = sys.maxsize
    ) -> None:
        self.exchanges: dict[int, list[Post]] = {}
        self._script = script
        self.book = book
        self._dice = dice
        self._waiting = list(first)
        self._until = until
        self.enough = asyncio.Event()

    async def run(self, port: int) -> None:
        """Post until every connection is lost."""
        await asyncio.gather(*(self._converse(port) for _ in range(CONNECTIONS)))
        self.enough.set()

    async def _converse(self, port: int) -> None:
        with contextlib.suppress(OSError, EOFError):  # the server is gone: that is what it is run for
            reader, writer = await asyncio.open_connection(_HOST, port)
            with contextlib.closing(writer):
                asked = self.exchanges.setdefault(writer.get_extra_info("sockname")[1], [])
                while True:
                    post = self._next()
                    asked.append(post)
                    self.book.sends(post)
                    writer.write(_request(post))
                    self._hear(post, *await _answer(reader))

    def _next(self) -> Post:
        while len(self._waiting) < _WINDOW:
            self._waiting += self._script.next_task()
        return self._waiting.pop(self._dice.randrange(_WINDOW))

    def _hear(self, post: Post, status: int, body: bytes) -> None:
        verdict = verdict_of(post, status, body)
        if verdict is not None:
            self.book.acknowledges(post, verdict)
            if self.book.acknowledged >= self._until:
                self.enough.set()
            if post.word == OPENED:
                self._waiting += self._script.callbacks_of(post.task)
        elif status != 503:
            self.book.unexpected.append(f"{post.task} {post.word}: {status} {body[:200]!r}")


def verdict_of(post: Post, status: int, body: bytes) -> str | None:
    """What an answer acknowledges, if it does."""
    if post.word == OPENED:
        return OPENED if status == 201 else None
    return str(json.loads(body)["verdict"]) if status == 200 else None


def _request(post: Post) -> bytes:
    head = (
        f"POST {post.path} HTTP/1.1\r\nHost: {_HOST}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(post.body)}\r\n\r\n"
    )
    return head.encode() + post.body


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    return status_of(head), await reader.readexactly(length_of(head))


def status_of(head: bytes) -> int:
    """The status of an answer's head."""
    return int(head.split(b" ", 2)[1])


def length_of(head: bytes) -> int:
    """How many bytes follow an answer's head."""
    lines = head.lower().split(b"\r\n")
    return next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
