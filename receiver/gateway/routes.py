"""/gateway/{provider}/…: whoever asks, in the shapes that the provider would answer in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import structlog
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from receiver import access as keys
from receiver.bodies import LARGE, read_body
from receiver.gateway import looking, passing
from receiver.gateway.account import Account, Asker, fresh_id
from receiver.gateway.creating import Creating
from receiver.gateway.dialect import NO_SUCH_RESOURCE, STUMBLED, Answer, refused
from receiver.gateway.objections import objection_of
from receiver.gateway.paths import READING, Asked, Kind, Paths
from receiver.keys import Access
from receiver.keys import Scope as KeyScope
from receiver.problems import not_acknowledged
from receiver.runtime import Runtime
from submitter.errors import Fault, FieldProblem, InvalidRequest
from submitter.providers import KINDS

log = structlog.get_logger("gateway")

PATH = "/gateway/{path:path}"
_PREFIX = "/gateway/"
AccessOf = Callable[[Request, Runtime, KeyScope], Access]


class Gateway:
    """An ASGI application, and not a function of a Request: a query costs little more than what surrounds it.

    Every answer is one of the provider's shapes, errors of ours included: whoever asks knows no other.
    """

    def __init__(self, runtime: Runtime, *, access_of: AccessOf = keys.access_of) -> None:
        self._runtime = runtime
        self._access_of = access_of
        self._creating = Creating(runtime)
        self._accounts: Mapping[str, Account] = {
            name: Account(
                name=name,
                kind=settings.kind,
                origin=settings.origin,
                paths=Paths(KINDS[settings.kind].prefix),
                client=runtime.submitter.clients[name],
            )
            for name, settings in runtime.config.providers.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        name, path = _addressed(scope)
        account = self._accounts.get(name)
        asked = None if account is None else account.paths.asked(scope["method"], path)
        kind = Kind.PASSED if asked is None else asked.kind
        try:
            answer = await self._answer(scope, receive, account, asked, path)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the top of a request
            answer = _refused(account, error, scope)
        self._runtime.counters.gateway_answered("" if account is None else name, kind, answer.http_status)
        await _send(send, answer)

    async def _answer(
        self, scope: Scope, receive: Receive, account: Account | None, asked: Asked | None, path: str
    ) -> Answer:
        method = scope["method"]
        wanted = KeyScope.READ if method in READING else KeyScope.SUBMIT
        access = self._access_of(Request(scope), self._runtime, wanted)
        if account is None or not access.may_use(account.name):
            return refused("kling", NO_SUCH_RESOURCE, request_id=fresh_id())
        if asked is not None and asked.kind is Kind.CREATE:
            return await self._create(scope, receive, account, asked.endpoint, access)
        if asked is not None and asked.kind is Kind.LIST:
            query = scope["query_string"].decode("latin-1")
            return await looking.list_tasks(self._runtime.ledger, account, asked, access, query)
        if asked is not None:
            shown = await looking.show_task(self._runtime.ledger, account, asked, access)
            if shown is not None:
                return shown
        return await self._pass_on(scope, receive, account, asked, Asker.of(scope, access, path))

    async def _create(self, scope: Scope, receive: Receive, account: Account, endpoint: str, access: Access) -> Answer:
        self._require_room()
        body = await read_body(scope, receive, limit=self._runtime.config.api.max_body_bytes)
        said = await _fields_in(body)
        key = Request(scope).headers.get("idempotency-key")
        return await self._creating.create(account, endpoint, said, access=access, key=key)

    async def _pass_on(
        self, scope: Scope, receive: Receive, account: Account, asked: Asked | None, asker: Asker
    ) -> Answer:
        """To whom the ledger does not serve: the provider's own answer, or the one that it would give."""
        may_pass = passing.may_pass(account, asker)
        if may_pass and not await passing.names_task_of_ours(
            self._runtime.ledger, self._accounts.values(), account, asker
        ):
            body = await read_body(scope, receive, limit=self._runtime.config.api.max_body_bytes)
            return await passing.pass_on(account, asker, body)
        return passing.refuse(account, asker) if asked is None else account.knows_no_such_task()

    def _require_room(self) -> None:
        """Before a body is read."""
        if self._runtime.is_stopping:
            raise not_acknowledged("shutting_down", "the receiver is stopping: send it again")
        self._runtime.ledger.require_room()


def _addressed(scope: Scope) -> tuple[str, str]:
    """The account and the rest of the path as it is written, for a percent sign may hide a slash."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    path = raw.partition(b"?")[0].decode("latin-1")
    name, _, rest = path.removeprefix(scope.get("root_path", "")).removeprefix(_PREFIX).partition("/")
    return name, f"/{rest}"


async def _fields_in(body: bytes) -> Mapping[str, Any]:
    try:
        said = await asyncio.to_thread(_parse, body) if len(body) > LARGE else _parse(body)
    except ValueError as error:
        problem = f"is no JSON: {str(error).splitlines()[0][:200]}"
        raise InvalidRequest([FieldProblem("body", problem, Fault.FORM)]) from None
    if not isinstance(said, dict):
        raise InvalidRequest([FieldProblem("body", "must be a JSON object", Fault.FORM)])
    return said


def _parse(body: bytes) -> Any:
    return from_json(body, allow_inf_nan=False)


def _refused(account: Account | None, error: Exception, scope: Scope) -> Answer:
    has_credentials = bool(Request(scope).headers.get("authorization"))
    objection = objection_of(error, has_credentials=has_credentials)
    if objection is STUMBLED:  # a provider's address that answers nothing of its own is among these: the log says it
        log.error("gateway.stumbled", provider=None if account is None else account.name, exc_info=error)
    kind = "kling" if account is None else account.kind
    answer = refused(kind, objection, request_id=fresh_id())
    is_unread = objection.http_status in {413, 415}
    return replace(answer, closes=True) if is_unread else answer


async def _send(send: Send, answer: Answer) -> None:
    headers = [(b"content-type", answer.content_type.encode("latin-1")), (b"content-length", b"%d" % len(answer.body))]
    if answer.retry_after is not None:
        headers.append((b"retry-after", answer.retry_after.encode("latin-1")))
    if answer.closes:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.http_status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
