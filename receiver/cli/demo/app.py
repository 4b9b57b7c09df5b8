"""An app as a user would write it: told by webhook, checks the signature, and stumbles over every fifth event once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Generator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.serving import bind
from submitter.signatures import BadSignature, verify
from submitter.submit import system_clock

STUMBLES_AT = 5


class App:
    """What it was told, by the events' ids."""

    def __init__(self, secret: str) -> None:
        self.told: dict[str, bytes] = {}
        self.stumbles = 0
        self.forged = 0
        self.changed = 0  # an id that came again with other bytes
        self.url = ""
        self._secret = secret

    async def hook(self, request: Request) -> Response:
        """204 once it has the event; 401 for what is not signed; 500 when it stumbles."""
        body = await request.body()
        try:
            verify([self._secret], dict(request.headers), body, now=system_clock())
        except BadSignature:
            self.forged += 1
            return Response(status_code=401)
        event_id = request.headers["webhook-id"]
        is_new = event_id not in self.told
        self.changed += not is_new and self.told[event_id] != body
        self.told[event_id] = body
        if is_new and len(self.told) % STUMBLES_AT == 0:
            self.stumbles += 1
            return Response(status_code=500)
        return Response(status_code=204)


@contextlib.asynccontextmanager
async def running_app(secret: str) -> AsyncIterator[App]:
    """The app on a free port of this machine."""
    app = App(secret)
    routes = Starlette(routes=[Route("/hooks", app.hook, methods=["POST"])])
    with bind("127.0.0.1", 0) as listener:
        app.url = f"http://127.0.0.1:{listener.getsockname()[1]}/hooks"
        server = _Quiet(uvicorn.Config(routes, log_config=None, access_log=False, lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield app
        finally:
            server.should_exit = True
            await serving


class _Quiet(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Ctrl-C is the demo's."""
        yield
