"""Questions about silent tasks: why one is asked, what came of it, and what that leads to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from receiver.pathhealth import PathHealth
from receiver.schedule import (
    DOUBT_SPACING,
    LOOK_UP,
    LOOK_UPS,
    NOT_EXIST_ANSWERS,
    NOT_EXIST_FOR,
    SENDS,
    QueryPlan,
    next_query_at,
)
from receiver.task import Task, TaskState
from receiver.timing import Known
from submitter.moments import Moment, millis


class Purpose(StrEnum):
    """Why a task is asked about."""

    SILENCE = "silence"
    DOUBT = "doubt"
    LOOK_UP = "look_up"  # its create was not answered


class AnswerKind(StrEnum):
    """What a question about a task came to."""

    HEARD = "heard"  # its report went through the front door
    NOT_FOUND = "not_found"
    NOT_OURS = "not_ours"  # the id was used before we sent ours
    NOT_ON_PAGE = "not_on_page"  # an answer about many did not speak of it: it is asked about in another way
    NOT_IN_BATCH = "not_in_batch"
    TROUBLE = "trouble"  # no answer, or none that says anything about the task
    NOT_ASKED = "not_asked"  # the question never left


NOT_SHOWN = frozenset({AnswerKind.NOT_ON_PAGE, AnswerKind.NOT_IN_BATCH})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a claim. An outcome under an old fence changes nothing."""

    external_task_id: str
    fence: int
    kind: AnswerKind
    now: Moment
    purpose: Purpose = Purpose.SILENCE
    reason: str = ""
    after: timedelta | None = None
    endpoint: str | None = None


class Next(StrEnum):
    """What follows from an outcome, besides the moment of the next question."""

    ASK = "ask"
    SEND_AGAIN = "send_again"
    END = "end"


NEVER_KNOWN = 2  # endpoints: an adopted task is asked for at each once


def after_query(
    task: Task,
    outcome: Outcome,
    plan: QueryPlan,
    *,
    path: PathHealth,
    misses: int,
    missed_since: Moment | None,
    sends: int,
    known: Known | None = None,
) -> tuple[Next, Moment | None]:
    """The next step, and the moment of the next question if there is one. `known` as for `next_query_at`."""
    soonest = outcome.now + (0 if outcome.after is None else millis(outcome.after))
    usual = next_query_at(task, plan, path=path, now=soonest, known=known)
    is_looked_up = task.is_unanswered and task.task_id is None
    if outcome.kind is AnswerKind.NOT_ASKED:
        # There was nothing to ask by; meanwhile a callback may have brought an id.
        later = None if task.task_id is None else usual
        return Next.ASK, later if outcome.after is None else soonest
    if outcome.kind in NOT_SHOWN:
        return Next.ASK, soonest if task.doubt is not None or not task.is_at_rest else None
    if outcome.kind is AnswerKind.NOT_OURS:
        return (Next.END, None) if task.state is TaskState.PENDING else (Next.ASK, usual)
    if outcome.kind is AnswerKind.TROUBLE and is_looked_up and misses < LOOK_UPS:
        # It says nothing: whoever waits for the task is not to wait for as long as one that runs is left alone.
        return Next.ASK, LOOK_UP.next_at(task.external_task_id, attempt=task.queries - 1, now=soonest)
    if outcome.kind is not AnswerKind.NOT_FOUND:
        return Next.ASK, usual
    if task.is_settled:
        return Next.ASK, usual if task.doubt_queries < len(DOUBT_SPACING) else None
    if task.adopted and task.endpoint is None:
        return Next.ASK, outcome.now if misses < NEVER_KNOWN else None
    if is_looked_up:
        return _after_look_up_in_vain(task, usual, misses=misses, sends=sends, now=outcome.now)
    return _after_not_exist(usual, misses=misses, missed_since=missed_since, now=outcome.now)


def _after_look_up_in_vain(
    task: Task, usual: Moment | None, *, misses: int, sends: int, now: Moment
) -> tuple[Next, Moment | None]:
    if misses < LOOK_UPS:
        return Next.ASK, LOOK_UP.next_at(task.external_task_id, attempt=misses, now=now)
    return (Next.SEND_AGAIN, None) if sends < SENDS else (Next.ASK, usual)


def _after_not_exist(
    usual: Moment | None, *, misses: int, missed_since: Moment | None, now: Moment
) -> tuple[Next, Moment | None]:
    """A store may lag behind what it was told: believed on the third answer over ten minutes."""
    is_long = missed_since is not None and now - missed_since >= millis(NOT_EXIST_FOR)
    if misses >= NOT_EXIST_ANSWERS and is_long:
        return Next.END, None
    return Next.ASK, usual
