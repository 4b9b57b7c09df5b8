"""What a report says about the path that callbacks take: that it came, or that none had come before. Pure."""

from __future__ import annotations

from receiver import pathhealth
from receiver.ledger.judging import Heard
from receiver.pathhealth import PathHealth, finished_at, is_too_fresh
from receiver.task import Decision, SettledBy, Source, Task
from submitter.moments import Moment


def path_after(path: PathHealth, before: Task, heard: Heard, decision: Decision, *, is_first: bool) -> PathHealth:
    """The path's health, now that this was decided. `is_first`: no callback had said this of the task before."""
    if heard.source is Source.CALLBACK:
        return _after_callback(path, before, heard, is_first=is_first)
    if heard.source is Source.QUERY and _is_missed(before, decision):
        finished = _finished(before, heard, asked_at=heard.now)
        if not is_too_fresh(finished, asked_at=heard.now):
            return pathhealth.after_missed(path, finished, now=heard.now)
    return path


def _after_callback(path: PathHealth, before: Task, heard: Heard, *, is_first: bool) -> PathHealth:
    is_news = heard.report.is_final and is_first and before.held is None
    if not is_news or (before.is_settled and before.settled_by is not SettledBy.QUERY):
        return pathhealth.after_life(path, now=heard.now)
    asked_at = before.settled_at
    if before.is_settled and asked_at is not None:
        finished = _finished(before, heard, asked_at=asked_at)
        if not is_too_fresh(finished, asked_at=asked_at):
            return pathhealth.after_late(path, finished, now=heard.now)
    return pathhealth.after_came(path, now=heard.now)


def _is_missed(before: Task, decision: Decision) -> bool:
    """Whether this very question has found the final, and no callback waits to be confirmed by it."""
    return decision.task.is_settled and not before.is_settled and before.held is None


def _finished(task: Task, heard: Heard, *, asked_at: Moment) -> Moment:
    sent_at = task.created_at if task.sent_at is None else task.sent_at
    created_at = heard.report.created_at or task.provider_created_at
    return finished_at(sent_at, created_at, heard.report.updated_at, asked_at=asked_at)
