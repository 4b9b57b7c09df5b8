"""The types of events: every fact worth telling, as destinations choose from them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum


class EventType(StrEnum):
    """What has happened. Those of a task carry it; the others say what they are about."""

    SUBMITTED = "task.submitted"
    PROCESSING = "task.processing"
    SUCCEEDED = "task.succeeded"
    FAILED = "task.failed"
    REFUSED = "task.refused"
    EXPIRED = "task.expired"
    CONFLICT = "task.conflict"
    IMAGE_ARCHIVED = "image.archived"
    IMAGE_LOST = "image.lost"
    PATH_DARK = "path.dark"
    PATH_ALIVE = "path.alive"
    DESTINATION_DISABLED = "destination.disabled"


FINAL = frozenset({EventType.SUCCEEDED, EventType.FAILED, EventType.REFUSED, EventType.EXPIRED})
"""After these nothing more is expected of the task."""

_PATTERN = re.compile(r"\*|[a-z]+\.\*")


def types_matching(patterns: Iterable[str]) -> frozenset[EventType]:
    """The types that these name: `task.failed`, `task.*` or `*`. Raises ValueError for one that names none."""
    found: set[EventType] = set()
    for pattern in patterns:
        if _PATTERN.fullmatch(pattern):
            matching = {each for each in EventType if each.startswith(pattern[:-1])}
        else:
            matching = {each for each in EventType if each == pattern}
        if not matching:
            raise ValueError(f"{pattern!r} is no type of event: there are {', '.join(EventType)}, and task.* or *")
        found |= matching
    return frozenset(found)
