"""With callbacks lost, each task settles by asking, whatever befalls the questions; or it expires, and says so."""

from pathlib import Path

import pytest

from tests.flows.builders import (
    ASKING,
    Clock,
    House,
    World,
    eventually,
    receiving,
    sandboxed,
)
from tests.patience import watching

ACCOUNTS = ("unsigned", "cometapi", "powertokens")


def urls(task: dict[str, object]) -> list[str]:
    return [image["url"] for image in task["images"]]


@pytest.mark.parametrize("befalls", ["drop_all", "drop=final", "drop_all,foreign_ids", "drop_all,not_exist_lag"])
async def test_a_task_nobody_called_back_about_settles_by_query(world: World, tmp_path: Path, befalls: str) -> None:
    async with receiving(tmp_path, world, *ACCOUNTS, polling=ASKING) as house:
        for account in ACCOUNTS:
            endpoint = "generations" if account == "cometapi" else "omni-image"
            await house.submit(account, f"a red fox [[{befalls}]]", account, endpoint=endpoint, n=3)
        tasks = [await house.at_rest(account) for account in ACCOUNTS]
        events = [await house.events(account) for account in ACCOUNTS]
        truths = [await world.truth(account) for account in ACCOUNTS]

    assert [("succeeded", "query", "queried")] * 3 == [(t["state"], t["settled_by"], t["trust"]) for t in tasks]
    assert [truth["image_urls"] for truth in truths] == [urls(task) for task in tasks]
    assert [1, 1, 1] == [each.count("task.succeeded") for each in events]
    assert [len(await world.requests("query"))] == [sum(task["queries"] for task in tasks)]
    assert [1, 1, 1] == [await world.paid(account) for account in ACCOUNTS]


async def test_a_failure_nobody_called_back_about_comes_with_its_reason(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, *ACCOUNTS, polling=ASKING) as house:
        for account in ACCOUNTS:
            await house.submit(account, "a red fox [[drop_all]] [[fail: no foxes today]]", account)
        tasks = [await house.at_rest(account) for account in ACCOUNTS]

    assert [("failed", "query", "no foxes today")] * 3 == [(t["state"], t["settled_by"], t["message"]) for t in tasks]


@pytest.mark.parametrize("kind", ["500", "504", "429", "mixed"])
async def test_questions_that_go_wrong_are_asked_again(world: World, clock: Clock, tmp_path: Path, kind: str) -> None:
    async with receiving(tmp_path, world, *ACCOUNTS, clock=clock, polling=ASKING) as house:
        for account in ACCOUNTS:
            await house.submit(account, f"a red fox [[drop_all,query_error={kind}]]", account)
        tasks = [await at_rest_with_jumps(house, account, clock) for account in ACCOUNTS]

    assert [("succeeded", "query")] * 3 == [(task["state"], task["settled_by"]) for task in tasks]
    assert all(task["queries"] >= 2 for task in tasks)


@pytest.mark.parametrize("account", ACCOUNTS)
async def test_a_provider_that_answers_too_fast_is_left_in_peace(clock: Clock, tmp_path: Path, account: str) -> None:
    async with (
        sandboxed(retry_after=30) as world,
        receiving(tmp_path, world, account, clock=clock, polling=ASKING) as house,
    ):
        await house.submit(account, "a red fox [[drop_all,query_error=429]]", "hurried")
        await house.tick()
        clock.jump(seconds=29)
        early = await house.tick()
        clock.jump(seconds=2)
        late = await house.tick()

    assert (0, 1) == (early["asked"], late["asked"])


@pytest.mark.parametrize("wraps", [True, False])
async def test_a_gateway_that_quotes_its_upstreams_errors_is_understood(
    clock: Clock, tmp_path: Path, wraps: bool
) -> None:
    async with (
        sandboxed(powertokens_quotes_errors=True, powertokens_wraps_queries=wraps) as world,
        receiving(tmp_path, world, "powertokens", clock=clock, polling=ASKING) as house,
    ):
        refused = await house.submit("powertokens", "a red fox [[policy]]", "refused")
        await house.submit("powertokens", "a red fox [[busy]]", "busy")
        await house.submit("powertokens", "a red fox [[lost_create]]", "lost")
        await house.submit("powertokens", "a red fox [[server_error]]", "server-error")
        await house.submit("powertokens", "a red fox [[not_exist_lag,query_error=500,drop_all]]", "lag")
        names = ("busy", "lost", "server-error", "lag")
        tasks = [await house.at_rest_in_time(name, clock) for name in names]
        paid = [await world.paid(name) for name in names]

    assert (502, "1301") == (refused.status_code, refused.json()["provider_code"])
    assert ["succeeded"] * 4 == [task["state"] for task in tasks]
    assert [1, 1, 1, 1] == paid


async def test_callbacks_after_a_settling_query_are_heard_and_change_nothing(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, *ACCOUNTS, polling=ASKING) as house:
        with world.silence():
            for account in ACCOUNTS:
                await house.submit(account, "a red fox [[delay]]", account)
            settled = [await house.at_rest(account) for account in ACCOUNTS]
        for account in ACCOUNTS:
            await world.until_told(account, 3)
        tasks = [await house.task(account) for account in ACCOUNTS]
        events = [await house.events(account) for account in ACCOUNTS]

    assert ["query"] * 3 == [task["settled_by"] for task in tasks]
    assert [task["version"] for task in settled] == [task["version"] for task in tasks]
    assert [1, 1, 1] == [each.count("task.succeeded") for each in events]


@pytest.mark.parametrize("account", ACCOUNTS)
async def test_a_task_the_provider_has_forgotten_ends_at_the_third_answer_over_ten_minutes(
    clock: Clock, tmp_path: Path, account: str
) -> None:
    async with (
        sandboxed(kept_tasks=1) as world,
        receiving(tmp_path, world, account, clock=clock, polling=ASKING) as house,
    ):
        await house.submit(account, "a red fox [[drop_all,seconds=600]]", "forgotten")
        await house.submit(account, "a blue fox [[drop_all,seconds=600]]", "remembered")
        for _ in range(4):
            clock.jump(minutes=2)
            await house.tick()
        before = await house.task("forgotten")
        clock.jump(minutes=5)
        await house.tick()
        task = await house.task("forgotten")

    assert "submitted" == before["state"]
    assert ("expired", "query", None) == (task["state"], task["settled_by"], task["trust"])


async def test_with_the_provider_gone_each_task_expires_at_its_deadline(clock: Clock, tmp_path: Path) -> None:
    async with sandboxed(task_seconds=600) as world:
        house_of = receiving(tmp_path, world, *ACCOUNTS, clock=clock, polling={**ASKING, "give_up_after": "2h"})
        house = await house_of.__aenter__()
        for account in ACCOUNTS:
            await house.submit(account, "a red fox [[drop_all]]", account)
    clock.jump(minutes=119)
    await house.tick()
    before = [(await house.task(account))["state"] for account in ACCOUNTS]
    clock.jump(minutes=2)
    await house.tick()
    tasks = [await house.task(account) for account in ACCOUNTS]
    events = [await house.events(account) for account in ACCOUNTS]
    await house_of.__aexit__(None, None, None)

    assert ["submitted"] * 3 == before
    assert [("expired", "deadline")] * 3 == [(task["state"], task["settled_by"]) for task in tasks]
    assert [["task.submitted", "task.expired"]] * 3 == events


async def test_no_more_is_asked_in_a_minute_than_the_budget_allows(clock: Clock, tmp_path: Path) -> None:
    async with (
        sandboxed(task_seconds=600) as world,
        receiving(tmp_path, world, "cometapi", clock=clock, polling={**ASKING, "budget_per_minute": 3}) as house,
    ):
        for number in range(5):
            await house.submit("cometapi", "a red fox [[drop_all]]", f"fox-{number}")
        first = [await house.tick() for _ in range(3)]
        clock.jump(seconds=61)
        second = [await house.tick() for _ in range(3)]

    assert 3 == sum(each["asked"] for each in first)
    assert 3 == sum(each["asked"] for each in second)


async def test_a_person_may_ask_now(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        await house.submit("cometapi", "a red fox [[drop_all]]", "asked")
        await world.until_told("asked", 3)
        answer = await house.http.post("/v1/tasks/asked/refresh")

    assert (200, "succeeded", "query") == (answer.status_code, answer.json()["state"], answer.json()["settled_by"])
    assert (1, 1) == (answer.json()["queries"], len(await world.requests("query")))


@pytest.mark.parametrize("enabled", [True, False])
async def test_polling_that_is_switched_off_asks_nobody(world: World, tmp_path: Path, enabled: bool) -> None:
    async with receiving(tmp_path, world, "cometapi", polling={**ASKING, "enabled": enabled}) as house:
        await house.submit("cometapi", "a red fox [[drop_all]]", "silent")
        await world.until_told("silent", 3)
        await house.tick()

    assert enabled == bool(await world.requests("query"))


async def test_the_worker_asks_about_a_doubt_at_once(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi", with_worker=True) as house:
        await house.submit("cometapi", "a red fox", "a-series", result_type="series", series_amount=3)
        async with watching() as watch:
            task = await eventually(lambda: settled(house, "a-series"))

    assert watch.seconds < 2.5
    assert ("succeeded", "query", 3) == (task["state"], task["settled_by"], len(task["images"]))


async def settled(house: House, name: str) -> dict[str, object] | None:
    task = await house.task(name)
    return task if task["state"] in {"succeeded", "failed"} else None


async def at_rest_with_jumps(house: House, name: str, clock: Clock) -> dict[str, object]:
    for _ in range(50):
        await house.tick()
        task = await house.task(name)
        if task["state"] in {"succeeded", "expired"}:
            return task
        clock.jump(seconds=11)
    raise AssertionError(task)
