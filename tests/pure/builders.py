"""What the pure tests arrange with: tasks, reports, providers and moments, each with one thing changed."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from receiver.task import Decision, Doubt, Rules, SettledBy, Source, Task, TaskImage, TaskState
from receiver.verdicts import decide
from submitter.moments import Moment
from submitter.providers import Provider, Received, Trust, provider_for
from submitter.report import ReportedStatus, ResultImage, StatusReport
from submitter.settings import ProviderSettings

NOW: Moment = 1_795_168_800_000  # 2026-11-20T10:00:00Z
SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

OURS = "t_01JD4Z3N0V8Q6W5R4T3Y2U1A0B"
ID = "867283741759111202"  # as the create answers it
UPSTREAM = "867283741759111299"  # as a gateway's callback may name it

A = "https://cdn.example.com/a.png?sig=1"
A_MARKED = "https://cdn.example.com/a_wm.png?sig=1"
A_SIGNED_ANEW = "https://cdn.example.com/a.png?sig=2"
B = "https://cdn.example.com/b.png?sig=1"
C = "https://cdn.example.com/c.png?sig=1"

SUBMITTED, PROCESSING, SUCCEED, FAILED = ReportedStatus
DOUBTING = Rules()
TERMINAL = Rules(confirm="terminal")
NEVER = Rules(confirm="never")
SAME_IDS = Rules(callback_id_is_task_id=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """A report and the road it came by."""

    report: StatusReport
    source: Source = Source.CALLBACK
    trust: Trust = Trust.TOKEN


def image(index: int, url: str = A, watermark_url: str | None = None) -> ResultImage:
    """One reported image."""
    return ResultImage(index=index, url=url, watermark_url=watermark_url)


def known_image(index: int, url: str = A, **changes: Any) -> TaskImage:
    """One image as the ledger keeps it."""
    return TaskImage(index=index, url=url, **changes)


def report(status: ReportedStatus | str, *images: ResultImage, **changes: Any) -> StatusReport:
    """A report about OURS."""
    said = StatusReport(
        provider="cometapi", provider_task_id=ID, external_task_id=OURS, status=status, images=tuple(images)
    )
    return replace(said, **changes)


def callback(status: ReportedStatus | str, *images: ResultImage, **changes: Any) -> News:
    """A report that came to the task's own URL."""
    return News(report=report(status, *images, **changes))


def signed(status: ReportedStatus | str, *images: ResultImage, **changes: Any) -> News:
    """A callback with a valid signature."""
    return News(report=report(status, *images, **changes), trust=Trust.SIGNED)


def queried(status: ReportedStatus | str, *images: ResultImage, **changes: Any) -> News:
    """The answer to our own question."""
    return News(report=report(status, *images, **changes), source=Source.QUERY, trust=Trust.QUERIED)


def create_answer(status: ReportedStatus | str = SUBMITTED, *images: ResultImage, **changes: Any) -> News:
    """What the provider answered to the create itself."""
    return News(report=report(status, *images, **changes), source=Source.ANSWER, trust=Trust.QUERIED)


def task(state: TaskState = TaskState.PENDING, **changes: Any) -> Task:
    """A task that was sent a minute ago and is in this state, as a life of this ledger leaves it."""
    fresh = Task(
        external_task_id=OURS,
        provider="cometapi",
        endpoint="omni-image",
        created_at=NOW - MINUTE,
        sent_at=NOW - MINUTE,
        deadline_at=NOW - MINUTE + 24 * HOUR,
        images_asked=1,
        state=state,
    )
    return replace(fresh, **(_LIVED[state] | changes))


def held(doubt: Doubt = Doubt.INCOMPLETE, **changes: Any) -> Task:
    """A task whose success waits, since NOW, for the answer to a question."""
    waiting = {"held": SUCCEED, "doubt": doubt, "doubt_since": NOW, "version": 3}
    return task(TaskState.PROCESSING, **(waiting | changes))


def hear(
    before: Task,
    news: News,
    *,
    rules: Rules = DOUBTING,
    heard_before: Trust | None = None,
    now: Moment = NOW,
) -> Decision:
    """What the task makes of one report."""
    return decide(
        before, news.report, heard_before=heard_before, source=news.source, trust=news.trust, rules=rules, now=now
    )


def provider(kind: str = "cometapi", **changes: Any) -> Provider:
    """An account of this kind, named like its kind."""
    credentials = {} if "access_key" in changes else {"api_key": "key"}
    return provider_for(kind, ProviderSettings.model_validate({"kind": kind, **credentials, **changes}))


def received(body: object, headers: dict[str, str] | None = None) -> Received:
    """A callback: bytes as they are, text encoded, anything else as JSON."""
    if not isinstance(body, bytes):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
    return Received(method="POST", url="https://hooks.example.com/callbacks/x", headers=headers or {}, body=body)


_LIVED: dict[TaskState, dict[str, Any]] = {
    TaskState.PENDING: {},
    TaskState.SUBMITTED: {"version": 1, "submitted_at": NOW - MINUTE, "task_id": ID, "task_id_source": Source.ANSWER},
    TaskState.PROCESSING: {"version": 2, "submitted_at": NOW - MINUTE, "task_id": ID, "task_id_source": Source.ANSWER},
    TaskState.SUCCEEDED: {
        "version": 3,
        "submitted_at": NOW - MINUTE,
        "settled_at": NOW - SECOND,
        "settled_by": SettledBy.CALLBACK,
        "trust": Trust.TOKEN,
        "task_id": ID,
        "task_id_source": Source.ANSWER,
        "images": (TaskImage(index=0, url=A),),
    },
    TaskState.FAILED: {
        "version": 3,
        "submitted_at": NOW - MINUTE,
        "settled_at": NOW - SECOND,
        "settled_by": SettledBy.CALLBACK,
        "trust": Trust.TOKEN,
        "task_id": ID,
        "task_id_source": Source.ANSWER,
        "message": "risk control",
    },
    TaskState.REFUSED: {"version": 1, "settled_at": NOW - SECOND, "settled_by": SettledBy.REFUSAL},
    TaskState.EXPIRED: {"version": 2, "settled_at": NOW - SECOND, "settled_by": SettledBy.DEADLINE},
}
