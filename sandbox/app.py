"""The sandbox as one ASGI app: three gateways by path prefix, the control surface, the postman in the lifespan."""

import contextlib
import time
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from sandbox.answers import Endpoint, Gateway
from sandbox.control import Control
from sandbox.desk import Desk
from sandbox.postman import Postman
from sandbox.records import Records
from sandbox.settings import SandboxSettings
from sandbox.stage import Stage
from sandbox.wire import json_response
from sandbox.world import World

LARGEST_BODY = 150 * 1024 * 1024  # ten inline images of 10 MB, in base64

PATHS = {
    Gateway.KLING: "/kling/v1/images",
    Gateway.COMETAPI: "/cometapi/kling/v1/images",
    Gateway.POWERTOKENS: "/powertokens/kling/v1/images",
}


def create_sandbox(settings: SandboxSettings) -> Starlette:
    """The complete app. `app.state` has `stage`, and of it `world`, `records`, `postman` and `settings`."""
    stage = _stage(settings)
    app = Starlette(
        routes=[*Control(stage=stage).routes(), *_gateway_routes(stage)],
        exception_handlers={404: _no_such_page, 405: _no_such_method},
        lifespan=_lifespan,
        max_body_size=LARGEST_BODY,
    )
    app.state.stage = stage
    app.state.settings = settings
    app.state.world = stage.world
    app.state.records = stage.records
    app.state.postman = stage.postman
    return app


def _stage(settings: SandboxSettings) -> Stage:
    records = Records(settings)
    return Stage(
        settings=settings,
        plan=settings.faults,
        world=World(settings),
        records=records,
        postman=Postman(settings, records, clock=time.time),
        clock=time.time,
    )


def _gateway_routes(stage: Stage) -> list[Route]:
    routes = []
    for gateway, images in PATHS.items():
        for endpoint in Endpoint:
            desk, path = Desk(stage=stage, gateway=gateway, endpoint=endpoint), f"{images}/{endpoint}"
            routes.append(Route(path, desk.create, methods=["POST"]))
            routes.append(Route(f"{path}/{{identity}}", desk.query, methods=["GET"]))
            if gateway is Gateway.KLING:
                routes.append(Route(path, desk.list, methods=["GET"]))
    either = Desk(stage=stage, gateway=Gateway.KLING, endpoint=Endpoint.OMNI_IMAGE)
    routes.append(Route("/kling/tasks", either.batch, methods=["GET"]))
    return routes


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    stage: Stage = app.state.stage
    stage.postman.start()
    try:
        yield
    finally:
        await stage.close()


async def _no_such_page(request: Request, error: Exception) -> Response:  # noqa: ARG001  the framework's signature
    # A wrong path at the real ones may answer HTML as well: clients must bear it.
    return HTMLResponse("<html><head><title>404 Not Found</title></head><body>404</body></html>", status_code=404)


async def _no_such_method(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return json_response({"code": 1202, "message": "Method not supported", "request_id": None}, status_code=404)
