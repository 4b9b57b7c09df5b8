"""/openapi.json is true: it names every route, and no answer is other than it says, whatever is asked."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import pytest_asyncio
import requests
import schemathesis
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from receiver.app import create_app
from receiver.gateway import Gateway
from receiver.openapi import document
from receiver.openapi.gateway import gateway_operations
from receiver.problems import CODES
from tests.flows.builders import WEBHOOK_SECRET, House, Json, World, path_of, receiving, report, sandboxed
from tests.patience import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED = 20_261_121
EXAMPLES = 12  # of each operation and mode
KEY = "hl_the-key-of-these-tests"
ACCOUNTS = ("cometapi", "unsigned")
GATEWAY_ACCOUNTS = ("unsigned", "cometapi")  # without and with the prefix
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
NEVER_HEARD = {"cut_short"}  # nobody is there any more
NOT_OF_A_ROUTE = {"method_not_allowed"}
DOCUMENT = document("")
OPERATIONS = [(method, path) for path, operations in DOCUMENT["paths"].items() for method in operations]
MODES = {"as-documented": GenerationMode.POSITIVE, "otherwise": GenerationMode.NEGATIVE}
# Where a schema does not say all: what one provider takes and another does not, which accounts and tenants there are,
# and what goes with a stream alone.
JUDGED_FURTHER = {
    "/v1/tasks",
    "/v1/submissions",
    "/v1/events",
    "/v1/keys",
    "/callbacks/{provider}/{external_task_id}/{token}",
}
PLAIN = {"/livez", "/readyz", "/metrics", "/openapi.json", "/v1/destinations", "/v1/keys"}
WITHOUT_A_CHOICE = {("get", path) for path in PLAIN}  # nothing to ask otherwise
WITHOUT_A_CHOICE |= {each for each in OPERATIONS if each[1].endswith("/{id}")}  # any text is somebody's id
ASKED = [
    (mode, *each) for mode in MODES for each in OPERATIONS if mode == "as-documented" or each not in WITHOUT_A_CHOICE
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with sandboxed() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A receiver with a task of each kind, an app that is not there, and a callback that could not be read."""
    app = {"name": "app", "url": f"http://127.0.0.1:{free_port()}/", "secret": WEBHOOK_SECRET, "private": True}
    async with receiving(
        tmp_path_factory.mktemp("ledger"),
        world,
        *ACCOUNTS,
        api={"keys": [KEY]},
        headers={"Authorization": f"Bearer {KEY}"},
        destinations=[app],
    ) as running:
        await running.submit("cometapi", "a red fox", "succeeded", n=2)
        await running.submit("unsigned", "a red fox [[fail: no]]", "failed")
        await running.submit("cometapi", "a red fox [[policy]]", "refused")
        await running.submit("cometapi", "a red fox [[drop_all]]", "expired")
        await running.submit("cometapi", "a red fox [[drop_all,seconds=600]]", "running")
        await running.http.post("/v1/tasks/expired/abandon")
        await running.http.post(callback_path(running, "running"), content=b"no report")
        opened = {"provider": "cometapi", "endpoint": "generations", "request": {"prompt": "a red fox"}}
        await running.http.post("/v1/submissions", json=opened | {"external_task_id": "opened"})
        for name in ("succeeded", "failed"):
            await world.until_told(name, 3)
        await running.tick()
        yield running


@pytest.fixture(scope="module")
def schema() -> Any:
    """The document as schemathesis reads it, and closed: an answer with a field that it does not name is found."""
    return schemathesis.openapi.from_dict(closed(DOCUMENT))


def closed(value: Any) -> Any:
    """The same document, with nothing in any answer but what it says."""
    if isinstance(value, list):
        return [closed(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "allOf" in value:
        return {**value, "unevaluatedProperties": False}
    inner = {name: each if name == "Problem" else closed(each) for name, each in value.items()}
    return {"additionalProperties": False, **inner} if {"type", "properties"} <= set(value) else inner


def callback_path(house: House, name: str, provider: str = "cometapi") -> str:
    return path_of(house.runtime.journal.callback_url(provider, name))


def routes(house: House) -> Iterator[tuple[str, str]]:
    yield from ((each.method, each.path) for each in gateway_operations())  # of one route, which takes every path
    for route in create_app(house.runtime).routes:
        assert isinstance(route, Route)
        if isinstance(route.endpoint, Gateway):
            continue
        yield from ((method.lower(), route.path) for method in route.methods or () if method != "HEAD")


async def test_the_document_is_openapi_and_needs_no_key(house: House) -> None:
    async with httpx.AsyncClient(base_url=house.url, trust_env=False) as stranger:
        answer = await stranger.get("/openapi.json")

    OpenAPIV31SpecValidator(answer.json()).validate()
    assert (200, "application/json") == (answer.status_code, answer.headers["content-type"])
    assert json.loads(json.dumps(DOCUMENT)) == answer.json()


async def test_a_mounted_receiver_says_where_it_is(house: House) -> None:
    host = Starlette(routes=[Mount("/hooks", create_app(house.runtime))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(host), base_url="http://host") as client:
        answer = await client.get("/hooks/openapi.json")

    assert [{"url": "/hooks"}] == answer.json()["servers"]


async def test_it_names_every_route_and_method_and_no_other(house: House) -> None:
    assert sorted(routes(house)) == sorted(OPERATIONS)


async def test_it_knows_every_code_with_its_status() -> None:
    responses = DOCUMENT["components"]["responses"].values()
    known = {
        (code, members["status"]["const"])
        for response in responses
        for members in [response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]]
        for code in members["code"]["enum"]
    }

    expected = {(name, code.status) for name, code in CODES.items() if name not in NEVER_HEARD | NOT_OF_A_ROUTE}
    assert expected == known


async def test_its_examples_are_what_its_schemas_say() -> None:
    examples = [
        (media["schema"], example)
        for media in media_objects(closed(DOCUMENT))
        for example in [media.get("example"), *(each["value"] for each in media.get("examples", {}).values())]
        if example is not None
    ]

    assert 30 < len(examples)
    assert [] == [(schema, example) for schema, example in examples if not fits(schema, example)]


def media_objects(value: Any) -> Iterator[Json]:
    """Every one in the document: they alone have an example beside a schema."""
    if isinstance(value, dict):
        if "schema" in value:
            yield value
        for each in value.values():
            yield from media_objects(each)


def fits(schema: Json, value: Any) -> bool:
    whole = {**schema, "components": closed(DOCUMENT)["components"]}
    return Draft202012Validator(whole).is_valid(value)


def looks(house: House) -> list[tuple[str, str, str, Any]]:
    """What people and programs ask every day: the method, the route, the path, and the body."""
    order = {"provider": "cometapi", "endpoint": "omni-image", "request": {"prompt": "a red fox"}}
    heard = "/callbacks/{provider}/{external_task_id}/{token}"
    task = "/v1/tasks/{external_task_id}"
    return [
        *wire_looks("cometapi", "/kling/v1/images/omni-image"),
        *wire_looks("unsigned", "/v1/images/omni-image"),
        *(("get", task, f"/v1/tasks/{name}", None) for name in ("succeeded", "failed", "refused", "expired", "no")),
        *(("get", f"{task}/history", f"/v1/tasks/{name}/history", None) for name in ("succeeded", "expired", "no")),
        *(("get", "/v1/tasks", f"/v1/tasks{query}", None) for query in ("", "?include=request&limit=2", "?state=no")),
        *(("get", "/v1/events", f"/v1/events{query}", None) for query in ("", "?type=task.failed", "?as=listed")),
        *(("get", "/v1/deliveries", f"/v1/deliveries{query}", None) for query in ("", "?limit=1", "?state=no")),
        ("get", "/v1/destinations", "/v1/destinations", None),
        ("post", "/v1/keys", "/v1/keys", {"name": "shop"}),
        ("post", "/v1/keys", "/v1/keys", {"name": "shop", "kind": "pair"}),
        ("post", "/v1/keys", "/v1/keys", {"name": "a-pair", "kind": "pair", "quota": 2, "providers": ["cometapi"]}),
        ("get", "/v1/keys", "/v1/keys", None),
        ("delete", "/v1/keys/{name}", "/v1/keys/shop", None),
        ("delete", "/v1/keys/{name}", "/v1/keys/nobody", None),
        ("get", "/v1/tick", "/v1/tick?seconds=0", None),
        ("get", "/metrics", "/metrics", None),
        ("get", "/readyz", "/readyz", None),
        ("post", "/v1/tasks", "/v1/tasks", order),
        ("post", "/v1/tasks", "/v1/tasks", order | {"external_task_id": "succeeded"}),
        ("post", "/v1/tasks", "/v1/tasks", order | {"request": {"prompt": "a red fox [[policy]]"}}),
        ("post", "/v1/tasks", "/v1/tasks", order | {"request": {"prompt": ""}}),
        ("post", "/v1/submissions", "/v1/submissions", order),
        ("post", f"{task}/refresh", "/v1/tasks/succeeded/refresh", None),
        ("post", f"{task}/abandon", "/v1/tasks/succeeded/abandon", None),
        ("post", f"{task}/resend", "/v1/tasks/succeeded/resend", {"may_pay_twice": True}),
        ("post", "/v1/deliveries/redeliver", "/v1/deliveries/redeliver", {"destination": "app"}),
        ("post", "/v1/deliveries/redeliver", "/v1/deliveries/redeliver", {"state": "open", "dry_run": True}),
        ("post", "/v1/callbacks/replay", "/v1/callbacks/replay", {}),
        ("post", heard, callback_path(house, "running"), json.loads(report("processing"))),
        ("post", heard, callback_path(house, "running"), []),
        ("post", heard, callback_path(house, "probe"), {}),
        ("post", heard, "/callbacks/cometapi/running/not-its-token", {}),
    ]


def wire_looks(account: str, images: str) -> list[tuple[str, str, str, Any]]:
    """What a gateway's clients ask every day."""
    route, path = f"/gateway/{{provider}}{images}", f"/gateway/{account}{images}"
    fox = {"prompt": "a red fox", "external_task_id": "order-7"}
    return [
        *(("post", route, path, body) for body in (fox, fox, fox | {"n": 2}, fox | {"n": 10}, {"prompt": 7}, {}, [])),
        ("post", route, path, {"prompt": "a red fox [[policy]]"}),
        *(("get", f"{route}/{{id}}", f"{path}/{name}", None) for name in ("order-7", "succeeded", "refused", "no")),
        *(("get", route, f"{path}{page}", None) for page in ("", "?pageNum=2&pageSize=1", "?pageSize=0")),
        ("get", route, f"/gateway/nobody{images}", None),
    ]


async def test_everyday_answers_are_as_documented(house: House, schema: Any) -> None:
    seen = set()
    for method, route, path, body in looks(house):
        answer = await house.http.request(method, path, json=body)
        schema[route][method].validate_response(answer)
        seen.add(answer.status_code)

    assert {200, 201, 400, 404, 409, 422, 502} == seen


async def test_a_queued_task_is_answered_as_documented(world: World, schema: Any, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi", account={"slots": 1}) as house:
        await house.submit("cometapi", "a red fox [[drop_all,seconds=600]]", "holding")
        queued = await house.submit("cometapi", "a red fox", "queued")
        refreshed = await house.http.post("/v1/tasks/queued/refresh")
        resent = await house.http.post("/v1/tasks/queued/resend", json={"may_pay_twice": True})
    schema["/v1/tasks"]["post"].validate_response(queued)
    schema["/v1/tasks/{external_task_id}/refresh"]["post"].validate_response(refreshed)
    schema["/v1/tasks/{external_task_id}/resend"]["post"].validate_response(resent)

    assert [202, 409, 409] == [each.status_code for each in (queued, refreshed, resent)]


async def test_a_receiver_that_is_stopping_answers_as_documented(world: World, schema: Any, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        house.runtime.begin_stopping()
        path = callback_path(house, "late")
        heard, ready = await house.http.post(path, json={}), await house.http.get("/readyz")
        streamed = await house.http.get("/v1/events", headers={"Accept": "text/event-stream"})
    schema["/callbacks/{provider}/{external_task_id}/{token}"]["post"].validate_response(heard)
    schema["/readyz"]["get"].validate_response(ready)
    schema["/v1/events"]["get"].validate_response(streamed)

    assert [503] * 3 == [each.status_code for each in (heard, ready, streamed)]


async def test_who_comes_from_elsewhere_is_answered_as_documented(world: World, schema: Any, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        answer = await house.http.get("/v1/tasks", headers={"X-Forwarded-For": "203.0.113.7"})
    schema["/v1/tasks"]["get"].validate_response(answer)

    assert 403 == answer.status_code


async def test_who_has_no_key_is_answered_as_documented(house: House, schema: Any) -> None:
    async with httpx.AsyncClient(base_url=house.url, trust_env=False) as stranger:
        answers = {(method, path): await stranger.request(method, path) for method, path in OPERATIONS}
    for (method, path), answer in answers.items():
        schema[path][method].validate_response(answer)
    open_to_all = {each for each in OPERATIONS if DOCUMENT["paths"][each[1]][each[0]].get("security") == []}

    assert open_to_all == {each for each, answer in answers.items() if answer.status_code != 401}


async def test_a_stream_is_answered_as_documented(house: House) -> None:
    documented_as = DOCUMENT["paths"]["/v1/events"]["get"]["responses"]["200"]
    stream = {"Accept": "text/event-stream"}
    async with house.http.stream("GET", "/v1/events?after=0&as=listed", headers=stream) as answer:
        first = await anext(each async for each in blocks(answer) if "event" in each)

    assert answer.headers["content-type"] in documented_as["content"]
    assert all(name in answer.headers for name in documented_as["headers"])
    assert fits({"$ref": "#/components/schemas/Event"}, json.loads(first["data"]))
    assert {"id", "event", "data"} == set(first)


async def test_a_stream_from_a_position_that_is_not_there_is_refused_as_documented(house: House, schema: Any) -> None:
    answer = await house.http.get("/v1/events?after=999999", headers={"Accept": "text/event-stream"})
    schema["/v1/events"]["get"].validate_response(answer)

    assert 409 == answer.status_code


async def blocks(answer: httpx.Response) -> AsyncIterator[dict[str, str]]:
    """The blocks of a stream of server-sent events, field by field."""
    block: dict[str, str] = {}
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if line:
            block[name] = value
        else:
            yield block
            block = {}


@pytest.mark.parametrize(("mode", "method", "path"), ASKED)
async def test_whatever_is_asked_is_answered_as_documented(
    house: House, schema: Any, mode: str, method: str, path: str
) -> None:
    deliveries = (await house.http.get("/v1/deliveries")).json()["deliveries"]
    aims = {"key": [each["id"] for each in deliveries]}
    operation = schema[path][method]

    await asyncio.to_thread(explore, house, operation, MODES[mode], aims)


def explore(house: House, operation: Any, mode: GenerationMode, aims: Json) -> None:
    """Ask what the document allows, or what it does not; half of it about what is there."""
    with requests.Session() as session:
        session.trust_env = False

        @hypothesis.seed(SEED)
        @hypothesis.settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode), choice=st.randoms(use_true_random=False))
        def is_answered(case: Any, choice: Any) -> None:
            if choice.random() < 0.5:
                aim(case, choice, house, aims)
            hurry(case)
            answer = case.call(base_url=house.url, session=session, headers={"Authorization": f"Bearer {KEY}"})

            assert answer.status_code < 500 or answer.status_code in {502, 503}
            assert answer.status_code != 422 or mode is GenerationMode.NEGATIVE or operation.path in JUDGED_FURTHER
            case.validate_response(answer, checks=CHECKS)

        is_answered()


def hurry(case: Any) -> None:
    """Nothing that is asked for is to hold its answer."""
    for name in {"wait", "seconds"} & set(case.query or {}):
        with contextlib.suppress(TypeError, ValueError):
            case.query[name] = min(float(case.query[name]), 0.01)
            continue
        if isinstance(case.query[name], list):
            case.query[name] = [0.01, "soon"]


def aim(case: Any, choice: Any, house: House, aims: Json) -> None:
    """Put the names of what is there in the place of names that nobody has."""
    task = choice.choice(["succeeded", "failed", "refused", "expired", "running", "opened"])
    known = {name: choice.choice(each) for name, each in aims.items()} | {"external_task_id": task}
    if "token" in case.path_parameters:
        _, _, provider, _, token = callback_path(house, task).split("/")
        known |= {"provider": provider, "token": token}
    case.path_parameters = {name: known.get(name, value) for name, value in case.path_parameters.items()}
    if case.path.startswith("/gateway/"):
        known["provider"], known["id"] = GATEWAY_ACCOUNTS["/kling/" in case.path], task
    if isinstance(case.body, dict) and "provider" in case.body:
        case.body = {**case.body, "provider": choice.choice(ACCOUNTS)}
