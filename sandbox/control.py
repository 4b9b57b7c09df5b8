"""The control surface: what really happened, the plan of faults, callbacks by hand, and the images."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from sandbox.bodies import callback_body
from sandbox.faults import FaultPlan
from sandbox.images import draw_png, pixel_size
from sandbox.page import welcome
from sandbox.postman import Reply
from sandbox.script import Step
from sandbox.stage import Stage
from sandbox.validation import Order
from sandbox.wire import json_response
from sandbox.world import Status, Task

MOST_SHOWN = 10_000
QUESTIONS = (".query", ".list", ".batch")


class _Unclear(ValueError):
    """A control request that says too little, or the wrong thing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Routes for people and tests; without credentials, so it belongs on loopback."""

    stage: Stage

    def routes(self) -> list[Route]:
        """Where everything is."""
        return [
            Route("/", self.welcome),
            Route("/sandbox/requests", self.requests),
            Route("/sandbox/tasks", self.tasks),
            Route("/sandbox/counts", self.counts),
            Route("/sandbox/faults", self.show_faults, methods=["GET"]),
            Route("/sandbox/faults", self.replace_faults, methods=["POST"]),
            Route("/sandbox/callback", self.callback, methods=["POST"]),
            Route("/sandbox/images/{task_id}/{name}.png", self.image),
        ]

    async def welcome(self, request: Request) -> Response:
        """What this is, and how it is used."""
        return PlainTextResponse(welcome(str(request.base_url).rstrip("/")))

    async def requests(self, request: Request) -> Response:
        """Every create, query and list, oldest first: `?gateway=` and `?limit=` narrow it to the latest of one."""
        gateway = request.query_params.get("gateway")
        visits = [visit for visit in self.stage.records.requests if gateway in {None, visit.gateway}]
        return json_response({"requests": [visit.shown() for visit in visits[-_limit(request) :]]})

    async def tasks(self, request: Request) -> Response:
        """The truth about each task, newest first: `?gateway=`, `?external_task_id=`, `?limit=`."""
        gateway, external = request.query_params.get("gateway"), request.query_params.get("external_task_id")
        tasks = (
            task
            for task in self.stage.world.newest_first()
            if gateway in {None, task.order.gateway} and external in {None, task.order.external_task_id}
        )
        shown = [self._shown(task) for task, _ in zip(tasks, range(_limit(request)), strict=False)]
        return json_response({"tasks": shown})

    async def counts(self, request: Request) -> Response:  # noqa: ARG002  a route is given its request
        """How much of everything there was."""
        records, world = self.stage.records, self.stage.world
        creates = world.creates_by_external_id()
        body = {
            "faults": dict(records.faults),
            "requests": dict(records.visits),
            "creates_accepted": dict(records.accepted),
            "creates_by_external_id": creates,
            "paid_twice": {
                gateway: [each for each, paid in ids.items() if paid > 1] for gateway, ids in creates.items()
            },
            "queries": sum(count for kind, count in records.visits.items() if kind.endswith(QUESTIONS)),
            "callbacks": {kind: records.callbacks[kind] for kind in ("attempted", "acknowledged", "dropped")},
        }
        return json_response(body)

    async def show_faults(self, request: Request) -> Response:  # noqa: ARG002
        """The plan as it stands."""
        return json_response(self._faults())

    async def replace_faults(self, request: Request) -> Response:
        """Another plan, for the tasks to come: `{"drop": 0.2}` or `{"plan": "drop=0.2"}`."""
        try:
            self.stage.plan = _plan(await _object_of(request))
        except ValueError as error:
            return json_response({"error": str(error)}, status_code=422)
        return json_response(self._faults())

    async def callback(self, request: Request) -> Response:
        """Send one callback by hand, and say how it was answered."""
        try:
            wish = await _object_of(request)
            url, body, headers = self._by_hand(wish)
        except ValueError as error:
            return json_response({"error": str(error)}, status_code=422)
        reply = await self.stage.postman.post_by_hand(url, body, headers)
        return json_response(_told(reply))

    async def image(self, request: Request) -> Response:
        """A result image: there once its task has succeeded, and gone when its time is up."""
        stage, now = self.stage, self.stage.clock()
        task = stage.world.anywhere(request.path_params["task_id"])
        name = request.path_params["name"]
        index = name.removesuffix("-watermark")
        if task is None or not index.isdigit() or not _is_there(task, int(index[:3]), now=now):
            return PlainTextResponse("no such image", status_code=404)
        if now >= task.images_until:
            stage.records.befell("expire_results", task_id=task.task_id)
            return PlainTextResponse("this image has expired", status_code=404)
        drawn = await asyncio.to_thread(_png, f"{task.choice.seed}/{task.upstream_id}/{name}", task.order)
        return Response(drawn, media_type="image/png")

    def _shown(self, task: Task) -> dict[str, object]:
        order = task.order
        applied, attempts = self.stage.records.of_task(task.task_id)
        return {
            "gateway": order.gateway,
            "endpoint": order.endpoint,
            "task_id": task.task_id,
            "upstream_id": task.upstream_id,
            "external_task_id": order.external_task_id,
            "state": task.status_at(self.stage.clock()),
            "outcome": task.outcome,
            "reason": task.reason,
            "image_urls": _image_urls(task),
            "created_at": task.created_at,
            "processing_at": task.processing_at,
            "finished_at": task.finished_at,
            "faults_chosen": sorted(task.choice.faults),
            "faults_applied": sorted(applied),
            "callbacks": [attempt.shown() for attempt in attempts],
        }

    def _faults(self) -> dict[str, object]:
        return {"rates": self.stage.plan.rates(), "faults": FaultPlan.describe()}

    def _by_hand(self, wish: Mapping[str, object]) -> tuple[str, bytes, dict[str, str]]:
        task = self.stage.world.anywhere(str(wish.get("task_id", "")))
        url = wish.get("callback_url") or (task.order.callback_url if task else None)
        if not isinstance(url, str):
            raise _Unclear("give the task_id of a task with a callback URL, or a callback_url")
        body = self._body_by_hand(task, wish)
        headers = dict(self.stage.postman.signature(task, "by-hand", body)) if task else {}
        given = wish.get("headers", {})
        if not isinstance(given, Mapping):
            raise _Unclear("headers must be an object")
        return url, body, headers | {str(name): str(value) for name, value in given.items()}

    def _body_by_hand(self, task: Task | None, wish: Mapping[str, object]) -> bytes:
        body = wish.get("body")
        if isinstance(body, str):
            return body.encode()
        if body is not None:
            return json.dumps(body).encode()
        now = self.stage.clock()
        if task is not None:
            return callback_body(task, Step(at=now, status=task.status_at(now)))
        # What the provider's "send test callback" button posts: a task that nobody created.
        moment = round(now * 1000)
        test = {"task_id": "1" * 18, "task_status": Status.SUBMITTED, "created_at": moment, "updated_at": moment}
        return json.dumps(test).encode()


def _plan(wish: Mapping[str, object]) -> FaultPlan:
    if isinstance(wish.get("plan"), str):
        return FaultPlan.parse(str(wish["plan"]))
    return FaultPlan.parse(",".join(f"{name}={rate}" for name, rate in wish.items()))


def _told(reply: Reply) -> dict[str, object]:
    return {"http_status": reply.http_status, "body": reply.body.decode("utf-8", "replace"), "error": reply.error}


def _is_there(task: Task, index: int, *, now: float) -> bool:
    return task.status_at(now) is Status.SUCCEED and index < task.order.image_count


@lru_cache(maxsize=256)
def _png(name: str, order: Order) -> bytes:
    width, height = pixel_size(order.aspect_ratio, order.resolution)
    return draw_png(name, width=width, height=height)


def _image_urls(task: Task) -> list[str]:
    count = task.order.image_count if task.outcome is Status.SUCCEED else 0
    return [task.image_url(index) for index in range(count)]


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "")
    return max(1, min(int(text), MOST_SHOWN)) if text.isdigit() and len(text) < 9 else MOST_SHOWN


async def _object_of(request: Request) -> Mapping[str, object]:
    try:
        found = await request.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _Unclear("the body must be a JSON object")
    return found
