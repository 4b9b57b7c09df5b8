"""/v1/submissions: the journal over HTTP, for submitters that are elsewhere."""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta
from enum import StrEnum
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from receiver.api import LONGEST_KEY, admitted, read_submission, seen
from receiver.bodies import known_fields, read_fields, text_field, whole_number
from receiver.journal import LedgerJournal
from receiver.keys import Access, Scope
from receiver.ledger.errors import UnknownTask
from receiver.ledger.openings import Client, OpenedAs
from receiver.problems import invalid
from receiver.runtime import Runtime
from receiver.taskjson import record_json
from submitter.createanswer import read_create_answer
from submitter.errors import FieldProblem
from submitter.journal import FENCE_HEADER, TaskKey

LONGEST_DEFERRAL = 86_400  # seconds

_STATUS = {OpenedAs.TO_SEND: 201, OpenedAs.ALREADY: 200, OpenedAs.QUEUED: 202}


class Kind(StrEnum):
    """What a create without a usable answer came to."""

    REFUSED = "refused"
    DEFERRED = "deferred"
    UNANSWERED = "unanswered"


async def open_submission(request: Request) -> Response:
    """POST /v1/submissions: 201 with the callback URL, and the caller sends it.

    200 (submitted before) and 202 (waits for a slot; the receiver sends it) carry no callback URL: nobody
    else may send it. An opener that repeats its `Idempotency-Key` is answered as at first.
    """
    runtime, access = admitted(request, Scope.SUBMIT)
    submission, _ = await read_submission(request, runtime, access)
    opened_by = request.headers.get("idempotency-key", "")[:LONGEST_KEY] or None
    client = Client(tenant=access.owner, quota=access.quota)
    opened = await _journal(runtime, access).write_down(submission, opened_by=opened_by, client=client)
    callback_url = None
    if opened.outcome is OpenedAs.TO_SEND:
        callback_url = runtime.journal.callback_url(submission.provider, submission.external_task_id)
    return JSONResponse(
        {"external_task_id": submission.external_task_id, "callback_url": callback_url},
        status_code=_STATUS[opened.outcome],
        headers={} if callback_url is None else {FENCE_HEADER: str(opened.fence)},
    )


async def hear_answer(request: Request) -> Response:
    """POST /v1/submissions/{id}/answer: the create's raw answer, which the receiver reads itself."""
    runtime, access = admitted(request, Scope.SUBMIT)
    fields = await _fields(request, runtime, "http_status", "body_base64", "retry_after_seconds")
    http_status = whole_number(fields.get("http_status"))
    if http_status is None or not 100 <= http_status <= 599:
        raise invalid([FieldProblem("http_status", "must be an HTTP status, 100 to 599")])
    try:
        body = base64.b64decode(text_field(fields, "body_base64"), validate=True)
    except (binascii.Error, ValueError):
        raise invalid([FieldProblem("body_base64", "must be base64")]) from None
    retry_after, key = _after(fields), await _task_key(request, runtime, access)
    answer = read_create_answer(runtime.providers[key.provider], http_status, body, retry_after=retry_after)
    await _journal(runtime, access).hear(key, answer)
    return await _shown(request, runtime)


async def hear_refusal(request: Request) -> Response:
    """POST /v1/submissions/{id}/refusal: it was refused, or (`kind`) deferred or left unanswered."""
    runtime, access = admitted(request, Scope.SUBMIT)
    fields = await _fields(request, runtime, "reason", "kind", "retry_after_seconds")
    reason = text_field(fields, "reason")
    key, journal = await _task_key(request, runtime, access), _journal(runtime, access)
    match fields.get("kind", Kind.REFUSED):
        case Kind.REFUSED:
            await journal.refuse(key, reason)
        case Kind.DEFERRED:
            await journal.defer(key, reason, _after(fields))
        case Kind.UNANSWERED:
            await journal.unanswered(key, reason)
        case _:
            raise invalid([FieldProblem("kind", "must be refused, deferred or unanswered")])
    return await _shown(request, runtime)


async def _fields(request: Request, runtime: Runtime, *known: str) -> dict[str, Any]:
    return known_fields(await read_fields(request, limit=runtime.config.api.max_body_bytes), *known)


def _journal(runtime: Runtime, access: Access) -> LedgerJournal:
    return runtime.journal.of_tenant() if access.tenant is not None else runtime.journal


async def _task_key(request: Request, runtime: Runtime, access: Access) -> TaskKey:
    """The task, and the sending of it that this is about: what the opening was answered with, if it is sent back."""
    said = request.headers.get(FENCE_HEADER, "")
    fence = int(said) if said.isascii() and said.isdecimal() and len(said) < 16 else None
    task = (await seen(request, runtime, access)).task
    if task.provider not in runtime.providers:
        raise UnknownTask(task.external_task_id)
    return TaskKey(provider=task.provider, external_task_id=task.external_task_id, fence=fence)


async def _shown(request: Request, runtime: Runtime) -> Response:
    record = await runtime.ledger.record(request.path_params["external_task_id"])
    if record is None:
        raise UnknownTask(request.path_params["external_task_id"])
    return JSONResponse(record_json(record))


def _after(fields: dict[str, Any]) -> timedelta | None:
    seconds = fields.get("retry_after_seconds")
    if seconds is None:
        return None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= LONGEST_DEFERRAL:
        raise invalid([FieldProblem("retry_after_seconds", "must be a number of seconds, at most a day")])
    return timedelta(seconds=seconds)
