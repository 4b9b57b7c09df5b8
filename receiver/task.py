"""The task and the closed sets around it: states, verdicts, sources, doubts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from receiver.eventtype import EventType
from receiver.pathhealth import PathHealth
from submitter.moments import Moment
from submitter.providers.base import Trust
from submitter.report import ReportedStatus
from submitter.settings import Confirm


class TaskState(StrEnum):
    """Where a task is in its life."""

    PENDING = "pending"
    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"


SETTLED = frozenset({TaskState.SUCCEEDED, TaskState.FAILED})
AT_REST = SETTLED | {TaskState.REFUSED, TaskState.EXPIRED}


class Verdict(StrEnum):
    """What a report changed."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    STALE = "stale"
    CONFLICT = "conflict"


class Source(StrEnum):
    """Which road a report came by."""

    CALLBACK = "callback"
    QUERY = "query"
    ANSWER = "answer"  # the create's own


class SettledBy(StrEnum):
    """What brought a task to rest."""

    CALLBACK = "callback"
    QUERY = "query"
    ANSWER = "answer"
    REFUSAL = "refusal"
    DEADLINE = "deadline"


class Doubt(StrEnum):
    """Why a claim is checked by asking."""

    OPPOSITE_FINALS = "opposite_finals"
    INCOMPLETE = "incomplete"  # a success with fewer images than asked, or without their marked copies
    SERIES = "series"  # callbacks carry part of a series only (wire.md §4)
    FOREIGN_ID = "foreign_id"
    OTHER_IMAGES = "other_images"  # two successes by URL token that show different images
    UNCONFIRMED = "unconfirmed"  # any final, where the account says confirm = "terminal"


EVENT_OF_STATE = {
    TaskState.SUBMITTED: EventType.SUBMITTED,
    TaskState.PROCESSING: EventType.PROCESSING,
    TaskState.SUCCEEDED: EventType.SUCCEEDED,
    TaskState.FAILED: EventType.FAILED,
    TaskState.REFUSED: EventType.REFUSED,
    TaskState.EXPIRED: EventType.EXPIRED,
}


FINAL_OF_STATE = {TaskState.SUCCEEDED: ReportedStatus.SUCCEED, TaskState.FAILED: ReportedStatus.FAILED}


@dataclass(frozen=True, kw_only=True)
class TaskImage:
    """One result image as the ledger knows it; `archived` is where our own copy lies."""

    index: int
    url: str
    watermark_url: str | None = None
    archived: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportCounts:
    """How many reports got each verdict."""

    applied: int = 0
    duplicate: int = 0
    stale: int = 0
    conflict: int = 0


@dataclass(frozen=True, kw_only=True)  # without slots: receiver.values.replace copies its dictionary
class Task:
    """A submission and what became of it. A changed task has a greater `version`; counts alone change none.

    `images_asked` is None where nobody knows. `held` is a final that waits for its doubt to be answered.
    `images_proven` tells images the provider gave to our question from those heard by URL token. `tenant` is whose
    it is, '' the operator's; `promised` says that a gateway's client was told that the task is ours.
    """

    external_task_id: str
    provider: str
    endpoint: str | None
    created_at: Moment
    deadline_at: Moment
    state: TaskState = TaskState.PENDING
    version: int = 0
    message: str = ""
    task_id: str | None = None
    task_id_source: Source | None = None
    upstream_task_id: str | None = None
    images: tuple[TaskImage, ...] = ()
    images_asked: int | None = None
    images_proven: bool = False
    slots: int = 1
    settled_by: SettledBy | None = None
    trust: Trust | None = None
    held: ReportedStatus | None = None
    doubt: Doubt | None = None
    doubt_since: Moment | None = None
    doubt_queries: int = 0
    adopted: bool = False
    unit_deduction: str | None = None
    balance_deduction: str | None = None  # JSON, as it was told: an object of text
    provider_created_at: Moment | None = None
    provider_updated_at: Moment | None = None
    queries: int = 0
    reports: ReportCounts = ReportCounts()
    sent_at: Moment | None = None
    submitted_at: Moment | None = None
    settled_at: Moment | None = None
    tenant: str = ""
    client_task_id: str | None = None
    client_callback_url: str | None = None
    promised: bool = False
    is_series: bool = False
    asks_watermark: bool = False

    @property
    def is_settled(self) -> bool:
        """Succeeded or failed."""
        return self.state in SETTLED

    @property
    def is_at_rest(self) -> bool:
        """Settled, refused or expired: nothing more is expected, though late news is heard."""
        return self.state in AT_REST

    @property
    def is_unanswered(self) -> bool:
        """Its create left, and nobody knows yet whether the provider took it."""
        return self.state is TaskState.PENDING and self.sent_at is not None

    @property
    def is_proven(self) -> bool:
        """Settled on the provider's own word, not on a URL token alone."""
        return self.is_settled and self.trust is not None and self.trust.is_proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A task and the request it was submitted with (JSON, pictures as digests; None where it was adopted)."""

    task: Task
    request: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact worth telling, with the task as it was at that commit. `was` and `now_is` belong to a conflict."""

    type: EventType
    task: Task
    time: Moment
    was: TaskState | None = None
    now_is: TaskState | None = None

    @property
    def id(self) -> str:
        """Stable: the task and its version."""
        return f"{self.task.external_task_id}.{self.task.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What an account's configuration and capabilities say about believing its callbacks."""

    confirm: Confirm = "doubt"
    callback_id_is_task_id: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict on one report (None for a refusal or a deadline), the task after it, and what to tell.

    `ask_now` says that a doubt was raised: the poller is due at once. `path` is how the account's callbacks fare from
    now on, where this report has turned it.
    """

    verdict: Verdict | None
    task: Task
    events: tuple[Event, ...] = ()
    ask_now: bool = False
    path: PathHealth | None = None
