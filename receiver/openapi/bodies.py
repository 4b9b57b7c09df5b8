"""The schemas of what is sent to us. The image requests' are those of the models that check them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from receiver.api import MOST_REPLAYED
from receiver.callback_url import PROBE
from receiver.deliveries import MOST_AT_ONCE
from receiver.eventtype import EventType
from receiver.ledger.deliveries import DeliveryState
from receiver.openapi.shapes import (
    Json,
    base64_text,
    closed,
    cursor,
    external_task_id,
    named,
    or_null,
    seconds,
    taken,
    text,
    whole,
    yes_or_no,
)
from receiver.submissions import LONGEST_DEFERRAL, Kind
from submitter.request import REQUESTS


class _Plainly(GenerateJsonSchema):
    """Without the titles that only repeat the fields' names."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's shape
        return False


def body_schemas() -> dict[str, Json]:
    """Every schema of a request's body, by its name."""
    models: list[tuple[type[BaseModel], Literal["validation"]]] = [(model, "validation") for model in REQUESTS.values()]
    _, made = models_json_schema(models, ref_template="#/components/schemas/{model}", schema_generator=_Plainly)
    return {
        **made["$defs"],
        **{_submission(endpoint): _submission_to(endpoint) for endpoint in REQUESTS},
        "Submission": {
            "oneOf": [named(_submission(endpoint)) for endpoint in REQUESTS],
            "discriminator": {
                "propertyName": "endpoint",
                "mapping": {endpoint: named(_submission(endpoint))["$ref"] for endpoint in REQUESTS},
            },
        },
        "ResendWish": taken(
            "The risk, taken by a person.",
            {"may_pay_twice": {"const": True, "description": "the first create may have been accepted"}},
        ),
        "CreateAnswer": taken(
            "What the provider answered to the create, as it came.",
            {
                "http_status": whole("its status", least=100, most=599),
                "body_base64": base64_text("its body"),
            },
            optional={
                "retry_after_seconds": or_null(
                    seconds("of its `Retry-After`: how long the account is left in peace", most=LONGEST_DEFERRAL)
                ),
            },
        ),
        "SendFailure": taken(
            "Why the create came to no answer that could be handed on.",
            {"reason": text("in words, for whoever looks at the task")},
            optional={
                "kind": {**closed(Kind, "what may be done next"), "default": str(Kind.REFUSED)},
                "retry_after_seconds": or_null(
                    seconds("of `deferred`: when to send it again at the earliest", most=LONGEST_DEFERRAL)
                ),
            },
        ),
        "ReplayWish": taken(
            "A page of what was kept as unreadable.",
            {},
            optional={
                "after": whole("`next` of the page before", most=2**62, otherwise=0),
                "limit": whole("how many at most", least=1, most=MOST_REPLAYED, otherwise=MOST_REPLAYED),
            },
        ),
        "RedeliveryWish": _redelivery(),
    }


def _submission(endpoint: str) -> str:
    return REQUESTS[endpoint].__name__.removesuffix("Request") + "Submission"


def _submission_to(endpoint: str) -> Json:
    ours = external_task_id("yours, and unique in the whole ledger; one is minted where it is left out")
    return taken(
        f"A task of {endpoint}. A provider may take less than the schema: what it does not is named in a 422.",
        {
            "provider": text("the account's name in the configuration"),
            "endpoint": {"const": endpoint},
            "request": named(REQUESTS[endpoint].__name__),
        },
        optional={"external_task_id": or_null({**ours, "not": {"const": PROBE}})},
    )


def _redelivery() -> Json:
    filters = {
        "state": or_null(closed(DeliveryState, "those that came to this")),
        "destination": or_null(text("those to this one")),
        "type": or_null(closed(EventType, "those of such events")),
        "external_task_id": or_null(text("those about this task")),
    }
    wish = taken(
        "Which deliveries are to be told anew: what at least one filter names, page by page.",
        {},
        optional={
            **filters,
            "after": or_null(cursor()),
            "limit": or_null(whole("how many at most", least=1, most=MOST_AT_ONCE, otherwise=MOST_AT_ONCE)),
            "dry_run": yes_or_no("only count them, on all pages"),
        },
    )
    named_by = [{"required": [name], "properties": {name: {"type": "string", "minLength": 1}}} for name in filters]
    return {**wish, "anyOf": named_by}
