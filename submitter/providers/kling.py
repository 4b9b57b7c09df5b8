"""Kling itself: bearer key or signed token, queries by either id, and a list (wire.md §1)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import ClassVar

from submitter.moments import Moment
from submitter.providers.base import Call, Capabilities
from submitter.providers.family import KLING_RESULT_LIFETIME, POLL_INTERVAL, KlingFamily

TOKEN_SECONDS = 1_800
TOKEN_EARLY_SECONDS = 5  # how far behind Kling's clock may be


class Kling(KlingFamily):
    """An account at Kling, with an API key or an access key and its secret."""

    prefix: ClassVar[str] = ""
    assumed: ClassVar[Capabilities] = Capabilities(
        query_by_external_id=True,  # D, and O
        list_query=True,  # D
        batch_query=False,  # O: seen to return this generation's tasks too, promised nowhere
        signs_callbacks=False,
        callback_id_is_task_id=True,  # I: there is no gateway in between
        poll_interval=POLL_INTERVAL,
        result_lifetime=KLING_RESULT_LIFETIME,
    )

    def authorize(self, call: Call, *, now: Moment) -> Call:
        """`Bearer <API key>`, or `Bearer <JWT>` that is valid for 30 minutes from `now`."""
        access_key, secret_key = self.settings.access_key, self.settings.secret_key
        if self.settings.api_key is not None or access_key is None or secret_key is None:
            return super().authorize(call, now=now)
        return self._with_bearer(call, signed_token(access_key, secret_key.get_secret_value(), now=now))


def signed_token(access_key: str, secret_key: str, *, now: Moment) -> str:
    """Kling's HS256 JWT: `iss` the access key, `exp` in 1800 s, `nbf` 5 s ago (wire.md §1, D)."""
    seconds = now // 1000
    claims = {"iss": access_key, "exp": seconds + TOKEN_SECONDS, "nbf": seconds - TOKEN_EARLY_SECONDS}
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    mac = hmac.new(secret_key.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_base64url(mac)}"


def _part(claims: Mapping[str, object]) -> str:
    return _base64url(json.dumps(claims, separators=(",", ":")).encode())


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
