"""The routes of the gateway: the providers' own paths and shapes (wire.md §1-3 and §5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from receiver.gateway.looking import LONGEST_PAGE, MOST_PAGES, USUAL_PAGE
from receiver.gateway.wishes import LONGEST_ID, LONGEST_KEY
from receiver.openapi import examples
from receiver.openapi.operation import JSON, body, in_header, in_path, in_query
from receiver.openapi.shapes import Json, answered, closed, listed, named, or_null, text, whole
from receiver.problems import PROBLEM
from submitter.providers import KINDS
from submitter.providers.family import MAX_CALLBACK_URL
from submitter.report import ReportedStatus
from submitter.request import REQUESTS

PROVIDER = in_path("provider", text("the account's name in the configuration, of a kind that has such paths"))
IDENTITY = in_path("id", text("ours, which every answer gives as `task_id`; the client's own; or the provider's"))
REQUEST_ID = "64169e14-d66c-38aa-494a-a27a1132554f"
RETRY_AFTER = {"Retry-After": {"schema": text("Seconds after which to send it again.")}}

_DESCRIPTION = """\
As the provider's own: a client that is given `{receiver}/gateway/{provider}` as its base URL needs no other change. \
Errors have the provider's shape, whoever has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOperation:
    """One method of one path. Its errors are no problem documents, but for those that no route ever sees."""

    method: str
    path: str
    name: str
    summary: str
    data: Json
    example: object
    parameters: Sequence[Json]
    body: Json | None = None
    description: str = field(default=_DESCRIPTION)

    def written(self) -> Json:
        """The operation object."""
        said = {"code": 0, "message": "SUCCEED", "request_id": REQUEST_ID, "data": self.example}
        envelope = answered(
            "The envelope of all kinds.",
            {
                "code": {"type": ["integer", "string"], "description": "0"},
                "message": text("SUCCEED"),
                "request_id": text("a fresh one"),
                "data": self.data,
            },
        )
        operation: Json = {
            "operationId": self.name,
            "tags": ["gateway"],
            "summary": self.summary,
            "description": self.description,
            "parameters": list(self.parameters),
            "responses": {
                "200": {
                    "description": "The task, or the page of them.",
                    "content": {JSON: {"schema": envelope, "example": said}},
                },
                "4XX": _refusal("The request's own fault, or the provider's no in its own words."),
                "5XX": _refusal("Trouble: sending it again is right. Where there is a `Retry-After`, then."),
            },
        }
        return operation if self.body is None else operation | {"requestBody": self.body}


def gateway_operations() -> Sequence[GatewayOperation]:
    """Of each prefix that some kind of provider has."""
    return tuple(_operations())


def gateway_schemas(requests: Mapping[str, Json]) -> Mapping[str, Json]:
    """The schemas of answers and of bodies, by name. `requests` are those of the models that check them."""
    return {
        "WireTask": _task(),
        "WireImage": answered(
            "One finished image.",
            {"index": whole("its place"), "url": text("where the provider keeps it, for a time")},
            optional={"watermark_url": text("a watermarked copy")},
        ),
        "GatewayRefusal": _shapes_of_refusals(),
        **{_create_of(each): _create(each, requests[model.__name__]) for each, model in REQUESTS.items()},
    }


def _operations() -> Iterator[GatewayOperation]:
    for prefix in sorted({kind.prefix for kind in KINDS.values()}):
        of = prefix.strip("/") or "kling-itself"
        for endpoint in REQUESTS:
            path, name = f"/gateway/{{provider}}{prefix}/v1/images/{endpoint}", f"{endpoint}-{of}".replace("-", "_")
            yield GatewayOperation(
                method="post",
                path=path,
                name=f"create_{name}",
                summary="Create a task: it is ours once it is answered, and is never sent twice",
                data=named("WireTask"),
                example=examples.wire(),
                parameters=(
                    PROVIDER,
                    in_header("Idempotency-Key", text("a repeat with it is the same task", longest=LONGEST_KEY)),
                ),
                body=body(named(_create_of(endpoint)), {**examples.REQUEST, "external_task_id": "order-7"}),
            )
            yield GatewayOperation(
                method="get",
                path=path,
                name=f"list_{name}",
                summary="Tasks, newest first",
                data=listed(named("WireTask"), "the tasks of this page"),
                example=[examples.wire()],
                parameters=(
                    PROVIDER,
                    in_query("pageNum", whole("which page", least=1, most=MOST_PAGES, otherwise=1)),
                    in_query("pageSize", whole("of how many", least=1, most=LONGEST_PAGE, otherwise=USUAL_PAGE)),
                ),
            )
            yield GatewayOperation(
                method="get",
                path=f"{path}/{{id}}",
                name=f"query_{name}",
                summary="A task as it is in the ledger: the provider is not asked",
                data=named("WireTask"),
                example=examples.wire(),
                parameters=(PROVIDER, IDENTITY),
            )


def _task() -> Json:
    info = answered("What the client called it.", {}, optional={"external_task_id": text("its own id")})
    result = answered(
        "What was made.",
        {
            "result_type": closed(["single", "series"], "whether the images belong together"),
            "images": listed(named("WireImage"), "single images"),
        },
        optional={"series_images": listed(named("WireImage"), "those of a series")},
    )
    return answered(
        "A task in the wire's words.",
        {
            "task_id": text("ours: it is never another"),
            "task_status": closed(ReportedStatus, "where it is"),
            "task_status_msg": text("why it failed"),
            "task_info": info,
            "created_at": whole("Unix milliseconds"),
            "updated_at": whole("Unix milliseconds"),
        },
        optional={
            "task_result": result,
            "final_unit_deduction": text("what it cost, in the provider's units"),
            "final_balance_deduction": answered(
                "What it took off the account's balance, in the provider's own words.",
                {},
                optional={"quota": text("what was taken"), "list_price": text("what it costs by the list")},
            ),
        },
    )


def _create_of(endpoint: str) -> str:
    return REQUESTS[endpoint].__name__.removesuffix("Request") + "Create"


def _create(endpoint: str, request: Json) -> Json:
    """The request's own fields, and two that are between the client and us."""
    beside = {
        "external_task_id": text("the client's own id: of a tenant and an account", longest=LONGEST_ID),
        "callback_url": text("told of each change of status, in Kling's callback shape", longest=MAX_CALLBACK_URL),
    }
    description = f"A task of {endpoint}. A provider may take less than the schema: what it does not, it refuses."
    fields = {**request["properties"], **{name: or_null(schema) for name, schema in beside.items()}}
    return {**request, "description": description, "properties": fields}


def _shapes_of_refusals() -> Json:
    code = {"type": ["integer", "string"], "description": "the business code: wire.md lists them"}
    said = {"code": code, "message": text("what it is")}
    error = answered(
        "CometAPI's own.",
        {
            "message": text("what it is"),
            "type": text("comet_api_error"),
            "param": {"type": ["string", "null"], "description": "which parameter"},
            "code": text("invalid_request"),
        },
    )
    return {
        "description": "An error in the shape of that kind of provider, or as the provider itself has worded it.",
        "anyOf": [
            answered("Kling's, and those of others that pass them on.", {**said, "request_id": text("a fresh one")}),
            answered("CometAPI's for no such task.", {**said, "data": {"type": "null"}}),
            answered("CometAPI's for what it checks itself.", {"error": error}),
        ],
    }


def _refusal(description: str) -> Json:
    example = {"code": 1201, "message": "Task not found by id/external id", "request_id": REQUEST_ID}
    return {
        "description": description,
        "headers": RETRY_AFTER,
        "content": {
            JSON: {"schema": named("GatewayRefusal"), "example": example},
            PROBLEM: {"schema": named("Problem")},
        },
    }
