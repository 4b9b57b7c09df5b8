"""Request bodies, read within a bound of size; how long one may take is for `receiver.boundedhttp` to say."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope

from receiver.problems import Problem, invalid
from submitter.errors import FieldProblem

LARGE = 256 * 1024


async def read_body(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    """The whole body of a request. Raises Problem 415, or 413 before more than `limit` bytes are held."""
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            identity = {"Accept-Encoding": "identity"}
            raise Problem(415, "unsupported_encoding", "send the body as it is", headers=identity)
        if name == b"content-length" and value.isdigit() and int(value[:20]) > limit:
            raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return b"".join((*chunks, chunk)) if chunks else chunk
        chunks.append(chunk)


async def read_fields(request: Request, *, limit: int) -> dict[str, Any]:
    """The body as a JSON object. Raises Problem 413 or 422."""
    body = await read_body(request.scope, request.receive, limit=limit)
    try:
        fields = await asyncio.to_thread(_parse, body) if len(body) > LARGE else _parse(body)
    except ValueError as error:
        raise invalid([FieldProblem("body", f"is no JSON: {str(error).splitlines()[0][:200]}")]) from None
    if not isinstance(fields, dict):
        raise invalid([FieldProblem("body", "must be a JSON object")])
    return fields


def known_fields(fields: dict[str, Any], *known: str) -> dict[str, Any]:
    """The fields themselves. Raises Problem 422 where there are others."""
    strange = [
        FieldProblem(name, f"is no field here: there are {', '.join(known)}") for name in fields if name not in known
    ]
    if strange:
        raise invalid(strange)
    return fields


def text_field(fields: dict[str, Any], name: str) -> str:
    """A text field. Raises Problem 422 where it is missing or no text."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise invalid([FieldProblem(name, "must be text" if name in fields else "is missing")])
    return value


def whole_number(value: Any) -> int | None:
    """The number, where it is a whole one. JSON has one kind of numbers: 5.0 is 5."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _parse(body: bytes) -> Any:
    return from_json(body, allow_inf_nan=False)


def _too_large(limit: int) -> Problem:
    # The rest of the body is not read, so this connection cannot be used again.
    return Problem(413, "too_large", f"the body exceeds {limit} bytes", headers={"Connection": "close"})
