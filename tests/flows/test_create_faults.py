"""Whatever becomes of a create, the task ends as it should, and nobody pays twice."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.flows.builders import (
    ASKING,
    GATEWAYS,
    LOOKED_UP,
    Clock,
    House,
    Json,
    World,
    receiving,
    sandboxed,
    until_waited_for,
)
from tests.patience import watching

ACCOUNTS = ("unsigned", "cometapi", "powertokens")
NOTHING_CREATED = ("busy=1", "busy=2", "slots_full=1", "slots_full=2", "http200_error=1302", "http200_error=1303")
CREATED_UNHEARD = ("unanswered=hangup", "unanswered=504", "html=created")
MAYBE_CREATED = (
    "lost_create=hangup",
    "lost_create=504",
    "server_error=1",
    "server_error=2",
    "maintenance=1",
    "maintenance=2",
    "http200_error=5000",
    "html=not_created",
)

WHOLE_STORY = ["task.submitted", "task.processing", "task.succeeded"]


def outcome(task: Json) -> tuple[str, str, int]:
    return task["state"], task["settled_by"], len(task["images"])


@pytest.mark.parametrize("befalls", NOTHING_CREATED)
async def test_a_create_that_was_put_off_is_sent_again_until_it_is_taken(
    world: World, clock: Clock, tmp_path: Path, befalls: str
) -> None:
    async with receiving(tmp_path, world, *ACCOUNTS, clock=clock) as house:
        created = [await house.submit(each, f"a red fox [[{befalls}]]", each, n=2) for each in ACCOUNTS]
        tasks = [await house.at_rest_in_time(each, clock) for each in ACCOUNTS]
        events = [await house.events(each) for each in ACCOUNTS]

    assert [(202, "pending")] * 3 == [(each.status_code, each.json()["state"]) for each in created]
    assert [("succeeded", "callback", 2)] * 3 == [outcome(task) for task in tasks]
    assert [WHOLE_STORY] * 3 == events
    assert 3 * ((2 if befalls.endswith("=2") else 1) + 1) == len(await world.requests("create"))
    assert [1, 1, 1] == [await world.paid(each) for each in ACCOUNTS]


@pytest.mark.parametrize("account", ACCOUNTS)
async def test_retry_after_is_waited_for(clock: Clock, tmp_path: Path, account: str) -> None:
    async with sandboxed(retry_after=30) as world, receiving(tmp_path, world, account, clock=clock) as house:
        await house.submit(account, "a red fox [[busy]]", "patient")
        clock.jump(seconds=29)
        early = await house.tick()
        clock.jump(seconds=2)
        late = await house.tick()

    assert (0, 1) == (early["sent"], late["sent"])


@pytest.mark.parametrize("account", ACCOUNTS)
async def test_an_account_that_is_to_be_left_in_peace_is_sent_nothing_new(
    clock: Clock, tmp_path: Path, account: str
) -> None:
    async with sandboxed(retry_after=30) as world, receiving(tmp_path, world, account, clock=clock) as house:
        await house.submit(account, "a red fox [[busy]]", "told-to-wait")
        await house.submit(account, "a blue fox", "comes-later")
        sent = await world.requests("create")

    assert ["told-to-wait"] == [each["external_task_id"] for each in sent]


@pytest.mark.parametrize(
    ("befalls", "code"), [("account", "1101"), ("account=2", "1101"), ("blocked", "1304"), ("policy", "1301")]
)
async def test_a_refused_create_says_so_in_the_providers_words_and_is_not_sent_again(
    world: World, clock: Clock, tmp_path: Path, befalls: str, code: str
) -> None:
    async with receiving(tmp_path, world, *ACCOUNTS, clock=clock) as house:
        refused = [await house.submit(each, f"a red fox [[{befalls}]]", each) for each in ACCOUNTS]
        clock.jump(hours=1)
        await house.tick()
        tasks = [await house.task(each) for each in ACCOUNTS]
        events = [await house.events(each) for each in ACCOUNTS]

    problems = [each.json() for each in refused]
    assert [502] * 3 == [each.status_code for each in refused]
    assert [("refused", code)] * 3 == [(each["code"], each["provider_code"]) for each in problems]
    assert [("refused", "refusal", 0)] * 3 == [outcome(task) for task in tasks]
    assert all(
        problem["provider_message"] and problem["provider_message"] in task["message"]
        for problem, task in zip(problems, tasks, strict=True)
    )
    assert [["task.refused"]] * 3 == events
    assert 3 == len(await world.requests("create"))
    assert [0, 0, 0] == [await world.paid(each) for each in ACCOUNTS]


@pytest.mark.parametrize("befalls", ["account", "blocked"])
async def test_a_refused_id_may_be_submitted_anew(world: World, clock: Clock, tmp_path: Path, befalls: str) -> None:
    async with receiving(tmp_path, world, *ACCOUNTS, clock=clock) as house:
        for each in ACCOUNTS:
            await house.submit(each, f"a red fox [[{befalls}]]", each)
        clock.jump(minutes=11)
        created = [await house.submit(each, f"a red fox [[{befalls}]]", each) for each in ACCOUNTS]
        tasks = [await house.at_rest(each) for each in ACCOUNTS]
        told = [await house.told(each) for each in ACCOUNTS]

    versions = [[event["task"]["version"] for event in of_task] for of_task in told]
    assert [201] * 3 == [each.status_code for each in created]
    assert [("succeeded", "callback", 1)] * 3 == [outcome(task) for task in tasks]
    assert [["task.refused", *WHOLE_STORY]] * 3 == [[event["type"] for event in of_task] for of_task in told]
    assert [sorted(set(each)) for each in versions] == versions
    assert [1, 1, 1] == [await world.paid(each) for each in ACCOUNTS]


@pytest.mark.parametrize("befalls", CREATED_UNHEARD)
async def test_a_create_whose_answer_was_lost_settles_by_its_callbacks(
    world: World, tmp_path: Path, befalls: str
) -> None:
    async with receiving(tmp_path, world, *ACCOUNTS) as house:
        for each in ACCOUNTS:
            await house.submit(each, f"a red fox [[{befalls}]]", each, n=2)
        tasks = [await house.at_rest(each) for each in ACCOUNTS]
        events = [await house.events(each) for each in ACCOUNTS]

    assert [("succeeded", "callback", 2)] * 3 == [outcome(task) for task in tasks]
    assert [WHOLE_STORY] * 3 == events
    assert 3 == len(await world.requests("create"))
    assert [1, 1, 1] == [await world.paid(each) for each in ACCOUNTS]


async def test_a_create_whose_answer_was_lost_is_202_and_pending(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, *ACCOUNTS) as house:
        created = [await house.submit(each, "a red fox [[unanswered,drop_all]]", each) for each in ACCOUNTS]

    assert [(202, "pending")] * 3 == [(each.status_code, each.json()["state"]) for each in created]
    assert all("not answered" in each.json()["message"] for each in created)


@pytest.mark.parametrize("befalls", CREATED_UNHEARD)
async def test_a_create_whose_answer_and_callbacks_were_lost_is_looked_up(
    world: World, clock: Clock, tmp_path: Path, befalls: str
) -> None:
    async with receiving(tmp_path, world, *LOOKED_UP, clock=clock, polling=ASKING) as house:
        for each in LOOKED_UP:
            await house.submit(each, f"a red fox [[{befalls},drop_all,foreign_ids]]", each, n=2)
        tasks = [await house.at_rest_in_time(each, clock) for each in LOOKED_UP]
        reports = [(await house.history(each))["reports"] for each in LOOKED_UP]
        truths = [await world.truth(each) for each in LOOKED_UP]

    assert [("succeeded", "query", 2)] * 2 == [outcome(task) for task in tasks]
    assert ["queried"] * 2 == [task["trust"] for task in tasks]
    assert [truth["task_id"] for truth in truths] == [task["task_id"] for task in tasks]
    assert [truth["image_urls"] for truth in truths] == [[each["url"] for each in task["images"]] for task in tasks]
    assert {"query"} == {report["source"] for of_task in reports for report in of_task}
    assert 2 == len(await world.requests("create"))
    assert [1, 1] == [await world.paid(each) for each in LOOKED_UP]


@pytest.mark.parametrize("befalls", MAYBE_CREATED)
async def test_a_lost_create_is_looked_up_and_then_sent_again_under_the_same_id(
    world: World, clock: Clock, tmp_path: Path, befalls: str
) -> None:
    async with receiving(tmp_path, world, *LOOKED_UP, clock=clock) as house:
        created = [await house.submit(each, f"a red fox [[{befalls}]]", each, n=2) for each in LOOKED_UP]
        tasks = [await house.at_rest_in_time(each, clock) for each in LOOKED_UP]
        events = [await house.events(each) for each in LOOKED_UP]
    creates, queries = await world.requests("create"), await world.requests("query")

    sends = (2 if befalls.endswith("=2") else 1) + 1
    assert [202, 202] == [each.status_code for each in created]
    assert [("succeeded", "callback", 2)] * 2 == [outcome(task) for task in tasks]
    assert [WHOLE_STORY] * 2 == events
    assert dict.fromkeys(LOOKED_UP, sends) == Counter(each["external_task_id"] for each in creates)
    assert 2 * 6 * (sends - 1) == len(queries)
    assert creates[1]["at"] < queries[0]["at"] < creates[2]["at"]
    assert [1, 1] == [await world.paid(each) for each in LOOKED_UP]


@pytest.mark.parametrize("befalls", MAYBE_CREATED)
async def test_where_nobody_can_look_it_up_a_lost_create_is_never_sent_again_and_expires(
    world: World, clock: Clock, tmp_path: Path, befalls: str
) -> None:
    async with receiving(tmp_path, world, "cometapi", clock=clock, polling=ASKING) as house:
        created = await house.submit("cometapi", f"a red fox [[{befalls}]]", "lost")
        clock.jump(hours=23)
        await house.tick()
        before = await house.task("lost")
        clock.jump(hours=2)
        await house.tick()
        task = await house.task("lost")
        events = await house.events("lost")

    assert (202, "pending") == (created.status_code, before["state"])
    assert ("expired", "deadline", None) == (task["state"], task["settled_by"], task["trust"])
    assert ["task.expired"] == events
    assert (1, 0) == (len(await world.requests("create")), len(await world.requests("query")))


async def test_a_person_may_have_a_lost_create_sent_again(world: World, clock: Clock, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi", clock=clock) as house:
        await house.submit("cometapi", "a red fox [[lost_create]]", "lost")
        resent = await house.http.post("/v1/tasks/lost/resend", json={"may_pay_twice": True})
        task = await house.at_rest("lost")

    assert 200 == resent.status_code
    assert ("succeeded", "callback") == (task["state"], task["settled_by"])
    assert (2, 1) == (len(await world.requests("create")), await world.paid("lost"))


@pytest.mark.parametrize("befalls", CREATED_UNHEARD)
async def test_where_nobody_can_look_it_up_a_late_callback_revives_an_expired_create(
    world: World, clock: Clock, tmp_path: Path, befalls: str
) -> None:
    async with receiving(tmp_path, world, "cometapi", clock=clock) as house:
        await house.submit("cometapi", f"a red fox [[{befalls},drop_all]]", "revived")
        truth = await world.until_told("revived", 3)
        clock.jump(hours=25)
        await house.tick()
        expired = await house.task("revived")
        reply = await world.callback(task_id=truth["task_id"])
        task = await house.task("revived")
        events = await house.events("revived")

    assert "expired" == expired["state"]
    assert 200 == reply["http_status"]
    assert ("succeeded", "callback", "token") == (task["state"], task["settled_by"], task["trust"])
    assert ["task.expired", "task.succeeded"] == events
    assert 1 == await world.paid("revived")


@pytest.mark.parametrize("account", LOOKED_UP)
async def test_a_create_that_was_taken_after_all_is_found_and_not_paid_again(
    clock: Clock, tmp_path: Path, account: str
) -> None:
    async with (
        sandboxed(pace=1, lag_seconds=0.6) as world,
        receiving(tmp_path, world, account, clock=clock, polling=ASKING) as house,
    ):
        await house.submit(account, "a red fox [[unanswered,drop_all,not_exist_lag]]", "hidden")
        with world.standing_still():
            for _ in range(8):  # look-ups in vain, until it is taken as lost, and sent again
                clock.jump(minutes=3)
                await house.tick()
        task = await house.at_rest_in_time("hidden", clock, most=1000)
        creates = await world.requests("create")

    assert ("succeeded", "query") == (task["state"], task["settled_by"])
    assert [(0, None), (400, 1201)] == [(each["http_status"], each["code"]) for each in creates][:2]


@pytest.mark.parametrize("account", LOOKED_UP)
async def test_a_task_that_was_there_before_ours_was_sent_is_not_taken_for_ours(
    world: World, clock: Clock, tmp_path: Path, account: str
) -> None:
    await order_elsewhere(world, account, "taken")
    clock.jump(minutes=10)

    async with receiving(tmp_path, world, account, clock=clock) as house:
        created = await house.submit(account, "a red fox", "taken")
        clock.jump(seconds=10)
        await house.tick()
        task = await house.task("taken")

    assert 202 == created.status_code
    assert ("refused", "refusal") == (task["state"], task["settled_by"])
    assert "choose another id" in task["message"]
    assert [] == task["images"]


@pytest.mark.parametrize("account", LOOKED_UP)
async def test_whoever_waits_is_woken_when_the_look_up_ends_the_task(
    world: World, clock: Clock, tmp_path: Path, account: str
) -> None:
    await order_elsewhere(world, account, "taken")
    clock.jump(minutes=10)

    async with receiving(tmp_path, world, account, clock=clock) as house:
        await house.submit(account, "a red fox", "taken")
        answered = await while_waiting(house, "taken", clock)

    assert "refused" == answered["state"]


async def order_elsewhere(world: World, account: str, name: str) -> None:
    """Somebody else's create under this external id, at the same provider account."""
    gateway = GATEWAYS[account]
    path = f"{world.base_url}/{gateway}{'' if gateway == 'kling' else '/kling'}/v1/images/omni-image"
    body = {"prompt": "somebody else's", "model_name": "kling-v3-omni", "external_task_id": name}
    answer = await world.http.post(path, json=body, headers={"authorization": "Bearer theirs"})
    assert 200 == answer.status_code


async def while_waiting(house: House, name: str, clock: Clock) -> Json:
    """What `?wait=` answers when a look-up ends the task meanwhile; it must not take all its time."""
    async with asyncio.TaskGroup() as group, watching() as watch:
        waiting = group.create_task(house.task(name, wait=20))
        await until_waited_for(house, name)
        clock.jump(seconds=10)
        await house.tick()
        answered = await waiting
        assert watch.seconds < 2
        return answered
