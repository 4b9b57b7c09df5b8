"""/v1/deliveries and /v1/destinations: what was told to whom, what was not, and telling it anew."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from receiver.api import USUAL_PAGE, admitted_operator, delivery_json
from receiver.bodies import known_fields, read_fields, whole_number
from receiver.eventtype import EventType
from receiver.keys import Scope
from receiver.ledger.deliveries import DeliveryQuery, DeliveryState, DestinationState
from receiver.ledger.errors import UnknownDelivery
from receiver.problems import invalid
from receiver.runtime import Runtime
from submitter.errors import FieldProblem
from submitter.moments import iso_or_none

MOST_AT_ONCE = 500
FILTERS = ("state", "destination", "type", "external_task_id")


async def list_deliveries(request: Request) -> Response:
    """GET /v1/deliveries: a page, newest first."""
    runtime = admitted_operator(request, Scope.OPERATE)
    page = await runtime.ledger.deliveries(_query(request.query_params))
    return JSONResponse({"deliveries": [delivery_json(each) for each in page.deliveries], "next": _cursor(page.next)})


async def redeliver_one(request: Request) -> Response:
    """POST /v1/deliveries/{id}/redeliver: the delivery, due again at once, with the same id and bytes."""
    runtime = admitted_operator(request, Scope.OPERATE)
    named = request.path_params["key"]
    key = int(named) if _is_number(named) else 0
    if not await _redeliver(runtime, [key]):
        raise UnknownDelivery(named)
    page = await runtime.ledger.deliveries(DeliveryQuery(after=key + 1, limit=1))
    return JSONResponse(delivery_json(page.deliveries[0]))


async def redeliver_many(request: Request) -> Response:
    """POST /v1/deliveries/redeliver: a page of those that a filter names; with `dry_run` only how many there are."""
    runtime = admitted_operator(request, Scope.OPERATE)
    fields = known_fields(
        await read_fields(request, limit=runtime.config.api.max_body_bytes), *FILTERS, "after", "limit", "dry_run"
    )
    if not any(fields.get(name) for name in FILTERS):
        raise invalid([FieldProblem("body", f"name at least one of {', '.join(FILTERS)}: which are to be told anew?")])
    query = _query({"limit": str(MOST_AT_ONCE)} | _as_parameters(fields))
    if _is_dry(fields):
        return JSONResponse({"matching": await runtime.ledger.count_deliveries(query), "redelivered": 0, "next": None})
    page = await runtime.ledger.deliveries(query)
    redelivered = await _redeliver(runtime, [each.key for each in page.deliveries])
    return JSONResponse({"matching": len(page.deliveries), "redelivered": redelivered, "next": _cursor(page.next)})


async def list_destinations(request: Request) -> Response:
    """GET /v1/destinations: how each fares, and how much waits for it."""
    runtime = admitted_operator(request, Scope.OPERATE)
    return JSONResponse({"destinations": [destination_json(each) for each in await runtime.ledger.destinations()]})


def _as_parameters(fields: dict[str, Any]) -> dict[str, str]:
    """The filter as query parameters would say it. Raises Problem 422."""
    strange = [name for name in FILTERS if not isinstance(fields.get(name), str | None)]
    if strange:
        raise invalid([FieldProblem(name, "must be text") for name in strange])
    given = {name: value for name, value in fields.items() if name != "dry_run" and value}
    limit = whole_number(given.get("limit"))
    return {name: str(value) for name, value in ({**given, "limit": limit} if limit is not None else given).items()}


def _is_dry(fields: dict[str, Any]) -> bool:
    is_dry = fields.get("dry_run", False)
    if not isinstance(is_dry, bool):  # "no" and 0 would be guesses, and what is told anew is not untold
        raise invalid([FieldProblem("dry_run", "must be true or false")])
    return is_dry


async def _redeliver(runtime: Runtime, keys: list[int]) -> int:
    redelivered = await runtime.ledger.redeliver(keys, now=runtime.clock())
    runtime.wake_worker()
    return redelivered


def _query(given: Any) -> DeliveryQuery:
    """The filter in query parameters or fields. Raises Problem 422."""
    problems = []
    state, type_ = given.get("state") or None, given.get("type") or None
    if state is not None and state not in set(DeliveryState):
        problems.append(FieldProblem("state", f"must be one of {', '.join(DeliveryState)}"))
    if type_ is not None and type_ not in set(EventType):
        problems.append(FieldProblem("type", f"must be one of {', '.join(EventType)}"))
    numbers = {}
    for name in ("after", "limit"):
        number = given.get(name) or None
        if number is not None and not _is_number(number):
            problems.append(FieldProblem(name, "must be a whole number: as 'next' of an earlier page has it"))
        else:
            numbers[name] = None if number is None else int(number)
    if problems:
        raise invalid(problems)
    return DeliveryQuery(
        state=None if state is None else DeliveryState(state),
        destination=given.get("destination") or None,
        type=type_,
        external_task_id=given.get("external_task_id") or None,
        after=numbers["after"],
        limit=min(numbers["limit"] or USUAL_PAGE, MOST_AT_ONCE),
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _cursor(key: int | None) -> str | None:
    return None if key is None else str(key)


def destination_json(state: DestinationState) -> dict[str, Any]:
    """How a destination fares, wherever it is shown."""
    health = state.health
    return {
        "name": state.name,
        "state": health.state if state.is_told else "removed",
        "failures": health.failures,
        "failing_since": iso_or_none(health.failing_since),
        "paused_until": iso_or_none(health.paused_until or None),
        "disabled_at": iso_or_none(health.disabled_at),
        "reason": health.reason,
        "open": state.open,
        "dead": state.dead,
    }
