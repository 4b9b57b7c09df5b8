"""The Kling wire, served from the ledger: creates, queries and lists as each provider would answer them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.routing import Mount

from receiver.app import create_app
from receiver.gateway.looking import USUAL_PAGE
from tests.flows.builders import House, Json, World, eventually, receiving, sandboxed
from tests.flows.gateway import KINDS, asking_as, code_of, create, images, listed, query, settled, tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

PICTURE = "https://images.example.com/fox.png"
ELEMENT = 829_873_456_789_012_345  # greater than 2^53
EVERYWHERE = {"watermark_info": {"enabled": True}, "callback_url": "https://hooks.example.com/fox"}
OMNI: Json = {
    "prompt": "<<<image_1>>> as a red fox",
    "model_name": "kling-v3-omni",
    "image_list": [{"image": PICTURE}],
    "element_list": [{"element_id": ELEMENT}],
    "resolution": "4k",
    "result_type": "series",
    "n": 3,
    "series_amount": 3,
    "aspect_ratio": "auto",
    **EVERYWHERE,
}
GENERATIONS: Json = {
    "prompt": "a red fox",
    "model_name": "kling-v3",
    "image": PICTURE,
    "image_reference": "subject",
    "image_fidelity": 0.5,
    "human_fidelity": 0.45,
    "element_list": [{"element_id": ELEMENT}],
    "resolution": "2k",
    "n": 3,
    "aspect_ratio": "21:9",
    **EVERYWHERE,
}
WITHOUT_A_PICTURE: Json = {"prompt": "a red fox", "negative_prompt": "snow", "n": None, "external_task_id": ""}
WHOLE: list[tuple[str, str, Json]] = [
    *((kind, "omni-image", OMNI) for kind in KINDS),
    *((kind, "generations", GENERATIONS) for kind in KINDS),
    *((kind, "generations", WITHOUT_A_PICTURE) for kind in KINDS),
    *((kind, "omni-image", OMNI | {"series_amount": "auto"}) for kind in ("kling", "powertokens")),
    ("cometapi", "omni-image", OMNI | {"element_list": [{"element_id": "fox"}], "callback_url": None}),
    ("powertokens", "omni-image", OMNI | {"resolution": "4K"}),
    ("powertokens", "omni-image", {"prompt": "a red fox", "resolution": "1K", "result_type": "single", "n": 9}),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with sandboxed() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with receiving(tmp_path_factory.mktemp("ledger"), world, *KINDS, "unsigned") as running:
        yield running


@pytest.mark.parametrize("account", KINDS)
@pytest.mark.parametrize("endpoint", ["omni-image", "generations"])
async def test_a_task_is_created_watched_and_done_as_at_the_provider_and_nobody_asks_it(
    house: House, world: World, account: str, endpoint: str
) -> None:
    created = await create(house, account, endpoint=endpoint, external_task_id=f"order 7 {endpoint}", n=2)
    told = created.json()["data"]
    done = await settled(house, account, told["task_id"], endpoint)
    asked = await world.requests("query")
    direct = await asked_directly(world, account, told["task_id"], endpoint)

    assert (200, 0, "SUCCEED") == (created.status_code, created.json()["code"], created.json()["message"])
    assert ("submitted", {"external_task_id": f"order 7 {endpoint}"}) == (told["task_status"], told["task_info"])
    assert (told["task_id"], told["task_info"], "succeed") == tuple(
        done[name] for name in ("task_id", "task_info", "task_status")
    )
    price = ("final_unit_deduction", "final_balance_deduction")
    assert [direct[name] for name in ("task_result", *price)] == [
        done["task_result"],
        *(done.get(name, direct[name]) for name in price),  # callbacks do not always tell it
    ]
    assert set(done) <= set(direct)
    assert done["created_at"] <= done["updated_at"]
    assert told["task_id"] not in {each["external_task_id"] for each in asked}


async def asked_directly(world: World, account: str, ours: str, endpoint: str) -> Json:
    """What the provider itself says of the task."""
    task_id = (await world.truth(ours))["task_id"]
    path = f"{images(account, endpoint).removeprefix('/gateway')}/{task_id}"
    answer = await world.http.get(world.base_url + path, headers={"Authorization": "Bearer sandbox"})
    data: Json = answer.json()["data"]
    return data if "task_status" in data else data["data"]["data"]  # PowerTokens may wrap it


@pytest.mark.parametrize(("account", "endpoint", "fields"), WHOLE)
async def test_a_request_with_every_documented_field_passes(
    house: House, account: str, endpoint: str, fields: Json
) -> None:
    answer = await house.http.post(images(account, endpoint), json=fields)

    assert (200, 0) == code_of(answer), answer.text


async def test_a_series_is_told_as_one(house: House) -> None:
    created = await create(house, "cometapi", result_type="series", series_amount=3)
    await house.at_rest(created.json()["data"]["task_id"])
    done = await settled(house, "cometapi", created.json()["data"]["task_id"])

    assert ("series", []) == (done["task_result"]["result_type"], done["task_result"]["images"])
    assert 3 == len(done["task_result"]["series_images"])


@pytest.mark.parametrize("account", ["kling", "cometapi"])
async def test_marked_copies_are_there_where_they_were_asked_for(house: House, account: str) -> None:
    created = await create(house, account, watermark_info={"enabled": True})
    await house.at_rest(created.json()["data"]["task_id"])
    done = await settled(house, account, created.json()["data"]["task_id"])

    assert ["watermark_url" in each for each in done["task_result"]["images"]] == [True]


@pytest.mark.parametrize("account", ["kling", "powertokens"])
async def test_a_series_of_as_many_as_it_likes_is_shown_whole(house: House, world: World, account: str) -> None:
    """Its callback has the first image alone, and does not say that there are more."""
    fields = {"model_name": "kling-v3-omni", "result_type": "series", "series_amount": "auto"}
    ours = (await create(house, account, **fields)).json()["data"]["task_id"]
    await house.at_rest(ours)
    done = await settled(house, account, ours)
    direct = await asked_directly(world, account, ours, "omni-image")

    assert len(direct["task_result"]["series_images"]) > 1
    assert direct["task_result"] == done["task_result"]


async def test_a_task_is_found_by_our_id_the_clients_and_the_providers(house: House, world: World) -> None:
    created = await create(house, "powertokens", external_task_id="Käse/7 & 8%")
    ours = created.json()["data"]["task_id"]
    await settled(house, "powertokens", ours)
    truth = await world.truth(ours)
    ids = [ours, "K%C3%A4se%2F7%20%26%208%25", truth["task_id"], truth["upstream_id"]]
    found = [(await query(house, "powertokens", each)).json()["data"]["task_id"] for each in ids]

    assert [ours] * 4 == found


async def test_each_answer_has_a_request_id_of_its_own(house: House) -> None:
    ours = (await create(house, "kling")).json()["data"]["task_id"]
    answers = [await query(house, "kling", ours), await query(house, "kling", ours), await query(house, "kling", "no")]

    assert 3 == len({answer.json()["request_id"] for answer in answers})


async def test_a_failed_task_says_why(house: House) -> None:
    created = await create(house, "cometapi", "a red fox [[fail: the fox ran away]]")
    failed = await settled(house, "cometapi", created.json()["data"]["task_id"])

    assert ("failed", "the fox ran away") == (failed["task_status"], failed["task_status_msg"])
    assert "task_result" not in failed


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ("kling", (400, 1201, "Task not found by id/external id")),
        ("powertokens", (400, 1201, "Task not found by id/external id")),
        ("cometapi", (400, "task_not_exist", "task_not_exist")),
    ],
)
async def test_what_is_not_there_is_not_there_as_at_the_provider(
    house: House, account: str, expected: tuple[int, object, str]
) -> None:
    omni = (await create(house, account)).json()["data"]["task_id"]
    elsewhere = (await create(house, "unsigned")).json()["data"]["task_id"]
    answers = [
        await query(house, account, "nobody's"),
        await query(house, account, omni, "generations"),
        await query(house, account, elsewhere),
    ]

    assert [expected] * 3 == [(*code_of(each), each.json()["message"]) for each in answers]


async def test_pages_are_newest_first_and_of_one_endpoint_and_account(
    house: House, world: World, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "cometapi", "kling") as fresh:
        for number in range(3):
            await create(fresh, "cometapi", external_task_id=f"order-{number}")
        await create(fresh, "cometapi", "a red fox [[policy]]", external_task_id="refused")
        await create(fresh, "cometapi", endpoint="generations", external_task_id="other")
        await create(fresh, "kling", external_task_id="other")
        pages = [await listed(fresh, "cometapi", pageNum=page, pageSize=2) for page in (1, 2, 3)]
        whole = await listed(fresh, "cometapi")

    names = [[each["task_info"]["external_task_id"] for each in page] for page in pages]
    assert [["order-2", "order-1"], ["order-0"], []] == names
    assert ["order-2", "order-1", "order-0"] == [each["task_info"]["external_task_id"] for each in whole]
    assert USUAL_PAGE > len(whole)


@pytest.mark.parametrize("account", KINDS)
@pytest.mark.parametrize(
    "page", ["pageNum=0", "pageNum=1001", "pageSize=501", "pageSize=0", "pageSize=x", "pageNum=-1", "pageNum=²"]
)
async def test_a_page_that_cannot_be_is_refused(house: House, account: str, page: str) -> None:
    answer = await house.http.get(f"{images(account)}?{page}")

    assert (400, "invalid_request" if account == "cometapi" else 1201) == code_of(answer)


async def test_a_tenant_sees_its_own_tasks_alone(house: House) -> None:
    async with asking_as(house, tenant("alice")) as alice, asking_as(house, tenant("bob")) as bob:
        hers = (await create(alice, "cometapi", external_task_id="mine")).json()["data"]["task_id"]
        his = (await create(bob, "cometapi", external_task_id="mine")).json()["data"]["task_id"]
        seen = {
            (asker, name): code_of(await query(who, "cometapi", name))
            for asker, who in (("alice", alice), ("bob", bob), ("operator", house))
            for name in (hers, his)
        }
        by_name = [(await query(who, "cometapi", "mine")).json()["data"]["task_id"] for who in (alice, bob)]
        lists = [[each["task_id"] for each in await listed(who, "cometapi")] for who in (alice, bob)]
        everything = [each["task_id"] for each in await listed(house, "cometapi", pageSize=2)]

    nothing, there = (400, "task_not_exist"), (200, 0)
    assert {("alice", hers): there, ("alice", his): nothing, ("bob", hers): nothing, ("bob", his): there} | {
        ("operator", each): there for each in (hers, his)
    } == seen
    assert [hers, his] == by_name
    assert [[hers], [his]] == lists
    assert [his, hers] == everything


async def test_an_account_that_a_key_may_not_use_is_as_unknown(house: House) -> None:
    async with asking_as(house, tenant("carol", providers=frozenset({"kling"}))) as carol:
        answers = [
            await query(carol, "cometapi", "x"),
            await create(carol, "cometapi"),
            await carol.http.get("/gateway/nobody/v1/images/omni-image/x"),
            await carol.http.get("/gateway/"),
        ]

    assert [(404, 1203)] * 4 == [code_of(each) for each in answers]


async def test_what_the_gateway_did_is_counted(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as fresh:
        ours = (await create(fresh, "cometapi")).json()["data"]["task_id"]
        await query(fresh, "cometapi", ours)
        await query(fresh, "cometapi", "nobody's")
        await listed(fresh, "cometapi")
        await fresh.http.get("/gateway/stranger/v1/whatever")
        page = (await fresh.http.get("/metrics")).text

    counted = [line for line in page.splitlines() if line.startswith("hookledger_gateway_requests_total{")]
    assert [
        'hookledger_gateway_requests_total{provider="",kind="passed",outcome="refused"} 1',
        'hookledger_gateway_requests_total{provider="cometapi",kind="create",outcome="served"} 1',
        'hookledger_gateway_requests_total{provider="cometapi",kind="list",outcome="served"} 1',
        'hookledger_gateway_requests_total{provider="cometapi",kind="query",outcome="refused"} 1',
        'hookledger_gateway_requests_total{provider="cometapi",kind="query",outcome="served"} 1',
    ] == counted


async def test_a_head_is_a_get_without_its_body(house: House) -> None:
    ours = (await create(house, "kling")).json()["data"]["task_id"]
    heads: list[httpx.Response] = [
        await house.http.head(f"{images('kling')}/{ours}"),
        await house.http.head(images("kling")),
    ]

    assert [(200, b"")] * 2 == [(each.status_code, each.content) for each in heads]


async def test_a_task_that_was_submitted_otherwise_is_there_too(house: House) -> None:
    await house.submit("kling", "a red fox", "by-v1")

    async def done() -> bool:
        return (await query(house, "kling", "by-v1")).json()["data"]["task_status"] == "succeed"

    assert await eventually(done)


async def test_it_is_served_where_a_host_has_mounted_the_receiver(house: House) -> None:
    host = Starlette(routes=[Mount("/hooks", create_app(house.runtime))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(host), base_url="http://localhost") as client:
        created = await client.post(f"/hooks{images('cometapi')}", json={"prompt": "a red fox"})
        shown = await client.get(f"/hooks{images('cometapi')}/{created.json()['data']['task_id']}")

    assert [(200, 0)] * 2 == [code_of(created), code_of(shown)]
