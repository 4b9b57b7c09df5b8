"""The journal a submitter writes in, and the one that reaches a receiver elsewhere, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import httpx

from submitter.closing import Closing
from submitter.createanswer import CreateAnswer
from submitter.errors import FieldProblem, InvalidRequest, JournalError
from submitter.request import ImageRequest
from submitter.settings import is_loopback

FENCE_HEADER = "Hookledger-Fence"
PAUSE = "retry_after_seconds"
# About 15 s in all: a receiver that is being deployed anew is back by then.
RETRY_AFTER = tuple(timedelta(seconds=seconds) for seconds in (0.2, 0.5, 1, 2, 4, 8))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskKey:
    """Which task of which account, and which sending of it: `fence` is the journal's own word, handed back to it."""

    provider: str
    external_task_id: str
    fence: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission(TaskKey):
    """What is asked of an account, under an id."""

    request: ImageRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The journal's leave to send, once: to this callback URL, and what comes of it is said with this fence."""

    callback_url: str
    fence: int | None = None


class Journal(Protocol):
    """Where a submission is written before it is sent, and what became of it after."""

    async def open(self, submission: Submission) -> Opened | None:
        """Write it down; answer with the callback URL to send it with, which only the receiver can mint.

        None means: not yours to send. It was submitted before, or waits for a slot and the journal sends it.
        Raises JournalError (nothing was written, as far as we know; do not send) or InvalidRequest.
        """

    async def hear(self, task: TaskKey, answer: CreateAnswer) -> None:
        """Hand on the create's answer, whatever it says. A receiver elsewhere is given its bytes, to read itself."""

    async def refuse(self, task: TaskKey, reason: str) -> None:
        """It will not be sent, or was refused without an answer to hand on."""

    async def defer(self, task: TaskKey, reason: str, after: timedelta | None) -> None:
        """It never reached the provider: nothing was created, so the journal's own sender tries again."""

    async def unanswered(self, task: TaskKey, reason: str) -> None:
        """It left and nothing usable came back: the journal finds out by asking, never by sending."""


class HttpJournal(Closing):
    """The journal of a receiver at another address, by its `/v1/submissions`.

    Each entry is repeated until the receiver has it, for about 15 s; a repeated opening is known by its
    `Idempotency-Key`, so that a lost answer neither loses the task nor makes two submitters send it.
    """

    def __init__(self, receiver_url: str, *, api_key: str | None = None, http: httpx.AsyncClient | None = None) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._root = receiver_url.rstrip("/")
        self._headers = headers
        self._http = http or httpx.AsyncClient(
            timeout=30, follow_redirects=False, trust_env=not is_loopback(urlsplit(receiver_url).hostname)
        )

    async def aclose(self) -> None:
        """Close the connections to the receiver."""
        await self._http.aclose()

    async def open(self, submission: Submission) -> Opened | None:
        """As Journal.open. Raises JournalError with the receiver's `code`, or `unreachable`."""
        fields = {
            "provider": submission.provider,
            "endpoint": submission.request.endpoint,
            "request": submission.request.wire_fields(),
            "external_task_id": submission.external_task_id,
        }
        response = await self._post("/v1/submissions", fields, {"Idempotency-Key": secrets.token_urlsafe(18)})
        callback_url, fence = _read(response).get("callback_url"), response.headers.get(FENCE_HEADER, "")
        if not isinstance(callback_url, str):
            return None
        return Opened(callback_url=callback_url, fence=int(fence) if fence.isdecimal() else None)

    async def hear(self, task: TaskKey, answer: CreateAnswer) -> None:
        """As Journal.hear."""
        fields: dict[str, Any] = {
            "http_status": answer.http_status,
            "body_base64": base64.b64encode(answer.body).decode(),
        }
        pause = {} if answer.retry_after is None else {PAUSE: answer.retry_after.total_seconds()}
        path, fence = self._path(task, "answer"), _fence_of(task)
        try:
            await self._post(path, fields | pause, fence)
        except InvalidRequest as invalid:
            if not pause or all(each.field != PAUSE for each in invalid.problems):
                raise
            await self._post(path, fields, fence)  # an older receiver, which takes the answer alone

    async def refuse(self, task: TaskKey, reason: str) -> None:
        """As Journal.refuse."""
        await self._post(self._path(task, "refusal"), {"reason": reason}, _fence_of(task))

    async def defer(self, task: TaskKey, reason: str, after: timedelta | None) -> None:
        """As Journal.defer."""
        seconds = None if after is None else after.total_seconds()
        fields = {"reason": reason, "kind": "deferred", PAUSE: seconds}
        await self._post(self._path(task, "refusal"), fields, _fence_of(task))

    async def unanswered(self, task: TaskKey, reason: str) -> None:
        """As Journal.unanswered."""
        await self._post(self._path(task, "refusal"), {"reason": reason, "kind": "unanswered"}, _fence_of(task))

    def _path(self, task: TaskKey, entry: str) -> str:
        return f"/v1/submissions/{quote(task.external_task_id, safe='')}/{entry}"

    async def _post(self, path: str, fields: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
        trouble = ""
        for pause in (*RETRY_AFTER, None):
            try:
                response = await self._http.post(self._root + path, json=fields, headers=self._headers | headers)
            except httpx.HTTPError as error:
                trouble = f"{type(error).__name__}: {error}".rstrip(": ")
            else:
                if response.status_code < 500:
                    _read(response)
                    return response
                trouble = f"HTTP {response.status_code}"
            if pause is not None:
                await asyncio.sleep(pause.total_seconds())
        raise JournalError(f"the receiver at {self._root} cannot be reached ({trouble})", code="unreachable")


def _fence_of(task: TaskKey) -> dict[str, str]:
    return {} if task.fence is None else {FENCE_HEADER: str(task.fence)}


def _read(response: httpx.Response) -> dict[str, Any]:
    try:
        fields = response.json()
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise JournalError(
            f"HTTP {response.status_code} without JSON: is this a hookledger receiver?", code="unreachable"
        )
    if response.status_code < 300:
        return fields
    problems = [
        FieldProblem(str(each.get("field")), str(each.get("problem")))
        for each in fields.get("errors", ())
        if isinstance(each, dict)
    ]
    if response.status_code == 422 and problems:
        raise InvalidRequest(problems)
    code = str(fields.get("code", response.status_code))
    raise JournalError(str(fields.get("detail", f"HTTP {response.status_code}")), code=code)
