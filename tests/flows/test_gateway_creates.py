"""Creates at the gateway: what is refused, what is ours from now on, and that nothing is paid for twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.conformance.scenes import set_up_writer
from tests.flows.builders import Clock, House, Json, World, eventually, receiving, sandboxed
from tests.flows.gateway import KINDS, asking_as, code_of, create, images, listed, query, settled, tenant
from tests.patience import PATIENCE, watching

BRIEFLY = {"answer_within": "50ms"}


async def names(house: House, account: str) -> list[str]:
    return [each["task_id"] for each in await listed(house, account)]


@pytest.mark.parametrize("account", KINDS)
async def test_a_repeat_is_the_same_task_as_it_is_now(world: World, tmp_path: Path, account: str) -> None:
    async with receiving(tmp_path, world, account) as house:
        first = (await create(house, account, external_task_id="order-7")).json()["data"]
        await settled(house, account, "order-7")
        again = (await create(house, account, external_task_id="order-7")).json()["data"]
        other = await create(house, account, "a blue fox", external_task_id="order-7")
        elsewhere = await create(house, account, endpoint="generations", external_task_id="order-7")
        paid = await world.paid(first["task_id"])

    assert (first["task_id"], "succeed") == (again["task_id"], again["task_status"])
    assert [(400, "1201" if account == "cometapi" else 1201)] * 2 == [code_of(other), code_of(elsewhere)]
    assert "External task id already exists" == other.json()["message"]
    assert 1 == paid


async def test_a_burst_of_repeats_is_sent_once(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        answers = await asyncio.gather(*(create(house, "cometapi", external_task_id="order-7") for _ in range(20)))
        creates = await world.requests("create")

    assert 1 == len({answer.json()["data"]["task_id"] for answer in answers})
    assert 1 == len(creates)


async def test_an_idempotency_key_makes_a_repeat_the_same_task(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling") as house:

        async def post(key: str, prompt: str = "a red fox") -> Json:
            headers = {"Idempotency-Key": key}
            said: Json = (await house.http.post(images("kling"), json={"prompt": prompt}, headers=headers)).json()
            return said

        first, again, other = await post("one"), await post("one"), await post("two")
        clash, wrong = await post("one", "a blue fox"), await post("x" * 201)

    assert first["data"]["task_id"] == again["data"]["task_id"] != other["data"]["task_id"]
    assert (1201, "External task id already exists") == (clash["code"], clash["message"])
    assert 1201 == wrong["code"]


async def test_a_refusal_in_time_is_passed_on_as_it_came_and_leaves_no_task(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, *KINDS) as house:
        for account in KINDS:
            refused = await create(house, account, "a red fox [[policy]]", external_task_id="order-7")
            shown = await query(house, account, "order-7")
            [request] = [each for each in await world.requests("create") if each["gateway"] == account]
            anew = await create(house, account, "a quieter fox", external_task_id="order-7")

            assert (400, str(request["code"])) == (refused.status_code, str(refused.json()["code"]))
            assert "1301" == str(refused.json()["code"])
            assert "Request triggers the content safety policy" == refused.json()["message"]
            assert 400 == shown.status_code
            assert (200, 0) == code_of(anew)
            assert [anew.json()["data"]["task_id"]] == await names(house, account)


async def test_trouble_of_the_account_is_passed_on_too(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling") as house:
        refused = await create(house, "kling", "a red fox [[account]]")
        waits = await create(house, "kling")

    assert (429, 1101) == code_of(refused)
    assert (200, "submitted") == (waits.status_code, waits.json()["data"]["task_status"])  # until the pause is over


@pytest.mark.parametrize("fault", ["busy", "slots_full", "lost_create", "unanswered", "server_error", "html"])
@pytest.mark.parametrize("account", ["kling", "cometapi"])
async def test_what_is_not_refused_is_ours(world: World, tmp_path: Path, account: str, fault: str) -> None:
    async with receiving(tmp_path, world, account) as house:
        answer = await create(house, account, f"a red fox [[{fault},drop_all]]")
        ours = answer.json()["data"]["task_id"]
        shown = await query(house, account, ours)

    assert (200, "submitted") == (answer.status_code, answer.json()["data"]["task_status"])
    assert answer.json()["data"] == shown.json()["data"]


async def test_a_deferred_create_is_sent_again_and_done(world: World, clock: Clock, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi", clock=clock) as house:
        ours = (await create(house, "cometapi", "a red fox [[busy]]")).json()["data"]["task_id"]
        await house.at_rest_in_time(ours, clock)
        done = await settled(house, "cometapi", ours)

    assert "succeed" == done["task_status"]


async def test_a_slow_provider_is_not_waited_for_longer_than_was_said(tmp_path: Path) -> None:
    async with (
        sandboxed(pace=PATIENCE) as world,
        receiving(tmp_path, world, "cometapi", gateway=BRIEFLY) as house,
    ):
        async with watching() as watch:
            answer = await create(house, "cometapi", "a red fox [[slow,seconds=0]]", external_task_id="order-7")
        again = await create(house, "cometapi", "a red fox [[slow,seconds=0]]", external_task_id="order-7")
        ours = answer.json()["data"]["task_id"]
        done = await settled(house, "cometapi", ours)
        paid = await world.paid(ours)
        world.let_go()

    assert (200, ours) == (answer.status_code, again.json()["data"]["task_id"])
    assert 3 > watch.seconds
    assert ("succeed", 1) == (done["task_status"], paid)


async def test_a_refusal_that_comes_later_is_a_failure_with_its_words(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling", account={"slots": 1}) as house:
        holding = (await create(house, "kling", "a red fox [[drop_all,seconds=600]]")).json()["data"]["task_id"]
        queued = await create(house, "kling", "a red fox [[policy]]", external_task_id="order-7")
        await house.http.post(f"/v1/tasks/{holding}/abandon")
        failed = await eventually(lambda: _failed(house, "order-7"))
        listed_as = [each["task_status"] for each in await listed(house, "kling")]
        again = await create(house, "kling", "a red fox [[policy]]", external_task_id="order-7")
        anew = await create(house, "kling", "a quieter fox", external_task_id="order-7")

    assert (200, "submitted") == (queued.status_code, queued.json()["data"]["task_status"])
    assert "Request triggers the content safety policy" in failed["task_status_msg"]
    assert ["failed", "failed"] == listed_as  # what was given up is a failure in the wire's words
    assert failed == again.json()["data"]
    assert (400, 1201) == code_of(anew)


async def _failed(house: House, identity: str) -> Json | None:
    await house.tick()
    data: Json = (await query(house, "kling", identity)).json()["data"]
    return data if data["task_status"] == "failed" else None


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"prompt": None}, 1200, "prompt"),
        ({"prompt": ""}, 1200, "prompt"),
        ({"prompt": 7}, 1200, "prompt"),
        ({"prompt": "x" * 2501}, 1201, "prompt"),
        ({"n": 10}, 1201, "n"),
        ({"n": "many"}, 1200, "n"),
        ({"model_name": "kling-v9"}, 1201, "model_name"),
        ({"resolution": "8k"}, 1201, "resolution"),
        ({"resolution": "1K"}, 1201, "resolution"),
        ({"colour": "red"}, 1200, "colour"),
        ({"image_list": [{"image": "data:image/png;base64,AAAA"}]}, 1201, "image_list.0.image"),
        ({"external_task_id": 7}, 1200, "external_task_id"),
        ({"external_task_id": "x" * 256}, 1201, "external_task_id"),
        ({"external_task_id": "line\nfeed"}, 1201, "external_task_id"),
        ({"callback_url": "http://hooks.example.com/"}, 1201, "callback_url"),
        ({"callback_url": "https://10.0.0.1/"}, 1201, "callback_url"),
        ({"callback_url": "https://localhost/"}, 1201, "callback_url"),
        ({"callback_url": "https://me:pass@hooks.example.com/"}, 1201, "callback_url"),
        ({"callback_url": "https://hooks.example.com/#part"}, 1201, "callback_url"),
        ({"callback_url": "https://hooks.example.com:99999/"}, 1201, "callback_url"),
        ({"callback_url": "https://hooks.example.com/" + "x" * 2048}, 1201, "callback_url"),
        ({"callback_url": ["https://hooks.example.com/"]}, 1200, "callback_url"),
    ],
)
async def test_what_is_wrong_is_named_as_kling_names_it(
    world: World, tmp_path: Path, fields: Json, code: int, field: str
) -> None:
    async with receiving(tmp_path, world, "kling", "cometapi") as house:
        answer = await create(house, "kling", **{"prompt": "a red fox", **fields})
        at_comet = await create(house, "cometapi", **{"prompt": "a red fox", **fields})
        creates = await world.requests("create")

    assert (400, code) == code_of(answer)
    assert answer.json()["message"].startswith(f"{field}: ")
    assert (400, "invalid_request") == code_of(at_comet)
    assert "comet_api_error" == at_comet.json()["error"]["type"]
    assert at_comet.json()["error"]["message"].startswith(f"{field}: ")
    assert [] == creates


async def test_private_callbacks_are_for_development(world: World, tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/fox"
    async with receiving(tmp_path, world, "kling", gateway={"private_callbacks": True}) as house:
        created = await create(house, "kling", callback_url=url, external_task_id="order-7")
        record = await house.runtime.ledger.record(created.json()["data"]["task_id"])
        other_url = await create(house, "kling", callback_url=f"{url}/other", external_task_id="order-7")

    assert record is not None
    assert url == record.task.client_callback_url
    assert (400, 1201) == code_of(other_url)


async def test_an_id_that_we_gave_names_no_other_task(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling") as house:
        ours = (await create(house, "kling")).json()["data"]["task_id"]
        taken = await create(house, "kling", external_task_id=ours)
        of_their_own = await create(house, "kling", external_task_id="t_01M7YZ9Y0QBKF40XW9PJZDB1XB")

    assert [(400, 1201), (200, 0)] == [code_of(taken), code_of(of_their_own)]


async def test_a_full_quota_is_said_as_too_many_in_parallel(world: World, tmp_path: Path) -> None:
    fox = "a red fox [[drop_all,seconds=600]]"
    async with (
        receiving(tmp_path, world, "kling", "cometapi") as house,
        asking_as(house, tenant("alice", quota=1)) as alice,
    ):
        running = await create(alice, "kling", fox, external_task_id="order-7")
        again = await create(alice, "kling", fox, external_task_id="order-7")
        more = [await create(alice, account) for account in ("kling", "cometapi")]

    assert [(200, 0)] * 2 == [code_of(running), code_of(again)]
    assert [(429, 1303), (429, "1303")] == [code_of(each) for each in more]
    assert all(0 < int(each.headers["Retry-After"]) for each in more)


async def test_more_images_than_the_account_has_slots_are_refused(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling", account={"slots": 2}) as house:
        answer = await create(house, "kling", n=3)

    assert (400, 1201) == code_of(answer)
    assert [] == await world.requests("create")


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'"text"', b"\xff", b"{" * 100, b'{"prompt": NaN}'])
async def test_what_is_no_object_is_refused(world: World, tmp_path: Path, body: bytes) -> None:
    async with receiving(tmp_path, world, "kling") as house:
        answer = await house.http.post(images("kling"), content=body)

    assert (400, 1200) == code_of(answer)


async def test_a_body_that_is_too_long_or_compressed_is_refused_in_the_same_shape(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling", api={"max_body_bytes": 1_024}) as house:
        long = await create(house, "kling", "x" * 1_100)
        packed = await house.http.post(images("kling"), content=b"{}", headers={"Content-Encoding": "gzip"})

    assert [(413, 1201), (415, 1200)] == [code_of(long), code_of(packed)]
    assert "close" == long.headers["Connection"]


async def test_a_receiver_that_stops_says_when_to_come_back(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling", "cometapi") as house:
        house.runtime.begin_stopping()
        answers = [await create(house, account) for account in ("kling", "cometapi")]

    assert [(503, 5001), (503, "5001")] == [code_of(each) for each in answers]
    assert ["2", "2"] == [each.headers["Retry-After"] for each in answers]


async def test_what_the_disk_does_not_take_is_not_sent(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling") as house:
        ours = (await create(house, "kling")).json()["data"]["task_id"]
        await set_up_writer(house, "pragma max_page_count = 1")  # as many as there are
        refused = [await create(house, "kling", "x" * 2_500, external_task_id=f"order-{number}") for number in range(3)]
        shown = await query(house, "kling", ours)
        creates = await world.requests("create")
        await set_up_writer(house, "pragma max_page_count = 1000000")
        retried = await create(house, "kling", external_task_id="order-2")

    assert (503, 5001) == code_of(refused[-1])
    assert "Retry-After" in refused[-1].headers
    assert (200, 0) == code_of(shown) == code_of(retried)
    assert sum(answer.status_code == 200 for answer in refused) + 1 == len(creates)


async def test_without_a_key_the_provider_s_own_401_is_said(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling", "cometapi", api={"keys": ["hl_the-key-of-this-test"]}) as house:
        wrong = {"Authorization": "Bearer sk-some-other-key-altogether"}
        answers = [
            await house.http.get(f"{images('kling')}/x"),
            await house.http.get(f"{images('kling')}/x", headers=wrong),
            await house.http.post(images("cometapi"), json={}, headers=wrong),
        ]

    assert [(401, 1001), (401, 1002), (401, "invalid_request")] == [code_of(each) for each in answers]


async def test_who_comes_from_elsewhere_without_keys_is_refused_in_the_same_shape(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling") as house:
        answer = await house.http.get(f"{images('kling')}/x", headers={"X-Forwarded-For": "203.0.113.7"})

    assert (403, 1103) == code_of(answer)
