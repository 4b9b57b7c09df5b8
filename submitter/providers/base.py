"""What a provider dialect is: requests described and not sent, answers and callbacks read and not fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal, Protocol

from submitter.errors import FieldProblem
from submitter.moments import Moment
from submitter.report import StatusReport
from submitter.request import Endpoint, ImageRequest

MOST_LISTED = 500  # tasks on a page of a list (wire.md §1)
MOST_IN_BATCH = 20  # tasks that are asked about by their ids at once (wire.md §1)


class Trust(StrEnum):
    """How a report is known to be the provider's word."""

    TOKEN = "token"  # noqa: S105 - it came to the task's own URL, which only the provider was told
    SIGNED = "signed"
    QUERIED = "queried"  # it answers our own question: a query, or the create itself

    @property
    def is_proof(self) -> bool:
        """Whether nobody but the provider can have said it."""
        return self is not Trust.TOKEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request to a provider, described and not sent. `path` begins with a slash and may hold a query."""

    method: Literal["GET", "POST"]
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A callback as the provider sent it: `url` as seen from outside, header names in lower case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What this provider is known or assumed to do; wire.md says which, and each may be set as a flag."""

    query_by_external_id: bool
    list_query: bool
    batch_query: bool
    signs_callbacks: bool
    callback_id_is_task_id: bool
    poll_interval: timedelta
    result_lifetime: timedelta | None


class Provider(Protocol):
    """One account and its dialect, both directions. Pure: it neither sends, waits nor reads a clock."""

    @property
    def name(self) -> str:
        """The account's name in the configuration."""

    @property
    def capabilities(self) -> Capabilities:
        """The adapter's assumptions with the account's flags over them."""

    def problems_with(self, request: ImageRequest) -> list[FieldProblem]:
        """What this provider does not accept, in words that say what to write instead."""

    def create_call(self, request: ImageRequest, *, external_task_id: str, callback_url: str) -> Call:
        """The create. Raises InvalidRequest where `problems_with` finds any."""

    def query_call(self, *, endpoint: Endpoint, provider_task_id: str | None, external_task_id: str | None) -> Call:
        """One task: by its own id, else by ours. Raises ValueError where neither can be asked by."""

    def list_call(self, *, endpoint: Endpoint, page: int, page_size: int) -> Call:
        """One page of the account's tasks. Raises ValueError where the provider has no list."""

    def batch_call(self, *, provider_task_ids: Sequence[str] = (), external_task_ids: Sequence[str] = ()) -> Call:
        """Up to MOST_IN_BATCH tasks, by ids of one kind. Raises ValueError else, or where there is no such query."""

    def authorize(self, call: Call, *, now: Moment) -> Call:
        """The same call with the account's credentials on it."""

    def read_answer(self, http_status: int, body: bytes) -> list[StatusReport]:
        """The reports in an answer. Raises Refused, Deferred, Unanswered or Unreadable."""

    def read_callback(self, received: Received, *, now: Moment) -> tuple[StatusReport, Trust]:
        """The report in a callback and how far to trust it. Raises Unreadable or BadSignature."""

    def trust_of(self, received: Received, *, now: Moment) -> Trust:
        """How far to trust a callback, whatever it says. Raises BadSignature."""

    def read_report(self, body: bytes) -> StatusReport:
        """The report in a callback's body, whoever sent it. Raises Unreadable."""

    def acknowledgement(self, verdict: str) -> tuple[int, bytes]:
        """The status and body that tell this provider that we understood."""

    def handshake(self, received: Received) -> bytes | None:
        """The body that answers a registration challenge, where the provider has such; else None."""
