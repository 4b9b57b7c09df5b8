"""A task as JSON, the same everywhere it is shown: API, events, command line. Pure."""

from __future__ import annotations

import json
from typing import Any

from receiver.task import Record, Task
from submitter.moments import iso, iso_or_none

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


def task_json(task: Task) -> dict[str, Any]:
    """The documented shape, without `request`: that is added by those who may show it."""
    return {
        "external_task_id": task.external_task_id,
        "provider": task.provider,
        "endpoint": task.endpoint,
        "task_id": task.task_id,
        "upstream_task_id": task.upstream_task_id,
        "state": task.state,
        "message": task.message,
        "version": task.version,
        "images": [
            {
                "index": image.index,
                "url": image.url,
                "watermark_url": image.watermark_url,
                "archived": image.archived,
            }
            for image in task.images
        ],
        "settled_by": task.settled_by,
        "trust": task.trust,
        "doubt": task.doubt,
        "adopted": task.adopted,
        "unit_deduction": task.unit_deduction,
        "queries": task.queries,
        "reports": {
            "applied": task.reports.applied,
            "duplicate": task.reports.duplicate,
            "stale": task.reports.stale,
            "conflict": task.reports.conflict,
        },
        "created_at": iso(task.created_at),
        "sent_at": iso_or_none(task.sent_at),
        "submitted_at": iso_or_none(task.submitted_at),
        "settled_at": iso_or_none(task.settled_at),
        "deadline_at": iso(task.deadline_at),
    }


def record_json(record: Record) -> dict[str, Any]:
    """The task with the request it was submitted with; pictures in it are shown as digests."""
    return {**task_json(record.task), "request": None if record.request is None else json.loads(record.request)}


def snapshot(task: Task) -> str:
    """The task's JSON as text, compact: written once with its event, and sent as it is ever after."""
    return _encode(task_json(task))
