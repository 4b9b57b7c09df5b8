"""The URL that lets its holder report about one task: minted and checked side by side.

The token is an HMAC of provider and task under a secret of the receiver's alone. Whoever holds the URL may
report about this task and no other; nobody can make one without the secret.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Sequence

PROBE = "probe"
"""The task id that no task has: a callback to it is answered and changes nothing."""

_TOKEN_BYTES = 18  # 144 bits, 24 characters
# Also as JSON and a query string quote it. No part can match a separator, so that long texts cost no more than that.
_SLASH = r"(?:\\?/|%2[Ff])"
_IN_TEXT = re.compile(rf"(callbacks(?:{_SLASH}[\w-]+){{2}}{_SLASH})[\w%=-]+", re.ASCII)


def mint_callback_url(public_url: str, *, provider: str, external_task_id: str, secret: str) -> str:
    """`{public_url}/callbacks/{provider}/{external_task_id}/{token}`."""
    token = _token(secret, provider, external_task_id)
    return f"{public_url.rstrip('/')}/callbacks/{provider}/{external_task_id}/{token}"


def token_matches(token: str, *, provider: str, external_task_id: str, secrets: Sequence[str]) -> bool:
    """Whether one of the secrets made this token. All are tried, each in constant time."""
    given = token.encode("utf-8", "surrogatepass")
    matches = [hmac.compare_digest(_token(secret, provider, external_task_id).encode(), given) for secret in secrets]
    return any(matches)


def without_tokens(text: str) -> str:
    """The text with the token of every callback URL in it left out: providers quote what they were sent."""
    return _IN_TEXT.sub(r"\1…", text)


def _token(secret: str, provider: str, external_task_id: str) -> str:
    named = b"\0".join((b"hookledger callback v1", _encoded(provider), _encoded(external_task_id)))
    mac = hmac.digest(secret.encode(), named, "sha256")
    return base64.urlsafe_b64encode(mac[:_TOKEN_BYTES]).decode()


def _encoded(part: str) -> bytes:
    return part.encode("utf-8", "surrogatepass")
