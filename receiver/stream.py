"""Server-sent events: committed events as they come, to a client that may be slow, go away, and come back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import assert_never

import structlog
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from receiver.eventjson import event_json
from receiver.feed import Listener, Wish
from receiver.keys import Access
from receiver.ledger.errors import LedgerUnavailable
from receiver.ledger.reading import StoredEvent
from receiver.lingering import CONNECTION
from receiver.outbox.message import message_of
from receiver.problems import Problem, not_acknowledged
from receiver.runtime import Runtime
from submitter.blockstream import SOURCE_HEADER

log = structlog.get_logger("stream")

EVENT_STREAM = "text/event-stream"
RETRY_MS = 1_000  # after how long a browser comes back
CHUNK = 65_536  # bytes handed on at once
FAREWELL = 0.4  # seconds for the last bytes once the receiver is stopping, and again until they have left

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter: nginx would hold events back
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


class Form(StrEnum):
    """What stands behind `data:`."""

    LISTED = "listed"  # as GET /v1/events lists it
    CLOUDEVENTS = "cloudevents"  # as destinations are told it


class Ending(StrEnum):
    """Why a stream ended."""

    CLIENT_LEFT = "client_left"
    TOO_SLOW = "too_slow"
    STOPPING = "stopping"
    REVOKED = "revoked"
    LEDGER_UNAVAILABLE = "ledger_unavailable"


class EventStream(Response):
    """The answer that goes on: events after a position, or from now on, until one side has had enough."""

    def __init__(self, runtime: Runtime, wish: Wish, *, after: int | None, form: Form, access: Access) -> None:
        super().__init__(headers={"Content-Type": EVENT_STREAM, SOURCE_HEADER: runtime.source, **_HEADERS})
        del self.headers["content-length"]
        self._runtime = runtime
        self._wish = wish
        self._after = after
        self._form = form
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream. Raises Overloaded, LedgerUnavailable and Problem 503 before the first byte."""
        feed = self._runtime.feed
        if feed.is_ended:
            raise not_acknowledged("shutting_down", "the receiver is stopping")
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        async with feed.listening(self._wish, after=self._after) as listener:
            if listener.is_ahead:
                raise Problem(
                    409,
                    "position_ahead",
                    f"no event has the position {listener.position} yet: the ledger was set back, or is another one. "
                    "Begin with after=0, or without a position from now on",
                    headers={SOURCE_HEADER: self._runtime.source},
                )
            gone = asyncio.create_task(_until_gone(receive))
            gone.add_done_callback(lambda _: listener.bell.set())
            connection = scope.get("extensions", {}).get(CONNECTION, {})
            if "has_no_end" in connection:
                connection["has_no_end"]()
            client = _Client(self._runtime, listener, gone, send, form=self._form, access=self._access)
            try:
                await _end(await client.serve(start), client, connection.get("abort"))
            finally:
                gone.cancel()


class _Client:
    """One who listens: what is written to it, and how long it may take."""

    def __init__(
        self,
        runtime: Runtime,
        listener: Listener,
        gone: asyncio.Task[None],
        send: Send,
        *,
        form: Form,
        access: Access,
    ) -> None:
        self.gone = gone
        self.is_stuck = False  # it does not take what was written
        self._feed = runtime.feed
        self._keyring = runtime.keyring
        self._access = access
        self._source = runtime.source
        self._listener = listener
        self._send = send
        self._form = form
        self._told = 0  # the position that the client knows of
        self._events = 0
        self._began = time.monotonic()
        self._writing: asyncio.Timeout | None = None
        listener.on_end = self._hurry

    async def serve(self, start: Message) -> Ending:
        """Write events, and now and then a heartbeat, until there is a reason to end."""
        try:
            await self._hand_on(start)
            ending = await self._serve()
        except TimeoutError:
            self.is_stuck = True
            ending = Ending.STOPPING if self._feed.is_ended else Ending.TOO_SLOW
        except LedgerUnavailable:
            ending = Ending.LEDGER_UNAVAILABLE
        except OSError:  # as other servers say it
            ending = Ending.CLIENT_LEFT
        seconds = round(time.monotonic() - self._began, 3)
        log.info("stream.ended", reason=ending, events=self._events, position=self._told, seconds=seconds)
        return ending

    async def write(self, body: bytes, *, more: bool = True) -> None:
        """Hand bytes on. Raises TimeoutError where the client does not take those before them."""
        await self._hand_on({"type": "http.response.body", "body": body, "more_body": more})
        await asyncio.sleep(0)  # bytes reach the transport in the next turn, and only then is it known to be full

    async def _hand_on(self, message: Message) -> None:
        patience = FAREWELL if self._feed.is_ended else self._feed.limits.patience
        try:
            async with asyncio.timeout(patience) as self._writing:
                await self._send(message)
        finally:
            self._writing = None

    async def _serve(self) -> Ending:
        await self.write(f": events after {self._listener.position}\nretry: {RETRY_MS}\n{self._position()}\n".encode())
        while not self._feed.is_ended:
            if self.gone.done():
                return Ending.CLIENT_LEFT
            events = await self._listener.take()
            if not self._keyring.is_valid(self._access):
                return Ending.REVOKED
            if events:
                await self._tell(events)
            elif not self._listener.is_behind and not await self._is_rung():
                await self.write(f": still here\n{self._position()}\n".encode())
        return Ending.STOPPING

    async def _tell(self, events: Sequence[StoredEvent]) -> None:
        chunk = b""
        for event in events:
            chunk += block(event, self._form, self._source)
            if len(chunk) >= CHUNK:
                await self.write(chunk)
                chunk = b""
        if chunk:
            await self.write(chunk)
        self._told = events[-1].position
        self._events += len(events)

    async def _is_rung(self) -> bool:
        """Wait for news, as long as a heartbeat may wait."""
        try:
            async with asyncio.timeout(self._feed.limits.heartbeat):
                await self._listener.bell.wait()
        except TimeoutError:
            return False
        return True

    def _position(self) -> str:
        """How far the client has come, where it does not know: events that it did not want are behind it too."""
        if self._told == self._listener.position:
            return ""
        self._told = self._listener.position
        return f"id: {self._told}\n"

    def _hurry(self) -> None:
        """The receiver is stopping: no more patience with bytes that are on their way."""
        if self._writing is not None and not self._writing.expired():
            self._writing.reschedule(asyncio.get_running_loop().time() + FAREWELL)


@lru_cache(maxsize=256)  # all who listen are told the same
def block(event: StoredEvent, form: Form, source: str) -> bytes:
    """The event on the wire. Its JSON is ASCII on one line."""
    match form:
        case Form.LISTED:
            data = _encode(event_json(event)).encode()
        case Form.CLOUDEVENTS:
            data = message_of(event, source=source).body
        case _:
            assert_never(form)
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.position, event.type.encode(), data)


async def _end(ending: Ending, client: _Client, abort: Callable[[], None] | None) -> None:
    """Take leave: in good order where that can be, else at once. A stream that was cut can be resumed all the same.

    Without the extension the server is left to deal with what it still holds.
    """
    if ending is Ending.CLIENT_LEFT or client.gone.done():
        return
    if not client.is_stuck:
        try:
            await client.write(b"", more=False)
        except OSError:  # a TimeoutError is one
            client.is_stuck = True
    if abort is None:
        return
    if client.is_stuck:
        abort()
        await client.gone
    else:  # what was written may still wait for a client that takes nothing
        asyncio.get_running_loop().call_later(FAREWELL, abort)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
