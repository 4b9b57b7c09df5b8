"""With which secret a tenant verifies the callbacks that we relay to it. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac

from submitter.signatures import key_of

_PURPOSE = b"hookledger client\0"


def client_secret(secret: str, tenant: str) -> str:
    """The tenant's own, made of one of `gateway.webhook_secrets`; the operator's (tenant '') is that itself.

    Who has one tenant's can neither sign for another nor find out what it was made of. Raises ValueError where
    `secret` is not `whsec_<base64>`.
    """
    key = key_of(secret)
    if not tenant:
        return secret
    derived = hmac.digest(key, _PURPOSE + tenant.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return "whsec_" + base64.b64encode(derived).decode()
