"""What a tenant's key is worth at /v1/submissions: its own creates, and neither others' slots nor others' results."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.flows.builders import ASKING, Clock, House, Json, World, path_of, receiving, report
from tests.flows.gateway import settled

OPERATOR = "the key of an operator"
KEYS: Json = {"api": {"keys": [OPERATOR]}, "headers": {"authorization": f"Bearer {OPERATOR}"}}
LOOKED_UP = ("unsigned", "powertokens")
PATHS = {"unsigned": "/kling/v1/images/omni-image", "powertokens": "/powertokens/kling/v1/images/omni-image"}


async def tenants(house: House) -> dict[str, str]:
    """The headers of somebody who may submit, and no more."""
    wish = {"name": "shop", "tenant": "shop", "scopes": ["submit", "read"]}
    made = await house.http.post("/v1/keys", json=wish)
    return {"authorization": f"Bearer {made.json()['key']}"}


async def opened(house: House, account: str, headers: dict[str, str] | None = None, **fields: object) -> Json:
    """A submission that is its opener's to send, and is not sent."""
    order = {"provider": account, "endpoint": "omni-image", "request": {"prompt": "a red fox"}, **fields}
    answer = await house.http.post("/v1/submissions", json=order, headers=headers)
    assert 201 == answer.status_code
    said: Json = answer.json()
    return said


async def of_somebody_else(world: World, account: str, **fields: object) -> Json:
    """A finished task of the account's that is in no ledger, as its provider tells of it."""
    url, headers = world.base_url + PATHS[account], {"Authorization": "Bearer any"}
    order = {"model_name": "kling-v3-omni", "prompt": "a secret product [[seconds=0]]", **fields}
    created = await world.http.post(url, json=order, headers=headers)
    told: Json = (await world.http.get(f"{url}/{created.json()['data']['task_id']}", headers=headers)).json()["data"]
    return told if "task_status" in told else told | told["data"]["data"] | {"task_id": told["task_id"]}


def answering(task_id: str) -> Json:
    """An answer to a create, handed on: it names this task."""
    said = {"code": 0, "message": "SUCCEED", "data": {"task_id": task_id, "task_status": "submitted"}}
    return {"http_status": 200, "body_base64": base64.b64encode(json.dumps(said).encode()).decode()}


@pytest.mark.parametrize(("is_tenants", "minutes", "sent"), [(True, 1, 0), (True, 3, 1), (False, 3, 0), (False, 11, 1)])
async def test_a_create_that_a_tenant_opens_and_never_sends_holds_its_slots_for_two_minutes(
    world: World, clock: Clock, tmp_path: Path, is_tenants: bool, minutes: int, sent: int
) -> None:
    slots = {"slots": 1}
    async with receiving(tmp_path, world, "cometapi", clock=clock, account=slots, **KEYS) as house:
        await opened(house, "cometapi", await tenants(house) if is_tenants else None)
        waits = await house.submit("cometapi", "a red fox", "waits")
        clock.jump(minutes=minutes)
        done = await house.tick()

    assert (202, "pending") == (waits.status_code, waits.json()["state"])
    assert sent == done["sent"]


@pytest.mark.parametrize("account", LOOKED_UP)
@pytest.mark.parametrize("road", ["answer", "callback", "both"])
@pytest.mark.parametrize("tasks", [1, 2])
async def test_a_task_that_a_tenant_names_is_not_taken_for_its_own(
    world: World, clock: Clock, tmp_path: Path, account: str, road: str, tasks: int
) -> None:
    """Asked about by itself, and, where the provider has a list, on a page."""
    theirs = [await of_somebody_else(world, account) for _ in range(tasks)]
    before = len(await world.requests("query"))
    async with receiving(tmp_path, world, account, clock=clock, polling=ASKING, **KEYS) as house:
        shop = await tenants(house)
        mine = [await opened(house, account, shop) for _ in range(tasks)]
        for each, their in zip(mine, theirs, strict=True):
            name, claimed = each["external_task_id"], their["task_id"]
            if road != "callback":
                await house.http.post(f"/v1/submissions/{name}/answer", json=answering(claimed), headers=shop)
            if road != "answer":
                await house.http.post(path_of(each["callback_url"]), content=report("processing", task_id=claimed))
        for _ in range(4):
            clock.jump(minutes=1)
            await house.tick()
        shown = (await house.http.get("/v1/tasks", headers=shop)).text
        asked = (await world.requests("query"))[before:]

    assert {"succeed"} == {each["task_status"] for each in theirs}
    assert asked
    assert not [each for each in theirs if each["task_result"]["images"][0]["url"] in shown]
    assert not {each["task_id"] for each in asked} & {each["task_id"] for each in theirs}


async def test_an_older_task_under_the_id_that_a_tenant_chose_is_not_taken_for_its_own(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    theirs = await of_somebody_else(world, "unsigned", external_task_id="order-7")
    async with receiving(tmp_path, world, "unsigned", clock=clock, polling=ASKING, **KEYS) as house:
        shop = await tenants(house)
        clock.jump(minutes=10)
        await opened(house, "unsigned", shop, external_task_id="order-7")
        await house.http.post("/v1/submissions/order-7/answer", json=answering("8672"), headers=shop)
        for _ in range(4):
            clock.jump(minutes=1)
            await house.tick()
        task = await house.task("order-7")
        asked = await world.requests("query")

    assert {"order-7"} == {each["external_task_id"] for each in asked}
    assert ("submitted", []) == (task["state"], task["images"])
    assert theirs["task_id"] != task["task_id"]


@pytest.mark.parametrize("account", LOOKED_UP)
async def test_a_create_that_a_tenant_did_send_settles_by_questions_too(
    world: World, clock: Clock, tmp_path: Path, account: str
) -> None:
    async with receiving(tmp_path, world, account, clock=clock, polling=ASKING, **KEYS) as house:
        shop = await tenants(house)
        mine = await opened(house, account, shop)
        name = mine["external_task_id"]
        order = {"prompt": "a red fox [[drop_all]]", "model_name": "kling-v3-omni", "external_task_id": name}
        created = await world.http.post(
            world.base_url + PATHS[account],
            json=order | {"callback_url": mine["callback_url"]},
            headers={"Authorization": "Bearer any"},
        )
        answer = {"http_status": 200, "body_base64": base64.b64encode(created.content).decode()}
        await house.http.post(f"/v1/submissions/{name}/answer", json=answer, headers=shop)
        task = await house.at_rest(name)
        done = await settled(house, account, name)

    assert ("succeeded", "query") == (task["state"], task["settled_by"])
    assert created.json()["data"]["task_id"] == task["task_id"]
    assert "succeed" == done["task_status"]
