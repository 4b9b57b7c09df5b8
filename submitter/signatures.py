"""Standard Webhooks: sign what we send, verify what was signed for us.

Headers `webhook-id`, `webhook-timestamp` (Unix seconds) and `webhook-signature` (a space-separated list of
`v1,<base64>`); the signed text is `id.timestamp.body`; the key is the base64 after `whsec_` (wire.md §4).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta

from submitter.errors import SubmitterError
from submitter.moments import Moment, millis

TOLERANCE = timedelta(seconds=300)  # the standard's own figure, and Kling's (wire.md §4)
_SIGNATURES_READ = 16  # a rotation needs two; a longer list only costs time
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class BadSignature(SubmitterError):
    """The callback is not signed by a holder of any of the given secrets, or not about now."""


def sign(secret: str, *, message_id: str, sent_at: Moment, body: bytes) -> str:
    """One `v1,<base64>` signature. Raises ValueError when the secret is not `whsec_<base64>`."""
    return "v1," + base64.b64encode(_mac(key_of(secret), message_id, str(sent_at // 1000), body)).decode()


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, *, now: Moment) -> None:
    """Raise BadSignature unless one signature in the headers was made with one of the secrets, just now.

    `headers` has lower-case names. Any bytes give either None or BadSignature: the headers are the sender's.
    """
    message_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    listed = headers.get("webhook-signature", "")
    if not (message_id and timestamp and listed):
        raise BadSignature("the headers webhook-id, webhook-timestamp and webhook-signature must all be there")
    if _TIMESTAMP.fullmatch(timestamp) is None:
        raise BadSignature("webhook-timestamp is not Unix seconds")
    if abs(now - int(timestamp) * 1000) > millis(TOLERANCE):
        raise BadSignature("webhook-timestamp is more than 300 s away from this clock")

    given = [signature for signature in map(_decoded, listed.split(" ")[:_SIGNATURES_READ]) if signature]
    expected = [_mac(key_of(secret), message_id, timestamp, body) for secret in secrets]
    matches = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in given]
    if not any(matches):
        raise BadSignature("no signature matches")


def key_of(secret: str) -> bytes:
    """The HMAC key in `whsec_<base64>`. Raises ValueError on anything else."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("a webhook secret is 'whsec_' followed by base64") from error
    if not key:
        raise ValueError("a webhook secret is 'whsec_' followed by base64: this one is empty")
    return key


def _mac(key: bytes, message_id: str, timestamp: str, body: bytes) -> bytes:
    signed = b".".join((message_id.encode("utf-8", "surrogatepass"), timestamp.encode(), body))
    return hmac.new(key, signed, hashlib.sha256).digest()


def _decoded(signature: str) -> bytes | None:
    version, _, encoded = signature.partition(",")
    if version != "v1":
        return None
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
