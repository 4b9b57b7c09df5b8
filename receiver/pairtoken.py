"""Kling's signed tokens, as the holder of an access key and its secret makes them: read, and believed or not. Pure.

A token is a JWT (RFC 7519) of HS256 and nothing else: `iss` is the access key, `exp` must be there, `nbf` may be, both
in Unix seconds. What is wrong with one is said as finely as Kling says it (wire.md §5): 1001 to 1004.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from pydantic_core import from_json

from submitter.moments import Moment

LONGEST_TOKEN = 2_048  # characters: Kling's own have some 200
LEEWAY = 30.0  # seconds that two clocks may differ
_LARGEST = 2**53  # of a number of seconds: beyond it JSON's numbers are no whole ones


class Trouble(StrEnum):
    """Why a key does not open the door."""

    EMPTY = "empty"
    MALFORMED = "malformed"
    WRONG = "wrong"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"


class KeyRefused(Exception):
    """The key is not believed, and why. `is_ours`: it says that we made it, and so is nobody else's business."""

    def __init__(self, trouble: Trouble, reason: str, *, is_ours: bool = False) -> None:
        super().__init__(reason)
        self.trouble = trouble
        self.is_ours = is_ours


@dataclass(frozen=True, slots=True, kw_only=True)
class PairToken:
    """What a token says, before anybody believes it. Its algorithm is HS256."""

    access_key: str
    expires_at: float
    not_before: float
    signed: bytes
    signature: bytes


def is_token(presented: str) -> bool:
    """Whether it is written like one: three parts, of bounded length."""
    return presented.count(".") == 2 and len(presented) <= LONGEST_TOKEN


@lru_cache(maxsize=256)  # a client sends one token for as long as half an hour
def read_token(presented: str) -> PairToken:
    """The token's words. Raises KeyRefused for what is no token of HS256 with `iss` and `exp`."""
    if not is_token(presented) or not presented.isascii():
        raise KeyRefused(Trouble.MALFORMED, "it is no signed token")
    signed, _, signature = presented.rpartition(".")
    head, _, claims = signed.partition(".")
    header, said = _object(head), _object(claims)
    if header.get("alg") != "HS256" or "crit" in header:
        raise KeyRefused(Trouble.MALFORMED, "the token must be signed with HS256, and ask for nothing more")
    access_key = said.get("iss")
    if not isinstance(access_key, str):
        raise KeyRefused(Trouble.MALFORMED, "the token's iss must be the access key")
    return PairToken(
        access_key=access_key,
        expires_at=_seconds(said, "exp"),
        not_before=_seconds(said, "nbf") if "nbf" in said else 0.0,
        signed=signed.encode(),
        signature=_decoded(signature),
    )


def issuer_of(presented: str) -> str:
    """Whose a token says that it is, however little else of it will do; empty where it does not say."""
    if presented.count(".") != 2 or not presented.isascii():
        return ""
    try:
        issuer = _object(presented.split(".")[1]).get("iss")
    except KeyRefused:
        return ""
    return issuer if isinstance(issuer, str) else ""


def require_valid(token: PairToken, secrets: Sequence[bytes], *, now: Moment) -> None:
    """Raise KeyRefused unless one of the secrets signed it, and it is valid now. All are tried in constant time."""
    matches = [hmac.compare_digest(hmac.digest(each, token.signed, "sha256"), token.signature) for each in secrets]
    if not any(matches):
        raise KeyRefused(Trouble.WRONG, "the token's signature is not that of its access key's secret")
    seconds = now / 1_000
    if seconds >= token.expires_at + LEEWAY:
        raise KeyRefused(Trouble.EXPIRED, "the token has expired: sign another one")
    if seconds < token.not_before - LEEWAY:
        raise KeyRefused(Trouble.NOT_YET_VALID, "the token is not yet valid: look at the clock that made it")


def _object(part: str) -> dict[str, Any]:
    try:
        value = from_json(_decoded(part), allow_inf_nan=False)
    except ValueError:
        raise KeyRefused(Trouble.MALFORMED, "the token's parts are no JSON") from None
    if not isinstance(value, dict):
        raise KeyRefused(Trouble.MALFORMED, "the token's parts are no JSON objects")
    return value


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise KeyRefused(Trouble.MALFORMED, "the token's parts are no base64url") from None


def _seconds(said: dict[str, Any], name: str) -> float:
    value = said.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LARGEST:
        raise KeyRefused(Trouble.MALFORMED, f"the token's {name} must be in Unix seconds")
    return float(value)
