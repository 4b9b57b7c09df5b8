"""The sandbox on a real socket, inside the loop that asks for it: `async with run_sandbox(settings) as running`."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sandbox.app import create_sandbox
from sandbox.settings import SandboxSettings
from sandbox.stage import Stage
from sandbox.wire import TRANSPORT

BACKLOG = 2048
DRAIN_SECONDS = 0.5  # for answers that are still being written; nothing here takes so long
DRAIN_GLANCE_SECONDS = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSandbox:
    """A sandbox that answers, and where."""

    base_url: str
    app: Starlette

    @property
    def kling_url(self) -> str:
        """The base URL of an account at Kling."""
        return f"{self.base_url}/kling"

    @property
    def cometapi_url(self) -> str:
        """The base URL of an account at CometAPI."""
        return f"{self.base_url}/cometapi"

    @property
    def powertokens_url(self) -> str:
        """The base URL of an account at PowerTokens."""
        return f"{self.base_url}/powertokens"


@contextlib.asynccontextmanager
async def run_sandbox(
    settings: SandboxSettings, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[RunningSandbox]:
    """Serve until the block is left; port 0 takes a free one. Raises OSError if the address is taken."""
    app = create_sandbox(settings)
    listener = _listener(host, port)
    server = _Server(
        uvicorn.Config(
            app,
            http=_LendingProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await server.ready.wait()
        yield RunningSandbox(base_url=_url(listener), app=app)
    finally:
        await asyncio.shield(asyncio.create_task(_stop(server, serving, app.state.stage)))


async def _stop(server: "_Server", serving: asyncio.Task[None], stage: Stage) -> None:
    # First those who wait: a server that shuts down waits for every answer.
    await stage.close()
    server.leave()
    await serving


class _Server(uvicorn.Server):
    """uvicorn as a guest: it leaves the signals to the host, and comes and goes without a poll's delay."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._leave = asyncio.Event()

    def leave(self) -> None:
        self.should_exit = True
        self._leave.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn's own takes a tenth of a second at least: too much for a suite that starts hundreds of sandboxes.
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110  it tells nobody
                    await asyncio.sleep(DRAIN_GLANCE_SECONDS)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self.lifespan.shutdown()

    async def main_loop(self) -> None:
        seconds = 0
        # A multiple of ten is what makes a tick refresh the date header.
        while not await self.on_tick(seconds * 10):
            seconds += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._leave.wait()


class _LendingProtocol(HttpToolsProtocol):
    """HTTP that lends the app its connection, so that an answer can be a hang-up."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio spares a connection Nagle's 40 ms only if its protocol is named.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.listen(BACKLOG)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  an address to bind to, not to ask
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
