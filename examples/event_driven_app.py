"""An app that draws on demand and never asks how far it is: the receiver's signed webhooks tell it.

    RECEIVER=http://127.0.0.1:8080 PROVIDER=kling WEBHOOK_SECRET=whsec_… uvicorn --app-dir examples event_driven_app:app

with this app as a destination of the receiver (config.toml):

    [[destinations]]
    name = "gallery"
    url = "http://127.0.0.1:8000/hooks"
    private = true                # it is on this machine
    secret = "whsec_…"            # the same
    events = ["task.*"]

    curl -d '{"prompt":"a lighthouse"}' 127.0.0.1:8000/pictures     # then look at http://127.0.0.1:8000/pictures
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from standardwebhooks import Webhook, WebhookVerificationError  # pip install standardwebhooks
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

RECEIVER = os.environ.get("RECEIVER", "http://127.0.0.1:8080")
PROVIDER = os.environ.get("PROVIDER", "kling")
KEY = os.environ.get("KEY", "none")


class Gallery:
    """What the app remembers of each picture: a real one keeps it in its database."""

    def __init__(self) -> None:
        self.pictures: dict[str, dict[str, Any]] = {}

    def hang(self, task: dict[str, Any]) -> None:
        """Keep the newest that is known of a task. Told twice, or late, it changes nothing: versions only grow."""
        known = self.pictures.get(task["external_task_id"])
        if known is None or known["version"] < task["version"]:
            self.pictures[task["external_task_id"]] = {
                "version": task["version"],
                "state": task["state"],
                "images": [image["url"] for image in task["images"]],
                "message": task["message"],
            }


async def draw(request: Request) -> Response:
    """POST /pictures {"prompt":…}: 202 at once, whatever the provider does."""
    prompt = (await request.json())["prompt"]
    answer = await request.app.state.receiver.post(
        "/v1/tasks", json={"provider": PROVIDER, "endpoint": "omni-image", "request": {"prompt": prompt}}
    )
    if answer.is_error:
        return JSONResponse({"problem": answer.json()["detail"]}, status_code=502)
    task = answer.json()
    request.app.state.gallery.hang(task)  # its first webhook may have come before this answer
    return JSONResponse({"picture": task["external_task_id"]}, status_code=202)


async def hook(request: Request) -> Response:
    """POST /hooks: an event. 2xx says that we have it: until then the receiver tells it again."""
    body = await request.body()
    try:
        Webhook(os.environ["WEBHOOK_SECRET"]).verify(body, dict(request.headers))
    except WebhookVerificationError:
        return Response(status_code=401)
    event = json.loads(body)
    if event["type"].startswith("task."):
        request.app.state.gallery.hang(event["data"])
    return Response(status_code=204)


async def show(request: Request) -> Response:
    """GET /pictures: all of them."""
    return JSONResponse(request.app.state.gallery.pictures)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """One client of the receiver for the app's life."""
    app.state.gallery = Gallery()
    headers = {"Authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=RECEIVER, headers=headers, timeout=60) as app.state.receiver:
        yield


app = Starlette(
    routes=[
        Route("/pictures", draw, methods=["POST"]),
        Route("/pictures", show, methods=["GET"]),
        Route("/hooks", hook, methods=["POST"]),
    ],
    lifespan=lifespan,
)
