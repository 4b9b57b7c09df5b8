"""Events and the decisions that tell them: written with the task's row, and with what they are delivered by."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from receiver.ledger.sqlite.outboxclients import called_back
from receiver.ledger.sqlite.outboxwriting import write_deliveries
from receiver.ledger.sqlite.rows import TaskRow, forget_pictures, update_tasks, word
from receiver.ledger.sqlite.sets import insert_rows
from receiver.task import Decision, Event, Task
from receiver.taskjson import snapshot


def insert_events(raw: sqlite3.Connection, events: Sequence[Event]) -> None:
    """The events in their order: their positions are dense and grow with the commits."""
    if not events:
        return
    insert_rows(
        raw,
        "events",
        ("id", "type", "external_task_id", "time", "task", "was", "now_is", "tenant", "balance_deduction"),
        [
            (
                event.id,
                str(event.type),
                event.task.external_task_id,
                event.time,
                snapshot(event.task),
                word(event.was),
                word(event.now_is),
                event.task.tenant,
                event.task.balance_deduction,
            )
            for event in events
        ],
    )
    latest: int = raw.execute("select max(position) from events").fetchone()[0]
    before = latest - len(events)
    write_deliveries(raw, after=before, clients=called_back(events, after=before))


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
