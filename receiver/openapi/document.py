"""The whole document, and the route that answers it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

from receiver.openapi.answers import answer_schemas
from receiver.openapi.bodies import body_schemas
from receiver.openapi.gateway import GatewayOperation, gateway_operations, gateway_schemas
from receiver.openapi.keys import key_operations, key_schemas
from receiver.openapi.operation import Operation, problem_schema, refusals_of
from receiver.openapi.plain import plain_operations
from receiver.openapi.shapes import Json
from receiver.openapi.tasks import task_operations
from receiver.openapi.telling import telling_operations

VERSION = "1"  # of the interface: the v1 in its paths

TAGS = {
    "tasks": "Submitting, looking, waiting, and what a person may decide.",
    "submissions": "The journal over HTTP, for submitters that are elsewhere.",
    "events": "What happened, in the order of its commits.",
    "deliveries": "What was told to whom, what was not, and telling it anew.",
    "gateway": "The providers' own wire, served from the ledger. Other paths below an account's, and ids "
    "that the ledger does not know, go to the provider as they are, for keys with `pass_through`.",
    "keys": "Who may do what, and whose tasks he sees.",
    "callbacks": "What providers say.",
    "worker": "For platforms that have none.",
    "health": "For machines that watch.",
}

_INTRODUCTION = """\
Submit an image task to a Kling-compatible gateway, and never poll for it.

Every error is a problem document (RFC 9457) with a stable `code`; those of `/gateway` have its provider's shape. \
A GET route answers HEAD, too. Another method is \
answered 405 `method_not_allowed`, with `Allow`; a path that is none, 404 `not_found`. A `limit` beyond its most and a \
time to wait beyond its longest are read as that."""

_KEY = """\
One of `api.keys`, a key that was made (`hlk_…`), or a token that the secret of an access key (`hla_…`) signs with \
HS256, as Kling's clients do. A route that is not within the key's scopes answers 403 `scope_missing`. A receiver \
without `api.keys` answers requests of its own machine, which then need none; others are answered 403 `local_only`."""


@lru_cache(maxsize=1)  # made for who asks first, which takes a hundredth of a second, and the same for everybody
def page(root: str) -> bytes:
    """The document as it is answered."""
    return json.dumps(document(root), separators=(",", ":")).encode()


def document(root: str) -> Json:
    """The OpenAPI 3.1 document, made anew. `root` is where a host has mounted the receiver, or empty."""
    operations = [*task_operations(), *telling_operations(), *key_operations(), *plain_operations()]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hookledger",
            "version": VERSION,
            "summary": "A receiver of callbacks, and a task ledger that stays true",
            "description": _INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": root or "/"}],
        "security": [{"bearer": []}, {}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": _paths([*operations, *gateway_operations()]),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": _KEY}},
            "responses": refusals_of(operations),
            "schemas": _schemas(),
        },
    }


def _schemas() -> dict[str, Json]:
    taken = body_schemas()
    return dict(
        sorted(
            {
                **answer_schemas(),
                **taken,
                **gateway_schemas(taken),
                **key_schemas(),
                "Problem": problem_schema(),
            }.items()
        )
    )


def _paths(operations: Sequence[Operation | GatewayOperation]) -> dict[str, Json]:
    paths: dict[str, Json] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method] = operation.written()
    return paths
