"""What is read of a ledger: pages, events, histories, and how accounts fare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from receiver.ledger.deliveries import Delivery
from receiver.task import Record, Source, TaskState, Verdict
from receiver.wiretask import WireTask
from submitter.moments import Moment
from submitter.providers.base import Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """Whether a provider is left in peace, and why: altogether, or by our questions alone."""

    provider: str
    paused_until: Moment
    pause_reason: str
    is_stopped: bool
    unknown_until: Moment
    unknown_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which tasks to list, newest first. `after` is the cursor of an earlier page.

    `tenant` None is everybody's, no `providers` are all: what somebody sees at all.
    """

    tenant: str | None = None
    providers: frozenset[str] = frozenset()
    state: TaskState | None = None
    provider: str | None = None
    settled_by: str | None = None
    after: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Tasks, and the cursor of the page after, or None at the end."""

    records: Sequence[Record]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event as it was committed. `task` is the snapshot's text; `about` is what it tells of where that is no task.

    Both are JSON: the latter an object with one key, such as `destination`. `tenant` is the task's.
    """

    position: int
    id: str
    type: str
    time: Moment
    task: str | None
    external_task_id: str | None = None
    was: str | None = None
    now_is: str | None = None
    about: str | None = None
    tenant: str | None = None

    @property
    def data(self) -> str:
        """What is told, as JSON text: the same at each telling."""
        return self.task or self.about or "null"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryReport:
    """One fact heard by one road, how often, and its link in the task's chain."""

    number: int
    source: Source
    trust: Trust
    verdict: Verdict
    status: str
    provider_task_id: str | None
    message: str
    first_heard_at: Moment
    last_heard_at: Moment
    count: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything the ledger knows about how a task came to be what it is."""

    reports: Sequence[HistoryReport]
    events: Sequence[StoredEvent]
    deliveries: Sequence[Delivery]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptUnreadable:
    """Bytes that nobody could read, how their sender was known, and why not. `body` may be the beginning only."""

    key: int
    provider: str
    external_task_id: str
    heard_at: Moment
    trust: Trust
    reason: str
    size: int
    body: bytes

    @property
    def is_cut(self) -> bool:
        """Whether more came than was kept: then it can be looked at, and not read again."""
        return self.size > len(self.body)

    @property
    def is_callback(self) -> bool:
        """Whether somebody told us, as against an answer to our own question."""
        return self.trust is not Trust.QUERIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A task as far as a gateway's client may ask about it: what it is shown, and what says whether it may see it.

    One that was refused in time is not there: its client was told so, and holds no task.
    """

    tenant: str
    endpoint: str | None
    is_there: bool
    shown: WireTask


@dataclass(frozen=True, slots=True, kw_only=True)
class WireQuery:
    """A page of an account's tasks of one endpoint, newest first. A `tenant` of None is all of them."""

    provider: str
    endpoint: str
    tenant: str | None
    page: int
    page_size: int
