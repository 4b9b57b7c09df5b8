"""/v1/…: submitting, looking, waiting, and what a person may decide."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from receiver.access import access_of, operator_of
from receiver.bodies import known_fields, read_fields, text_field, whole_number
from receiver.eventjson import event_json
from receiver.keys import Access, Scope
from receiver.ledger.deliveries import Delivery
from receiver.ledger.errors import NotPossible, UnknownTask
from receiver.ledger.openings import Client, OpenedAs
from receiver.ledger.reading import History, Query
from receiver.problems import invalid
from receiver.runtime import Runtime
from receiver.task import Record, SettledBy, TaskState
from receiver.taskjson import record_json, task_json
from submitter.errors import FieldProblem
from submitter.ids import check_external_task_id, new_external_task_id
from submitter.journal import Submission
from submitter.moments import iso, iso_or_none
from submitter.request import read_request

LONGEST_WAIT = 25.0  # seconds: most platforms' proxies cut a request at 30
LONGEST_TICK = 25.0
USUAL_TICK = 8.0  # where nobody says
USUAL_PAGE = 50
LONGEST_KEY = 200  # characters of an Idempotency-Key
MOST_REPLAYED = 100  # a page: 16 KiB each at most, and one answer's worth of time

_IDEMPOTENCY_KEY = re.compile(rf"[!-~]{{1,{LONGEST_KEY}}}")


def admitted(request: Request, scope: Scope) -> tuple[Runtime, Access]:
    """The runtime, and what the sender may do there. Raises Problem 401, 403."""
    runtime: Runtime = request.app.state.runtime
    return runtime, access_of(request, runtime, scope)


def admitted_operator(request: Request, scope: Scope) -> Runtime:
    """The runtime, for those whom everybody's tasks concern. Raises Problem 401, 403."""
    runtime: Runtime = request.app.state.runtime
    operator_of(request, runtime, scope)
    return runtime


async def tasks(request: Request) -> Response:
    """/v1/tasks: one route, so that a wrong method is told of both right ones."""
    return await (create_task(request) if request.method == "POST" else list_tasks(request))


async def create_task(request: Request) -> Response:
    """POST /v1/tasks: 201 the task, 200 the same again, 202 while nobody can know; errors as problem documents."""
    runtime, access = admitted(request, Scope.SUBMIT)
    idempotency_key = _idempotency_key(request)
    submission, is_id_given = await read_submission(request, runtime, access)
    client = Client(tenant=access.owner, quota=access.quota, idempotency_key=idempotency_key, is_id_given=is_id_given)
    opened = await runtime.submit(submission, client=client)
    record = await _record(runtime, opened.external_task_id)
    status = 202 if record.task.state is TaskState.PENDING else 201
    if opened.outcome is OpenedAs.ALREADY:
        status = 200
    location = {"Location": f"/v1/tasks/{opened.external_task_id}"}
    return JSONResponse(record_json(record), status_code=status, headers=location)


async def list_tasks(request: Request) -> Response:
    """GET /v1/tasks: a page, newest first."""
    runtime, access = admitted(request, Scope.READ)
    query = _query(request, access)
    try:
        page = await runtime.ledger.tasks(query)
    except ValueError as error:
        raise invalid([FieldProblem("after", str(error))]) from None
    with_request = request.query_params.get("include") == "request"
    shown = [record_json(record) if with_request else task_json(record.task) for record in page.records]
    return JSONResponse({"tasks": shown, "next": page.next})


async def show_task(request: Request) -> Response:
    """GET /v1/tasks/{id}: the task; with `wait` it holds until the task is at rest or the time is up."""
    runtime, access = admitted(request, Scope.READ)
    seconds = min(number(request, "wait", otherwise=0.0), LONGEST_WAIT)
    record = await seen(request, runtime, access)
    if seconds and not record.task.is_at_rest:
        record = await runtime.watch.record_at_rest(record.task.external_task_id, seconds=seconds)
    return JSONResponse(record_json(record))


async def show_history(request: Request) -> Response:
    """GET /v1/tasks/{id}/history: every report, event and delivery; the latter are for the operator."""
    runtime, access = admitted(request, Scope.READ)
    record = await seen(request, runtime, access)
    history = await runtime.ledger.history(record.task.external_task_id)
    if history is None:
        raise UnknownTask(record.task.external_task_id)
    return JSONResponse(history_json(history if access.is_operator else replace(history, deliveries=())))


async def refresh_task(request: Request) -> Response:
    """POST /v1/tasks/{id}/refresh: ask the provider now."""
    runtime, access = admitted(request, Scope.OPERATE)
    record = await seen(request, runtime, access)
    poller = runtime.accounts.pollers.get(record.task.provider)
    if poller is None:
        raise NotPossible(f"no account {record.task.provider!r} is configured: nobody can be asked")
    await poller.ask_about(record.task.external_task_id)
    return await _shown(runtime, record.task.external_task_id)


async def resend_task(request: Request) -> Response:
    """POST /v1/tasks/{id}/resend: send an unanswered create again, at a person's risk."""
    runtime, access = admitted(request, Scope.OPERATE)
    fields = known_fields(await read_fields(request, limit=runtime.config.api.max_body_bytes), "may_pay_twice")
    if fields.get("may_pay_twice") is not True:
        problem = "must be true: the first create may have been accepted, and would then be paid for twice"
        raise invalid([FieldProblem("may_pay_twice", problem)])
    record = await seen(request, runtime, access)
    await runtime.ledger.send_again(record.task.external_task_id, now=runtime.clock())
    runtime.wake_worker()
    return await _shown(runtime, record.task.external_task_id)


async def abandon_task(request: Request) -> Response:
    """POST /v1/tasks/{id}/abandon: let it expire now. A late callback would revive it."""
    runtime, access = admitted(request, Scope.OPERATE)
    record = await seen(request, runtime, access)
    await runtime.ledger.abandon(record.task.external_task_id, now=runtime.clock())
    return await _shown(runtime, record.task.external_task_id)


async def tick(request: Request) -> Response:
    """GET or POST /v1/tick: one bounded pass of the worker, for platforms that have none."""
    runtime, _ = admitted(request, Scope.TICK)
    seconds = min(number(request, "seconds", otherwise=USUAL_TICK), LONGEST_TICK)
    return JSONResponse(await runtime.worker.tick(seconds))


async def replay_unreadable(request: Request) -> Response:
    """POST /v1/callbacks/replay: read a page of what was kept as unreadable again; what came of it, as counts."""
    runtime = admitted_operator(request, Scope.OPERATE)
    fields = known_fields(await read_fields(request, limit=runtime.config.api.max_body_bytes), "after", "limit")
    after = _whole(fields, "after", otherwise=0, least=0, most=2**62)
    limit = _whole(fields, "limit", otherwise=MOST_REPLAYED, least=1, most=MOST_REPLAYED)
    turn = await runtime.replay.run_once(after=after, limit=limit)
    return JSONResponse({**turn.counts, "next": turn.next})


async def read_submission(request: Request, runtime: Runtime, access: Access) -> tuple[Submission, bool]:
    """The submission in the body, and whether its id was given there.

    Raises Problem 413 or 422, and InvalidRequest, field by field. An account that is not for the sender is none.
    """
    fields = known_fields(
        await read_fields(request, limit=runtime.config.api.max_body_bytes),
        "provider",
        "endpoint",
        "request",
        "external_task_id",
    )
    usable = {name: provider for name, provider in runtime.providers.items() if access.may_use(name)}
    provider = usable.get(text_field(fields, "provider"))
    if provider is None:
        configured = ", ".join(usable) or "none"
        raise invalid([FieldProblem("provider", f"is no configured account: there are {configured}")])
    named = None if fields.get("external_task_id") is None else text_field(fields, "external_task_id")
    external_task_id = new_external_task_id(now=runtime.clock()) if named is None else check_external_task_id(named)
    asked = await asyncio.to_thread(read_request, text_field(fields, "endpoint"), fields.get("request"))
    problems = provider.problems_with(asked)
    if problems:
        raise invalid(problems)
    submission = Submission(provider=provider.name, request=asked, external_task_id=external_task_id)
    return submission, named is not None


async def seen(request: Request, runtime: Runtime, access: Access) -> Record:
    """The task in the path. Raises UnknownTask for another tenant's, in the same words as for one that is not there."""
    external_task_id = request.path_params["external_task_id"]
    record = await runtime.ledger.record(external_task_id)
    if record is None or not access.sees(record.task):
        raise UnknownTask(external_task_id)
    return record


def history_json(history: History) -> dict[str, Any]:
    """How a task came to be what it is."""
    return {
        "reports": [
            {
                "number": report.number,
                "source": report.source,
                "verdict": report.verdict,
                "trust": report.trust,
                "status": report.status,
                "message": report.message,
                "task_id": report.provider_task_id,
                "time": iso(report.first_heard_at),
                "last_time": iso(report.last_heard_at),
                "count": report.count,
                "hash": report.hash.hex(),
            }
            for report in history.reports
        ],
        "events": [
            {key: value for key, value in event_json(event).items() if key != "task"} for event in history.events
        ],
        "deliveries": [delivery_json(delivery) for delivery in history.deliveries],
    }


def delivery_json(delivery: Delivery) -> dict[str, Any]:
    """A delivery, wherever it is shown."""
    return {
        "id": delivery.key,
        "event": delivery.event_id,
        "type": delivery.type,
        "external_task_id": delivery.external_task_id,
        "destination": delivery.destination,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "reason": delivery.reason,
        "next_at": iso_or_none(delivery.next_at),
        "settled_at": iso_or_none(delivery.settled_at),
    }


async def _record(runtime: Runtime, external_task_id: str) -> Record:
    record = await runtime.ledger.record(external_task_id)
    if record is None:
        raise UnknownTask(external_task_id)
    return record


async def _shown(runtime: Runtime, external_task_id: str) -> Response:
    return JSONResponse(record_json(await _record(runtime, external_task_id)))


def _idempotency_key(request: Request) -> str | None:
    """The header, if it is there. Raises Problem 422."""
    given = request.headers.get("idempotency-key")
    if given is not None and _IDEMPOTENCY_KEY.fullmatch(given) is None:
        problem = f"must be 1 to {LONGEST_KEY} visible ASCII characters"
        raise invalid([FieldProblem("Idempotency-Key", problem)])
    return given


def _query(request: Request, access: Access) -> Query:
    given = {name: value for name, value in request.query_params.items() if value}
    problems = []
    state, settled_by = given.get("state"), given.get("settled_by")
    if state is not None and state not in set(TaskState):
        problems.append(FieldProblem("state", f"must be one of {', '.join(TaskState)}"))
    if settled_by is not None and settled_by not in set(SettledBy):
        problems.append(FieldProblem("settled_by", f"must be one of {', '.join(SettledBy)}"))
    if problems:
        raise invalid(problems)
    return Query(
        tenant=access.tenant,
        providers=access.providers,
        state=None if state is None else TaskState(state),
        provider=given.get("provider"),
        settled_by=settled_by,
        after=given.get("after"),
        limit=int(number(request, "limit", otherwise=USUAL_PAGE)),
    )


def number(request: Request, name: str, *, otherwise: float) -> float:
    """A query parameter that is a number and not negative. Raises Problem 422."""
    given = request.query_params.get(name)
    if not given:
        return otherwise
    try:
        found = float(given)
    except ValueError:
        found = -1.0
    if not 0 <= found < 2**62:
        raise invalid([FieldProblem(name, "must be a number, 0 or more")])
    return found


def _whole(fields: dict[str, Any], name: str, *, otherwise: int, least: int, most: int) -> int:
    """A field that is a whole number within bounds. Raises Problem 422."""
    given = whole_number(fields.get(name, otherwise))
    if given is None or not least <= given <= most:
        raise invalid([FieldProblem(name, f"must be a whole number from {least} to {most}")])
    return given
