"""Who may use /v1: holders of a key, or, where there is none, this machine alone."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.requests import Request

from receiver.boot import is_public
from receiver.config import Config
from receiver.problems import Problem
from submitter.settings import is_loopback

# A tunnel's or proxy's requests come from loopback too, but they say for whom.
FORWARDING_HEADERS = (
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fly-client-ip",
    "ngrok-trace-id",
)


def require_access(request: Request, config: Config) -> None:
    """Raise Problem 401 or 403 unless the request may use /v1."""
    if config.api.keys:
        _require_key(request, config)
    elif not _is_local(request, config):
        raise Problem(
            403,
            "local_only",
            "without api.keys only this machine may use this route: set api.keys and send one as a bearer key",
        )


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
    if any(header in request.headers for header in FORWARDING_HEADERS):
        return False
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        return False
    return is_loopback(host)
