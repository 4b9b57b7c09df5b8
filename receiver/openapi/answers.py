"""The schemas of what is answered: tasks, histories, events, deliveries, destinations."""

from __future__ import annotations

from receiver.callback_url import PROBE
from receiver.eventtype import EventType
from receiver.ledger.deliveries import DeliveryState
from receiver.openapi.shapes import (
    Json,
    answered,
    closed,
    external_task_id,
    listed,
    moment,
    named,
    or_null,
    text,
    whole,
    yes_or_no,
)
from receiver.pathhealth import PathState
from receiver.replay import COUNTED
from receiver.task import Doubt, SettledBy, Source, TaskState, Verdict
from submitter.providers.base import Trust
from submitter.request import REQUESTS

NEXT = or_null(text("give it as `after` to get the next page; null on the last"))


def answer_schemas() -> dict[str, Json]:
    """Every schema of an answer, by its name."""
    return {
        "Image": _image(),
        "Snapshot": answered("A task as it was at the commit of an event.", _task_fields()),
        "Task": answered("A submission and what became of it.", _task_fields(), optional={"request": _request()}),
        "TaskPage": answered(
            "Tasks, newest first.", {"tasks": listed(named("Task"), "the tasks of this page"), "next": NEXT}
        ),
        "Report": _report(),
        "HistoryEvent": answered("An event, without its snapshot.", _event_fields(), optional=_event_extras()),
        "History": answered(
            "How a task came to be what it is, oldest first.",
            {
                "reports": listed(named("Report"), "every fact that was heard, by every road"),
                "events": listed(named("HistoryEvent"), "what was worth telling"),
                "deliveries": listed(named("Delivery"), "to whom it was told"),
            },
        ),
        "Event": _event(),
        "EventPage": answered(
            "Events in the order of their commits.",
            {
                "events": listed(named("Event"), "the events of this page"),
                "next": whole("give it as `after` to go on: up to here there are no others"),
            },
        ),
        "Delivery": _delivery(),
        "DeliveryPage": answered(
            "Deliveries, newest first.",
            {"deliveries": listed(named("Delivery"), "the deliveries of this page"), "next": NEXT},
        ),
        "Redelivered": answered(
            "What a redelivery came to.",
            {
                "matching": whole("deliveries of this page; with `dry_run` those of all pages"),
                "redelivered": whole("how many of them begin anew: those under way do not"),
                "next": NEXT,
            },
        ),
        "Destination": _destination(),
        "DestinationList": answered(
            "Everybody who was ever told anything.", {"destinations": listed(named("Destination"), "by name")}
        ),
        "Opening": answered(
            "A submission that is written down.",
            {
                "external_task_id": external_task_id("our id of the task"),
                "callback_url": or_null(text("send the create with it. Null: nobody but the receiver may send it")),
            },
        ),
        "Tick": answered(
            "What one bounded pass did.",
            {
                "sent": whole("creates that were sent"),
                "asked": whole("questions that were put to providers"),
                "overdue": whole("tasks that time alone brought to rest"),
                "told": whole("deliveries that were attempted"),
                "turns": whole("turns that were taken", least=0),
            },
        ),
        "Replayed": answered(
            "What came of a page of kept callbacks.",
            {
                **{name: whole("how many, by what came of them") for name in COUNTED},
                "next": or_null(whole("give it as `after` to get the next page; null on the last")),
            },
        ),
        "Acknowledgement": answered(
            "What a callback changed, once that is on disk.",
            {"verdict": closed([*Verdict, PROBE], f"`{PROBE}` for the task id `{PROBE}`, which no task has")},
        ),
    }


def _task_fields() -> dict[str, Json]:
    count = {str(verdict): whole(f"reports with the verdict {verdict}") for verdict in Verdict}
    return {
        "external_task_id": text("our id: one task in the whole ledger"),
        "provider": text("the account's name in the configuration"),
        "endpoint": or_null(closed(REQUESTS, "what was asked for; null where the task was adopted")),
        "task_id": or_null(text("the provider's id")),
        "upstream_task_id": or_null(text("another id that a callback gave")),
        "state": closed(TaskState, "where the task is in its life: docs/states.md"),
        "message": text("the provider's words, or why the task is where it is"),
        "version": whole("grows with every change that is told"),
        "images": listed(named("Image"), "what was made, by index"),
        "settled_by": or_null(closed(SettledBy, "what brought it to rest")),
        "trust": or_null(closed(Trust, "how that is known to be the provider's word")),
        "doubt": or_null(closed(Doubt, "why a claim is being checked by asking")),
        "adopted": yes_or_no("it was heard of by a valid callback, and not submitted here"),
        "unit_deduction": or_null(text("what the provider charged, in its units")),
        "queries": whole("how often its provider was asked about it"),
        "reports": answered("How many reports got each verdict.", count),
        "created_at": moment("when it was written down"),
        "sent_at": or_null(moment("when its create left")),
        "submitted_at": or_null(moment("when the provider was first known to have it")),
        "settled_at": or_null(moment("when it came to rest")),
        "deadline_at": moment("when it expires if nothing is heard"),
    }


def _image() -> Json:
    return answered(
        "One finished image.",
        {
            "index": whole("its place"),
            "url": text("where the provider keeps it, for a time"),
            "watermark_url": or_null(text("a watermarked copy")),
            "archived": or_null(text("where our own copy lies")),
        },
    )


def _request() -> Json:
    return {
        "type": ["object", "null"],
        "description": "what was submitted, a picture in it as its `sha256` and `bytes`; null where the task was "
        "adopted. Lists leave it out unless `include=request`",
    }


def _report() -> Json:
    return answered(
        "One fact, heard by one road.",
        {
            "number": whole("its place in the task's chain", least=1),
            "source": closed(Source, "the road"),
            "verdict": closed(Verdict, "what it changed"),
            "trust": closed(Trust, "how it was known to be the provider's word"),
            "status": text("the provider's word"),
            "message": text("the provider's message"),
            "task_id": or_null(text("the id that it gave the task")),
            "time": moment("when it was first heard"),
            "last_time": moment("when it was last heard"),
            "count": whole("how often it was heard", least=1),
            "hash": text("its link in the chain, SHA-256", pattern="^[0-9a-f]{64}$"),
        },
    )


def _event_fields() -> dict[str, Json]:
    return {
        "position": whole("its place among all events", least=1),
        "id": text("the same at each telling"),
        "type": closed(EventType, "what happened"),
        "time": moment("when it was committed"),
    }


def _event_extras() -> dict[str, Json]:
    return {
        "was": closed(TaskState, "of a conflict: the state that was overturned"),
        "is": closed(TaskState, "of a conflict: the state that is true"),
    }


def _event() -> Json:
    disabled = answered(
        "Of `destination.disabled`: who is told nothing any more.",
        {
            "name": text("its name in the configuration; of tasks' own clients @ and their callback_urls' origin"),
            "reason": text("why the last attempt failed"),
            "failing_since": or_null(moment("since when nothing arrived")),
            "disabled_at": or_null(moment("when it was given up")),
        },
    )
    path = answered(
        "Of `path.dark` and `path.alive`: the road that an account's callbacks take.",
        {
            "provider": text("the account"),
            "state": closed([PathState.DARK, PathState.ALIVE], "what it has become"),
            "since": moment("when that was noticed"),
        },
    )
    return answered(
        "A fact worth telling.",
        {**_event_fields(), "task": or_null(named("Snapshot"))},
        optional={**_event_extras(), "destination": disabled, "path": path},
    )


def _delivery() -> Json:
    return answered(
        "An event on its way to a destination, or what became of it.",
        {
            "id": whole("its number", least=1),
            "event": text("the event's id"),
            "type": closed(EventType, "the event's type"),
            "external_task_id": or_null(text("the task that it is about")),
            "destination": text("the destination's name; of a task's own client @ and its callback_url's origin"),
            "state": closed(DeliveryState, "what became of it"),
            "attempts": whole("how often it was tried"),
            "reason": or_null(text("why the last attempt failed, or why it was given up")),
            "next_at": or_null(moment("when it is tried; null while it waits for another")),
            "settled_at": or_null(moment("when it was closed")),
        },
    )


def _destination() -> Json:
    return answered(
        "How a destination fares, and how much waits for it.",
        {
            "name": text("its name in the configuration; of tasks' own clients @ and their callback_urls' origin"),
            "state": closed(
                ["closed", "open", "disabled", "removed"],
                "of its breaker: all pass, one probes, none are told; or nobody of this name is configured",
            ),
            "failures": whole("failures in a row"),
            "failing_since": or_null(moment("since when")),
            "paused_until": or_null(moment("until when it is left in peace")),
            "disabled_at": or_null(moment("when it was given up")),
            "reason": text("why the last attempt failed"),
            "open": whole("deliveries that are still to be made"),
            "dead": whole("dead letters"),
        },
    )
