"""Short ways to say what gateway tests say often: the paths of each account, creates, queries, and who asks."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.gateway import PATH, Gateway
from receiver.keys import OPERATOR, Access, Scope
from receiver.runtime import Runtime
from tests.flows.builders import NO_TLS, House, Json, eventually, listening, served
from tests.patience import PATIENCE

PREFIXES = {"kling": "", "unsigned": "", "cometapi": "/kling", "powertokens": "/kling"}
KINDS = ("kling", "cometapi", "powertokens")


def images(account: str, endpoint: str = "omni-image") -> str:
    """Where an account's tasks of an endpoint are created and listed."""
    return f"/gateway/{account}{PREFIXES[account]}/v1/images/{endpoint}"


async def create(
    house: House, account: str, prompt: str = "a red fox", *, endpoint: str = "omni-image", **fields: Any
) -> httpx.Response:
    """A create, as a client would send it."""
    return await house.http.post(images(account, endpoint), json={"prompt": prompt, **fields})


async def query(house: House, account: str, identity: str, endpoint: str = "omni-image") -> httpx.Response:
    """A question about one task."""
    return await house.http.get(f"{images(account, endpoint)}/{identity}")


async def listed(house: House, account: str, endpoint: str = "omni-image", **page: object) -> list[Json]:
    """A page of tasks."""
    answer = await house.http.get(images(account, endpoint), params={name: str(each) for name, each in page.items()})
    tasks: list[Json] = answer.json()["data"]
    return tasks


async def settled(house: House, account: str, identity: str, endpoint: str = "omni-image") -> Json:
    """What a polling client sees at last."""

    async def final() -> Json | None:
        data: Json = (await query(house, account, identity, endpoint)).json()["data"]
        return data if data["task_status"] in {"succeed", "failed"} else None

    found: Json = await eventually(final)
    return found


def code_of(answer: httpx.Response) -> tuple[int, object]:
    """The status, and the business code wherever this kind has it."""
    said = answer.json()
    return answer.status_code, said["error"]["code"] if "error" in said else said["code"]


def tenant(name: str, **changes: Any) -> Access:
    """A key of somebody who is not the operator."""
    usual = Access(name=name, tenant=name, scopes=frozenset({Scope.SUBMIT, Scope.READ}))
    return replace(usual, **changes)


PASSING = replace(OPERATOR, pass_through=True)


@contextlib.asynccontextmanager
async def asking_as(house: House, access: Access) -> AsyncIterator[House]:
    """The same receiver's gateway, to somebody else."""

    def access_of(request: Request, runtime: Runtime, scope: Scope) -> Access:
        return access

    app = Starlette(routes=[Route(PATH, Gateway(house.runtime, access_of=access_of))])
    with listening() as listener:
        port: int = listener.getsockname()[1]
        async with (
            served(app, listener),
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=NO_TLS, timeout=PATIENCE
            ) as http,
        ):
            yield replace(house, http=http, port=port)


@dataclass(slots=True)
class Stub:
    """A provider that answers whatever a test says, and remembers what it was sent."""

    answer: Callable[[Sent], Response | Awaitable[Response]]
    base_url: str = ""
    sent: list[Sent] = field(default_factory=list)

    async def receive(self, request: Request) -> Response:
        raw = request.scope["raw_path"].decode()
        query = request.scope["query_string"].decode()
        sent = Sent(request.method, raw, query, dict(request.headers), await request.body())
        self.sent.append(sent)
        answer = self.answer(sent)
        return await answer if isinstance(answer, Awaitable) else answer


@dataclass(frozen=True, slots=True)
class Sent:
    """A request, as it reached a provider."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@contextlib.asynccontextmanager
async def stubbed(answer: Callable[[Sent], Any]) -> AsyncIterator[Stub]:
    """A provider on a port of its own."""
    stub = Stub(answer)
    methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]
    with listening() as listener:
        stub.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with served(Starlette(routes=[Route("/{path:path}", stub.receive, methods=methods)]), listener):
            yield stub
