"""create_app(): routes, lifespan, error answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from receiver import api, deliveries, events, metrics, submissions
from receiver.callbacks import CallbackEndpoint
from receiver.flood import tell_ended
from receiver.gateway import PATH, Gateway
from receiver.ledger.errors import LedgerUnavailable
from receiver.problems import HANDLED, answer_error, not_acknowledged
from receiver.runtime import Runtime


def create_app(runtime: Runtime, *, with_worker: bool = True) -> Starlette:
    """The receiver as an ASGI application around an open runtime, which its lifespan's end closes.

    Without the worker nothing is sent, asked or expired but by `/v1/tick`.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        if with_worker:
            runtime.start_worker()
        try:
            yield
        finally:
            tell_ended(runtime.inbound.end_all())
            await runtime.aclose()

    app = Starlette(
        routes=_routes(runtime),
        lifespan=lifespan,
        exception_handlers=dict.fromkeys(HANDLED, answer_error),
    )
    app.router.redirect_slashes = False  # 404, and no 307 to wherever the Host header says
    app.state.runtime = runtime
    return app


async def live(_: Request) -> Response:
    """GET /livez: the process answers."""
    return JSONResponse({"live": True})


async def ready(request: Request) -> Response:
    """GET /readyz: the ledger takes writes, and the receiver is not stopping; else 503 with the reason."""
    runtime: Runtime = request.app.state.runtime
    if runtime.is_stopping:
        raise not_acknowledged("shutting_down", "the receiver is stopping")
    if runtime.ledger.trouble is not None:
        try:
            await runtime.ledger.check()
        except LedgerUnavailable as error:
            raise not_acknowledged("ledger_unavailable", str(error)) from None
    return JSONResponse({"ready": True})


async def show_openapi(request: Request) -> Response:
    """GET /openapi.json: what the routes take and answer."""
    from receiver.openapi import page  # noqa: PLC0415 - for who asks, and not at each start

    return Response(page(request.scope.get("root_path", "")), media_type="application/json")


def _routes(runtime: Runtime) -> list[BaseRoute]:
    callback = Route("/callbacks/{provider}/{external_task_id}/{token}", CallbackEndpoint(runtime), methods=["POST"])
    routes: list[BaseRoute] = [
        callback,
        Route(PATH, Gateway(runtime)),
        Route("/v1/tasks", api.tasks, methods=["GET", "POST"]),
        Route("/v1/tasks/{external_task_id}", api.show_task, methods=["GET"]),
        Route("/v1/tasks/{external_task_id}/history", api.show_history, methods=["GET"]),
        Route("/v1/tasks/{external_task_id}/refresh", api.refresh_task, methods=["POST"]),
        Route("/v1/tasks/{external_task_id}/resend", api.resend_task, methods=["POST"]),
        Route("/v1/tasks/{external_task_id}/abandon", api.abandon_task, methods=["POST"]),
        Route("/v1/submissions", submissions.open_submission, methods=["POST"]),
        Route("/v1/submissions/{external_task_id}/answer", submissions.hear_answer, methods=["POST"]),
        Route("/v1/submissions/{external_task_id}/refusal", submissions.hear_refusal, methods=["POST"]),
        Route("/v1/callbacks/replay", api.replay_unreadable, methods=["POST"]),
        Route("/v1/events", events.show_events, methods=["GET"]),
        Route("/v1/deliveries", deliveries.list_deliveries, methods=["GET"]),
        Route("/v1/deliveries/redeliver", deliveries.redeliver_many, methods=["POST"]),
        Route("/v1/deliveries/{key}/redeliver", deliveries.redeliver_one, methods=["POST"]),
        Route("/v1/destinations", deliveries.list_destinations, methods=["GET"]),
        Route("/v1/tick", api.tick, methods=["GET", "POST"]),
        Route("/metrics", metrics.show_metrics, methods=["GET"]),
        Route("/livez", live, methods=["GET"]),
        Route("/readyz", ready, methods=["GET"]),
        Route("/openapi.json", show_openapi, methods=["GET"]),
    ]
    prefix = urlsplit(runtime.config.public_url).path.rstrip("/")
    # A proxy may or may not take the path of public_url away: callbacks are heard either way.
    return [*routes, Mount(prefix, routes=[callback])] if prefix else routes
