"""The routes of providers, of machines that watch, and of platforms without a worker."""

from __future__ import annotations

from collections.abc import Sequence

from receiver.api import LONGEST_TICK, USUAL_TICK
from receiver.metrics import CONTENT_TYPE
from receiver.openapi import examples
from receiver.openapi.operation import (
    BODY,
    OPERATORS,
    STORE,
    WRITE,
    Answer,
    Operation,
    body,
    in_header,
    in_path,
    in_query,
    shown,
)
from receiver.openapi.shapes import Json, answered, external_task_id, named, seconds, text
from receiver.replay import COUNTED


def plain_operations() -> Sequence[Operation]:
    """Callbacks, ticks, health, metrics, and this document."""
    return (
        _callback(),
        Operation(
            method="post",
            path="/v1/callbacks/replay",
            name="replay_unreadable",
            tag="callbacks",
            summary="Read again what could not be read, a page at a time",
            body=body(named("ReplayWish"), {"after": 0}),
            answers={
                200: shown(
                    "What came of it.", named("Replayed"), {**dict.fromkeys(map(str, COUNTED), 0), "next": None}
                ),
            },
            problems=("invalid_request", *OPERATORS, *BODY, *WRITE),
        ),
        _tick("get"),
        _tick("post"),
        _metrics(),
        Operation(
            method="get",
            path="/livez",
            name="live",
            tag="health",
            summary="Whether the process answers",
            needs_key=False,
            answers={200: shown("It does.", _holds("live"), {"live": True})},
        ),
        Operation(
            method="get",
            path="/readyz",
            name="ready",
            tag="health",
            summary="Whether the ledger takes writes, and the receiver is not stopping",
            needs_key=False,
            answers={200: shown("It does, and it is not.", _holds("ready"), {"ready": True})},
            problems=("shutting_down", *STORE),
        ),
        Operation(
            method="get",
            path="/openapi.json",
            name="show_openapi",
            tag="health",
            summary="This document",
            needs_key=False,
            answers={200: Answer(description="OpenAPI 3.1.", content={"application/json": {"schema": _document()}})},
        ),
    )


def _callback() -> Operation:
    return Operation(
        method="post",
        path="/callbacks/{provider}/{external_task_id}/{token}",
        name="hear_callback",
        tag="callbacks",
        summary="What a provider says about a task",
        description="The URL is minted for one task and sent to its provider; the token in it is what admits. A 200 "
        "means that the effect is on disk; after a 503, sending it again is always right.",
        needs_key=False,
        parameters=(
            in_path("provider", text("the account's name in the configuration")),
            in_path("external_task_id", external_task_id("the task, by our id")),
            in_path("token", text("made of the two and a secret")),
            in_header("webhook-id", text("Standard Webhooks, where the provider signs")),
            in_header("webhook-timestamp", text("the same: Unix seconds")),
            in_header("webhook-signature", text("the same: `v1,` and base64, several with spaces")),
        ),
        body=body({"type": "object", "description": "the provider's own shape"}, examples.callback()),
        answers={200: shown("What it changed.", named("Acknowledgement"), {"verdict": "applied"})},
        problems=(
            "bad_signature",
            "not_found",
            "foreign_task",
            "unreadable",
            "too_many_invalid",
            "shutting_down",
            *BODY,
            *WRITE,
        ),
    )


def _tick(method: str) -> Operation:
    done = {"sent": 1, "asked": 2, "overdue": 0, "told": 3, "turns": 2}
    return Operation(
        method=method,
        path="/v1/tick",
        name=f"tick_by_{method}",
        tag="worker",
        summary="One bounded pass of the worker, for platforms that have none",
        parameters=(
            in_query("seconds", seconds("after which no turn is begun", most=LONGEST_TICK, otherwise=USUAL_TICK)),
        ),
        answers={200: shown("What it did.", named("Tick"), done)},
        problems=("invalid_request", *WRITE),
    )


def _metrics() -> Operation:
    return Operation(
        method="get",
        path="/metrics",
        name="show_metrics",
        tag="health",
        summary="Counters in Prometheus' text format",
        description="docs/metrics.md lists them. With `metrics.public` no key is needed.",
        answers={200: Answer(description="All of them.", content={CONTENT_TYPE: {"schema": text("the page")}})},
        problems=(*OPERATORS, *STORE),
    )


def _holds(name: str) -> Json:
    return answered("Nothing else.", {name: {"const": True}})


def _document() -> Json:
    return {"type": "object", "required": ["openapi", "info", "paths", "components"]}
