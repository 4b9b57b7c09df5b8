"""From an answer to an HTTP response, silence included."""

import asyncio
from collections.abc import Mapping

from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from sandbox.answers import GATEWAY_TIMEOUT, Answer, json_bytes

TRANSPORT = "sandbox.transport"  # where our own server puts a connection's transport, in the scope's state


def as_response(answer: Answer) -> Response:
    """The answer as bytes, or as a hang-up."""
    if answer.body is None:
        return Hangup()
    headers = {} if answer.retry_after is None else {"retry-after": str(answer.retry_after)}
    if isinstance(answer.body, Mapping):
        return json_response(answer.body, status_code=answer.http_status, headers=headers)
    return HTMLResponse(answer.body, status_code=answer.http_status, headers=headers)


def json_response(body: object, *, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Any JSON as a response."""
    content = json_bytes(body)
    return Response(content, status_code=status_code, headers=dict(headers or {}), media_type="application/json")


class Hangup(Response):
    """The connection drops without a word. Under a server that lends no transport: 504."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Not to be tested with isinstance: uvloop's transports are none of asyncio's.
        transport: asyncio.Transport | None = scope.get("state", {}).get(TRANSPORT)
        if transport is None:
            page = HTMLResponse(str(GATEWAY_TIMEOUT.body), status_code=GATEWAY_TIMEOUT.http_status)
            await page(scope, receive, send)
            return
        transport.abort()
        # The server thinks it an error to return before it has heard of the loss itself.
        while (await receive())["type"] != "http.disconnect":
            continue
