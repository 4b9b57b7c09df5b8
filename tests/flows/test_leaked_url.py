"""Whoever holds one leaked callback URL neither fills the disk, nor crowds the queue, nor the drawer."""

import asyncio
import itertools
import json
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.flows.builders import House, World, path_of, receiving, report
from tests.patience import PATIENCE

KEPT_BODIES = 32
KEPT_REPORTS = 256
SIDES = 50


async def leaked(house: House, name: str = "leaked") -> str:
    """The path of a task whose URL somebody else has."""
    await house.submit("cometapi", "a red fox [[drop_all,seconds=600]]", name)
    return path_of(house.runtime.journal.callback_url("cometapi", name))


def different(number: int) -> bytes:
    """A report that no other is like, and of some size."""
    return json.dumps({"task_id": "1", "task_status": f"word {number}", "padding": "x" * 2_000}).encode()


def counted(ledger: Path, sql: str) -> int:
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as raw:
        count: int = raw.execute(sql).fetchone()[0]
        return count


async def test_of_a_thousand_bodies_to_one_url_thirty_two_are_kept_and_all_are_counted(
    world: World, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        path = await leaked(house)
        before = sum((await house.task("leaked"))["reports"].values())
        numbers = iter(range(1_000))

        async def side() -> list[int]:
            return [(await house.http.post(path, content=different(number))).status_code for number in numbers]

        statuses = await asyncio.gather(*(side() for _ in range(SIDES)))
        task = await house.task("leaked")
        of_the_task = "from reports join tasks on reports.task = tasks.key where external_task_id = 'leaked'"
        rows = counted(tmp_path / "ledger.db", f"select count(*) {of_the_task}")
        bodies = counted(tmp_path / "ledger.db", f"select count(*) {of_the_task} and length(body) > 0")

    assert [200] * 1_000 == [status for each in statuses for status in each]
    assert 1_000 == sum(task["reports"].values()) - before
    assert rows <= KEPT_REPORTS
    assert bodies <= KEPT_BODIES


async def test_fifty_reports_of_one_task_at_once_are_all_acknowledged(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        path = await leaked(house)
        before = sum((await house.task("leaked"))["reports"].values())
        answers = await asyncio.gather(*(house.http.post(path, content=different(number)) for number in range(SIDES)))
        task = await house.task("leaked")

    assert {200} == {answer.status_code for answer in answers}
    assert SIDES == sum(task["reports"].values()) - before


async def test_while_one_url_is_flooded_other_tasks_callbacks_are_heard(world: World, tmp_path: Path) -> None:
    """From twenty sides without a pause, for as long as eight others are called back about, one after the other."""
    async with receiving(tmp_path, world, "cometapi") as house:
        path = await leaked(house)
        others = [await leaked(house, f"other-{number}") for number in range(8)]
        numbers, over = itertools.count(), asyncio.Event()
        statuses: set[int] = set()

        async def flood() -> None:
            while not over.is_set():
                answer = await house.http.post(path, content=different(next(numbers)))
                statuses.add(answer.status_code)

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as sides:
            for _ in range(20):
                sides.create_task(flood())
            heard = [
                await house.http.post(other, content=report("failed", task_id=f"77{number}"))
                for number, other in enumerate(others)
            ]
            over.set()
        states = [(await house.task(f"other-{number}"))["state"] for number in range(8)]

    assert [200] * 8 == [answer.status_code for answer in heard]
    assert ["failed"] * 8 == states
    assert {200} == statuses


async def test_unreadable_bodies_to_one_url_push_out_nobody_elses(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        other = await leaked(house, "other")
        await house.http.post(other, content=b"what a mended adapter will read")
        path = await leaked(house)
        for number in range(60):
            await house.http.post(path, content=b"rubbish %d" % number)
        kept = await house.runtime.ledger.unreadable(0, limit=500)

    assert ["other"] + ["leaked"] * 32 == [each.external_task_id for each in kept]
