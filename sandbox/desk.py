"""The gateways' desk: create, query and list, with the trouble that a task's faults make there."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from sandbox.answers import (
    ALREADY_EXISTS,
    BAD_GATEWAY,
    FAULT_REFUSALS,
    HTTP200_REFUSALS,
    NO_SLOT,
    NOT_FOUND,
    QUERY_REFUSALS,
    SILENCES,
    Answer,
    Endpoint,
    Gateway,
    Refusal,
    bad_value,
)
from sandbox.auth import objection
from sandbox.dialects import created, listed, queried, refused, unknown_task
from sandbox.dice import pick
from sandbox.faults import Choice, choose
from sandbox.records import Visit
from sandbox.script import callback_script
from sandbox.stage import Stage
from sandbox.validation import Order, read_order
from sandbox.wire import as_response
from sandbox.world import Task

LARGEST_READ_IN_LOOP: Final = 256 * 1024  # bytes of JSON; more is read in a thread
SLOW_SECONDS: Final = (2.0, 6.0)
LONGEST_PAGE: Final = 500
LARGEST_BATCH: Final = 20
MOST_PAGES: Final = 1000

# In this order: of several troubles the first attempt meets the first, and so on.
PASSING_TROUBLES: Final = ("account", "blocked", "busy", "slots_full", "server_error", "maintenance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An answer, with what the books should know about whom it concerned."""

    answer: Answer
    task_id: str | None = None
    external_task_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """One endpoint of one gateway."""

    stage: Stage
    gateway: Gateway
    endpoint: Endpoint

    async def create(self, request: Request) -> Response:
        """POST: an order."""
        return await self._served(request, "create", self._create)

    async def query(self, request: Request) -> Response:
        """GET …/{id}: how far one task is."""
        return await self._served(request, "query", self._query)

    async def list(self, request: Request) -> Response:
        """GET: many tasks, newest first. Only Kling has it."""
        return await self._served(request, "list", self._list)

    async def batch(self, request: Request) -> Response:
        """GET /tasks: up to twenty by id, of either endpoint. Only Kling has it."""
        return await self._served(request, "batch", self._batch)

    async def _served(self, request: Request, kind: str, serve: Callable[[Request], Awaitable[Heard]]) -> Response:
        stage = self.stage
        now = stage.clock()
        refusal = objection(request.headers.get("authorization"), self.gateway, stage.settings, now=now)
        heard = Heard(answer=self._refused(refusal)) if refusal else await serve(request)
        stage.records.visited(
            Visit(
                at=now,
                gateway=self.gateway,
                kind=kind,
                endpoint=self.endpoint,
                external_task_id=heard.external_task_id,
                task_id=heard.task_id,
                http_status=heard.answer.http_status,
                code=heard.answer.business_code(),
            )
        )
        return as_response(heard.answer)

    async def _create(self, request: Request) -> Heard:
        order = read_order(self.gateway, self.endpoint, await _json_of(request))
        if isinstance(order, Refusal):
            return Heard(answer=self._refused(order))
        key = f"{self.gateway}/{order.external_task_id or _nameless(order)}"
        try:
            choice = choose(self.stage.plan, seed=self.stage.settings.seed, key=key, prompt=order.prompt)
        except ValueError as error:
            return Heard(answer=self._refused(bad_value(f"sandbox: {error}")), external_task_id=order.external_task_id)
        objected = self._objected(order, choice)
        if objected is not None:
            return Heard(answer=objected, external_task_id=order.external_task_id)
        task, answer = await self._accepted(request, order, choice)
        return Heard(answer=answer, task_id=task.task_id, external_task_id=order.external_task_id)

    def _objected(self, order: Order, choice: Choice) -> Answer | None:
        stage = self.stage
        before = stage.world.accepted(self.gateway, order.external_task_id) if order.external_task_id else 0
        twice = self.gateway is Gateway.COMETAPI and stage.settings.duplicate_external_ids_accepted
        if before and not twice:
            return self._refused(ALREADY_EXISTS)
        troubles = _troubles(choice)
        attempt = stage.world.count(f"create/{choice.key}")
        if "policy" in choice or attempt <= len(troubles):
            fault = "policy" if "policy" in choice else troubles[attempt - 1]
            stage.records.befell(fault)
            return self._trouble(fault, choice)
        if not stage.world.has_room(order, now=stage.clock()):
            return self._refused(NO_SLOT)
        return None

    def _trouble(self, fault: str, choice: Choice) -> Answer:
        if fault == "html":
            return BAD_GATEWAY
        if fault == "lost_create":
            return SILENCES[choice.option(fault)]
        if fault == "http200_error":
            return self._refused(HTTP200_REFUSALS[choice.option(fault)])
        return self._refused(FAULT_REFUSALS[fault])

    async def _accepted(self, request: Request, order: Order, choice: Choice) -> tuple[Task, Answer]:
        stage, pace = self.stage, self.stage.settings.pace
        origin = stage.settings.public_url or str(request.base_url)
        task = stage.world.accept(order, choice, origin=origin.rstrip("/"), now=stage.clock())
        stage.records.created(self.gateway)
        for fault in ("failed", "foreign_ids"):
            if fault in choice and not (fault == "foreign_ids" and task.task_id == task.upstream_id):
                stage.records.befell(fault, task_id=task.task_id)
        steps = callback_script(task, pace=pace)
        if steps and steps[0].early:
            await stage.postman.post_now(task, steps[0])
            steps = steps[1:]
        stage.postman.post(task, steps)
        if "slow" in choice:
            stage.records.befell("slow", task_id=task.task_id)
            least, most = SLOW_SECONDS
            await stage.pause((least + (most - least) * choice.chance("slow.seconds")) * pace)
        return task, self._create_answer(task)

    def _create_answer(self, task: Task) -> Answer:
        choice, befell = task.choice, self.stage.records.befell
        if "unanswered" in choice:
            befell("unanswered", task_id=task.task_id)
            return SILENCES[choice.option("unanswered")]
        if "html" in choice and choice.option("html") == "created":
            befell("html", task_id=task.task_id)
            return BAD_GATEWAY
        return created(task, request_id=self.stage.request_id(self.gateway))

    async def _query(self, request: Request) -> Heard:
        stage, now = self.stage, self.stage.clock()
        identity = request.path_params["identity"]
        task = stage.world.find(self.gateway, identity)
        if task is None or task.order.endpoint is not self.endpoint:
            return Heard(answer=self._unknown(), task_id=identity)
        ids = {"task_id": task.task_id, "external_task_id": task.order.external_task_id}
        if now < task.visible_at:
            stage.records.befell("not_exist_lag", task_id=task.task_id)
            return Heard(answer=self._unknown(), **ids)
        trouble = self._query_trouble(task)
        if trouble is not None:
            return Heard(answer=self._refused(trouble), **ids)
        request_id = stage.request_id(self.gateway)
        return Heard(answer=queried(task, stage.settings, request_id=request_id, now=now), **ids)

    def _query_trouble(self, task: Task) -> Refusal | None:
        choice = task.choice
        if "query_error" not in choice:
            return None
        asked = self.stage.world.count(f"query/{task.task_id}")
        if asked % 2 == 0:
            return None
        self.stage.records.befell("query_error", task_id=task.task_id)
        kind = choice.option("query_error")
        if kind == "mixed":
            kind = pick(choice.seed, choice.key, f"query_error.{asked}", among=tuple(QUERY_REFUSALS))
        return QUERY_REFUSALS[kind]

    async def _list(self, request: Request) -> Heard:
        page = _whole(request.query_params.get("pageNum", "1"), most=MOST_PAGES)
        size = _whole(request.query_params.get("pageSize", "30"), most=LONGEST_PAGE)
        if page is None or size is None:
            return Heard(answer=self._refused(bad_value("pageNum must be from 1 to 1000, pageSize from 1 to 500")))
        now = self.stage.clock()
        size = min(size, self.stage.settings.lists_at_most)
        tasks = self.stage.world.page(self.gateway, self.endpoint, page=page, size=size, now=now)
        return Heard(answer=listed(tasks, request_id=self.stage.request_id(self.gateway), now=now))

    async def _batch(self, request: Request) -> Heard:
        given = [request.query_params.get(name, "") for name in ("task_ids", "external_task_ids")]
        asked = [identity for identity in ",".join(filter(None, given)).split(",") if identity]
        if all(given) or not 1 <= len(asked) <= LARGEST_BATCH:
            return Heard(answer=self._refused(bad_value("task_ids or external_task_ids, from 1 to 20 of them")))
        now = self.stage.clock()
        found = (self.stage.world.find(self.gateway, identity) for identity in asked)
        tasks = [task for task in found if task is not None and task.visible_at <= now]
        return Heard(answer=listed(tasks, request_id=self.stage.request_id(self.gateway), now=now))

    def _refused(self, refusal: Refusal) -> Answer:
        request_id = self.stage.request_id(self.gateway)
        return refused(self.gateway, refusal, self.stage.settings, request_id=request_id)

    def _unknown(self) -> Answer:
        request_id = self.stage.request_id(self.gateway)
        return unknown_task(self.gateway, NOT_FOUND, self.stage.settings, request_id=request_id)


def _troubles(choice: Choice) -> list[str]:
    """What the first attempts of an external id meet, one each."""
    met = [fault for fault in PASSING_TROUBLES if fault in choice for _ in range(int(choice.option(fault)))]
    met += [fault for fault in ("http200_error", "lost_create") if fault in choice]
    if "html" in choice and choice.option("html") == "not_created":
        met.append("html")
    return met


def _nameless(order: Order) -> str:
    # Without an external id, the same words are the best sign of the same order, so that passing troubles pass.
    return "nameless-" + hashlib.sha256(order.prompt.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _whole(text: str, *, most: int) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most else None


async def _json_of(request: Request) -> object:
    body = await request.body()
    if len(body) > LARGEST_READ_IN_LOOP:
        return await asyncio.to_thread(_json, body)
    return _json(body)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
