"""Tasks as rows and rows as tasks: the only place that knows the columns' order."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from receiver.ledger.errors import UnknownTask
from receiver.ledger.reading import StoredEvent
from receiver.ledger.sqlite.sets import select_in, update_rows
from receiver.task import (
    Doubt,
    Record,
    ReportCounts,
    SettledBy,
    Source,
    Task,
    TaskImage,
    TaskState,
)
from receiver.values import made
from submitter.moments import Moment
from submitter.providers.base import Trust
from submitter.report import ReportedStatus

_encode = json.JSONEncoder(separators=(",", ":")).encode

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
    "balance_deduction",
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
    "tenant",
    "client_task_id",
    "client_callback_url",
    "promised",
    "is_series",
    "asks_watermark",
)
# What the ledger alone keeps beside the task, and writes back with it.
_BESIDE = (
    "chain",
    "report_count",
    "query_at",
    "send_at",
    "sends",
    "misses",
    "missed_since",
    "timing_class",
    "running_at",
)
ROW = ", ".join((*TASK_COLUMNS, *_BESIDE, "key", "fence"))
"""The columns that `row_of` reads, by position."""

_KINDS: Mapping[str, type[StrEnum]] = {
    "state": TaskState,
    "task_id_source": Source,
    "settled_by": SettledBy,
    "trust": Trust,
    "held": ReportedStatus,
    "doubt": Doubt,
}
_CLOSED_SETS = [(column, {member.value: member for member in kind}) for column, kind in _KINDS.items()]
_WORDS = frozenset(_KINDS)


@dataclass(slots=True, kw_only=True)
class TaskRow:
    """A task with what the ledger alone keeps beside it, and both as they are stored."""

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
    timing_class: str | None
    running_at: Moment | None
    stored_task: Task
    stored_beside: tuple[Any, ...]

    def changes(self) -> dict[str, Any]:
        """The columns that are to be stored anew. A task that is no longer pending is not sent any more."""
        changed = _changes(self.stored_task, self.task)
        send_at = self.send_at if self.task.state is TaskState.PENDING else None
        beside = (
            self.chain,
            self.report_count,
            self.query_at,
            send_at,
            self.sends,
            self.misses,
            self.missed_since,
            self.timing_class,
            self.running_at,
        )
        if beside != self.stored_beside:
            pairs = zip(_BESIDE, beside, self.stored_beside, strict=True)
            changed |= {column: new for column, new, old in pairs if new != old}
        self.stored_task, self.stored_beside = self.task, beside
        return changed


def row_of(row: sqlite3.Row) -> TaskRow:
    """The whole row, selected as ROW."""
    task = task_of(row)
    beside = row[len(TASK_COLUMNS) : -2]
    chain, report_count, query_at, send_at, sends, misses, missed_since, timing_class, running_at = beside
    return TaskRow(
        key=row[-2],
        task=task,
        query_at=query_at,
        send_at=send_at,
        sends=sends,
        misses=misses,
        missed_since=missed_since,
        fence=row[-1],
        chain=chain,
        report_count=report_count,
        timing_class=timing_class,
        running_at=running_at,
        stored_task=task,
        stored_beside=beside,
    )


def task_of(row: Iterable[Any]) -> Task:
    """The task in a row that begins with TASK_COLUMNS."""
    fields = dict(zip(TASK_COLUMNS, row, strict=False))
    for column, members in _CLOSED_SETS:
        word = fields[column]
        if word is not None:
            fields[column] = members[word]
    fields["images"] = _images_of(fields["images"])
    fields["images_proven"] = bool(fields["images_proven"])
    fields["adopted"] = bool(fields["adopted"])
    fields["promised"] = bool(fields["promised"])
    fields["is_series"] = bool(fields["is_series"])
    fields["asks_watermark"] = bool(fields["asks_watermark"])
    fields["reports"] = ReportCounts(
        applied=fields.pop("reports_applied"),
        duplicate=fields.pop("reports_duplicate"),
        stale=fields.pop("reports_stale"),
        conflict=fields.pop("reports_conflict"),
    )
    return made(Task, fields)


def record_of(row: sqlite3.Row) -> Record:
    """The task and its request, selected as ROW and `request`."""
    return Record(task=task_of(row), request=row["request"])


def event_of(row: sqlite3.Row) -> StoredEvent:
    """A row of `events`."""
    return StoredEvent(
        position=row["position"],
        id=row["id"],
        type=row["type"],
        time=row["time"],
        task=row["task"],
        external_task_id=row["external_task_id"],
        was=row["was"],
        now_is=row["now_is"],
        about=row["about"],
        tenant=row["tenant"],
    )


def fetch(raw: sqlite3.Connection, external_task_id: str) -> TaskRow:
    """One row. Raises UnknownTask."""
    row = raw.execute(f"select {ROW} from tasks where external_task_id = ?", (external_task_id,)).fetchone()  # noqa: S608
    if row is None:
        raise UnknownTask(external_task_id)
    return row_of(row)


def rows_by_id(raw: sqlite3.Connection, external_task_ids: Sequence[str]) -> dict[str, TaskRow]:
    """Those of these tasks that there are, by our ids."""
    found = select_in(raw, ROW, "tasks", ("external_task_id",), [(each,) for each in external_task_ids])
    rows = map(row_of, found)
    return {row.task.external_task_id: row for row in rows}


def insert_task(raw: sqlite3.Connection, task: Task) -> TaskRow:
    """A new row."""
    columns, places = ", ".join(TASK_COLUMNS), ", ".join("?" * len(TASK_COLUMNS))
    text = f"insert into tasks ({columns}) values ({places}) returning {ROW}"  # noqa: S608 - names of this module
    values = _columns(dict(vars(task)))
    [row] = raw.execute(text, [values[column] for column in TASK_COLUMNS]).fetchall()
    return row_of(row)


def update_tasks(raw: sqlite3.Connection, rows: Iterable[TaskRow]) -> None:
    """Write back what has changed of these rows, and no more: an index is only touched where its columns are set."""
    alike: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    for row in rows:
        changes = row.changes()
        if changes:
            alike.setdefault(tuple(changes), []).append((row.key, *changes.values()))
    for columns, values in alike.items():
        update_rows(raw, "tasks", columns, values)


def forget_pictures(raw: sqlite3.Connection, external_task_ids: Sequence[str]) -> None:
    """The pictures of these tasks' requests have served: they are not sent any more."""
    raw.execute(
        "delete from inline_images where external_task_id in (select value from json_each(?))",
        (json.dumps(external_task_ids),),
    )


def _changes(before: Task, after: Task) -> dict[str, Any]:
    """The columns in which the task has changed."""
    if before is after:
        return {}
    known = vars(before)
    return _columns(
        {name: value for name, value in vars(after).items() if value is not known[name] and value != known[name]}
    )


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of a task as columns, in plain kinds: SQLite's module is slow with members of closed sets."""
    for name in fields.keys() & _WORDS:
        fields[name] = word(fields[name])
    if "images" in fields:
        fields["images"] = _images_text(fields["images"])
    if "reports" in fields:
        counts: ReportCounts = fields.pop("reports")
        fields["reports_applied"] = counts.applied
        fields["reports_duplicate"] = counts.duplicate
        fields["reports_stale"] = counts.stale
        fields["reports_conflict"] = counts.conflict
    return fields


def _images_text(images: tuple[TaskImage, ...]) -> str:
    if not images:
        return "[]"
    return _encode([[image.index, image.url, image.watermark_url, image.archived] for image in images])


def _images_of(text: str) -> tuple[TaskImage, ...]:
    if text == "[]":
        return ()
    return tuple(
        TaskImage(index=index, url=url, watermark_url=watermark_url, archived=archived)
        for index, url, watermark_url, archived in json.loads(text)
    )


def word(member: StrEnum | None) -> str | None:
    """The member's text, in its plain kind."""
    return None if member is None else str(member)
