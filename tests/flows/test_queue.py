"""The queue before an account's slots: a burst is sent once, as slots free up, fairly, and though killed midway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from receiver.ledger.openings import OpenedAs
from tests.flows.builders import AT_REST, Clock, House, Json, World, configuration, eventually, receiving, sandboxed
from tests.flows.bursts import ANSWERED, PROVIDER, burst, names, widest_gap
from tests.flows.lives import ROOT
from tests.flows.test_concurrency import most_in_flight
from tests.patience import PATIENCE, free_port

SLOTS = 5
COUNTS = {"ada": 24, "bob": 12, "eve": 6}
ACCOUNT = {"slots": SLOTS}


async def test_a_burst_is_queued_and_sent_once_with_no_more_in_flight_than_slots_and_fairly(tmp_path: Path) -> None:
    """The sandbox has the same cap, and would answer 1303."""
    async with (
        sandboxed(task_seconds=0.05, slots=SLOTS) as world,
        receiving(tmp_path, world, PROVIDER, account=ACCOUNT, with_worker=True) as house,
    ):
        with world.standing_still():
            opened = await burst(house.runtime, COUNTS)
        tasks = await all_at_rest(house)
        creates, truth = await world.requests("create"), await world.tasks()

    outcomes = [each.outcome for each in opened]
    assert {OpenedAs.QUEUED, OpenedAs.TO_SEND} == set(outcomes)
    assert SLOTS >= outcomes.count(OpenedAs.TO_SEND)
    assert sorted(names(COUNTS)) == sorted(each["external_task_id"] for each in creates)
    assert {200} == {each["http_status"] for each in creates}
    assert {"succeeded"} == {task["state"] for task in tasks}
    assert most_in_flight(truth) <= SLOTS
    assert widest_gap(tasks, COUNTS) <= 1


@pytest.mark.parametrize("creates_before", [3, 20])
async def test_killed_amid_a_burst_the_queue_goes_on_where_it_was(tmp_path: Path, creates_before: int) -> None:
    port, clock = free_port(), Clock()
    async with sandboxed(task_seconds=0.05, slots=SLOTS) as world:
        async with bursting(tmp_path, world, port, COUNTS) as process:
            await eventually(lambda: so_many_creates(world, creates_before))
            process.kill()
            lines = (await process.communicate())[0].decode().splitlines()
        async with receiving(tmp_path, world, PROVIDER, port=port, account=ACCOUNT, clock=clock) as house:
            tasks = await drained(house, world, clock)
        creates = await world.requests("create")
        paid = [await world.paid(task["external_task_id"]) for task in tasks]

    answered = {line.removeprefix(ANSWERED) for line in lines if line.startswith(ANSWERED)}
    assert answered
    assert set() == answered - {task["external_task_id"] for task in tasks}
    assert {"succeeded"} == {task["state"] for task in tasks}
    assert {1} == set(paid)
    assert {200} == {each["http_status"] for each in creates}
    assert widest_gap(tasks, COUNTS) <= 1


async def test_a_create_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    """Its slot is taken, and the others go on: a batch does not wait for its slowest."""
    async with (
        sandboxed(pace=PATIENCE, task_seconds=0.02) as world,
        receiving(tmp_path, world, PROVIDER, account={"slots": 2}, with_worker=True) as house,
    ):
        await house.submit(PROVIDER, "a red fox [[drop_all,seconds=600]]", "runs", n=2)
        hanging = "a red fox [[slow,drop_all]]"  # the create is answered when all is seen
        for name, prompt in {"hangs": hanging, **dict.fromkeys(("one", "two", "three"), "a red fox")}.items():
            await house.submit(PROVIDER, prompt, name)
        await house.http.post("/v1/tasks/runs/abandon")
        tasks = [await house.until(name, lambda task: task["state"] == "succeeded") for name in ("one", "two", "three")]
        slow = await house.task("hangs")
        world.let_go()

    assert ["succeeded"] * 3 == [task["state"] for task in tasks]
    assert "pending" == slow["state"]
    assert slow["sent_at"] <= min(task["sent_at"] for task in tasks)


async def test_a_tick_waits_for_the_creates_it_began_and_cuts_none_short(tmp_path: Path) -> None:
    async with sandboxed(pace=0.6) as world, receiving(tmp_path, world, PROVIDER, account={"slots": 1}) as house:
        await house.submit(PROVIDER, "a red fox", "runs")
        await house.submit(PROVIDER, "a red fox [[slow,drop_all]]", "slow")
        await house.http.post("/v1/tasks/runs/abandon")

        sent = 0
        while not sent:  # a tick whose time is up before its sender's turn comes begins nothing
            sent = (await house.http.post("/v1/tick", params={"seconds": 0.1})).json()["sent"]
        task = await house.task("slow")

    assert 1 == sent
    assert "submitted" == task["state"]


async def test_a_refusal_makes_room_for_who_waits(tmp_path: Path) -> None:
    async with (
        sandboxed() as world,
        receiving(tmp_path, world, PROVIDER, account={"slots": 1}, with_worker=True) as house,
    ):
        prompts = {"refused-0": "[[policy]]", "refused-1": "[[policy]]", "taken": "a red fox"}
        await asyncio.gather(*(house.submit(PROVIDER, prompt, name) for name, prompt in prompts.items()))
        tasks = [await house.until(name, lambda task: task["state"] in AT_REST) for name in prompts]

    assert ["refused", "refused", "succeeded"] == [task["state"] for task in tasks]


async def all_at_rest(house: House) -> list[Json]:
    """All the tasks, once none of them is going to change."""

    async def rested() -> list[Json] | None:
        tasks = await all_tasks(house)
        return tasks if all(task["state"] in AT_REST for task in tasks) else None

    found: list[Json] = await eventually(rested)
    return found


async def all_tasks(house: House) -> list[Json]:
    tasks: list[Json] = (await house.http.get("/v1/tasks", params={"limit": 500})).json()["tasks"]
    return tasks


async def drained(house: House, world: World, clock: Clock) -> list[Json]:
    """All the tasks at rest: the clock jumps where only time helps, for a create whose answer was lost is looked up."""

    async def rested() -> list[Json] | None:
        done = await house.tick()
        is_quiet = not any(count for what, count in done.items() if what != "turns")
        if is_quiet and all(task["state"] in {"succeed", "failed"} for task in await world.tasks()):
            clock.jump(seconds=30)
        tasks = await all_tasks(house)
        return tasks if all(task["state"] in AT_REST for task in tasks) else None

    found: list[Json] = await eventually(rested)
    return found


async def so_many_creates(world: World, count: int) -> bool:
    return len(await world.requests("create")) >= count


@contextlib.asynccontextmanager
async def bursting(
    directory: Path, world: World, port: int, counts: Mapping[str, int]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A receiver in a process of its own that submits so many tasks for each tenant. Killed when the block is left."""
    file, log = directory / "config.json", directory / "log.jsonl"
    accounts = {PROVIDER: world.account(PROVIDER, **ACCOUNT)}
    file.write_text(configuration(directory, port, accounts).model_dump_json(exclude_unset=True))
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.flows.bursts", str(file), str(port), json.dumps(counts),
            cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=stderr,
            env={"PATH": os.environ["PATH"], "HOME": str(directory)},
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
