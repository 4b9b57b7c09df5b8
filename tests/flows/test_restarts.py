"""Killed or stopped in the middle of any flow: after the restart all settles, nothing acknowledged is gone,
and nothing is sent twice."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import pytest

from tests.flows.builders import (
    ASKING,
    LOOKED_UP,
    Clock,
    House,
    Json,
    World,
    eventually,
    path_of,
    receiving,
    report,
    sandboxed,
)
from tests.flows.lives import Gate, Life, gate, living
from tests.patience import PATIENCE, free_port, watching

# A provider that calls back again and again: a task that ends while the receiver is away is still heard of.
REPEATING = {"max_callback_attempts": 50, "callback_retry_seconds": 0.002}

FirstLife = Callable[..., AbstractAsyncContextManager[House]]

# How the first life ends when its block is left.
ENDINGS: dict[str, FirstLife] = {"killed": living, "stopped": receiving}


async def opened(house: House, provider: str, name: str) -> str:
    """The callback URL of a submission that is written down and not sent."""
    body = {"provider": provider, "endpoint": "omni-image", "request": {"prompt": "a red fox"}}
    answer = await house.http.post("/v1/submissions", json={**body, "external_task_id": name})
    assert 201 == answer.status_code
    return answer.json()["callback_url"]


@pytest.mark.parametrize("ending", ENDINGS)
async def test_ended_after_it_was_written_down_a_task_is_looked_up_and_sent(
    world: World, clock: Clock, tmp_path: Path, ending: str
) -> None:
    port = free_port()
    async with ENDINGS[ending](tmp_path, world, *LOOKED_UP, port=port) as house:
        for account in LOOKED_UP:
            await opened(house, account, account)

    async with receiving(tmp_path, world, *LOOKED_UP, port=port, clock=clock) as house:
        clock.jump(hours=1)
        tasks = [await house.at_rest_in_time(account, clock) for account in LOOKED_UP]

    assert [("succeeded", "callback")] * 2 == [(task["state"], task["settled_by"]) for task in tasks]
    assert [1, 1] == [await world.paid(account) for account in LOOKED_UP]
    assert 2 == len(await world.requests("create"))


@pytest.mark.parametrize("ending", ENDINGS)
async def test_ended_after_it_was_written_down_a_task_nobody_can_look_up_still_hears_its_callback(
    world: World, clock: Clock, tmp_path: Path, ending: str
) -> None:
    port = free_port()
    async with ENDINGS[ending](tmp_path, world, "cometapi", port=port) as house:
        callback_url = await opened(house, "cometapi", "unknown")

    async with receiving(tmp_path, world, "cometapi", port=port, clock=clock) as house:
        clock.jump(hours=1)
        await house.tick()
        before = await house.task("unknown")
        answer = await house.http.post(path_of(callback_url), content=report("succeed", images=["https://a.example/1"]))
        task = await house.task("unknown")

    assert ("pending", 200) == (before["state"], answer.status_code)
    assert ("succeeded", "callback") == (task["state"], task["settled_by"])
    assert [] == await world.requests("create")


@pytest.mark.parametrize("account", LOOKED_UP)
async def test_killed_with_a_create_in_flight_the_task_is_looked_up_and_not_sent_again(
    clock: Clock, tmp_path: Path, account: str
) -> None:
    port = free_port()
    async with sandboxed(pace=PATIENCE) as world:
        async with living(tmp_path, world, account, port=port) as life:
            submitting = asyncio.create_task(life.submit(account, "a red fox [[slow,drop_all]]", "in-flight"))
            await eventually(world.tasks)
            await life.kill()
            with pytest.raises(httpx.TransportError):
                await submitting
        async with receiving(tmp_path, world, account, port=port, clock=clock, polling=ASKING) as house:
            before = await house.task("in-flight")
            clock.jump(hours=1)
            task = await house.at_rest_in_time("in-flight", clock)
        taken, paid = await world.tasks(), await world.paid("in-flight")

    assert "pending" == before["state"]
    assert before["sent_at"] is not None
    assert ("succeeded", "query") == (task["state"], task["settled_by"])
    assert (1, 1) == (len(taken), paid)


async def test_killed_with_a_create_in_flight_a_task_nobody_can_look_up_settles_by_callback(
    clock: Clock, tmp_path: Path
) -> None:
    port = free_port()
    async with sandboxed(pace=PATIENCE, **REPEATING) as world:
        async with living(tmp_path, world, "cometapi", port=port) as life:
            submitting = asyncio.create_task(life.submit("cometapi", "a red fox [[slow,seconds=0.6]]", "in-flight"))
            await eventually(world.tasks)
            await life.kill()
            with pytest.raises(httpx.TransportError):
                await submitting
        async with receiving(tmp_path, world, "cometapi", port=port, clock=clock) as house:
            task = await house.at_rest("in-flight")
            events = await house.events("in-flight")
        paid = await world.paid("in-flight")

    assert ("succeeded", "callback") == (task["state"], task["settled_by"])
    assert 1 == events.count("task.succeeded")
    assert 1 == paid


async def test_stopped_with_a_create_in_flight_its_answer_is_still_written_down(tmp_path: Path) -> None:
    port = free_port()
    async with sandboxed(pace=0.05) as world:
        async with receiving(tmp_path, world, "unsigned", port=port) as house:
            body: Json = {"provider": "unsigned", "endpoint": "omni-image", "external_task_id": "in-flight"}
            body["request"] = {"prompt": "a red fox [[slow,drop_all]]"}
            submitting = asyncio.create_task(world.http.post(f"{house.url}/v1/tasks", json=body))
            await eventually(world.tasks)
        created = await submitting
        async with receiving(tmp_path, world, "unsigned", port=port) as house:
            task = await house.task("in-flight")
            truth = await world.truth("in-flight")

    assert 201 == created.status_code
    assert ("submitted", truth["task_id"]) == (task["state"], task["task_id"])


@pytest.mark.parametrize("ending", ENDINGS)
async def test_ended_between_answer_and_callback_the_task_settles_by_its_callback(
    clock: Clock, tmp_path: Path, ending: str
) -> None:
    port = free_port()
    async with sandboxed(task_seconds=0.5, **REPEATING) as world:
        async with ENDINGS[ending](tmp_path, world, "kling", "cometapi", port=port) as house:
            answers = [
                await house.submit("kling", "a red fox", "signed"),
                await house.submit("cometapi", "a red fox", "token"),
            ]
        async with receiving(tmp_path, world, "kling", "cometapi", port=port) as house:
            tasks = [await house.at_rest("signed"), await house.at_rest("token")]
            events = [await house.events("signed"), await house.events("token")]
        paid = [await world.paid("signed"), await world.paid("token")]

    assert [201, 201] == [answer.status_code for answer in answers]
    assert [("succeeded", "callback", "signed"), ("succeeded", "callback", "token")] == [
        (task["state"], task["settled_by"], task["trust"]) for task in tasks
    ]
    assert [1, 1] == [each.count("task.succeeded") for each in events]
    assert [1, 1] == paid


@pytest.mark.parametrize("ending", ENDINGS)
async def test_ended_after_the_acknowledgement_all_that_was_told_is_still_told(
    world: World, tmp_path: Path, ending: str
) -> None:
    port = free_port()
    async with ENDINGS[ending](tmp_path, world, "cometapi", port=port) as house:
        await house.submit("cometapi", "a red fox", "acknowledged")
        truth = await world.until_told("acknowledged", 3)
        before, told = await house.task("acknowledged"), await house.told("acknowledged")

    async with receiving(tmp_path, world, "cometapi", port=port) as house:
        after, told_again = await house.task("acknowledged"), await house.told("acknowledged")
        repeated = await world.callback(task_id=truth["task_id"])
        events = await house.events("acknowledged")

    assert [200, 200, 200] == [each["http_status"] for each in truth["callbacks"]]
    assert "succeeded" == before["state"]
    assert before == after
    assert told == told_again
    assert '{"verdict":"duplicate"}' == repeated["body"]
    assert ["task.submitted", "task.processing", "task.succeeded"] == events


async def test_killed_amid_a_burst_of_callbacks_nothing_acknowledged_is_gone(tmp_path: Path) -> None:
    port = free_port()
    names = [f"fox-{number}" for number in range(30)]
    acknowledged: list[tuple[str, str]] = []
    async with sandboxed() as world:
        async with living(tmp_path, world, "cometapi", port=port) as life:
            urls = [await opened(life, "cometapi", name) for name in names]

            async def call_back(number: int, status: str) -> None:
                body = report(status, task_id=f"id-{number}", images=[f"https://a.example/{number}"])
                answer = await life.http.post(path_of(urls[number]), content=body)
                if answer.status_code == 200:
                    acknowledged.append((names[number], status))
                if len(acknowledged) == 25:
                    life.process.kill()

            statuses = ("submitted", "processing", "succeed")
            sides = asyncio.Semaphore(12)  # at most so many are answered after the end

            async def in_turn(number: int, status: str) -> None:
                async with sides:
                    await call_back(number, status)

            calls = [in_turn(number, status) for number in range(30) for status in statuses]
            await asyncio.gather(*calls, return_exceptions=True)
            await life.process.wait()
        async with receiving(tmp_path, world, "cometapi", port=port) as house:
            heard = {(name, each["status"]) for name in names for each in (await house.history(name))["reports"]}
            finals = [(await house.events(name)).count("task.succeeded") for name in names]
            for number in range(30):
                body = report("succeed", task_id=f"id-{number}", images=[f"https://a.example/{number}"])
                await house.http.post(path_of(urls[number]), content=body)
            after = [(await house.events(name)).count("task.succeeded") for name in names]

    assert 25 <= len(acknowledged) < 90
    assert set() == set(acknowledged) - heard
    assert max(finals) == 1
    assert [1] * 30 == after


async def test_killed_with_a_question_in_flight_it_is_asked_again_when_its_lease_has_run_out(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    port = free_port()
    async with gate(f"{world.base_url}/cometapi") as road:
        road.holds = b"GET"
        async with asking_life(tmp_path, world, port, road.url) as life:
            await life.submit("cometapi", "a red fox [[drop_all]]", "asked")
            await killed_while_it_asks(life, road)

    async with receiving(tmp_path, world, "cometapi", port=port, clock=clock, polling=ASKING) as house:
        leased = await house.tick()
        clock.jump(seconds=91)
        task = await house.at_rest("asked")

    assert 0 == leased["asked"]
    assert ("succeeded", "query") == (task["state"], task["settled_by"])
    assert 1 == await world.paid("asked")


async def test_a_question_that_died_with_its_receiver_delays_no_other(world: World, tmp_path: Path) -> None:
    port = free_port()
    async with gate(f"{world.base_url}/cometapi") as road:
        road.holds = b"GET"
        async with asking_life(tmp_path, world, port, road.url) as life:
            await life.submit("cometapi", "a red fox [[drop_all]]", "dies-with-it")
            asking = asyncio.create_task(life.tick())
            await asyncio.wait_for(road.held.wait(), PATIENCE)
            await life.submit("cometapi", "a red fox [[drop_all]]", "is-due-later")
            await killed_while_it_asks(life, road, asking)

    async with (
        receiving(tmp_path, world, "cometapi", port=port, with_worker=True, polling=ASKING) as house,
        watching() as watch,
    ):
        task = await house.until("is-due-later", lambda task: task["state"] == "succeeded")
        took = watch.seconds

    assert "query" == task["settled_by"]
    assert took < 2.5


def asking_life(directory: Path, world: World, port: int, base_url: str) -> AbstractAsyncContextManager[Life]:
    """A receiver that asks at once, over this road."""
    return living(directory, world, "cometapi", port=port, account={"base_url": base_url}, polling=ASKING)


async def killed_while_it_asks(life: Life, road: Gate, asking: asyncio.Task[Json] | None = None) -> None:
    asking = asking or asyncio.create_task(life.tick())
    await asyncio.wait_for(road.held.wait(), PATIENCE)
    await life.kill()
    with pytest.raises(httpx.TransportError):
        await asking


@pytest.mark.parametrize("ending", ENDINGS)
async def test_ended_with_tasks_queued_for_slots_all_are_sent_once_and_no_more_at_a_time(
    tmp_path: Path, ending: str
) -> None:
    port = free_port()
    names = [f"fox-{number}" for number in range(5)]
    async with sandboxed(task_seconds=0.4, slots=2, **REPEATING) as world:
        async with ENDINGS[ending](tmp_path, world, "unsigned", port=port, account={"slots": 2}) as house:
            with world.standing_still():
                answers = [await house.submit("unsigned", "a red fox", name) for name in names]
        async with receiving(tmp_path, world, "unsigned", port=port, account={"slots": 2}) as house:
            tasks: list[Json] = [await house.at_rest(name) for name in names]
        creates = await world.requests("create")
        paid = [await world.paid(name) for name in names]

    assert [201, 201, 202, 202, 202] == [answer.status_code for answer in answers]
    assert ["succeeded"] * 5 == [task["state"] for task in tasks]
    assert [200] * 5 == [each["http_status"] for each in creates]
    assert [1] * 5 == paid
