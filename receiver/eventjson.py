"""An event as JSON, as it is listed, streamed and shown in a task's history. Pure."""

from __future__ import annotations

import json
from typing import Any

from receiver.ledger.reading import StoredEvent
from submitter.moments import iso


def event_json(event: StoredEvent) -> dict[str, Any]:
    """An event as it is listed. The task is the snapshot of its commit; what is about no task says what it is about."""
    listed = {
        "position": event.position,
        "id": event.id,
        "type": event.type,
        "time": iso(event.time),
        "task": None if event.task is None else json.loads(event.task),
    }
    if event.was is not None:
        listed |= {"was": event.was, "is": event.now_is}
    return listed if event.about is None else listed | json.loads(event.about)
