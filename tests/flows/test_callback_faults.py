"""Whatever befalls callbacks on their way, each task settles by them, once, and was paid for once."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.flows.builders import GATEWAYS, TRUSTS, House, Json, World, receiving, sandboxed
from tests.patience import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="module")

ODD_SHAPES = (
    "wrapped",
    "newer",
    "succeeded",
    "string_times",
    "float_times",
    "no_index",
    "null_task_info",
    "string_code",
)
# What befalls the callbacks, and how many of them the sandbox's books will show.
BEFALLEN = {
    "clean": 3,
    "drop=processing": 3,
    "drop=submitted": 3,
    "final_only": 3,
    "duplicate=2 together": 6,
    "duplicate=3 together": 9,
    "duplicate=2 apart": 6,
    "duplicate=3 apart": 9,
    "delay": 3,
    "reorder": 3,
    "early": 3,
    "slow": 3,
    "early,slow": 3,
    "foreign_ids": 3,
    "forged_url": 4,
    "expire_results": 3,
    **{f"odd_shape={shape}": 3 for shape in ODD_SHAPES},
    "reorder,duplicate,odd_shape=newer": 6,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with sandboxed() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(world: World, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """One receiver for all of these: it asks nobody, so what it knows came by callback."""
    directory: Path = tmp_path_factory.mktemp("ledger")
    async with receiving(directory, world, *GATEWAYS) as running:
        yield running


def urls(task: Json) -> list[str]:
    return [image["url"] for image in task["images"]]


@pytest.mark.parametrize("account", GATEWAYS)
@pytest.mark.parametrize("befalls", BEFALLEN)
async def test_a_task_settles_by_its_callbacks_whatever_befalls_them(
    house: House, world: World, befalls: str, account: str
) -> None:
    name = f"{befalls}-{account}".translate(str.maketrans("=, ", "---"))

    created = await house.submit(account, f"a red fox [[{befalls}]]", name, n=2)
    truth = await world.until_told(name, BEFALLEN[befalls])
    task = await house.at_rest(name)

    assert 201 == created.status_code
    assert "succeeded" == task["state"]
    assert "callback" == task["settled_by"]
    assert TRUSTS[account] == task["trust"]
    assert truth["image_urls"] == urls(task)
    assert 0 == task["queries"]
    assert 1 == await world.paid(name)
    assert 1 == (await house.events(name)).count("task.succeeded")


@pytest.mark.parametrize("account", GATEWAYS)
@pytest.mark.parametrize("befalls", ["", "reorder,odd_shape=newer", "early,duplicate,foreign_ids"])
async def test_a_failed_task_settles_with_the_providers_reason(
    house: House, world: World, befalls: str, account: str
) -> None:
    name = f"failed-{befalls}-{account}".translate(str.maketrans("=, ", "---"))

    await house.submit(account, f"a red fox [[{befalls}]] [[fail: no foxes, today]]", name, n=2)
    await world.until_told(name, 3)
    task = await house.at_rest(name)

    assert "failed" == task["state"]
    assert "no foxes, today" == task["message"]
    assert [] == task["images"]
    assert "callback" == task["settled_by"]
    assert 1 == (await house.events(name)).count("task.failed")


async def test_a_repeated_callback_is_counted_and_changes_nothing(house: House, world: World) -> None:
    await house.submit("cometapi", "a red fox [[duplicate=3 apart]]", "thrice")
    await world.until_told("thrice", 9)
    task = await house.at_rest("thrice")
    history = await house.history("thrice")

    assert ["task.submitted", "task.processing", "task.succeeded"] == [each["type"] for each in history["events"]]
    # The create's answer says the same as the submitted callback: three of that, two of each other, repeat.
    assert {"applied": 3, "duplicate": 7, "stale": 0, "conflict": 0} == task["reports"]
    assert [("answer", 1), ("callback", 3), ("callback", 3), ("callback", 3)] == [
        (each["source"], each["count"]) for each in history["reports"]
    ]


async def test_callbacks_in_reverse_order_tell_of_the_end_and_of_nothing_after_it(house: House, world: World) -> None:
    await house.submit("cometapi", "a red fox [[reorder]]", "reversed")
    await world.until_told("reversed", 3)
    history = await house.history("reversed")

    assert ["task.submitted", "task.succeeded"] == [each["type"] for each in history["events"]]
    assert [("submitted", "applied"), ("succeed", "applied"), ("processing", "stale"), ("submitted", "duplicate")] == [
        (each["status"], each["verdict"]) for each in history["reports"]
    ]


async def test_a_callback_before_the_create_answer_is_the_first_that_is_heard(house: House, world: World) -> None:
    await house.submit("unsigned", "a red fox [[early]]", "early-bird")
    await world.until_told("early-bird", 3)
    history = await house.history("early-bird")

    assert ["callback", "answer"] == [each["source"] for each in history["reports"]][:2]
    assert ["applied", "duplicate"] == [each["verdict"] for each in history["reports"]][:2]
    assert 1 == [each["type"] for each in history["events"]].count("task.submitted")


async def test_a_create_that_is_answered_after_the_end_still_answers_with_the_task(tmp_path: Path) -> None:
    async with sandboxed(pace=PATIENCE) as world, receiving(tmp_path, world, "powertokens") as house:
        creating = asyncio.create_task(house.submit("powertokens", "a red fox [[slow,seconds=0]]", "late-answer"))
        await house.until("late-answer", lambda task: task.get("state") == "succeeded")
        world.let_go()
        created = await creating

    assert 201 == created.status_code
    assert "succeeded" == created.json()["state"]


@pytest.mark.parametrize("account", ["cometapi", "powertokens"])
async def test_a_gateways_own_id_is_asked_by_and_the_upstreams_is_kept_beside_it(
    house: House, world: World, account: str
) -> None:
    name = f"two-ids-{account}"

    await house.submit(account, "a red fox [[foreign_ids]]", name)
    truth = await world.until_told(name, 3)
    task = await house.task(name)

    assert truth["task_id"] == task["task_id"]
    assert truth["upstream_id"] == task["upstream_task_id"]
    assert truth["task_id"] != truth["upstream_id"]


async def test_a_callback_to_an_altered_url_reaches_nobody(house: House, world: World) -> None:
    await house.submit("cometapi", "a red fox [[forged_url]]", "altered")
    truth = await world.until_told("altered", 4)
    history = await house.history("altered")

    assert [404] == [each["http_status"] for each in truth["callbacks"] if each["forged"]]
    assert ["answer", "callback", "callback", "callback"] == [each["source"] for each in history["reports"]]
    assert "succeeded" == (await house.task("altered"))["state"]


async def test_units_and_watermarks_come_with_the_answer_to_a_question(house: House, world: World) -> None:
    await house.submit("cometapi", "a red fox", "marked", watermark_info={"enabled": True})
    await world.until_told("marked", 3)

    asked = (await house.http.post("/v1/tasks/marked/refresh")).json()

    assert "8" == asked["unit_deduction"]
    assert asked["images"][0]["watermark_url"].endswith("/0-watermark.png")
    assert ("succeeded", "query", "queried", 1) == tuple(
        asked[key] for key in ("state", "settled_by", "trust", "queries")
    )


async def test_nothing_in_this_house_was_paid_for_twice(house: House, world: World) -> None:
    await house.submit("kling", "a red fox [[duplicate,early]]", "the-last-one")
    await house.at_rest("the-last-one")

    counts = await world.counts()

    assert {"kling": [], "cometapi": [], "powertokens": []} == counts["paid_twice"]
