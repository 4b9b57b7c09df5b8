"""What telling and asking are compared with, each a process of its own: `python -m benchmarks.bare NAME …`.

`forward` is an endpoint that signs each callback and posts it on with httpx, and keeps nothing. `loop` posts so many
bodies by httpx, so many at once, and does nothing else. `idle` is a server-sent stream of Starlette's that never has
anything to say. `constant` says the same to whoever asks about a task. The servers run under the very settings that
`serve` has.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable

import httpx
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from benchmarks.serving import SIGNED_WITH
from benchmarks.sink import url_of
from receiver.outbox.message import CONTENT_TYPE
from receiver.outbox.relay import AT_ONCE
from receiver.serving import Server, bind
from submitter.signatures import sign

FORWARD, LOOP, IDLE, CONSTANT = "forward", "loop", "idle", "constant"
_NUMBERS = {
    FORWARD: ["port", "sink"],
    LOOP: ["sink", "count", "body_bytes"],
    IDLE: ["port"],
    CONSTANT: ["port", "body_bytes"],
}
HEARTBEAT = 15.0  # seconds, as the receiver's
TIMEOUT = 60.0


class Forward:
    """Each callback is told to the sink, and then acknowledged."""

    def __init__(self, sink: int) -> None:
        self._url = url_of(sink)
        self._http = _client()

    async def receive(self, request: Request) -> Response:
        """200, once the sink has it."""
        body = await request.body()
        message_id, now = request.path_params["external_task_id"], int(time.time() * 1000)
        signature = sign(SIGNED_WITH, message_id=message_id, sent_at=now, body=body)
        headers = {"webhook-id": message_id, "webhook-timestamp": str(now // 1000), "webhook-signature": signature}
        told = await self._http.post(self._url, content=body, headers=headers)
        return Response(b'{"verdict":"forwarded"}', status_code=told.status_code)


async def loop(sink: int, *, count: int, body_bytes: int) -> None:
    """Post so many bodies, as many at once as the relay does."""
    numbers = iter(range(count))
    body = json.dumps({"data": "x" * (body_bytes - len('{"data": ""}'))}).encode()
    async with _client() as http:

        async def post_on() -> None:
            for number in numbers:
                (await http.post(url_of(sink), content=body, headers={"webhook-id": str(number)})).raise_for_status()

        await asyncio.gather(*(post_on() for _ in range(AT_ONCE)))


class Idle:
    """A comment now and then, until the server stops: it would wait for its streams."""

    def __init__(self) -> None:
        self.is_stopping = asyncio.Event()

    async def stream(self, _: Request) -> Response:
        """200, and then next to nothing."""
        return StreamingResponse(self._said(), media_type="text/event-stream")

    async def _said(self) -> AsyncIterator[bytes]:
        while not self.is_stopping.is_set():
            yield b": still here\n\n"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT):
                    await self.is_stopping.wait()


class Constant:
    """The same answer for everybody."""

    def __init__(self, body_bytes: int) -> None:
        self._body = json.dumps({"data": "x" * (body_bytes - len('{"data": ""}'))}).encode()

    async def answer(self, _: Request) -> Response:
        """200, and the body."""
        return Response(self._body, media_type="application/json")


def _client() -> httpx.AsyncClient:
    """With the pool that a destination has."""
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    return httpx.AsyncClient(limits=limits, timeout=TIMEOUT, trust_env=False, headers={"Content-Type": CONTENT_TYPE})


async def _ready(_: Request) -> Response:
    return Response(b"")


async def _serve(route: Route, port: int, *, begin_stopping: Callable[[], None] = lambda: None) -> None:
    app = Starlette(routes=[route, Route("/readyz", _ready)])
    with bind("127.0.0.1", port) as listener:
        await Server(app, begin_stopping=begin_stopping).serve(sockets=[listener])


async def _forward(port: int, sink: int) -> None:
    path = "/callbacks/{provider}/{external_task_id}/{token}"
    await _serve(Route(path, Forward(sink).receive, methods=["POST"]), port)


async def _idle(port: int) -> None:
    idle = Idle()
    await _serve(Route("/v1/events", idle.stream), port, begin_stopping=idle.is_stopping.set)


async def _constant(port: int, body_bytes: int) -> None:
    await _serve(Route("/gateway/{provider}/v1/images/{endpoint}/{task_id}", Constant(body_bytes).answer), port)


def main() -> None:
    """One of them."""
    parser = argparse.ArgumentParser()
    named = parser.add_subparsers(dest="name", required=True)
    for name, numbers in _NUMBERS.items():
        added = named.add_parser(name)
        for number in numbers:
            added.add_argument(number, type=int)
    chosen = parser.parse_args()
    match chosen.name:
        case "forward":
            uvloop.run(_forward(chosen.port, chosen.sink))
        case "loop":
            uvloop.run(loop(chosen.sink, count=chosen.count, body_bytes=chosen.body_bytes))
        case "constant":
            uvloop.run(_constant(chosen.port, chosen.body_bytes))
        case _:
            uvloop.run(_idle(chosen.port))


if __name__ == "__main__":
    main()
