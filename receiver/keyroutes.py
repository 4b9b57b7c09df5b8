"""/v1/keys: making keys, looking at what is kept of them, and revoking them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from receiver.access import operator_of, require_scope
from receiver.api import admitted_operator
from receiver.bodies import known_fields, read_fields, text_field, whole_number
from receiver.clientsecret import client_secret
from receiver.keys import (
    OPERATOR,
    RANDOM_BYTES,
    Access,
    KeyKind,
    Scope,
    StoredKey,
    digest_of,
    mint_access_key,
    mint_bearer,
)
from receiver.problems import Problem, invalid
from receiver.runtime import Runtime
from submitter.errors import FieldProblem
from submitter.moments import Moment, iso, iso_or_none

NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
USUAL_SCOPES = (Scope.SUBMIT, Scope.READ)
LARGEST_QUOTA = 1_000_000
FIELDS = ("name", "kind", "scopes", "tenant", "providers", "quota", "pass_through")


async def keys(request: Request) -> Response:
    """/v1/keys: one route, so that a wrong method is told of both right ones."""
    return await (add_key(request) if request.method == "POST" else list_keys(request))


async def list_keys(request: Request) -> Response:
    """GET /v1/keys: every key that was ever made here, by name. What opens is not among what is kept."""
    runtime = admitted_operator(request, Scope.OPERATE)
    return JSONResponse({"keys": [key_json(each) for each in await runtime.keyring.all()]})


async def add_key(request: Request) -> Response:
    """POST /v1/keys: 201 with the key, which is shown this once. Nobody gives what he has not."""
    runtime: Runtime = request.app.state.runtime
    giver = operator_of(request, runtime, Scope.OPERATE)
    fields = known_fields(await read_fields(request, limit=runtime.config.api.max_body_bytes), *FIELDS)
    kind = _kind(fields)
    access = _access(fields, accounts=runtime.providers)
    for scope in sorted(access.scopes):
        require_scope(giver, scope)
    if access.pass_through:
        _require_leave_to_pass(giver)
    key, shown = _minted(runtime, access, kind, now=runtime.clock())
    await runtime.keyring.add(key)
    document = {**key_json(key), **shown, **_signing(runtime, access)}
    return JSONResponse(document, status_code=201, headers={"Cache-Control": "no-store"})


async def revoke_key(request: Request) -> Response:
    """DELETE /v1/keys/{name}: the key, which opens nothing any more. Twice is once."""
    runtime = admitted_operator(request, Scope.OPERATE)
    return JSONResponse(key_json(await runtime.keyring.revoke(request.path_params["name"], now=runtime.clock())))


def _require_leave_to_pass(giver: Access) -> None:
    """Who holds the configuration has the account's credentials anyway. Raises Problem 403."""
    if giver is not OPERATOR and not giver.pass_through:
        problem = f"the key {giver.name!r} may not pass through, and so gives no key that may"
        raise Problem(403, "pass_through_missing", problem)


def key_json(key: StoredKey) -> dict[str, Any]:
    """What is kept of a key, wherever it is shown."""
    access = key.access
    return {
        "name": access.name,
        "kind": key.kind,
        "access_key": key.access_key,
        "tenant": access.tenant,
        "scopes": [scope for scope in Scope if scope in access.scopes],
        "providers": sorted(access.providers),
        "quota": access.quota,
        "pass_through": access.pass_through,
        "created_at": iso(key.created_at),
        "revoked_at": iso_or_none(key.revoked_at),
    }


def _minted(runtime: Runtime, access: Access, kind: KeyKind, *, now: Moment) -> tuple[StoredKey, dict[str, str]]:
    """What is kept of a new key, and what is shown of it once."""
    random = secrets.token_bytes(RANDOM_BYTES)
    if kind is KeyKind.PAIR:
        access_key = mint_access_key(random)
        stored = StoredKey(access=access, kind=kind, created_at=now, access_key=access_key)
        return stored, {"access_key": access_key, "secret_key": runtime.keyring.secret_of(access_key)}
    bearer = mint_bearer(random)
    return StoredKey(access=access, kind=kind, created_at=now, digest=digest_of(bearer)), {"key": bearer}


def _signing(runtime: Runtime, access: Access) -> dict[str, str]:
    """What the tenant's clients verify their callbacks with. The operator's own is in the configuration."""
    configured = runtime.config.gateway.webhook_secrets
    if not configured or access.tenant is None:
        return {}
    return {"webhook_secret": client_secret(configured[0].get_secret_value(), access.tenant)}


def _access(fields: dict[str, Any], *, accounts: Collection[str]) -> Access:
    """What the new key's holder may do. Raises Problem 422."""
    name = _name(text_field(fields, "name"), "name")
    tenant = fields.get("tenant", name)
    quota = _quota(fields)
    if tenant is None and quota is not None:
        raise invalid([FieldProblem("quota", "is a tenant's: an operator's key has none")])
    providers = _texts(fields, "providers")
    strange = [each for each in providers if each not in accounts]
    if strange:
        problem = f"{', '.join(strange)} is no configured account: there are {', '.join(accounts) or 'none'}"
        raise invalid([FieldProblem("providers", problem)])
    return Access(
        name=name,
        tenant=None if tenant is None else _name(tenant, "tenant"),
        scopes=_scopes(fields),
        providers=frozenset(providers),
        quota=quota,
        pass_through=_yes_or_no(fields, "pass_through"),
    )


def _name(given: Any, field: str) -> str:
    if not isinstance(given, str) or NAME.fullmatch(given) is None:
        problem = "must be 1 to 32 lower-case letters, digits, - and _, and begin with a letter"
        raise invalid([FieldProblem(field, problem)])
    return given


def _scopes(fields: dict[str, Any]) -> frozenset[Scope]:
    wanted = _texts(fields, "scopes") if "scopes" in fields else [*USUAL_SCOPES]
    if not wanted or not set(wanted) <= set(Scope):
        raise invalid([FieldProblem("scopes", f"must be a list of some of {', '.join(Scope)}")])
    return frozenset(map(Scope, wanted))


def _texts(fields: dict[str, Any], name: str) -> list[str]:
    given = fields.get(name, [])
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise invalid([FieldProblem(name, "must be a list of texts")])
    return given


def _quota(fields: dict[str, Any]) -> int | None:
    if fields.get("quota") is None:
        return None
    quota = whole_number(fields["quota"])
    if quota is None or not 1 <= quota <= LARGEST_QUOTA:
        raise invalid([FieldProblem("quota", f"must be a whole number from 1 to {LARGEST_QUOTA}")])
    return quota


def _yes_or_no(fields: dict[str, Any], name: str) -> bool:
    given = fields.get(name, False)
    if not isinstance(given, bool):
        raise invalid([FieldProblem(name, "must be true or false")])
    return given


def _kind(fields: dict[str, Any]) -> KeyKind:
    given = fields.get("kind", KeyKind.BEARER)
    if not isinstance(given, str) or given not in set(KeyKind):
        raise invalid([FieldProblem("kind", f"must be one of {', '.join(KeyKind)}")])
    return KeyKind(given)
