"""Who may use /v1: holders of a key, or, where there is none, this machine alone."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.requests import Request

from receiver.boot import is_public
from receiver.config import Config
from receiver.keys import OPERATOR, Access, Scope
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


def access_of(request: Request, runtime: Runtime, scope: Scope) -> Access:  # noqa: ARG001 - the operator may all
    """What the sender of this request may do. Raises Problem 401, or 403 where that is not within `scope`."""
    config = runtime.config
    if config.api.keys:
        _require_key(request, config)
    elif not _is_local(request, config):
        raise Problem(
            403,
            "local_only",
            "without api.keys only this machine may use this route: set api.keys and send one as a bearer key",
        )
    return OPERATOR


def _require_key(request: Request, config: Config) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    presented = given.strip().encode("utf-8", "surrogatepass")
    matches = [hmac.compare_digest(key.get_secret_value().encode(), presented) for key in config.api.keys]
    if scheme.lower() != "bearer" or not any(matches):
        raise Problem(
            401,
            "api_key_required",
            "send one of api.keys as 'Authorization: Bearer …'",
            headers={"WWW-Authenticate": 'Bearer realm="hookledger"'},
        )


def _is_local(request: Request, config: Config) -> bool:
    if is_public(config) or not is_loopback(config.server.host):
        return False
    if request.client is not None and not is_loopback(request.client.host):
        return False
    if any(name in FORWARDING_HEADERS or name.startswith(FORWARDING_PREFIXES) for name in request.headers):
        return False
    return is_loopback(_host_of(f"//{request.headers.get('host', '')}")) and not _is_foreign_page(request)


def _is_foreign_page(request: Request) -> bool:
    """Whether a browser sends this for a page from elsewhere: it reaches loopback too, and could spend money."""
    origin = request.headers.get("origin")
    if origin is not None and not is_loopback(_host_of(origin)):
        return True
    return request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}


def _host_of(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
