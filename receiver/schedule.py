"""When to try again, and when to ask: plain arithmetic, spread by a hash and never by dice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta

from receiver.pathhealth import PathHealth
from receiver.questions import Worth
from receiver.task import Decision, Task
from receiver.timing import Known
from submitter.moments import Moment, millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays that grow by `factor` from `first` to `longest`, each spread by up to a tenth."""

    first: timedelta
    factor: float
    longest: timedelta

    def next_at(self, key: str, *, attempt: int, now: Moment) -> Moment:
        """The moment of the attempt after `attempt` failed ones (0 for the first delay)."""
        grown = millis(self.first) * self.factor ** min(max(attempt, 0), 64)
        delay = int(min(grown, millis(self.longest)))
        return now + spread(delay, f"{key}:{attempt}")


def spread(delay: int, key: str) -> int:
    """`delay` milliseconds and up to a tenth more, the same for the same key: tasks of one burst drift apart."""
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
    return delay + int(delay * share / 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlan:
    """When a silent task is asked about: the keys of `[polling]`.

    `first_after` and `interval` hold until its timing is learned, and for good without a `worth`.
    """

    first_after: timedelta = timedelta(seconds=90)
    interval: timedelta = timedelta(seconds=25)
    give_up_after: timedelta = timedelta(hours=24)
    worth: Worth | None = None


# A look-up by external id after an unanswered create: about five minutes in all (wire.md §6, "a few minutes").
LOOK_UP = Backoff(first=timedelta(seconds=5), factor=2, longest=timedelta(seconds=160))
LOOK_UPS = 6  # then the create is taken as lost, and sent again under the same id
SENDS = 3  # creates of one task that we ever send unasked
# How far apart the doubt queries of one task are; after these only the plain schedule asks, so that a leaked
# URL buys its holder three queries and no more.
DOUBT_SPACING = (timedelta(0), timedelta(seconds=20), timedelta(seconds=60))
# The fixed interval holds for as long as images are known to take and a little more; a task that stays silent
# beyond is asked about ever more seldom.
STEADY_QUERIES = 6
LONGEST_SILENCE = timedelta(minutes=15)
# `task_not_exist` may be a store that lags behind: believed on the third answer over ten minutes.
NOT_EXIST_ANSWERS = 3
NOT_EXIST_FOR = timedelta(minutes=10)


def first_after(plan: QueryPlan, path: PathHealth) -> timedelta:
    """How long after its sending a silent task is asked about: at once in the interval where no callback comes."""
    return min(plan.first_after, plan.interval) if path.asks_eagerly else plan.first_after


def first_query_at(sent_at: Moment, plan: QueryPlan, path: PathHealth) -> Moment:
    """When a task that was sent is a straggler for the first time."""
    return sent_at + millis(first_after(plan, path))


def next_query_at(
    task: Task, plan: QueryPlan, *, path: PathHealth, now: Moment, known: Known | None = None
) -> Moment | None:
    """When to ask again after a query that did not settle the task; None where nothing is left to ask.

    `known` is given where the answer was that the task still runs.
    """
    if task.doubt is not None and task.doubt_queries < len(DOUBT_SPACING):
        return now + millis(DOUBT_SPACING[task.doubt_queries])
    if task.is_at_rest:
        return None
    learned = None if task.sent_at is None else _learned_at(task.sent_at, plan, known, path, running_at=now, now=now)
    if learned is not None:
        return learned
    late = Backoff(first=plan.interval, factor=2, longest=max(plan.interval, LONGEST_SILENCE))
    return late.next_at(task.external_task_id, attempt=task.queries - STEADY_QUERIES, now=now)


def query_after_news(
    decision: Decision,
    due: Moment | None,
    plan: QueryPlan,
    *,
    path: PathHealth,
    now: Moment,
    known: Known | None = None,
) -> Moment | None:
    """When to ask, given what was just decided and when the next question was `due` before.

    `known` is given where the task begins to run with this news: then it is asked about when that pays. It is given
    as well where the path makes every task due that was not asked about yet.
    """
    task = decision.task
    if decision.ask_now:
        asked = task.doubt_queries
        soon = now + millis(DOUBT_SPACING[asked]) if asked < len(DOUBT_SPACING) else due
        return soon if due is None or soon is None else min(soon, due)
    if task.is_at_rest:
        return due if task.doubt is not None else None
    sent_at = now if task.sent_at is None else task.sent_at
    learned = None if task.doubt is not None else _learned_at(sent_at, plan, known, path, running_at=None, now=now)
    if learned is not None:
        return learned
    first = max(now, first_query_at(sent_at, plan, path))
    if due is None:
        return first
    return min(due, first) if path.asks_eagerly and task.queries == 0 else due


def query_on_path(
    sent_at: Moment, plan: QueryPlan, *, known: Known | None, running_at: Moment | None, path: PathHealth, now: Moment
) -> Moment:
    """When to ask about a task that runs, now that the path of its callbacks has turned."""
    learned = _learned_at(sent_at, plan, known, path, running_at=running_at, now=now)
    return max(now, first_query_at(sent_at, plan, path)) if learned is None else learned


def _learned_at(
    sent_at: Moment, plan: QueryPlan, known: Known | None, path: PathHealth, *, running_at: Moment | None, now: Moment
) -> Moment | None:
    """The moment that timing suggests, where it is learned, wanted and has anything to say.

    Where no callback is to be expected, all of them count as lost, whatever was lost before.
    """
    if known is None or plan.worth is None:
        return None
    lost = 1.0 if path.asks_eagerly else known.lost
    return replace(known, lost=lost).question_at(sent_at, running_at=running_at, now=now, worth=plan.worth)
