"""The routes of events, deliveries and destinations."""

from __future__ import annotations

from collections.abc import Sequence

from receiver.api import USUAL_PAGE
from receiver.deliveries import MOST_AT_ONCE
from receiver.events import MOST_AT_ONCE as MOST_EVENTS
from receiver.events import USUAL_PAGE as USUAL_EVENTS
from receiver.eventtype import EventType
from receiver.ledger.deliveries import DeliveryState
from receiver.openapi import examples
from receiver.openapi.operation import (
    BODY,
    JSON,
    OPERATORS,
    STORE,
    WRITE,
    Answer,
    Operation,
    body,
    header,
    in_header,
    in_path,
    in_query,
    shown,
)
from receiver.openapi.shapes import LARGEST, closed, cursor, external_task_id, listed, named, text, whole
from receiver.stream import EVENT_STREAM, Form
from submitter.blockstream import SOURCE_HEADER


def telling_operations() -> Sequence[Operation]:
    """/v1/events, /v1/deliveries and /v1/destinations."""
    return (
        _events(),
        Operation(
            method="get",
            path="/v1/deliveries",
            name="list_deliveries",
            tag="deliveries",
            summary="Deliveries, newest first",
            parameters=(
                in_query("state", closed(DeliveryState, "those that came to this: `dead` are the dead letters")),
                in_query("destination", text("those to this one")),
                in_query("type", closed(EventType, "those of such events")),
                in_query("external_task_id", external_task_id("those about this task")),
                in_query("after", cursor()),
                in_query("limit", whole("how many at most", least=1, most=MOST_AT_ONCE, otherwise=USUAL_PAGE)),
            ),
            answers={
                200: shown("A page.", named("DeliveryPage"), {"deliveries": [examples.delivery()], "next": None}),
            },
            problems=("invalid_request", *OPERATORS, *STORE),
        ),
        *_redeliveries(),
        Operation(
            method="get",
            path="/v1/destinations",
            name="list_destinations",
            tag="deliveries",
            summary="How each destination fares",
            answers={
                200: shown("All of them.", named("DestinationList"), {"destinations": [examples.destination()]}),
            },
            problems=(*OPERATORS, *STORE),
        ),
    )


def _events() -> Operation:
    page = {"schema": named("EventPage"), "example": {"events": [examples.event()], "next": 7}}
    streamed = text("each event with its position as `id:`, its type as `event:`, and one line of `data:`")
    return Operation(
        method="get",
        path="/v1/events",
        name="show_events",
        tag="events",
        summary="What was committed, page by page or as a stream",
        description=f"With `Accept: {EVENT_STREAM}` the answer goes on: events as they are committed, resumed by "
        "`Last-Event-ID`, from now on where neither that nor `after` is given. Else it is a page.",
        parameters=(
            in_query(
                "type", listed(closed(_patterns(), "a type, all of a kind, or all"), "only such; with commas, too")
            ),
            in_query("task", listed(external_task_id("our id"), "only about these tasks; with commas, too")),
            in_query("after", whole("the position of the last one known", most=LARGEST)),
            in_query("limit", whole("of a page: how many at most", least=1, most=MOST_EVENTS, otherwise=USUAL_EVENTS)),
            in_query("as", closed(Form, "of a stream alone: what stands behind `data:`; `listed` where left out")),
            in_header("Last-Event-ID", whole("of a stream: as `after`, and stronger", most=LARGEST)),
        ),
        answers={
            200: Answer(
                description="Events in the order of their commits.",
                content={JSON: page, EVENT_STREAM: {"schema": streamed, "example": examples.stream()}},
                headers={SOURCE_HEADER: header(text("the ledger's own name, as CloudEvents' `source` has it"))},
            )
        },
        problems=("invalid_request", "position_ahead", "shutting_down", *WRITE),
    )


def _patterns() -> list[str]:
    """What names types of events: each, all of a kind, or all."""
    kinds = sorted({each.partition(".")[0] for each in EventType})
    return [*EventType, *(f"{kind}.*" for kind in kinds), "*"]


def _redeliveries() -> Sequence[Operation]:
    return (
        Operation(
            method="post",
            path="/v1/deliveries/redeliver",
            name="redeliver_many",
            tag="deliveries",
            summary="Tell anew what a filter names, a page at a time",
            body=body(named("RedeliveryWish"), {"state": "dead", "destination": "app"}),
            answers={
                200: shown("What it came to.", named("Redelivered"), {"matching": 2, "redelivered": 2, "next": None}),
            },
            problems=("invalid_request", *OPERATORS, *BODY, *WRITE),
        ),
        Operation(
            method="post",
            path="/v1/deliveries/{key}/redeliver",
            name="redeliver_one",
            tag="deliveries",
            summary="Tell one anew, with the same id and bytes",
            parameters=(in_path("key", whole("the delivery's `id`", least=1, most=LARGEST)),),
            answers={200: shown("The delivery, due at once.", named("Delivery"), examples.delivery())},
            problems=("not_found", *OPERATORS, *WRITE),
        ),
    )
