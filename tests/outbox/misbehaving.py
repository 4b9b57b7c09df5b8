"""The ways an app's answer can go wrong."""

from __future__ import annotations

import asyncio
import socket
import struct
from datetime import timedelta

from tests.outbox.sinks import Answering, Line
from tests.patience import PATIENCE

TEN_MEGABYTES = 10 * 1024 * 1024


async def hangs_at_once(line: Line) -> None:
    await line.hang()


async def hangs_in_its_head(line: Line) -> None:
    await line.say(b"HTTP/1.1 200 OK\r\ncontent-le")
    await line.hang()


async def hangs_after_its_head(line: Line) -> None:
    await line.say(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
    await line.hang()


async def drips(line: Line) -> None:
    """A byte now and then would keep a time-out of each read content for ever."""
    await line.say(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n")
    while True:
        await line.say(b".")
        await asyncio.sleep(0.01)


async def only_promises(line: Line) -> None:
    while True:
        await line.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.01)


async def speaks_no_http(line: Line) -> None:
    """And says what it was told, as a hostile one would."""
    await line.say(b"EHLO " + line.head.replace(b"\r\n", b" ") + b"\r\n\r\n")


async def has_a_head_without_end(line: Line) -> None:
    await line.say(b"HTTP/1.1 200 OK\r\n")
    while True:
        await line.say(b"x-more: " + b"x" * 8_000 + b"\r\n")


async def hangs_up(line: Line) -> None:
    line.writer.close()


async def hangs_up_in_its_body(line: Line) -> None:
    await line.say(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
    line.writer.close()


async def resets(line: Line) -> None:
    line.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.writer.transport.abort()


async def answers_ten_megabytes(line: Line) -> None:
    await line.say(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % TEN_MEGABYTES)
    for _ in range(TEN_MEGABYTES // 65_536):
        await line.say(b"x" * 65_536)


async def answers_without_end(line: Line) -> None:
    await line.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await line.say(b"10000\r\n" + b"x" * 65_536 + b"\r\n")


# What each comes to, in the words of the reason.
MISBEHAVING: dict[Answering, str] = {
    hangs_at_once: "no whole answer within",
    hangs_in_its_head: "no whole answer within",
    hangs_after_its_head: "no whole answer within",
    drips: "no whole answer within",
    only_promises: "no whole answer within",
    speaks_no_http: "no HTTP",
    has_a_head_without_end: "no HTTP",
    hangs_up: "hung up",
    hangs_up_in_its_body: "hung up",
    resets: "broke",
    answers_ten_megabytes: "more than 64 KiB",
    answers_without_end: "more than 64 KiB",
}


def waited_for(answer: Answering) -> timedelta:
    """How long to wait for it: whoever hangs not for long, anybody else until it has misbehaved, on any machine."""
    hangs = MISBEHAVING[answer].startswith("no whole answer")
    return timedelta(milliseconds=400) if hangs else timedelta(seconds=PATIENCE)
