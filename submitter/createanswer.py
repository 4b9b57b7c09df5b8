"""What came back of a create: as the provider gave it, and what it says, read once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from submitter.errors import Deferred, Refused, Unanswered, Unreadable
from submitter.providers.base import Provider
from submitter.report import StatusReport

Said: TypeAlias = Sequence[StatusReport] | Refused | Deferred | Unanswered | Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAnswer:
    """A create's answer. `retry_after` is its header, where it made sense; `said` is what its dialect makes of it.

    An error in `said` asks for the pause that the header asks for.
    """

    http_status: int
    body: bytes
    retry_after: timedelta | None
    said: Said


def read_create_answer(
    provider: Provider, http_status: int, body: bytes, *, retry_after: timedelta | None
) -> CreateAnswer:
    """The answer, read by the account's dialect: whoever hands it on need not read it again."""
    said = _said(provider, http_status, body)
    if isinstance(said, Deferred | Unanswered) and retry_after is not None:
        said.after = retry_after
    elif isinstance(said, Refused):
        said.body, said.retry_after = body, retry_after
    return CreateAnswer(http_status=http_status, body=body, retry_after=retry_after, said=said)


def _said(provider: Provider, http_status: int, body: bytes) -> Said:
    try:
        return provider.read_answer(http_status, body)
    except (Refused, Deferred, Unanswered, Unreadable) as error:
        return error
