"""Tasks as rows and rows as tasks: the only place that knows the columns' order."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from receiver.ledger.base import StoredEvent
from receiver.ledger.errors import UnknownTask
from receiver.task import (
    Decision,
    Doubt,
    Event,
    Record,
    ReportCounts,
    SettledBy,
    Source,
    Task,
    TaskImage,
    TaskState,
)
from receiver.taskjson import snapshot
from submitter.moments import Moment
from submitter.providers.base import Trust
from submitter.report import ReportedStatus

TASK_COLUMNS = (
    "external_task_id",
    "provider",
    "endpoint",
    "state",
    "version",
    "message",
    "task_id",
    "task_id_source",
    "upstream_task_id",
    "images",
    "images_asked",
    "images_proven",
    "slots",
    "settled_by",
    "trust",
    "held",
    "doubt",
    "doubt_since",
    "doubt_queries",
    "adopted",
    "unit_deduction",
    "provider_created_at",
    "provider_updated_at",
    "queries",
    "reports_applied",
    "reports_duplicate",
    "reports_stale",
    "reports_conflict",
    "created_at",
    "sent_at",
    "submitted_at",
    "settled_at",
    "deadline_at",
)
_ASSIGNMENTS = ", ".join(f"{column} = ?" for column in TASK_COLUMNS)
_PLACES = ", ".join("?" * len(TASK_COLUMNS))
RUNNING = "('pending', 'submitted', 'processing')"


@dataclass(slots=True, kw_only=True)
class TaskRow:
    """A task with what the ledger alone keeps beside it."""

    key: int
    task: Task
    query_at: Moment | None
    send_at: Moment | None
    sends: int
    misses: int
    missed_since: Moment | None
    fence: int
    chain: bytes | None
    report_count: int


def row_of(row: sqlite3.Row) -> TaskRow:
    """The whole row."""
    return TaskRow(
        key=row["key"],
        task=task_of(row),
        query_at=row["query_at"],
        send_at=row["send_at"],
        sends=row["sends"],
        misses=row["misses"],
        missed_since=row["missed_since"],
        fence=row["fence"],
        chain=row["chain"],
        report_count=row["report_count"],
    )


def task_of(row: sqlite3.Row) -> Task:
    """The task in a row that has its columns."""
    return Task(
        external_task_id=row["external_task_id"],
        provider=row["provider"],
        endpoint=row["endpoint"],
        state=TaskState(row["state"]),
        version=row["version"],
        message=row["message"],
        task_id=row["task_id"],
        task_id_source=_maybe(Source, row["task_id_source"]),
        upstream_task_id=row["upstream_task_id"],
        images=_images_of(row["images"]),
        images_asked=row["images_asked"],
        images_proven=bool(row["images_proven"]),
        slots=row["slots"],
        settled_by=_maybe(SettledBy, row["settled_by"]),
        trust=_maybe(Trust, row["trust"]),
        held=_maybe(ReportedStatus, row["held"]),
        doubt=_maybe(Doubt, row["doubt"]),
        doubt_since=row["doubt_since"],
        doubt_queries=row["doubt_queries"],
        adopted=bool(row["adopted"]),
        unit_deduction=row["unit_deduction"],
        provider_created_at=row["provider_created_at"],
        provider_updated_at=row["provider_updated_at"],
        queries=row["queries"],
        reports=ReportCounts(
            applied=row["reports_applied"],
            duplicate=row["reports_duplicate"],
            stale=row["reports_stale"],
            conflict=row["reports_conflict"],
        ),
        created_at=row["created_at"],
        sent_at=row["sent_at"],
        submitted_at=row["submitted_at"],
        settled_at=row["settled_at"],
        deadline_at=row["deadline_at"],
    )


def record_of(row: sqlite3.Row) -> Record:
    """The task and its request."""
    return Record(task=task_of(row), request=row["request"])


def event_of(row: sqlite3.Row) -> StoredEvent:
    """A row of `events`."""
    return StoredEvent(
        position=row["position"],
        id=row["id"],
        type=row["type"],
        time=row["time"],
        task=row["task"],
        was=row["was"],
        now_is=row["now_is"],
    )


def values_of(task: Task) -> tuple[Any, ...]:
    """The task's values in the order of TASK_COLUMNS."""
    return (
        task.external_task_id,
        task.provider,
        task.endpoint,
        task.state,
        task.version,
        task.message,
        task.task_id,
        task.task_id_source,
        task.upstream_task_id,
        _images_text(task.images),
        task.images_asked,
        task.images_proven,
        task.slots,
        task.settled_by,
        task.trust,
        task.held,
        task.doubt,
        task.doubt_since,
        task.doubt_queries,
        task.adopted,
        task.unit_deduction,
        task.provider_created_at,
        task.provider_updated_at,
        task.queries,
        task.reports.applied,
        task.reports.duplicate,
        task.reports.stale,
        task.reports.conflict,
        task.created_at,
        task.sent_at,
        task.submitted_at,
        task.settled_at,
        task.deadline_at,
    )


def fetch(raw: sqlite3.Connection, external_task_id: str) -> TaskRow:
    """One row. Raises UnknownTask."""
    row = raw.execute("select * from tasks where external_task_id = ?", (external_task_id,)).fetchone()
    if row is None:
        raise UnknownTask(external_task_id)
    return row_of(row)


def insert_task(raw: sqlite3.Connection, task: Task) -> int:
    """A new row; answers its key."""
    columns = ", ".join(TASK_COLUMNS)
    cursor = raw.execute(f"insert into tasks ({columns}) values ({_PLACES})", values_of(task))  # noqa: S608
    key = cursor.lastrowid
    assert key is not None  # noqa: S101 - an insert into a rowid table has one
    return key


def update_tasks(raw: sqlite3.Connection, rows: Sequence[TaskRow]) -> None:
    """Write the tasks of these rows back, with their chain and what is due.

    A task that is no longer pending is not sent any more, and its inline pictures have served.
    """
    raw.executemany(
        f"""
        update tasks set {_ASSIGNMENTS}, chain = ?, report_count = ?, query_at = ?, send_at = ?, sends = ?,
               misses = ?, missed_since = ?
         where key = ?
        """,  # noqa: S608 - column names of this module
        [
            (
                *values_of(row.task),
                row.chain,
                row.report_count,
                row.query_at,
                row.send_at if row.task.state is TaskState.PENDING else None,
                row.sends,
                row.misses,
                row.missed_since,
                row.key,
            )
            for row in rows
        ],
    )


def insert_events(raw: sqlite3.Connection, events: Sequence[Event]) -> None:
    """The events in their order: their positions are dense and grow with the commits."""
    raw.executemany(
        """
        insert into events (id, type, external_task_id, time, task, was, now_is)
        values (?, ?, ?, ?, ?, ?, ?)
        """,
        [
            (
                event.id,
                event.type,
                event.task.external_task_id,
                event.time,
                snapshot(event.task),
                event.was,
                event.now_is,
            )
            for event in events
        ],
    )


def write_decision(raw: sqlite3.Connection, row: TaskRow, decision: Decision) -> Task:
    """A decision that no report brought: the row anew, and its events."""
    row.task = decision.task
    if decision.task.is_at_rest and decision.task.doubt is None:
        row.query_at = None
    update_tasks(raw, [row])
    insert_events(raw, decision.events)
    if decision.task.is_at_rest:
        forget_pictures(raw, [decision.task.external_task_id])
    return decision.task


def forget_pictures(raw: sqlite3.Connection, external_task_ids: Sequence[str]) -> None:
    """The pictures of these tasks' requests have served: they are not sent any more."""
    raw.execute(
        "delete from inline_images where external_task_id in (select value from json_each(?))",
        (json.dumps(external_task_ids),),
    )


def _images_text(images: tuple[TaskImage, ...]) -> str:
    if not images:
        return "[]"
    listed = [[image.index, image.url, image.watermark_url, image.archived] for image in images]
    return json.dumps(listed, separators=(",", ":"))


def _images_of(text: str) -> tuple[TaskImage, ...]:
    if text == "[]":
        return ()
    return tuple(
        TaskImage(index=index, url=url, watermark_url=watermark_url, archived=archived)
        for index, url, watermark_url, archived in json.loads(text)
    )


def _maybe(kind: Any, value: str | None) -> Any:
    return None if value is None else kind(value)
