"""What a key may do and whose tasks it sees; how keys are made, and what is kept of them. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum

from receiver.task import Task
from submitter.moments import Moment

BEARER_PREFIX = "hlk_"
ACCESS_PREFIX = "hla_"
RANDOM_BYTES = 32  # of a bearer key; of an access key, which is no secret, half of them

_PAIR = b"hookledger pair\0"  # the same server secrets mint callback URLs: neither can be taken for the other


class Scope(StrEnum):
    """What a key is good for."""

    SUBMIT = "submit"
    READ = "read"
    OPERATE = "operate"
    TICK = "tick"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the sender of a request may do.

    `tenant` is None for the operator, who sees every task and submits his own as tenant ''. No `providers` are all.
    """

    name: str
    tenant: str | None
    scopes: frozenset[Scope]
    providers: frozenset[str] = frozenset()
    quota: int | None = None
    pass_through: bool = False

    @property
    def owner(self) -> str:
        """The tenant of what it submits."""
        return self.tenant or ""

    @property
    def is_operator(self) -> bool:
        """Whether what is nobody's in particular is for it: destinations, deliveries, keys, the metrics."""
        return self.tenant is None and not self.providers

    def sees(self, task: Task) -> bool:
        """Whether the task is there for it at all."""
        return (self.tenant is None or self.tenant == task.tenant) and self.may_use(task.provider)

    def may_use(self, provider: str) -> bool:
        """Whether the account is there for it."""
        return not self.providers or provider in self.providers


OPERATOR = Access(name="operator", tenant=None, scopes=frozenset(Scope))
"""Who holds one of `api.keys`, or is this machine where there are none."""


class KeyKind(StrEnum):
    """How a key is shown at the door."""

    BEARER = "bearer"  # as it is
    PAIR = "pair"  # an access key in a token that its secret signs, as Kling has it


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """What the ledger keeps of a key: of a bearer key the SHA-256, of a pair the access key. Neither opens anything."""

    access: Access
    kind: KeyKind
    created_at: Moment
    digest: bytes | None = None
    access_key: str | None = None
    revoked_at: Moment | None = None

    @property
    def name(self) -> str:
        """Its name, which no other key ever has."""
        return self.access.name


def mint_bearer(random: bytes) -> str:
    """A bearer key: `hlk_` and the random bytes. Raises ValueError where they are fewer than RANDOM_BYTES."""
    if len(random) < RANDOM_BYTES:
        raise ValueError(f"a key of {len(random)} random bytes can be guessed: give {RANDOM_BYTES}")
    return BEARER_PREFIX + _base64url(random)


def mint_access_key(random: bytes) -> str:
    """The first half of a pair: `hla_`, and enough to be the only one of its name."""
    return ACCESS_PREFIX + _base64url(random[: RANDOM_BYTES // 2])


def digest_of(key: str) -> bytes:
    """What is kept of a bearer key. It is random, so that nothing slow is needed to keep it from being guessed."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def pair_secret(access_key: str, server_secret: str) -> str:
    """The second half of a pair: made anew whenever it is needed, and kept nowhere."""
    return _base64url(hmac.digest(server_secret.encode(), _PAIR + access_key.encode(), "sha256"))


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
