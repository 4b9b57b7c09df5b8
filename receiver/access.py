"""Who may use what, and whose tasks: holders of a key, or, where none is configured, this machine too."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.requests import Request

from receiver.boot import is_public
from receiver.config import Config
from receiver.keys import OPERATOR, Access, Scope
from receiver.pairtoken import KeyRefused, Trouble
from receiver.problems import Problem
from receiver.runtime import Runtime
from submitter.settings import is_loopback

# A tunnel's or proxy's requests come from loopback too, but they say for whom.
FORWARDING_HEADERS = (
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "true-client-ip",
    "cdn-loop",
    "fastly-client-ip",
    "fly-client-ip",
    "ngrok-trace-id",
)
FORWARDING_PREFIXES = ("x-forwarded", "x-original-", "cf-")
_FORWARDING = frozenset(name.encode() for name in FORWARDING_HEADERS)
_FORWARDING_BEGINS = tuple(prefix.encode() for prefix in FORWARDING_PREFIXES)
_CODES: Mapping[Trouble, str] = {
    Trouble.EMPTY: "api_key_required",
    Trouble.MALFORMED: "key_malformed",
    Trouble.WRONG: "key_wrong",
    Trouble.NOT_YET_VALID: "key_not_yet_valid",
    Trouble.EXPIRED: "key_expired",
}


def access_of(request: Request, runtime: Runtime, scope: Scope) -> Access:
    """What the sender of this request may do. Raises Problem 401, or 403 where that is not within `scope`.

    On this machine alone, without `api.keys`, whoever comes is the operator: programs that were written for a
    provider go on to send its key. Only what says that it is a key of ours must be one.
    """
    try:
        access = runtime.keyring.holder_of(request.headers.get("authorization", ""), now=runtime.clock())
    except KeyRefused as refused:
        if runtime.keyring.has_operator_keys or refused.is_ours:
            raise _unauthorized(refused) from None
        _require_local(request, runtime.config)
        access = OPERATOR
    require_scope(access, scope)
    return access


def require_scope(access: Access, scope: Scope) -> None:
    """Raises Problem 403 where the key was not given this scope."""
    if scope not in access.scopes:
        problem = f"the key {access.name!r} was not given the scope '{scope}'"
        raise Problem(403, "scope_missing", problem, scope=scope)


def operator_of(request: Request, runtime: Runtime, scope: Scope) -> Access:
    """As `access_of`, for what is nobody's in particular. Raises Problem 403 where the key is one tenant's."""
    access = access_of(request, runtime, scope)
    if not access.is_operator:
        problem = f"the key {access.name!r} sees its own tasks, and this is about everybody's: use an operator's"
        raise Problem(403, "operator_only", problem)
    return access


def _unauthorized(refused: KeyRefused) -> Problem:
    challenge = {"WWW-Authenticate": 'Bearer realm="hookledger"'}
    return Problem(401, _CODES[refused.trouble], str(refused), headers=challenge)


def _require_local(request: Request, config: Config) -> None:
    if not _is_local(request, config):
        raise Problem(
            403,
            "local_only",
            "without api.keys only this machine may use this route: set api.keys and send one as a bearer key",
        )


def _is_local(request: Request, config: Config) -> bool:
    if is_public(config) or not is_loopback(config.server.host):
        return False
    if request.client is not None and not is_loopback(request.client.host):
        return False
    sent = dict(reversed(request.scope["headers"]))  # of two the first, as `request.headers` has it
    if any(name in _FORWARDING or name.startswith(_FORWARDING_BEGINS) for name in sent):
        return False
    return _is_at_loopback(b"//" + sent.get(b"host", b"")) and not _is_foreign_page(sent)


def _is_foreign_page(sent: Mapping[bytes, bytes]) -> bool:
    """Whether a browser sends this for a page from elsewhere: it reaches loopback too, and could spend money."""
    origin = sent.get(b"origin")
    if origin is not None and not _is_at_loopback(origin):
        return True
    return sent.get(b"sec-fetch-site", b"none") not in {b"none", b"same-origin"}


@lru_cache(maxsize=64)  # asked at each request of a receiver without keys
def _is_at_loopback(url: bytes) -> bool:
    try:
        return is_loopback(urlsplit(url.decode("latin-1")).hostname)
    except ValueError:
        return False
