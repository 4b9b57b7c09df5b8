"""What a client says beside its request: its own id, where to be called back, how a repeat is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from receiver.boot import is_private_host
from submitter.errors import Fault, FieldProblem, InvalidRequest
from submitter.providers.family import MAX_CALLBACK_URL
from submitter.settings import Kind

LONGEST_ID = 255  # published nowhere (wire.md §2): generous, for it never reaches the provider
LONGEST_KEY = 200
_BESIDE = ("external_task_id", "callback_url")


class Reach(StrEnum):
    """Where a client may want to be called back."""

    PUBLIC = "public"
    PRIVATE = "private"  # anywhere, and unencrypted: for development


_SCHEMES = {Reach.PUBLIC: {"https"}, Reach.PRIVATE: {"https", "http"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """A create's body, taken apart: what is asked for, and what is between the client and us."""

    fields: Mapping[str, Any]
    task_id: str | None
    callback_url: str | None


def read_wishes(kind: Kind, said: Mapping[str, Any], *, reach: Reach) -> Wishes:
    """Of a body. Raises InvalidRequest."""
    fields = {name: value for name, value in said.items() if name not in _BESIDE}
    resolution = fields.get("resolution")
    if kind == "powertokens" and isinstance(resolution, str):
        fields["resolution"] = resolution.lower()  # its page prints `1k, 2k, 4K`, and `1K` (wire.md §2)
    texts, problems = {}, []
    for name in _BESIDE:
        text = said.get(name)
        if text is not None and not isinstance(text, str):
            problems.append(FieldProblem(name, "must be a string", Fault.FORM))
        elif text:
            texts[name] = text
    problems += _id_problems(texts.get("external_task_id", ""))
    if "callback_url" in texts:
        problems += _url_problems(texts["callback_url"], reach)
    if problems:
        raise InvalidRequest(problems)
    return Wishes(fields=fields, task_id=texts.get("external_task_id"), callback_url=texts.get("callback_url"))


def read_key(header: str | None) -> str | None:
    """An Idempotency-Key. Raises InvalidRequest."""
    if not header:
        return None
    if len(header) > LONGEST_KEY or not (header.isascii() and header.isprintable()):
        problem = f"must be at most {LONGEST_KEY} visible ASCII characters"
        raise InvalidRequest([FieldProblem("Idempotency-Key", problem)])
    return header


def _id_problems(task_id: str) -> list[FieldProblem]:
    if len(task_id) <= LONGEST_ID and task_id.isprintable():
        return []
    return [FieldProblem("external_task_id", f"must be at most {LONGEST_ID} printable characters")]


def _url_problems(url: str, reach: Reach) -> list[FieldProblem]:
    """By its text alone: which address its name stands for is looked at when it is called."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return [FieldProblem("callback_url", "is no URL: write https://host/path")]
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        problem = "must be printable ASCII: write other characters as %XX"
    elif len(url) > MAX_CALLBACK_URL:
        problem = f"must not exceed {MAX_CALLBACK_URL} characters"
    elif parts.scheme not in _SCHEMES[reach] or not host or port == 0:
        problem = "is no URL that can be called: write https://host/path"
    elif "@" in parts.netloc or "#" in url:
        problem = "must have neither user, password nor fragment"
    elif reach is Reach.PUBLIC and is_private_host(host):
        problem = "must be on the public internet"
    else:
        return []
    return [FieldProblem("callback_url", problem)]
