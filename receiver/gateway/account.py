"""What the gateway knows of an account, and who asks it for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_hex

from starlette.types import Scope

from receiver.gateway.dialect import Answer, Objection, not_found, refused, succeeded
from receiver.gateway.paths import Paths
from receiver.keys import Access
from submitter.client import ProviderClient
from submitter.settings import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account by its name in the configuration. What it says goes out in its kind's shape, under a fresh id."""

    name: str
    kind: Kind
    origin: str
    paths: Paths
    client: ProviderClient

    def says(self, data: object) -> Answer:
        """200 with this as `data`."""
        return succeeded(data, request_id=fresh_id())

    def refuses(self, objection: Objection) -> Answer:
        """An error."""
        return refused(self.kind, objection, request_id=fresh_id())

    def knows_no_such_task(self) -> Answer:
        """The error that this kind has for it."""
        return not_found(self.kind, request_id=fresh_id())


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Whoever sent a request, and what of it matters beside its body. `path` is as it is written."""

    access: Access
    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    @classmethod
    def of(cls, scope: Scope, access: Access, path: str) -> Asker:
        """Of a request that came with this access."""
        return cls(
            access=access,
            method=scope["method"],
            path=path,
            query=scope["query_string"].decode("latin-1"),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        )


def fresh_id() -> str:
    """A `request_id`, in the form of Kling's."""
    digits = token_hex(16)
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
