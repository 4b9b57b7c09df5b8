"""Who may use /v1: holders of a key; where there is none, this machine alone, and only where nobody else can come."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from starlette.routing import Route

from receiver.access import FORWARDING_HEADERS
from receiver.app import create_app
from tests.flows.builders import House, World, receiving, sandboxed

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = ["hl_the-first-key-of-two", "hl_the-second-key-of-two"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with sandboxed() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyed(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with receiving(tmp_path_factory.mktemp("keyed"), world, "cometapi", api={"keys": KEYS}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyless(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with receiving(tmp_path_factory.mktemp("keyless"), world, "cometapi") as running:
        yield running


def guarded(house: House) -> list[tuple[str, str]]:
    """Every method and path under /v1 that the app has."""
    routes = [route for route in create_app(house.runtime).routes if isinstance(route, Route)]
    return [
        (method, re.sub(r"{\w+}", "anything", route.path))
        for route in routes
        if route.path.startswith("/v1")
        for method in sorted(route.methods or ())
        if method != "HEAD"
    ]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "api_key_required"),
        ("", "api_key_required"),
        ("Bearer", "api_key_required"),
        ("Bearer wrong-key-of-nobody", "key_wrong"),
        ("Bearer wrong.key.of-nobody", "key_malformed"),
        (f"Basic {KEYS[0]}", "key_malformed"),
        (KEYS[0], "key_malformed"),
        (f"Bearer {KEYS[0]}x", "key_wrong"),
        (f"Bearer {'x' * 5_000}", "key_malformed"),
    ],
)
async def test_without_one_of_the_keys_nothing_under_v1_is_for_you(keyed: House, header: str | None, code: str) -> None:
    headers = {} if header is None else {"authorization": header}
    answers = [await keyed.http.request(method, path, headers=headers) for method, path in guarded(keyed)]

    assert 16 <= len(answers)
    assert {(401, code)} == {(each.status_code, each.json()["code"]) for each in answers}
    assert {"Bearer"} == {each.headers["www-authenticate"].split()[0] for each in answers}


async def test_a_key_that_is_not_ascii_is_no_key_and_no_error(keyed: House) -> None:
    answer = await keyed.http.get("/v1/tasks", headers={"authorization": "Bearer \xff\xfe\x80".encode("latin-1")})

    assert 401 == answer.status_code


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_each_key_opens_v1(keyed: House, key: str, scheme: str) -> None:
    answer = await keyed.http.get(
        "/v1/tasks", headers={"authorization": f"{scheme} {key}", "host": "hooks.example.com", "via": "a proxy"}
    )

    assert 200 == answer.status_code


async def test_health_and_callbacks_need_no_key(keyed: House) -> None:
    probe = keyed.runtime.journal.callback_url("cometapi", "probe")
    answers = [
        await keyed.http.get("/livez"),
        await keyed.http.get("/readyz"),
        await keyed.http.post(probe, headers={"host": "hooks.example.com", "x-forwarded-for": "203.0.113.9"}),
    ]

    assert [200, 200, 200] == [answer.status_code for answer in answers]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:8080", "[::1]:8080", "127.9.9.9", "a.localhost"])
async def test_without_keys_this_machine_may_use_v1(keyless: House, host: str) -> None:
    answer = await keyless.http.get("/v1/tasks", headers={"host": host})

    assert 200 == answer.status_code


@pytest.mark.parametrize(
    "host", ["hooks.example.com", "127.0.0.1.example.com", "localhost.example.com", "0.0.0.0", "[", "10.0.0.1", ""]
)
async def test_without_keys_another_host_name_is_nobody(keyless: House, host: str) -> None:
    answers = [await keyless.http.request(method, path, headers={"host": host}) for method, path in guarded(keyless)]

    assert {(403, "local_only")} == {(each.status_code, each.json()["code"]) for each in answers}


@pytest.mark.parametrize("header", FORWARDING_HEADERS)
async def test_without_keys_what_was_forwarded_is_nobody(keyless: House, header: str) -> None:
    answers = [
        await keyless.http.request(method, path, headers={header: "127.0.0.1"}) for method, path in guarded(keyless)
    ]

    assert {(403, "local_only")} == {(each.status_code, each.json()["code"]) for each in answers}


async def test_without_keys_and_with_a_public_url_nobody_may_use_v1(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi", public_url="https://hooks.example.com") as house:
        answers = [await house.http.request(method, path) for method, path in guarded(house)]

    assert {(403, "local_only")} == {(each.status_code, each.json()["code"]) for each in answers}


async def test_without_keys_and_bound_to_the_world_nobody_may_use_v1(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi", server={"host": "0.0.0.0", "port": 8080}) as house:
        answer = await house.http.get("/v1/tasks")

    assert 403 == answer.status_code
