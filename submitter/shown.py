"""A task and an event as a receiver shows them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from submitter.errors import Unreadable


class ShownState(StrEnum):
    """Where a task is in its life."""

    PENDING = "pending"
    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"


AT_REST = frozenset({ShownState.SUCCEEDED, ShownState.FAILED, ShownState.REFUSED, ShownState.EXPIRED})
FINAL_EVENTS = frozenset(f"task.{state}" for state in AT_REST)
"""The types of the events that bring a task to rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownImage:
    """A result; `archived` is where the receiver's own copy lies."""

    index: int
    url: str
    watermark_url: str | None = None
    archived: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTask:
    """A task at one moment. `version` only grows; `fields` is the whole JSON, which may hold the request."""

    external_task_id: str
    provider: str
    endpoint: str | None
    state: ShownState
    version: int
    message: str
    task_id: str | None
    images: tuple[ShownImage, ...]
    settled_by: str | None
    trust: str | None
    fields: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def is_at_rest(self) -> bool:
        """Succeeded, failed, refused or expired."""
        return self.state in AT_REST

    @property
    def has_succeeded(self) -> bool:
        """Whether the images are there."""
        return self.state is ShownState.SUCCEEDED


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEvent:
    """A fact, with the task as it was then, if it is a task's. `position` is where to go on after it."""

    position: int
    id: str
    type: str
    time: str
    task: ShownTask | None
    fields: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def is_final(self) -> bool:
        """Whether it has brought its task to rest."""
        return self.type in FINAL_EVENTS


def shown_task(fields: Any) -> ShownTask:
    """The task in this JSON. Raises Unreadable."""
    try:
        return ShownTask(
            external_task_id=fields["external_task_id"],
            provider=fields["provider"],
            endpoint=fields["endpoint"],
            state=ShownState(fields["state"]),
            version=fields["version"],
            message=fields["message"],
            task_id=fields["task_id"],
            images=tuple(_shown_image(each) for each in fields["images"]),
            settled_by=fields["settled_by"],
            trust=fields["trust"],
            fields=fields,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable("task", error) from error


def shown_event(fields: Any) -> ShownEvent:
    """The event in this JSON. Raises Unreadable."""
    try:
        task = fields["task"]
        return ShownEvent(
            position=fields["position"],
            id=fields["id"],
            type=fields["type"],
            time=fields["time"],
            task=None if task is None else shown_task(task),
            fields=fields,
        )
    except (KeyError, TypeError) as error:
        raise _unreadable("event", error) from error


def _shown_image(fields: Mapping[str, Any]) -> ShownImage:
    return ShownImage(
        index=fields["index"], url=fields["url"], watermark_url=fields["watermark_url"], archived=fields["archived"]
    )


def _unreadable(what: str, error: Exception) -> Unreadable:
    return Unreadable(f"this is no {what} of a hookledger receiver ({type(error).__name__}: {error})")
