"""What must hold at the end of every simulation, whatever befell it: the ledger against the world's truth. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from receiver.eventtype import EventType
from receiver.ledger.reading import StoredEvent
from receiver.simulation.world import BEGINNING, Life
from receiver.task import FINAL_OF_STATE, Task
from submitter.moments import Moment
from submitter.providers.base import Trust
from submitter.report import ReportedStatus

FINAL_EVENTS = frozenset({EventType.SUCCEEDED, EventType.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """An invariant that did not hold, and where it was seen. `task` is '' where it is not one task's."""

    invariant: str
    task: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the events told of one task: how many finals, how many conflicts, and the state that was told last."""

    finals: int = 0
    conflicts: int = 0
    latest: EventType | None = None


def broken_by_tasks(
    lives: Sequence[Life], tasks: Mapping[str, Task], *, was_killed: bool, was_closed: bool
) -> Iterator[Broken]:
    """Each task's row, held against what the world knows of it.

    `was_closed` is whether there was a time in which the provider answered nobody.
    """
    for life in lives:
        task = tasks.get(life.external_task_id)
        if task is None:
            yield Broken(invariant="written", task=life.external_task_id, detail="the ledger has no such task")
            continue
        for invariant, detail in (
            ("at_rest", _of_rest(task)),
            ("true", _of_truth(life, task, was_closed=was_closed)),
            ("sent_once", _of_sending(life)),
            ("strangers_refused", _of_strangers(life)),
            ("questions_counted", _of_questions(life, task, was_killed=was_killed)),
            ("reports_counted", _of_reports(life, task, was_killed=was_killed)),
        ):
            if detail is not None:
                yield Broken(invariant=invariant, task=life.external_task_id, detail=detail)
    strange = tasks.keys() - {life.external_task_id for life in lives}
    for name in sorted(strange):
        yield Broken(invariant="written", task=name, detail="nobody submitted it")


def broken_by_events(events: Iterable[StoredEvent], told: dict[str, Told]) -> Iterator[Broken]:
    """The row of events: dense, each id once. What they told of each task is added up in `told`."""
    ids: set[str] = set()
    for place, event in enumerate(events, start=1):
        name = event.external_task_id or ""
        if event.position != place:
            yield Broken(invariant="events_dense", task=name, detail=f"position {event.position} is number {place}")
            return
        if event.id in ids:
            yield Broken(invariant="events_once", task=name, detail=f"{event.id} was written twice")
        ids.add(event.id)
        if event.external_task_id is not None:
            told[name] = _and(told.get(name, Told()), EventType(event.type))


def broken_by_telling(tasks: Mapping[str, Task], told: Mapping[str, Told]) -> Iterator[Broken]:
    """One final event for each task, and for each audible overturn one more; the last one tells the state."""
    for name, task in tasks.items():
        news = told.get(name, Told())
        if news.finals != news.conflicts + task.is_settled:
            detail = f"{news.finals} final events and {news.conflicts} conflicts of a task that is {task.state}"
            yield Broken(invariant="settled_once", task=name, detail=detail)
        if news.latest != f"task.{task.state}":
            yield Broken(invariant="state_told", task=name, detail=f"{task.state}, and told last was {news.latest}")


def broken_by_asking(disturbed: Sequence[Moment]) -> Iterator[Broken]:
    """Requests that came although the provider had asked to be left in peace."""
    for moment in disturbed:
        yield Broken(
            invariant="left_in_peace", task="", detail=f"a request {moment - BEGINNING} ms after the beginning"
        )


def _and(told: Told, event: EventType) -> Told:
    return Told(
        finals=told.finals + (event in FINAL_EVENTS),
        conflicts=told.conflicts + (event is EventType.CONFLICT),
        latest=event,
    )


def _of_rest(task: Task) -> str | None:
    if task.held is not None:
        return f"{task.state}, held on {task.held}"
    return None if task.is_at_rest else f"{task.state}, and nothing is due"


def _of_truth(life: Life, task: Task, *, was_closed: bool) -> str | None:
    """How it ended, and with which image. Only what was forged may be believed instead, and only by token."""
    if life.created_at is None:
        return f"{task.state}, and the provider never had it"
    is_true = FINAL_OF_STATE.get(task.state) is life.final
    if is_true and life.final is ReportedStatus.SUCCEED:
        is_true = [life.image_url] == [image.url for image in task.images]
    if is_true or _may_be_fooled(life, task, was_closed=was_closed):
        return None
    return f"{task.state} by {task.settled_by} ({task.message!r}), and in truth it is {life.final}"


def _may_be_fooled(life: Life, task: Task, *, was_closed: bool) -> bool:
    """Whoever has a task's URL may lie about it, until the truth is heard, or a question about it answered.

    Three questions are asked about a doubt: where all fail, or none can be asked, what was heard first stands.
    """
    is_contradicted = life.true_finals_acknowledged > 0 and life.failed_queries < 3 and not was_closed
    return life.forgeries > 0 and task.trust is not Trust.QUERIED and not is_contradicted


def _of_sending(life: Life) -> str | None:
    return f"sent again {life.created_twice} times although it was there" if life.created_twice else None


def _of_strangers(life: Life) -> str | None:
    return "a callback without its token was acknowledged" if life.strangers_acknowledged else None


def _of_questions(life: Life, task: Task, *, was_killed: bool) -> str | None:
    """A question is counted before it leaves: one that a kill came before is counted, and was never asked.

    One about many counts for a task that its answer told of, where that was waited for or was news.
    """
    most = life.queries + life.shown
    is_counted = task.queries >= life.queries and (was_killed or task.queries <= most)
    return None if is_counted else f"{task.queries} counted, and the provider was asked {life.queries} to {most} times"


def _of_reports(life: Life, task: Task, *, was_killed: bool) -> str | None:
    """What was acknowledged was kept. What was not may have been: a kill came in between."""
    counts = task.reports
    counted = counts.applied + counts.duplicate + counts.stale + counts.conflict
    least = life.acknowledged if was_killed else life.acknowledged + life.answered_creates + life.told
    most = life.acknowledged + life.answered_creates + life.told + life.shown
    if was_killed:
        most += life.unacknowledged
    return None if least <= counted <= most else f"{counted} reports kept, and there were {least} to {most}"
