"""Who may ask: bearer keys at every gateway, and Kling's HS256 JWTs."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping

from sandbox.answers import Gateway, Refusal, unauthorized
from sandbox.settings import SandboxSettings


def objection(header: str | None, gateway: Gateway, settings: SandboxSettings, *, now: float) -> Refusal | None:
    """Why this `Authorization` header will not do, if it will not. `now` in Unix seconds."""
    scheme, _, token = (header or "").partition(" ")
    token = token.strip()
    if not token:
        return unauthorized(1001, "Authorization is empty")
    if scheme.lower() != "bearer":
        return unauthorized(1002, "Authorization is not a bearer token")
    if gateway is Gateway.KLING and settings.kling_secret_key is not None and token.count(".") == 2:
        return _jwt_objection(token, settings, now=now)
    if gateway is Gateway.KLING and settings.kling_secret_key is not None and settings.api_key is None:
        return unauthorized(1002, "Authorization is not a JWT")
    if settings.api_key is not None and not hmac.compare_digest(token.encode(), settings.api_key.encode()):
        return unauthorized(1002, "Authorization is invalid")
    return None


def _jwt_objection(token: str, settings: SandboxSettings, *, now: float) -> Refusal | None:
    signed, _, signature = token.rpartition(".")
    head, _, claims_part = signed.partition(".")
    header, claims = _part(head), _part(claims_part)
    if header.get("alg") != "HS256":
        return unauthorized(1002, "JWT must be HS256")
    right = hmac.digest((settings.kling_secret_key or "").encode(), signed.encode(), hashlib.sha256)
    if not hmac.compare_digest(right, _decoded(signature)):
        return unauthorized(1000, "JWT signature does not match")
    if claims.get("iss") != settings.kling_access_key:
        return unauthorized(1002, "JWT iss is not the access key")
    expires, not_before = claims.get("exp"), claims.get("nbf")
    if not isinstance(expires, int | float) or not isinstance(not_before, int | float):
        return unauthorized(1002, "JWT needs exp and nbf")
    if now < not_before:
        return unauthorized(1003, "JWT is not yet valid")
    return unauthorized(1004, "JWT has expired") if now >= expires else None


def _part(text: str) -> Mapping[str, object]:
    try:
        found = json.loads(_decoded(text))
    except ValueError:  # UnicodeDecodeError and JSONDecodeError are kinds of it
        return {}
    return found if isinstance(found, dict) else {}


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
