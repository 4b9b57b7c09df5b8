"""GET /v1/events: what was committed, page by page or as a stream."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from receiver.api import admitted, number
from receiver.eventjson import event_json
from receiver.eventtype import types_matching
from receiver.feed import Wish
from receiver.keys import Access, Scope
from receiver.ledger.reading import StoredEvent
from receiver.problems import invalid
from receiver.runtime import Runtime
from receiver.stream import EVENT_STREAM, EventStream, Form
from submitter.blockstream import SOURCE_HEADER
from submitter.errors import FieldProblem

MOST_AT_ONCE = 500
USUAL_PAGE = 100
MOST_SEARCHED = 10_000  # events: what one request may look through for those that it wants


async def show_events(request: Request) -> Response:
    """The stream, where that is what is accepted; else the page after a position."""
    runtime, access = admitted(request, Scope.READ)
    wish = _wish(request, access)
    if _accepts_stream(request):
        return EventStream(runtime, wish, after=_resumed_at(request), form=_form(request), access=access)
    if "as" in request.query_params:
        raise invalid([FieldProblem("as", f"is for streams: send 'Accept: {EVENT_STREAM}'")])
    after = _position("after", request.query_params.get("after")) or 0
    limit = min(max(int(number(request, "limit", otherwise=USUAL_PAGE)), 1), MOST_AT_ONCE)
    events, reached = await _page(runtime, wish, after, limit)
    listed = {"events": [event_json(event) for event in events], "next": reached}
    return JSONResponse(listed, headers={SOURCE_HEADER: runtime.source})


async def _page(runtime: Runtime, wish: Wish, after: int, limit: int) -> tuple[Sequence[StoredEvent], int]:
    """Up to `limit` events that are wanted, and the position up to which there are no others."""
    if wish == Wish():
        events = await runtime.ledger.events_after(after, limit=limit)
        return events, events[-1].position if events else after
    found: list[StoredEvent] = []
    reached = after
    for _ in range(MOST_SEARCHED // MOST_AT_ONCE):
        searched = await runtime.ledger.events_after(reached, limit=MOST_AT_ONCE)
        for event in searched:
            reached = event.position
            if wish.wants(event):
                found.append(event)
                if len(found) == limit:
                    return found, reached
        if len(searched) < MOST_AT_ONCE:
            break
    return found, reached


def _accepts_stream(request: Request) -> bool:
    """Whether the media type is named: who accepts anything gets JSON."""
    named = ",".join(request.headers.getlist("accept")).split(",")
    return any(_accepts(each) for each in named)


def _accepts(media_range: str) -> bool:
    media_type, *parameters = (part.strip().lower().replace(" ", "") for part in media_range.split(";"))
    return media_type == EVENT_STREAM and not any(re.fullmatch(r"q=0(\.0*)?", each) for each in parameters)


def _wish(request: Request, access: Access) -> Wish:
    """What `type` and `task` choose of what it sees, each repeated or with commas. Raises Problem 422."""
    patterns, tasks = _listed(request, "type"), _listed(request, "task")
    try:
        types = types_matching(patterns)
    except ValueError as error:
        raise invalid([FieldProblem("type", str(error))]) from None
    return Wish(
        types=frozenset(map(str, types)) if patterns else None,
        tasks=frozenset(tasks) if tasks else None,
        tenant=access.tenant,
        providers=access.providers,
    )


def _listed(request: Request, name: str) -> list[str]:
    given = ",".join(request.query_params.getlist(name)).split(",")
    return [each.strip() for each in given if each.strip()]


def _resumed_at(request: Request) -> int | None:
    """Where to go on. A browser that comes back repeats `after` and says in the header how far it has come."""
    told = _position("Last-Event-ID", request.headers.get("last-event-id"))
    return _position("after", request.query_params.get("after")) if told is None else told


def _position(name: str, given: str | None) -> int | None:
    """A position as it is written. Raises Problem 422 for what is none."""
    if not given:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) <= 18):
        raise invalid([FieldProblem(name, "must be the position of an event: a whole number, 0 or more")])
    return int(given)


def _form(request: Request) -> Form:
    given = request.query_params.get("as", Form.LISTED)
    if given not in set(Form):
        raise invalid([FieldProblem("as", f"must be one of {', '.join(Form)}")])
    return Form(given)
