"""`serve`, and a route that submits a burst on behalf of tenants from within: `python -m benchmarks.bursting`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping

import uvloop
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.callbacks import PROVIDER
from receiver.app import create_app
from receiver.config import Config, load_config
from receiver.ledger.openings import Client
from receiver.logs import configure_logs
from receiver.runtime import Runtime
from receiver.serving import bind, serve
from submitter.ids import new_external_task_id
from submitter.journal import Submission
from submitter.request import read_request

BURST = "/burst"


class Burst:
    """Submits as many tasks for each tenant as it is told, all at once."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def submit_all(self, request: Request) -> Response:
        """200 with the seconds it took, once each submit was answered. A refusal raises."""
        counts: Mapping[str, int] = await request.json()
        began = time.monotonic()
        await asyncio.gather(*(self._submit(tenant) for tenant, count in counts.items() for _ in range(count)))
        return JSONResponse({"seconds": time.monotonic() - began})

    async def _submit(self, tenant: str) -> None:
        submission = Submission(
            provider=PROVIDER,
            request=read_request("omni-image", {"prompt": "a quay at dawn"}),
            external_task_id=new_external_task_id(now=self._runtime.clock()),
        )
        await self._runtime.submit(submission, client=Client(tenant=tenant))


async def _serve(config: Config) -> None:
    runtime = await Runtime.open(config)
    app = create_app(runtime)
    app.router.routes.insert(0, Route(BURST, Burst(runtime).submit_all, methods=["POST"]))
    with bind(config.server.host, config.server.port) as listener:
        await serve(app, runtime, listener)


def main() -> None:
    """Until it is ended."""
    config = load_config(environment=os.environ)
    configure_logs(format=config.logging.format, level=config.logging.level)
    uvloop.run(_serve(config))


if __name__ == "__main__":
    main()
