"""HTTP with bounds: uvicorn's protocol, and how much of a head, of patience and of a queue a stranger may have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from receiver.lingering import CONNECTION, Lingering
from receiver.problems import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one connection may ask of us before its request has reached the application."""

    target_bytes: int = 8_192  # RFC 9110 §4.1 asks for 8000; a callback URL has 2048 at most
    head_bytes: int = 32_768  # as nginx, which has four buffers of 8 KiB
    headers: int = 100  # as Apache's LimitRequestFields; providers send about ten
    pipelined: int = 16  # requests that wait for those before them; hardly a client pipelines at all
    head_seconds: float = 10.0  # an honest head comes in one packet
    body_seconds: float = 60.0  # 150 MB at 20 Mbit/s; a callback takes milliseconds
    linger_seconds: float = 2.0  # how long what is still sent after the last answer is thrown away


WISHES = frozenset({b"connection", b"upgrade", b"http2-settings"})
NO_MORE: dict[str, str] = {"Connection": "close"}


class BoundedHttp(HttpToolsProtocol):
    """One connection. What it cannot be given is answered with a problem document, counted, and ends it.

    A refusal is written after the answers to the requests before it, as the order of HTTP wants it.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: Limits,
        on_refusal: Callable[[Problem], None],
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._on_refusal = on_refusal
        self._running: RequestResponseCycle | None = None  # `cycle` is the latest, which may still be queued
        self._is_in_head = False  # from a request's first byte to its empty line
        self._is_in_body = False  # from there to its end
        self._undelivered = 0  # bytes since the parser last handed something on
        self._has_delivered = False
        self._is_uncounted = False
        self._may_be_large = False  # the head at hand, going by the bytes that it came in: mostly spares us the sum
        self._at_fault: Problem | None = None  # why a callback of ours stopped the parser
        self._refusal: Problem | None = None  # waits for the answers before it
        self._has_refused = False
        self._is_deaf = False  # nothing more is parsed
        self._is_at_eof = False
        self._is_endless = False  # the answer that is given at the moment
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head, but not for ever."""
        super().connection_made(transport)
        self.transport = self._lingering = Lingering(transport, self._linger)
        self._be_patient(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The request that is answered at the moment hears of it too, not only the latest."""
        self._lose_patience()
        self._is_deaf = True
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            _disconnect(self._running)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Who has said all and still listens gets the answers to what came whole; what was cut short is dropped."""
        self._is_at_eof = True
        self._lingering.send()  # what we say next may close the connection underneath it
        if self._is_in_body:
            if not self._is_queued(self.cycle):
                return False
            self.pipeline.popleft()
            self._is_in_body = False
        return self._is_answering and not self._is_endless

    def data_received(self, data: bytes) -> None:
        """Parse within bounds."""
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        self._has_delivered = False
        self._may_be_large = self._is_uncounted or self._undelivered + len(data) > self._limits.head_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            self._stay_with_http(data[stopped.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(self._at_fault or Problem(400, "bad_http", "this is not HTTP/1.1", headers=NO_MORE))
            return
        self._is_uncounted = self._is_in_head and self._has_delivered  # it began somewhere in these bytes
        if not self._has_delivered:
            self._undelivered += len(data)
            if self._undelivered > self._limits.head_bytes:
                self._refuse(self._too_much())
                return
        if self._patience is None and self._is_in_body:
            self._be_patient(self._limits.body_seconds)
        elif self._patience is None and self._is_waiting_for_head:
            self._be_patient(self._limits.head_seconds)

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._is_in_head = True
        self._undelivered = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole: judge it before anybody acts on it. The parser stops at whatever is raised."""
        self._at_fault = self._fault_of_head()
        if self._at_fault is not None:
            raise self._at_fault
        if self.parser.should_upgrade():
            return  # and see `_stay_with_http`
        super().on_headers_complete()
        self.headers = []  # trailers land here, and not among the headers that are acted on
        self._is_in_head = False
        self._is_in_body = True
        self._deliver()
        self._lose_patience()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._deliver()
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request's last byte."""
        if self.parser.should_upgrade():
            return
        self._is_in_body = False
        self._lose_patience()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The next request's turn, or the end of what this connection may say."""
        is_last, was_paused = not self.pipeline, self.flow.read_paused
        super().on_response_complete()
        if was_paused and self._patience is not None:  # what was sent meanwhile is still to be read
            self._be_patient(self._limits.body_seconds if self._is_in_body else self._limits.head_seconds)
        if not is_last or self.transport.is_closing():
            return
        if self._refusal is not None:
            self._answer(self._refusal)
        elif self._is_at_eof or self._is_deaf:
            self.transport.close()
        elif self._is_in_body:  # answered before it was all there: the rest is thrown away, for a while
            self._be_patient(self._limits.linger_seconds)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        self._is_endless = False
        cycle.scope["extensions"] = {
            CONNECTION: {"abort": partial(self._abort, cycle), "has_no_end": partial(self._go_on, cycle)}
        }
        super()._start_asgi_task(cycle, app)

    def _abort(self, cycle: RequestResponseCycle) -> None:
        """End the connection with what is unsent, unless another request has its turn by now."""
        if self._running is cycle:
            self.transport.abort()

    def _go_on(self, cycle: RequestResponseCycle) -> None:
        """The answer has no end: nobody waits for one who has ended the other side."""
        if self._running is cycle:
            self._is_endless = True
            if self._is_at_eof:
                self.transport.close()

    @property
    def _is_answering(self) -> bool:
        return self._running is not None and not self._running.response_complete and not self._running.disconnected

    @property
    def _is_waiting_for_head(self) -> bool:
        return self._is_in_head or not (self._is_in_body or self._is_answering)

    def _is_queued(self, cycle: RequestResponseCycle) -> bool:
        return bool(self.pipeline) and self.pipeline[0][0] is cycle

    def _deliver(self) -> None:
        self._undelivered = 0
        self._has_delivered = True

    def _fault_of_head(self) -> Problem | None:
        limits = self._limits
        if len(self.url) > limits.target_bytes:
            return self._too_much()
        if len(self.headers) > limits.headers or (self._may_be_large and self._head_size() > limits.head_bytes):
            return self._too_much()
        if self.parser.should_upgrade() and self.parser.get_method() == b"CONNECT":
            return Problem(400, "bad_http", "this is no proxy", headers=NO_MORE)
        if len(self.pipeline) >= limits.pipelined:
            detail = f"more than {limits.pipelined} requests wait on this connection"
            return Problem(429, "too_many_pipelined", detail, headers=NO_MORE)
        return None

    def _head_size(self) -> int:
        return sum(len(name) + len(value) for name, value in self.headers)

    def _too_much(self) -> Problem:
        """What there is too much of: of the target, of the headers, or of what stands around a body."""
        limits = self._limits
        if self._is_in_body:
            return Problem(400, "bad_http", "chunk extensions or trailers without end", headers=NO_MORE)
        if self._is_in_head and len(self.url) > limits.target_bytes:
            detail = f"the request target exceeds {limits.target_bytes} bytes"
            return Problem(414, "path_too_long", detail, headers=NO_MORE)
        detail = f"the headers exceed {limits.headers} in number or {limits.head_bytes} bytes"
        return Problem(431, "headers_too_large", detail, headers=NO_MORE)

    def _stay_with_http(self, rest: bytes) -> None:
        """Another protocol was asked for, which RFC 9110 §7.8 lets us ignore: read the request without that wish.

        Java's client asks for HTTP/2 with every plain POST. The parser that saw the wish would skip the body.
        """
        method = self.parser.get_method()
        kept = b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] not in WISHES)
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"%b %b HTTP/1.1\r\n%bconnection: close\r\n\r\n%b" % (method, self.url, kept, rest))

    def _be_patient(self, seconds: float) -> None:
        self._lose_patience()
        self._patience = self.loop.call_later(seconds, self._run_out_of_patience)

    def _lose_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _run_out_of_patience(self) -> None:
        self._patience = None
        if self._is_deaf or (self._is_in_body and self.cycle.response_complete):  # all is answered that is to be
            self._is_deaf = True
            self.transport.abort()
        elif self.flow.read_paused:  # it is we who do not read, while those before it are answered
            self._be_patient(self._limits.body_seconds if self._is_in_body else self._limits.head_seconds)
        elif self._running is not None and not (self._is_in_head or self._is_in_body):
            self.transport.close()  # idle, and answered: one more answer would be taken for the next request's
        elif self._is_in_body:
            detail = f"the body took more than {self._limits.body_seconds:g} s"
            self._refuse(Problem(408, "too_slow", detail, headers=NO_MORE))
        else:
            detail = f"no whole head came in {self._limits.head_seconds:g} s"
            self._refuse(Problem(408, "too_slow", detail, headers=NO_MORE))

    def _refuse(self, problem: Problem) -> None:
        """End the connection with this answer, after those that are owed before it."""
        self._is_deaf = True
        self._lose_patience()
        if self._is_in_body and self._is_queued(self.cycle):
            self.pipeline.popleft()
        elif self._is_in_body and self.cycle.response_started:
            self.transport.close()  # it has its answer
            return
        elif self._is_in_body:
            _disconnect(self.cycle)  # its body will never be whole: nothing comes of it
        if self._is_answering:
            self._refusal = problem
        else:
            self._answer(problem)

    def _answer(self, problem: Problem) -> None:
        if self.transport.is_closing():
            return
        self._on_refusal(problem)
        response = problem.response()
        headers = [*self.server_state.default_headers, *response.raw_headers]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[response.status_code] + lines + b"\r\n" + bytes(response.body))
        self._has_refused = True
        self.transport.close()

    def _linger(self) -> bool:
        """Whether to go on reading for a while: closed upon unread bytes, a connection is reset, answer and all."""
        if self._is_at_eof or not (self._is_in_body or self._has_refused):
            return False
        self._is_deaf = True
        self.flow.resume_reading()
        self._be_patient(self._limits.linger_seconds)
        return True


def _disconnect(cycle: RequestResponseCycle) -> None:
    """Let the application know that nobody is there any more."""
    cycle.disconnected = True
    cycle.message_event.set()
