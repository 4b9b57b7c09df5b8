"""The keys that open this receiver, in memory: whose a presented one is, without a look at the disk."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from receiver.keys import ACCESS_PREFIX, BEARER_PREFIX, OPERATOR, Access, KeyKind, StoredKey, digest_of, pair_secret
from receiver.pairtoken import KeyRefused, Trouble, is_token, issuer_of, read_token, require_valid
from submitter.inflight import InFlight
from submitter.moments import Moment

log = structlog.get_logger("keys")

_LONGEST_PRESENTED = 4_096  # characters that are looked at: what is longer is no key


class KeyLedger(Protocol):
    """Where keys are kept. As `Ledger` has it."""

    async def add_key(self, key: StoredKey) -> StoredKey:
        """As Ledger.add_key."""

    async def keys(self) -> list[StoredKey]:
        """As Ledger.keys."""

    async def revoke_key(self, name: str, *, now: Moment) -> StoredKey:
        """As Ledger.revoke_key."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """A pair and the secrets that it may be signed with: one for each server secret that is listed."""

    key: StoredKey
    secrets: tuple[bytes, ...]


class Keyring:
    """Keys by what is presented of them. One process holds the ledger's lock: what it wrote itself is all there is."""

    def __init__(
        self,
        ledger: KeyLedger,
        keys: Sequence[StoredKey],
        *,
        operator_keys: Sequence[str],
        server_secrets: Sequence[str],
    ) -> None:
        """`operator_keys` are those of the configuration; the first of `server_secrets` mints, all verify."""
        self.has_operator_keys = bool(operator_keys)
        self._ledger = ledger
        self._operator_keys = [key.encode() for key in operator_keys]
        self._server_secrets = tuple(server_secrets)
        self._by_name: dict[str, StoredKey] = {}
        self._bearers: dict[bytes, StoredKey] = {}
        self._pairs: dict[str, _Pair] = {}
        self._writing = InFlight()
        for key in keys:
            self._keep(key)

    def holder_of(self, authorization: str, *, now: Moment) -> Access:
        """What the holder of the key in this header may do. Raises KeyRefused."""
        scheme, _, rest = authorization.partition(" ")
        presented = rest.strip()
        if not authorization.strip() or (not presented and scheme.lower() == "bearer"):
            raise KeyRefused(Trouble.EMPTY, "send a key as 'Authorization: Bearer …'")
        if scheme.lower() != "bearer" or len(presented) > _LONGEST_PRESENTED:
            is_ours = _says_that_it_is_ours(presented or scheme)
            raise KeyRefused(Trouble.MALFORMED, "the key is to be sent as 'Authorization: Bearer …'", is_ours=is_ours)
        encoded = presented.encode("utf-8", "surrogatepass")
        matches = [hmac.compare_digest(each, encoded) for each in self._operator_keys]
        if any(matches):
            return OPERATOR
        if presented.startswith(BEARER_PREFIX):
            return self._of_bearer(presented)
        if is_token(presented):
            return self._of_token(presented, now)
        if presented.startswith(ACCESS_PREFIX):
            problem = "an access key alone opens nothing: sign a token with its secret"
            raise KeyRefused(Trouble.MALFORMED, problem, is_ours=True)
        is_ours = _says_that_it_is_ours(presented)
        raise KeyRefused(Trouble.WRONG, "this is no key of this receiver", is_ours=is_ours)

    def is_valid(self, access: Access) -> bool:
        """Whether what was let in by this key still may stay: streams outlive the asking."""
        key = self._by_name.get(access.name)
        return access is OPERATOR or key is None or key.revoked_at is None

    async def add(self, key: StoredKey) -> None:
        """Write a key down, and open to it from now on. Raises KeyExists and LedgerUnavailable."""
        await self._writing.run(self._add(key))

    async def revoke(self, name: str, *, now: Moment) -> StoredKey:
        """Never open to it again. Raises UnknownKey and LedgerUnavailable."""
        return await self._writing.run(self._revoke(name, now))

    async def all(self) -> list[StoredKey]:
        """Every key there ever was, by name."""
        return await self._ledger.keys()

    def secret_of(self, access_key: str) -> str:
        """The secret of a pair that is minted now."""
        return pair_secret(access_key, self._server_secrets[0])

    async def aclose(self) -> None:
        """Wait for what is being written."""
        await self._writing.drain()

    def _of_bearer(self, presented: str) -> Access:
        key = self._bearers.get(digest_of(presented))
        if key is None:
            raise KeyRefused(Trouble.WRONG, "this is no key of this receiver", is_ours=True)
        return _open(key)

    def _of_token(self, presented: str, now: Moment) -> Access:
        try:
            token = read_token(presented)
        except KeyRefused as refused:
            is_ours = _says_that_it_is_ours(presented)
            raise KeyRefused(refused.trouble, str(refused), is_ours=is_ours) from None
        pair = self._pairs.get(token.access_key)
        if pair is None:
            is_ours = token.access_key.startswith(ACCESS_PREFIX)
            raise KeyRefused(Trouble.WRONG, "the token's iss is no access key of this receiver", is_ours=is_ours)
        try:
            require_valid(token, pair.secrets, now=now)
        except KeyRefused as refused:
            raise KeyRefused(refused.trouble, str(refused), is_ours=True) from None
        return _open(pair.key)

    async def _add(self, key: StoredKey) -> None:
        self._keep(await self._ledger.add_key(key))
        log.info("key.added", name=key.name, kind=key.kind, tenant=key.access.tenant, scopes=sorted(key.access.scopes))

    async def _revoke(self, name: str, now: Moment) -> StoredKey:
        revoked = await self._ledger.revoke_key(name, now=now)
        self._keep(revoked)
        log.info("key.revoked", name=name)
        return revoked

    def _keep(self, key: StoredKey) -> None:
        known = self._by_name.get(key.name)
        if known is not None and known.revoked_at is not None:
            return  # for good, in whatever order two answers of the ledger are taken up
        self._by_name[key.name] = key
        if key.kind is KeyKind.BEARER and key.digest is not None:
            self._bearers[key.digest] = key
        elif key.access_key is not None:
            secrets = tuple(pair_secret(key.access_key, each).encode() for each in self._server_secrets)
            self._pairs[key.access_key] = _Pair(key, secrets)


def _says_that_it_is_ours(presented: str) -> bool:
    """Whether this claims to be a key that we made, however badly it is written or sent."""
    return presented.startswith((BEARER_PREFIX, ACCESS_PREFIX)) or issuer_of(presented).startswith(ACCESS_PREFIX)


def _open(key: StoredKey) -> Access:
    if key.revoked_at is not None:
        raise KeyRefused(Trouble.WRONG, f"the key {key.name!r} was revoked", is_ours=True)
    return key.access
