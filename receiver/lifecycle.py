"""What a task may become: the table of its states, and what a refusal, a deadline or a person makes of it. Pure.

`TRANSITIONS` is the whole table: a stimulus that is missing from a state's row changes nothing there. A status
is applied only forwards, and a valid report revives what was refused or expired: the provider knows better
than our deadline. What a report makes of a task is judged in `receiver.verdicts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Literal, TypeAlias

from receiver.task import EVENT_OF_STATE, Decision, Event, Rules, SettledBy, Task, TaskState
from receiver.values import replace
from submitter.moments import Moment, millis
from submitter.providers.base import Trust
from submitter.report import ReportedStatus

HELD_FOR = timedelta(minutes=15)  # then confirm = "doubt" settles on what was heard

Stimulus: TypeAlias = ReportedStatus | Literal["refusal", "deadline"]
STIMULI: tuple[Stimulus, ...] = (*ReportedStatus, "refusal", "deadline")

_FORWARD: Mapping[Stimulus, TaskState] = {
    ReportedStatus.PROCESSING: TaskState.PROCESSING,
    ReportedStatus.SUCCEED: TaskState.SUCCEEDED,
    ReportedStatus.FAILED: TaskState.FAILED,
}
_REVIVAL: Mapping[Stimulus, TaskState] = {ReportedStatus.SUBMITTED: TaskState.SUBMITTED, **_FORWARD}

TRANSITIONS: Mapping[TaskState, Mapping[Stimulus, TaskState]] = {
    TaskState.PENDING: {**_REVIVAL, "refusal": TaskState.REFUSED, "deadline": TaskState.EXPIRED},
    TaskState.SUBMITTED: {**_FORWARD, "deadline": TaskState.EXPIRED},
    TaskState.PROCESSING: {
        ReportedStatus.SUCCEED: TaskState.SUCCEEDED,
        ReportedStatus.FAILED: TaskState.FAILED,
        "deadline": TaskState.EXPIRED,
    },
    TaskState.SUCCEEDED: {},  # but see `overturn` in receiver.verdicts
    TaskState.FAILED: {},
    TaskState.REFUSED: _REVIVAL,
    TaskState.EXPIRED: _REVIVAL,
}


def adopt(external_task_id: str, *, provider: str, now: Moment, give_up_after: timedelta) -> Task:
    """The task of a callback with a valid token that this ledger never knew: its request is lost to us."""
    return Task(
        external_task_id=external_task_id,
        provider=provider,
        endpoint=None,
        created_at=now,
        deadline_at=now + millis(give_up_after),
        adopted=True,
    )


def refuse(task: Task, reason: str, *, now: Moment) -> Decision:
    """The provider said no to the create. Once anything was heard of the task, a refusal is not believed."""
    if TRANSITIONS[task.state].get("refusal") is None:
        return Decision(verdict=None, task=task)
    return told(_rested(task, TaskState.REFUSED, SettledBy.REFUSAL, reason, now), now)


def note(task: Task, reason: str) -> Task:
    """The task with a word on why it is still pending; one that has moved on keeps its own."""
    if task.state is not TaskState.PENDING or task.message == reason:
        return task
    return replace(task, message=reason, version=task.version + 1)


def submit_anew(refused: Task, fresh: Task) -> Task:
    """A refused id may be submitted anew: its versions and counts go on, all else begins again."""
    return replace(fresh, version=refused.version + 1, reports=refused.reports, queries=refused.queries)


def expire(task: Task, reason: str, *, now: Moment, settled_by: SettledBy = SettledBy.DEADLINE) -> Decision:
    """The deadline has come (or the provider knows no such task): the ledger stops asking, not listening."""
    if TRANSITIONS[task.state].get("deadline") is None:
        return Decision(verdict=None, task=task)
    return told(_rested(task, TaskState.EXPIRED, settled_by, reason, now), now)


def overdue(task: Task, *, rules: Rules, now: Moment) -> Decision | None:
    """What time alone makes of a task: it expires, or settles on a held final that nobody answered about."""
    if task.is_at_rest:
        return None
    is_time_up = task.deadline_at <= now
    if task.held is not None and rules.confirm != "terminal" and (is_time_up or _is_long_held(task, now)):
        return told(settled(task, task.held, SettledBy.CALLBACK, task.trust or Trust.TOKEN, now), now)
    if is_time_up:
        return expire(task, _reason_of_silence(task), now=now)
    return None


def told(after: Task, now: Moment) -> Decision:
    """The decision for a task whose state has changed."""
    task = replace(after, version=after.version + 1)
    return Decision(verdict=None, task=task, events=(news(task, now),))


def news(task: Task, now: Moment) -> Event:
    """The event that tells the state a task has come to."""
    return Event(type=EVENT_OF_STATE[task.state], task=task, time=now)


def moved(task: Task, state: TaskState, now: Moment, message: str) -> Task:
    """The task in a state it does not rest in, revived where it had come to rest."""
    submitted_at = now if task.submitted_at is None else task.submitted_at
    moved = replace(task, state=state, message=message, submitted_at=submitted_at)
    if not task.is_at_rest:
        return moved
    lifetime = max(task.deadline_at - task.created_at, 0)
    return replace(moved, settled_by=None, settled_at=None, deadline_at=max(task.deadline_at, now + lifetime))


def settled(
    task: Task, status: ReportedStatus, by: SettledBy, trust: Trust, now: Moment, message: str | None = None
) -> Task:
    """The task with its final, and no doubt any more. What failed keeps only the images that were proven."""
    state = _FORWARD[status]
    submitted_at = now if task.submitted_at is None else task.submitted_at
    images = without_unproven_images(task).images if state is TaskState.FAILED and trust.is_proof else task.images
    return replace(
        undoubted(task),
        state=state,
        images=images,
        message=task.message if message is None else message,
        settled_by=by,
        trust=trust,
        submitted_at=submitted_at,
        settled_at=now,
    )


def _rested(task: Task, state: TaskState, by: SettledBy, reason: str, now: Moment) -> Task:
    return replace(undoubted(task), state=state, message=reason, settled_by=by, settled_at=now)


def undoubted(task: Task) -> Task:
    """The task with nothing held and nothing to be checked."""
    trust = task.trust if task.is_settled else None
    if task.held is None and task.doubt is None and task.trust is trust:
        return task
    return replace(task, held=None, doubt=None, doubt_since=None, trust=trust)


def without_unproven_images(task: Task) -> Task:
    """The task without images that were heard by URL token alone."""
    return task if task.images_proven else replace(task, images=())


def _is_long_held(task: Task, now: Moment) -> bool:
    return task.doubt_since is not None and task.doubt_since + millis(HELD_FOR) <= now


def _reason_of_silence(task: Task) -> str:
    if task.sent_at is None and not task.adopted:
        return "the deadline came before it could be sent"
    if task.is_unanswered:
        return "the provider never answered the create, and nothing was heard by the deadline"
    return "nothing final was heard by the deadline"
