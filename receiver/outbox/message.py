"""An event as it is told: a CloudEvent to destinations, the wire's own callback to clients. Pure.

Either has the same bytes at every attempt.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from receiver.ledger.deliveries import CalledBack
from receiver.ledger.reading import StoredEvent
from receiver.wiretask import wire_task_of_snapshot
from submitter.moments import Moment, iso

CONTENT_TYPE = "application/cloudevents+json"

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An event on its way out. `body` is its CloudEvent, UTF-8 JSON; `id` names it for whoever was told before."""

    id: str
    type: str
    position: int
    time: Moment
    external_task_id: str | None
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackMessage:
    """What the client of a task is told, and where. `body` is UTF-8 JSON as wire.md §3 has it; `id` is the event's."""

    url: str = field(repr=False)
    tenant: str
    id: str
    body: bytes


def message_of(event: StoredEvent, *, source: str) -> Message:
    """The event as a message. `source` is the ledger's own name: with the id it names one event in the world."""
    return Message(
        id=event.id,
        type=event.type,
        position=event.position,
        time=event.time,
        external_task_id=event.external_task_id,
        body=_cloud_event(event, source).encode(),
    )


def callback_of(event: StoredEvent, client: CalledBack) -> CallbackMessage:
    """The event as Kling's callback: the task by our id, and by the client's own in `task_info`."""
    told = wire_task_of_snapshot(
        json.loads(event.task or "{}"),
        external_task_id=client.task_id,
        is_series=client.is_series,
        balance_deduction=client.balance_deduction,
    )
    return CallbackMessage(url=client.url, tenant=client.tenant, id=event.id, body=_encode(told.as_json()).encode())


def _cloud_event(event: StoredEvent, source: str) -> str:
    """Structured JSON, CloudEvents 1.0.2 §3; what a conflict was and is are extension attributes."""
    attributes = {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.type,
        "subject": event.external_task_id,
        "time": iso(event.time),
        "datacontenttype": "application/json",
        "was": event.was,
        "is": event.now_is,
    }
    head = _encode({name: value for name, value in attributes.items() if value is not None})
    return f'{head[:-1]},"data":{event.data}}}'
