"""Many at once: each fact is told once, slots are kept, and nobody's going away undoes what was begun."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from tests.flows.builders import (
    House,
    Json,
    World,
    eventually,
    path_of,
    receiving,
    report,
    sandboxed,
    until_waited_for,
)
from tests.patience import PATIENCE, watching


async def expected(house: House, *names: str) -> list[str]:
    """The callback paths of tasks that run for long."""
    for name in names:
        await house.submit("cometapi", "a red fox [[drop_all,seconds=600]]", name)
    return [path_of(house.runtime.journal.callback_url("cometapi", name)) for name in names]


async def test_of_64_parallel_callbacks_each_fact_is_told_once(world: World, tmp_path: Path) -> None:
    names = [f"fox-{number}" for number in range(8)]
    async with receiving(tmp_path, world, "cometapi") as house:
        paths = await expected(house, *names)
        calls = [
            house.http.post(
                path, content=report(status, task_id=f"up-{name}", images=[f"https://a.example/{name}.png"])
            )
            for _ in range(2)
            for status in ("succeed", "processing", "submitted", "succeed")
            for name, path in zip(names, paths, strict=True)
        ]

        answers = await asyncio.gather(*calls)
        tasks = [await house.task(name) for name in names]
        events = (await house.http.get("/v1/events?limit=500")).json()["events"]

    verdicts = [answer.json()["verdict"] for answer in answers]
    assert (64, {200}) == (len(calls), {answer.status_code for answer in answers})
    assert ["succeeded"] * 8 == [task["state"] for task in tasks]
    assert 8 == [event["type"] for event in events].count("task.succeeded")
    assert len(events) == len({event["id"] for event in events})
    assert list(range(1, len(events) + 1)) == [event["position"] for event in events]
    assert all(sum(task["reports"].values()) == 9 for task in tasks)
    assert sum(task["reports"]["applied"] for task in tasks) == verdicts.count("applied") + 8
    assert 32 <= verdicts.count("duplicate")


async def test_opposite_finals_at_once_leave_one_final_and_conflicts(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi", account={"confirm": "never"}) as house:
        [path] = await expected(house, "torn")
        bodies = [report("succeed", images=["https://a.example/0.png"]), report("failed")] * 16

        answers = await asyncio.gather(*(house.http.post(path, content=body) for body in bodies))
        events = await house.events("torn")

    assert {200} == {answer.status_code for answer in answers}
    assert 1 == len([each for each in events if each in {"task.succeeded", "task.failed"}])
    assert 1 == [answer.json()["verdict"] for answer in answers].count("applied")


async def test_everybody_who_waits_is_woken_by_the_commit(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        names = [f"fox-{number}" for number in range(8)]
        paths = await expected(house, *names)
        async with watching() as watch:
            waiting = [asyncio.create_task(house.task(name, wait=20)) for name in names for _ in range(3)]
            for name in names:
                await until_waited_for(house, name, count=3)
            for path in paths:
                await house.http.post(path, content=report("failed", task_id=path.split("/")[3]))
            tasks = await asyncio.gather(*waiting)

    assert ["failed"] * 24 == [task["state"] for task in tasks]
    assert watch.seconds < 8


@pytest.mark.parametrize("with_worker", [True, False])
async def test_no_more_images_are_in_flight_than_there_are_slots_and_all_are_sent(
    tmp_path: Path, with_worker: bool
) -> None:
    sizes = {f"fox-{number}": 1 + number % 3 for number in range(6)}
    async with (
        sandboxed(task_seconds=0.05) as world,
        receiving(tmp_path, world, "powertokens", account={"slots": 4}, with_worker=with_worker) as house,
    ):
        with world.standing_still():
            answers = await asyncio.gather(
                *(house.submit("powertokens", "a red fox", name, n=size) for name, size in sizes.items())
            )
        async with asyncio.timeout(PATIENCE):
            tasks = [await at_rest(house, name, ticking=not with_worker) for name in sizes]
        truth, paid = await world.tasks(), await world.counts()

    assert {201, 202} == {answer.status_code for answer in answers}
    assert ["succeeded"] * 6 == [task["state"] for task in tasks]
    assert most_in_flight(truth) <= 4
    assert ([], 6) == (paid["paid_twice"]["powertokens"], paid["requests"]["powertokens.create"])


async def test_a_create_that_was_not_answered_holds_its_slots(tmp_path: Path) -> None:
    async with (
        sandboxed(task_seconds=600) as world,
        receiving(tmp_path, world, "cometapi", account={"slots": 2}) as house,
    ):
        await house.submit("cometapi", "a red fox [[unanswered,drop_all]]", "unanswered", n=2)
        waits = await house.submit("cometapi", "a red fox", "waits")
        await house.tick()
        task = await house.task("waits")

    assert (202, "pending", None) == (waits.status_code, task["state"], task["sent_at"])


async def test_callers_that_hang_up_do_not_cancel_their_creates(tmp_path: Path) -> None:
    names = [f"fox-{number}" for number in range(6)]
    async with sandboxed(pace=PATIENCE) as world, receiving(tmp_path, world, "unsigned") as house:
        calls = [asyncio.create_task(house.submit("unsigned", "a red fox [[slow,drop_all]]", name)) for name in names]
        await eventually(lambda: taken(world, len(names)))
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        world.let_go()
        tasks = [await house.until(name, lambda task: task["state"] != "pending") for name in names]
        paid = [await world.paid(name) for name in names]

    assert ["submitted"] * 6 == [task["state"] for task in tasks]
    assert [1] * 6 == paid


async def test_a_callback_whose_sender_hangs_up_at_once_is_heard_or_harmless(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        [path] = await expected(house, "cut-off")
        body = report("processing")
        for cut in (0, 10, len(body)):
            _, writer = await asyncio.open_connection("127.0.0.1", house.port)
            head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body[:cut])
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        answer = await house.http.post(path, content=body)
        task = await house.task("cut-off")

    assert 200 == answer.status_code
    assert ("processing", 0) == (task["state"], task["reports"]["stale"])


async def test_many_ticks_at_once_do_each_thing_once(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi", account={"slots": 1}) as house:
        await house.submit("cometapi", "a red fox", "first")
        await house.submit("cometapi", "a red fox", "second")
        await house.until("first", lambda task: task["state"] == "succeeded")

        await asyncio.gather(*(house.tick() for _ in range(16)))
        task = await house.at_rest("second")
        creates = await world.requests("create")

    assert "succeeded" == task["state"]
    assert ["first", "second"] == [each["external_task_id"] for each in creates]


async def taken(world: World, count: int) -> bool:
    return len(await world.tasks()) >= count


async def at_rest(house: House, name: str, *, ticking: bool) -> Json:
    if ticking:
        return await house.at_rest(name)
    return await house.until(name, lambda task: task["state"] in {"succeeded", "failed"})


def most_in_flight(tasks: list[dict[str, Any]]) -> int:
    """The greatest number of images that were in the making at one moment."""
    changes = [(task["created_at"], len(task["image_urls"])) for task in tasks]
    changes += [(task["finished_at"], -len(task["image_urls"])) for task in tasks]
    in_flight = most = 0
    for _, change in sorted(changes):
        in_flight += change
        most = max(most, in_flight)
    return most
