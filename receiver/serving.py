"""The receiver behind a socket: uvicorn, its signals, and an orderly end."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import cast

import structlog
import uvicorn
from starlette.applications import Starlette

from receiver.boot import never_told, not_acted_on, public_url_of
from receiver.boundedhttp import BoundedHttp, Limits
from receiver.config import Config
from receiver.problems import Problem
from receiver.runtime import Runtime

log = structlog.get_logger("serve")

DRAIN_SECONDS = 20  # for requests in progress; a create in flight is waited for by its own time-out
BACKLOG = 2_048
GARBAGE_AT = 10_000  # new objects: a batch of callbacks makes a few thousand, which all go without a collector


class Server(uvicorn.Server):
    """Uvicorn that tells the receiver at once that it is stopping, so that waiting requests end."""

    def __init__(self, app: Starlette, *, begin_stopping: Callable[[], None]) -> None:
        super().__init__(uvicorn_config(app))
        self.is_listening = asyncio.Event()
        self._begin_stopping = begin_stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, and says when it is done."""
        await super().startup(sockets)
        _spare_the_collector()
        self.is_listening.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGINT or SIGTERM. A second one changes nothing: creates in flight are waited for, each by its time-out."""
        self._begin_stopping()
        if not self.should_exit:
            super().handle_exit(sig, frame)


def uvicorn_config(app: Starlette, *, limits: Limits | None = None) -> uvicorn.Config:
    """How uvicorn serves this receiver: within bounds, quietly, and HTTP alone."""
    protocol = partial(BoundedHttp, limits=limits or Limits(), on_refusal=partial(_count, app))
    return uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", protocol),
        ws="none",
        log_config=None,
        access_log=False,  # it would print the callback's path, which is a secret
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=BACKLOG,
    )


def _count(app: Starlette, problem: Problem) -> None:
    runtime: Runtime = app.state.runtime
    runtime.counters.refused(problem.code)


async def serve(app: Starlette, runtime: Runtime, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is in progress. Exits as if nothing had happened."""
    # Uvicorn raises the signal again once it is done: by then it has been obeyed.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    server = Server(app, begin_stopping=runtime.begin_stopping)
    announcing = asyncio.create_task(_announce(server, runtime.config, listener))
    try:
        await server.serve(sockets=[listener])
    finally:
        announcing.cancel()


def bind(host: str, port: int) -> socket.socket:
    """A listening address, taken before the ledger is. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # "::" is both, whatever the system says
        listener.bind((host, port))
    except BaseException:
        listener.close()
        raise
    return listener


def _spare_the_collector() -> None:
    """What is there by now stays to the end: looking through it again and again took a tenth of each callback."""
    gc.freeze()
    gc.set_threshold(GARBAGE_AT, 10, 10)


async def _announce(server: Server, config: Config, listener: socket.socket) -> None:
    await server.is_listening.wait()
    host, port = listener.getsockname()[:2]
    log.info(
        "receiver.listening",
        address=f"{host}:{port}",
        public_url=public_url_of(config),
        providers=sorted(config.providers),
        ledger=config.ledger.url.rpartition("@")[2],
    )
    for reason in not_acted_on(config):
        log.warning("config.not_acted_on", reason=reason)
    for reason in never_told(config):
        log.warning("destination.never_told", reason=reason)
