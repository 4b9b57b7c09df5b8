"""Which paths are served from the ledger, and which may go on to a provider. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

from submitter.request import REQUESTS

READING = frozenset({"GET", "HEAD"})
# As it is written, percent signs included. What a parser may take for another path is no path here: an empty part,
# `;parameters`, a backslash, whatever is not ASCII.
_PARTS = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,=:@%-]+)+/?")
_STRANGE = re.compile(r"[/\\%;?#\x00-\x20\x7f]")  # once decoded: it would be decoded again, or be another path


class Kind(StrEnum):
    """What a request is about."""

    CREATE = "create"
    QUERY = "query"
    LIST = "list"
    PASSED = "passed"  # anything that the ledger does not serve


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for the ledger. `identity` is a query's: whose id it is, its finder says."""

    kind: Kind
    endpoint: str
    identity: str = ""


class Paths:
    """The paths of one account's dialect."""

    def __init__(self, prefix: str) -> None:
        self._endpoints = {f"{prefix}/v1/images/{endpoint}": endpoint for endpoint in REQUESTS}
        self._own = frozenset(path.lower() for path in self._endpoints)

    def asked(self, method: str, path: str) -> Asked | None:
        """What the ledger is asked by a path as it is written; None where it serves no such thing."""
        if method not in READING:
            endpoint = self._endpoints.get(path) if method == "POST" else None
            return None if endpoint is None else Asked(Kind.CREATE, endpoint)
        collection, _, identity = path.rpartition("/")
        endpoint = self._endpoints.get(collection)
        if endpoint is not None and identity:
            return Asked(Kind.QUERY, endpoint, unquote(identity) if "%" in identity else identity)
        endpoint = self._endpoints.get(path)
        return None if endpoint is None else Asked(Kind.LIST, endpoint)

    def is_own(self, path: str) -> bool:
        """Whether this is a path where tasks are created, however it is spelt."""
        return _plainly(path) in self._own

    def may_pass(self, path: str) -> bool:
        """Whether it may go on to the provider as it is: one path by any reading, and none to create at."""
        if _PARTS.fullmatch(path) is None or self.is_own(path):
            return False
        return not any(_is_strange(part) for part in _decoded(path.strip("/")))


def _decoded(path: str) -> Iterator[str]:
    for part in path.split("/"):
        yield unquote(part)


def _is_strange(part: str) -> bool:
    return part in {"", ".", ".."} or _STRANGE.search(part) is not None or "\ufffd" in part


def _plainly(path: str) -> str:
    """The path as a lenient server may read it: decoded to the end, in one case, without empty or dotted parts."""
    while (decoded := unquote(path)) != path:
        path = decoded
    parts = [part.partition(";")[0].strip().lower() for part in path.replace("\\", "/").split("/")]
    return "/" + "/".join(part for part in parts if part not in {"", "."})
