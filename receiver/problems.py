"""What goes wrong over HTTP, as RFC 9457 problem documents with a stable `code`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from receiver.ledger.errors import (
    ForeignTask,
    LedgerUnavailable,
    NotPossible,
    Overloaded,
    QuotaReached,
    Refusal,
    TaskExists,
    UnknownDelivery,
    UnknownTask,
    Unwritable,
)
from receiver.runtime import Runtime
from submitter.errors import FieldProblem, InvalidRequest, Refused

log = structlog.get_logger("http")

PROBLEM = "application/problem+json"
RETRY_AFTER_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Code:
    """The status that a code is always answered with, and what it means."""

    status: int
    meaning: str


# Every code that an error of this receiver may carry: docs/errors.md and /openapi.json are made from it.
CODES: Mapping[str, Code] = {
    "api_key_required": Code(401, "This route needs a bearer key of `api.keys`."),
    "bad_signature": Code(
        401, "The callback is not signed by a holder of the account's webhook secret, or not about now."
    ),
    "bad_http": Code(400, "The bytes are no HTTP/1.1 that is understood here. The connection ends."),
    "cut_short": Code(
        400, "The connection ended before the body did. Nothing was changed, and nobody was there to answer."
    ),
    "foreign_task": Code(422, "The ids in the callback's body belong to another task of this ledger."),
    "headers_too_large": Code(431, "The headers are too many or too long."),
    "internal": Code(500, "A fault of the receiver's own; its log has the trace."),
    "invalid_request": Code(422, "Something in the request is wrong; `errors` says what, field by field."),
    "ledger_unavailable": Code(503, "The disk does not take it at the moment. Not acknowledged: send it again."),
    "local_only": Code(403, "Without `api.keys` this route answers requests of this machine only."),
    "method_not_allowed": Code(405, "The route has other methods; `Allow` lists them."),
    "not_found": Code(404, "No such route, task, provider or callback URL."),
    "not_possible": Code(409, "The task is in no state for this."),
    "overloaded": Code(
        503, "More waits for the disk, or listens, than there is room for. Not acknowledged: send it again."
    ),
    "path_too_long": Code(414, "The request target is too long."),
    "position_ahead": Code(409, "No event has this position yet: the ledger was set back, or is another one."),
    "quota_reached": Code(429, "The key's tenant has as many tasks running as it may. Submit again when one is done."),
    "refused": Code(
        502, "The provider said no; its own code and message are in `provider_code` and `provider_message`."
    ),
    "shutting_down": Code(503, "The receiver is stopping. Not acknowledged: send it again."),
    "task_exists": Code(409, "The id was submitted before with another request."),
    "too_many_invalid": Code(
        429, "Too many callbacks without valid token or signature came from this address. Valid ones pass."
    ),
    "too_many_pipelined": Code(
        429, "More requests wait on this connection than are queued. The earlier ones were answered."
    ),
    "too_slow": Code(408, "The head or the body of the request did not arrive in time."),
    "too_large": Code(413, "The body is longer than the configured limit."),
    "unreadable": Code(422, "The body is no report of this provider. It was kept to be looked at."),
    "unsupported_encoding": Code(415, "Bodies are taken as they are, not compressed."),
}


class Problem(Exception):
    """An answer that is an error. `more` are further members of the document."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.more = more

    def document(self) -> dict[str, Any]:
        """What is said."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.more,
        }

    def response(self) -> Response:
        """The document, as it is answered."""
        return JSONResponse(self.document(), status_code=self.status, headers=self.headers, media_type=PROBLEM)


def invalid(errors: Sequence[FieldProblem]) -> Problem:
    """422, field by field."""
    listed = [{"field": each.field, "problem": each.problem} for each in errors]
    detail = "; ".join(f"{each.field}: {each.problem}" for each in errors)
    return Problem(422, "invalid_request", detail, errors=listed)


def not_acknowledged(code: str, detail: str) -> Problem:
    """503: nothing was kept, and sending it again is always right."""
    return Problem(503, code, detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def problem_of(error: Exception) -> Problem:
    """The answer that an error of the inner layers deserves."""
    match error:
        case Problem():
            return error
        case InvalidRequest():
            return invalid(error.problems)
        case Refused():
            return Problem(502, "refused", error.message, provider_code=error.code, provider_message=error.message)
        case Overloaded():
            return not_acknowledged("overloaded", str(error))
        case LedgerUnavailable():
            return not_acknowledged("ledger_unavailable", str(error))
    for kind, (status, code) in _OF_REFUSALS.items():
        if isinstance(error, kind):
            return Problem(status, code, str(error))
    return Problem(500, "internal", "the receiver stumbled; its log has the trace")


_OF_REFUSALS: Mapping[type[Refusal], tuple[int, str]] = {
    TaskExists: (409, "task_exists"),
    QuotaReached: (429, "quota_reached"),
    UnknownDelivery: (404, "not_found"),
    UnknownTask: (404, "not_found"),
    NotPossible: (409, "not_possible"),
    ForeignTask: (422, "foreign_task"),
    Unwritable: (422, "unreadable"),
}


async def answer_error(request: Request, error: Exception) -> Response:
    """The exception handler of every route."""
    if isinstance(error, ClientDisconnect):
        problem = Problem(400, "cut_short", "the connection ended before the body did")
    elif isinstance(error, HTTPException):
        problem = _of_http(error)
    else:
        problem = problem_of(error)
    _count(request, problem)
    if problem.code == "internal":
        # The route's pattern and not the path: a callback's path is a secret.
        log.error("request.stumbled", route=route_of(request), exc_info=error)
    return problem.response()


def _count(request: Request, problem: Problem) -> None:
    runtime: Runtime = request.app.state.runtime
    named = request.path_params.get("provider", "")  # as a stranger gave it: a label only if it is an account
    provider = named if named in runtime.providers else ""
    runtime.counters.refused(problem.code, route=route_of(request), provider=provider)


def route_of(request: Request) -> str:
    """The route's pattern, which names no task and holds no token."""
    route = request.scope.get("route")
    return str(getattr(route, "path", "unrouted"))


HANDLED: Sequence[type[Exception]] = (
    Problem,
    InvalidRequest,
    Refused,
    Refusal,
    LedgerUnavailable,
    HTTPException,
    ClientDisconnect,
    Exception,
)


def _of_http(error: HTTPException) -> Problem:
    codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    return Problem(
        error.status_code,
        codes.get(error.status_code, "invalid_request"),
        str(error.detail),
        headers=dict(error.headers or {}),
    )
