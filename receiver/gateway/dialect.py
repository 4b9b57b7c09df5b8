"""How each kind of provider says a thing to its clients: the envelope, and its errors (wire.md §3 and §5). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic_core import to_json

from submitter.settings import Kind

Said: TypeAlias = Mapping[str, Any]

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back to a client. One that `closes` ends the connection: the rest of a body was not read."""

    http_status: int
    body: bytes
    content_type: str = JSON
    retry_after: str | None = None
    closes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """Why not, before it is put in a provider's shape. `is_own`: a gateway checks it before its upstream does."""

    http_status: int
    code: int | str
    message: str
    is_own: bool = False
    retry_after: int | None = None


NOT_FOUND = Objection(http_status=400, code=1201, message="Task not found by id/external id")
ALREADY_EXISTS = Objection(http_status=400, code=1201, message="External task id already exists")
NO_SUCH_RESOURCE = Objection(http_status=404, code=1203, message="The requested resource does not exist")
NO_SUCH_METHOD = Objection(http_status=404, code=1202, message="The requested method is not supported here")
STUMBLED = Objection(http_status=500, code=5000, message="Internal server error")
UNREACHABLE = Objection(http_status=503, code=5001, message="The provider cannot be reached", retry_after=2)
TIMED_OUT = Objection(http_status=504, code=5002, message="The provider did not answer in time")
_TASK_NOT_EXIST = to_json({"code": "task_not_exist", "message": "task_not_exist", "data": None})


def succeeded(data: object, *, request_id: str) -> Answer:
    """200, in the envelope of all three."""
    said = {"code": 0, "message": "SUCCEED", "request_id": request_id, "data": data}
    return Answer(http_status=200, body=to_json(said))


def refused(kind: Kind, objection: Objection, *, request_id: str) -> Answer:
    """An error in the shape of that kind."""
    retry_after = None if objection.retry_after is None else str(objection.retry_after)
    said = _comet(objection, request_id) if kind == "cometapi" else _kling(objection, objection.code, request_id)
    return Answer(http_status=objection.http_status, body=to_json(said), retry_after=retry_after)


def not_found(kind: Kind, *, request_id: str) -> Answer:
    """No such task. CometAPI looks among its own, and says so in its own way (I)."""
    if kind == "cometapi":
        return Answer(http_status=400, body=_TASK_NOT_EXIST)
    return refused(kind, NOT_FOUND, request_id=request_id)


def _comet(objection: Objection, request_id: str) -> Said:
    """Its upstream's codes are text here, and what it checks itself has a shape of its own."""
    if not objection.is_own:
        return _kling(objection, str(objection.code), request_id)
    error = {"message": objection.message, "type": "comet_api_error", "param": "", "code": "invalid_request"}
    return {"error": error}


def _kling(objection: Objection, code: int | str, request_id: str) -> Said:
    return {"code": code, "message": objection.message, "request_id": request_id}
