"""The gateway with keys that were made: who may what there, said in the provider's words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from receiver.clientsecret import client_secret
from submitter.providers.kling import signed_token
from tests.flows.builders import WEBHOOK_SECRET, House, Json, World, receiving
from tests.flows.gateway import code_of, images

OPERATOR = "hl_the-key-of-the-configuration"
FOX: Json = {"prompt": "a red fox"}


@pytest_asyncio.fixture
async def house(world: World, tmp_path: Path) -> AsyncIterator[House]:
    async with receiving(
        tmp_path,
        world,
        "kling",
        "cometapi",
        api={"keys": [OPERATOR]},
        gateway={"webhook_secrets": [WEBHOOK_SECRET]},
        headers={"authorization": f"Bearer {OPERATOR}"},
    ) as running:
        yield running


async def made(house: House, name: str, **wish: object) -> Json:
    answer = await house.http.post("/v1/keys", json={"name": name, **wish})
    assert 201 == answer.status_code, answer.text
    shown: Json = answer.json()
    return shown


def bearing(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_two_tenants_may_call_their_tasks_the_same_and_neither_sees_the_others(house: House) -> None:
    keys = [bearing((await made(house, name))["key"]) for name in ("shop", "studio")]
    order = {**FOX, "external_task_id": "order-7"}
    tasks = [(await house.http.post(images("kling"), json=order, headers=key)).json()["data"] for key in keys]
    seen = [(await house.http.get(f"{images('kling')}/order-7", headers=key)).json()["data"] for key in keys]
    shop_asks = [
        await house.http.get(f"{images('kling')}/{name}", headers=keys[0]) for name in (tasks[1]["task_id"], "nobody")
    ]
    pages = [(await house.http.get(images("kling"), headers=key)).json()["data"] for key in keys]

    assert tasks[0]["task_id"] != tasks[1]["task_id"]
    assert [task["task_id"] for task in tasks] == [task["task_id"] for task in seen]
    assert [(400, 1201)] * 2 == [code_of(each) for each in shop_asks]
    assert [[task["task_id"]] for task in tasks] == [[each["task_id"] for each in page] for page in pages]


@pytest.mark.parametrize("account", ["kling", "cometapi"])
async def test_a_key_without_the_scope_is_told_so_as_the_provider_would(house: House, account: str) -> None:
    submits = bearing((await made(house, f"submits-{account}", scopes=["submit"]))["key"])
    reads = bearing((await made(house, f"reads-{account}", scopes=["read"]))["key"])
    refused = [
        await house.http.get(f"{images(account)}/order-7", headers=submits),
        await house.http.get(images(account), headers=submits),
        await house.http.post(images(account), json=FOX, headers=reads),
    ]

    assert [(403, 1103 if account == "kling" else "invalid_request")] * 3 == [code_of(each) for each in refused]


async def test_a_key_of_one_account_finds_no_other(house: House) -> None:
    key = bearing((await made(house, "one", providers=["kling"]))["key"])
    there = await house.http.post(images("kling"), json=FOX, headers=key)
    elsewhere = await house.http.post(images("cometapi"), json=FOX, headers=key)

    assert (200, 404) == (there.status_code, elsewhere.status_code)


async def test_a_full_quota_says_when_to_come_back(house: House) -> None:
    key = bearing((await made(house, "small", quota=1))["key"])
    runs = {"prompt": "a red fox [[drop_all,seconds=600]]"}
    first = await house.http.post(images("kling"), json=runs, headers=key)
    second = await house.http.post(images("kling"), json=FOX, headers=key)

    assert 200 == first.status_code
    assert (429, 1303) == code_of(second)
    assert 0 < int(second.headers["retry-after"])


async def test_a_pair_signs_as_klings_clients_do_and_is_refused_as_they_are(house: House) -> None:
    pair = await made(house, "pair", kind="pair")
    now = house.runtime.clock()

    async def asked(secret: str, at: int) -> httpx.Response:
        token = signed_token(pair["access_key"], secret, now=at)
        return await house.http.get(images("kling"), headers=bearing(token))

    assert 200 == (await asked(pair["secret_key"], now)).status_code
    assert (401, 1004) == code_of(await asked(pair["secret_key"], now - 3_600_000))
    assert (401, 1003) == code_of(await asked(pair["secret_key"], now + 3_600_000))
    assert (401, 1002) == code_of(await asked("another secret", now))


async def test_a_tenant_is_shown_the_secret_of_its_callbacks_and_an_operator_none(house: House) -> None:
    shop, all_seeing = await made(house, "shop"), await made(house, "all", tenant=None)
    listed = await house.http.get("/v1/keys")

    assert client_secret(WEBHOOK_SECRET, "shop") == shop["webhook_secret"]
    assert "webhook_secret" not in all_seeing
    assert shop["webhook_secret"] not in listed.text
