"""What the routes answer, by example: values of the code's own types, shown by the code that shows them."""

from __future__ import annotations

import base64
import json

from receiver.api import delivery_json, history_json
from receiver.breaker import Health
from receiver.deliveries import destination_json
from receiver.eventjson import event_json
from receiver.eventtype import EventType
from receiver.ledger.deliveries import Delivery, DeliveryState, DestinationState
from receiver.ledger.reading import History, HistoryReport, StoredEvent
from receiver.openapi.shapes import Json
from receiver.problems import invalid, problem_of
from receiver.stream import Form, block
from receiver.task import Record, ReportCounts, SettledBy, Source, Task, TaskImage, TaskState, Verdict
from receiver.taskjson import record_json, snapshot
from receiver.values import replace
from receiver.wiretask import wire_task
from submitter.errors import FieldProblem, Refused
from submitter.providers.base import Trust
from submitter.report import ReportedStatus

CREATED = 1_795_168_800_000
SETTLED = CREATED + 24_310
ID = "t_01KAG9S8H0V3M5Q7R9T1W2X4Y6"
SOURCE = "urn:uuid:1c8e9a0e-6f0e-4b53-9b59-5d2f0c9b7a11"
CALLBACK = f"callbacks/cometapi/{ID}/k3q8ZrX0c2hWnB7uT5mYpL1d"
REQUEST: Json = {"prompt": "a red fox in the snow", "n": 1}

_PENDING = Task(
    external_task_id=ID,
    provider="cometapi",
    endpoint="omni-image",
    created_at=CREATED,
    deadline_at=CREATED + 86_400_000,
)
_SUBMITTED = replace(
    _PENDING,
    state=TaskState.SUBMITTED,
    version=1,
    task_id="867283741759111202",
    reports=ReportCounts(applied=1),
    sent_at=CREATED + 4,
    submitted_at=CREATED + 620,
)
_TASK = replace(
    _SUBMITTED,
    state=TaskState.SUCCEEDED,
    version=3,
    images=(TaskImage(index=0, url="https://images.example.com/8672.png"),),
    settled_by=SettledBy.CALLBACK,
    trust=Trust.TOKEN,
    unit_deduction="8",
    reports=ReportCounts(applied=3, duplicate=1),
    settled_at=SETTLED,
)
_TOLD = replace(_SUBMITTED, client_task_id="order-7")
_EVENT = StoredEvent(
    position=7,
    id=f"{ID}.3",
    type=EventType.SUCCEEDED,
    time=SETTLED,
    task=snapshot(_TASK),
    external_task_id=ID,
)
_DELIVERY = Delivery(
    key=12,
    event_id=_EVENT.id,
    type=_EVENT.type,
    external_task_id=ID,
    destination="app",
    state=DeliveryState.DELIVERED,
    attempts=1,
    reason=None,
    next_at=None,
    settled_at=SETTLED + 35,
)
_REPORT = HistoryReport(
    number=4,
    source=Source.CALLBACK,
    trust=Trust.TOKEN,
    verdict=Verdict.APPLIED,
    status=ReportedStatus.SUCCEED,
    provider_task_id=_TASK.task_id,
    message="",
    first_heard_at=SETTLED,
    last_heard_at=SETTLED + 2_000,
    count=2,
    hash=bytes.fromhex("5f2c6d1be09a4c37a8b3f0417de2956cc4018b7f3ad96e52be147c0f8d63a925"),
)


def task() -> Json:
    """A settled task."""
    return _shown(_TASK)


def submitted() -> Json:
    """A task that its provider has."""
    return _shown(_SUBMITTED)


def pending() -> Json:
    """A task that waits to be sent."""
    return _shown(_PENDING)


def expired() -> Json:
    """A task that was given up."""
    given_up = replace(
        _SUBMITTED, state=TaskState.EXPIRED, version=2, settled_by=SettledBy.DEADLINE, settled_at=SETTLED
    )
    return _shown(given_up)


def history() -> Json:
    """How it came to be what it is."""
    return history_json(History(reports=[_REPORT], events=[_EVENT], deliveries=[_DELIVERY]))


def event() -> Json:
    """What was told of it."""
    return event_json(_EVENT)


def stream() -> str:
    """The same, as it is streamed."""
    return block(_EVENT, Form.LISTED, SOURCE).decode()


def delivery() -> Json:
    """Telling it to a destination."""
    return delivery_json(_DELIVERY)


def destination() -> Json:
    """A destination that fares well."""
    return destination_json(DestinationState(name="app", health=Health(), open=0, dead=0, is_configured=True))


def create_answer() -> Json:
    """What a provider answered to the create, as it is handed on."""
    told = {"task_id": _TASK.task_id, "task_status": str(ReportedStatus.SUBMITTED)}
    answer = json.dumps({"code": 0, "message": "SUCCEED", "data": told})
    return {"http_status": 200, "body_base64": base64.b64encode(answer.encode()).decode()}


def problem(code: str) -> Json | None:
    """The documents of those codes that have members of their own."""
    match code:
        case "invalid_request":
            return invalid([FieldProblem("n", "Input should be less than or equal to 9")]).document()
        case "refused":
            return problem_of(Refused("content policy", code="1301", http_status=400)).document()
        case _:
            return None


def callback() -> Json:
    """A callback, as wire.md §4 has it."""
    return {
        "task_id": _TASK.task_id,
        "task_status": str(ReportedStatus.SUCCEED),
        "task_status_msg": "",
        "task_info": {"external_task_id": ID},
        "created_at": CREATED,
        "updated_at": SETTLED,
        "final_unit_deduction": "8",
        "task_result": {"images": [{"index": 0, "url": "https://images.example.com/8672.png"}]},
    }


def _shown(task: Task) -> Json:
    return record_json(Record(task=task, request=json.dumps(REQUEST)))


def wire() -> Json:
    """A task as a gateway's client is shown it."""
    return wire_task(_TOLD).as_json()
