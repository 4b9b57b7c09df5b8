"""A tenant sees its own tasks and no others, by no road; and what it submits is bounded, and its own."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from receiver.ledger.deliveries import AttemptResult, Settlement
from tests.flows.builders import NO_TLS, WEBHOOK_SECRET, House, Json, World, receiving, sandboxed
from tests.patience import PATIENCE, free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPERATOR = "hl_the-key-of-the-configuration"
SCOPES = ["submit", "read", "operate"]
LEASE = timedelta(seconds=90)
_NUMBERS = itertools.count()
ORDER: Json = {"provider": "cometapi", "endpoint": "omni-image", "request": {"prompt": "a red fox"}}
RUNNING = {"prompt": "a red fox [[drop_all,seconds=600]]"}


@dataclass(frozen=True, slots=True)
class Tenant:
    """One who has a key, and asks with it."""

    name: str
    http: httpx.AsyncClient

    async def submit(self, name: str | None = None, *, key: str | None = None, **changes: Any) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.http.post("/v1/tasks", json=ORDER | {"external_task_id": name} | changes, headers=headers)

    async def tasks(self, **query: Any) -> list[str]:
        listed = (await self.http.get("/v1/tasks", params=query)).json()["tasks"]
        return [task["external_task_id"] for task in listed]

    async def events(self, **query: Any) -> set[str | None]:
        """The tasks that the events are about which it is shown."""
        listed = (await self.http.get("/v1/events", params={"limit": 500, **query})).json()["events"]
        return {event["task"] and event["task"]["external_task_id"] for event in listed}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with sandboxed() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A receiver with a destination that was given up: there is an event about no task."""
    app: Json = {"name": "app", "url": f"http://127.0.0.1:{free_port()}/", "secret": WEBHOOK_SECRET, "private": True}
    app["events"] = ["task.*"]
    async with receiving(
        tmp_path_factory.mktemp("tenants"),
        world,
        "cometapi",
        "unsigned",
        api={"keys": [OPERATOR]},
        headers={"authorization": f"Bearer {OPERATOR}"},
        destinations=[app],
    ) as running:
        await running.submit("cometapi", "a red fox", "the-operators")
        await give_up(running)
        yield running


async def give_up(house: House) -> None:
    """The destination's app answers 410: it is told nothing any more."""
    ledger, now = house.runtime.ledger, house.runtime.clock()
    [claimed] = await ledger.claim_deliveries("app", now=now, lease=LEASE, limit=1)
    gone = Settlement(key=claimed.key, fence=claimed.fence, result=AttemptResult.GONE, now=now, reason="410")
    await ledger.settle_deliveries([gone])


@pytest_asyncio.fixture(loop_scope="module")
async def shop(house: House) -> AsyncIterator[Tenant]:
    async with tenant(house, "shop") as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def studio(house: House) -> AsyncIterator[Tenant]:
    async with tenant(house, "studio") as made:
        yield made


@contextlib.asynccontextmanager
async def tenant(house: House, name: str, **wish: Any) -> AsyncIterator[Tenant]:
    """One with a fresh key; its tenant is as fresh, so that no test sees another's tasks."""
    fresh = f"{name}-{next(_NUMBERS)}"
    made = await house.http.post("/v1/keys", json={"name": fresh, "scopes": SCOPES, **wish})
    headers = {"authorization": f"Bearer {made.json()['key']}"}
    async with httpx.AsyncClient(
        base_url=house.url, headers=headers, verify=NO_TLS, trust_env=False, timeout=PATIENCE
    ) as http:
        yield Tenant(fresh, http)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_tenant_is_shown_its_own_tasks_and_the_operator_all(house: House, shop: Tenant, studio: Tenant) -> None:
    for each, name in ((shop, "a-1"), (studio, "b-1"), (shop, "a-2")):
        assert 201 == (await each.submit(name)).status_code
    everybodys = (await house.http.get("/v1/tasks", params={"limit": 500})).json()["tasks"]

    assert ["a-2", "a-1"] == await shop.tasks()
    assert ["b-1"] == await studio.tasks()
    assert {"the-operators", "a-1", "a-2", "b-1"} <= {task["external_task_id"] for task in everybodys}


async def test_no_cursor_leads_to_anothers_tasks(house: House, shop: Tenant, studio: Tenant) -> None:
    for name in ("c-1", "c-2"):
        await shop.submit(name)
    await studio.submit("d-1")
    of_all = (await house.http.get("/v1/tasks", params={"limit": 1})).json()["next"]
    first = (await shop.http.get("/v1/tasks", params={"limit": 1})).json()

    assert ["c-2", "c-1"] == await shop.tasks(after=of_all)
    assert ["c-1"] == await shop.tasks(after=first["next"])
    assert [] == await studio.tasks(after=first["next"])
    assert [] == await shop.tasks(provider="unsigned")


WAYS = [
    ("GET", "/v1/tasks/{}", None),
    ("GET", "/v1/tasks/{}?wait=5", None),
    ("GET", "/v1/tasks/{}/history", None),
    ("POST", "/v1/tasks/{}/refresh", None),
    ("POST", "/v1/tasks/{}/resend", {"may_pay_twice": True}),
    ("POST", "/v1/tasks/{}/abandon", None),
    ("POST", "/v1/submissions/{}/answer", {"http_status": 200, "body_base64": ""}),
    ("POST", "/v1/submissions/{}/refusal", {"reason": "no"}),
]


@pytest.mark.parametrize(("method", "way", "body"), WAYS)
async def test_anothers_task_is_not_there_exactly_as_one_that_never_was(
    house: House, shop: Tenant, studio: Tenant, method: str, way: str, body: Json | None
) -> None:
    name = f"theirs-{next(_NUMBERS)}"
    await shop.submit(name, request=RUNNING)
    before = await house.task(name)
    theirs = await studio.http.request(method, way.format(name), json=body)
    nobodys = await studio.http.request(method, way.format("nobodys"), json=body)
    after = await house.task(name)
    own = await shop.http.request(method, way.format(name).replace("wait=5", "wait=0"), json=body)

    assert (404, "not_found") == refusal(theirs)
    assert nobodys.text.replace("nobodys", name) == theirs.text
    assert dict(nobodys.headers) | {"content-length": theirs.headers["content-length"]} == dict(theirs.headers)
    assert 404 != own.status_code
    assert before == after


async def test_a_history_tells_a_tenant_nothing_of_the_operators_destinations(house: House, shop: Tenant) -> None:
    await shop.submit("e-1")
    await house.until("e-1", lambda task: task["state"] == "succeeded")
    its_own = (await shop.http.get("/v1/tasks/e-1/history")).json()
    everything = await house.history("e-1")

    assert everything["deliveries"]
    assert everything | {"deliveries": []} == its_own


async def test_events_are_of_its_own_tasks_alone(house: House, shop: Tenant, studio: Tenant) -> None:
    await shop.submit("f-1")
    await studio.submit("g-1")
    to_all = (await house.http.get("/v1/events", params={"limit": 500})).json()["events"]

    assert {"f-1"} == await shop.events()
    assert set() == await shop.events(task="g-1")
    assert set() == await shop.events(type="destination.disabled")
    assert {None, "the-operators", "f-1", "g-1"} <= {
        each["task"] and each["task"]["external_task_id"] for each in to_all
    }


async def test_a_stream_is_of_its_own_tasks_alone(house: House, shop: Tenant, studio: Tenant) -> None:
    await studio.submit("h-1")
    await shop.submit("i-1")
    stream = {"accept": "text/event-stream"}
    async with shop.http.stream("GET", "/v1/events?after=0", headers=stream) as answer:
        lines = answer.aiter_lines()
        first = json.loads((await anext(each async for each in lines if each.startswith("data: ")))[6:])
        await studio.submit("h-2")
        await shop.submit("i-2")
        heard = {first["task"]["external_task_id"]}
        async for line in lines:
            if line.startswith("data: "):
                heard.add(json.loads(line[6:])["task"]["external_task_id"])
            if "i-2" in heard:
                break

    assert {"i-1", "i-2"} == heard


async def test_a_key_for_some_accounts_sees_and_uses_these_alone(house: House) -> None:
    async with (
        tenant(house, "both", tenant="both") as both,
        tenant(house, "one", tenant="both", providers=["unsigned"]) as one,
        tenant(house, "ops", tenant=None, providers=["unsigned"]) as ops,
    ):
        await both.submit("j-1")
        await both.submit("j-2", provider="unsigned")
        elsewhere = await one.submit("j-3")
        nowhere = await one.submit("j-3", provider="nobody")
        hidden = await one.http.get("/v1/tasks/j-1")

        assert (["j-2"], {"j-2"}) == (await one.tasks(), await one.events())
        assert ["j-2", "j-1"] == await both.tasks()
        assert "j-2" in await ops.tasks()
        assert {"j-1", None} & (set(await ops.tasks()) | await ops.events()) == set()
        assert (404, "not_found") == refusal(hidden)
        assert (422, "invalid_request") == refusal(elsewhere)
        assert elsewhere.json() == nowhere.json()
        assert "cometapi" not in elsewhere.text


async def test_anothers_id_is_taken_and_says_nothing_of_its_task(shop: Tenant, studio: Tenant) -> None:
    await shop.submit("k-1", request={"prompt": "a secret product"})
    taken = await studio.submit("k-1", request={"prompt": "a secret product"})
    written = await studio.http.post("/v1/submissions", json=ORDER | {"external_task_id": "k-1"})

    assert [(409, "task_exists")] * 2 == [refusal(taken), refusal(written)]
    assert [] == await studio.tasks()


async def test_beyond_its_quota_a_tenant_is_told_to_come_again(house: House) -> None:
    async with tenant(house, "small", tenant="small", quota=1) as small, tenant(house, "other") as other:
        first = await small.submit("l-1", request=RUNNING)
        beyond = await small.submit("l-2")
        written = await small.http.post("/v1/submissions", json=ORDER)
        again = await small.submit("l-1", request=RUNNING)
        of_another = await other.submit("l-3")
        await small.http.post("/v1/tasks/l-1/abandon")
        after = await small.submit("l-2")

    assert [201, 200, 201, 201] == [each.status_code for each in (first, again, of_another, after)]
    assert [(429, "quota_reached")] * 2 == [refusal(beyond), refusal(written)]
    assert 1 <= int(beyond.headers["retry-after"])


@pytest.mark.parametrize(
    ("road", "said"),
    [
        ("answer", {"http_status": 429, "body_base64": "eyJjb2RlIjoxMTAxLCJtZXNzYWdlIjoiYXJyZWFycyJ9"}),  # 1101
        ("refusal", {"reason": "busy", "kind": "deferred", "retry_after_seconds": 3600}),
    ],
)
async def test_a_tenants_word_on_the_account_holds_up_no_other(
    shop: Tenant, studio: Tenant, road: str, said: Json
) -> None:
    opened = await shop.http.post("/v1/submissions", json=ORDER)
    told = await shop.http.post(f"/v1/submissions/{opened.json()['external_task_id']}/{road}", json=said)
    theirs = await studio.submit()

    assert [201, 200, 201] == [each.status_code for each in (opened, told, theirs)], told.text
    assert "pending" != theirs.json()["state"]


async def test_a_request_that_repeats_its_key_is_the_same_task(world: World, shop: Tenant, studio: Tenant) -> None:
    first = await shop.submit(key="order-1")
    again = await shop.submit(key="order-1")
    of_another_tenant = await studio.submit(key="order-1")
    task = first.json()["external_task_id"]

    assert [201, 200, 201] == [each.status_code for each in (first, again, of_another_tenant)]
    assert (task, f"/v1/tasks/{task}") == (again.json()["external_task_id"], again.headers["location"])
    assert task != of_another_tenant.json()["external_task_id"]
    assert 1 == await world.paid(task)


async def test_a_key_of_another_request_is_refused(shop: Tenant) -> None:
    await shop.submit(key="order-2")

    assert (409, "task_exists") == refusal(await shop.submit(key="order-2", request={"prompt": "a blue fox"}))
    assert 1 == len(await shop.tasks())


async def test_a_key_and_an_id_must_mean_the_same_task(shop: Tenant) -> None:
    first = await shop.submit("m-1", key="order-3")
    both = await shop.submit("m-1", key="order-3")
    by_key = await shop.submit(key="order-3")
    other_id = await shop.submit("m-2", key="order-3")
    await shop.submit("m-3")
    two_tasks = await shop.submit("m-3", key="order-3")

    assert [201, 200, 200] == [each.status_code for each in (first, both, by_key)]
    assert "m-1" == by_key.json()["external_task_id"]
    assert [(409, "task_exists")] * 2 == [refusal(other_id), refusal(two_tasks)]
    assert ["m-3", "m-1"] == await shop.tasks()


async def test_a_refused_request_may_be_submitted_anew_under_its_key(shop: Tenant) -> None:
    refused = await shop.submit(key="order-4", request={"prompt": "a red fox [[policy]]"})
    anew = await shop.submit(key="order-4")

    assert (502, "refused") == refusal(refused)
    assert 201 == anew.status_code
    assert [anew.json()["external_task_id"]] == await shop.tasks()


@pytest.mark.parametrize("key", ["", "x" * 201, "a key", "schlüssel"])
async def test_a_key_that_is_none_is_told_so(shop: Tenant, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = await shop.http.post("/v1/tasks", json=ORDER, headers=headers)  # type: ignore[arg-type]

    assert (422, "invalid_request") == refusal(answer)
    assert "Idempotency-Key" == answer.json()["errors"][0]["field"]
    assert [] == await shop.tasks()


async def test_a_key_of_two_hundred_characters_is_one(shop: Tenant) -> None:
    assert 201 == (await shop.submit(key="~" * 200)).status_code
