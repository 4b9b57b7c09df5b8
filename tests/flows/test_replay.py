"""What nobody could read is read again once an adapter was mended, and heard as it would have been."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from receiver.ledger.reading import KeptUnreadable
from submitter.providers import Trust
from tests.flows.builders import Clock, House, Json, World, path_of, receiving, report
from tests.patience import PATIENCE

NONE_YET = dict.fromkeys(("read", "applied", "duplicate", "stale", "conflict", "still_unreadable", "cut", "foreign"), 0)
OLD_READER = "unreadable: what the reader of that time made of it"


async def running(house: House, account: str, name: str) -> str:
    """The path at which a task that runs for long is called back about."""
    await house.submit(account, "a red fox [[drop_all,seconds=600]]", name)
    return path_of(house.runtime.journal.callback_url(account, name))


async def kept_by_an_old_reader(
    house: House, account: str, name: str, body: bytes, *, trust: Trust = Trust.TOKEN, size: int | None = None
) -> None:
    """A callback that this version reads, and that lies in the drawer because an earlier one could not."""
    await house.runtime.ledger.keep_unreadable(
        provider=account,
        external_task_id=name,
        body=body if size is None else body.ljust(size),
        reason=OLD_READER,
        trust=trust,
        now=house.runtime.clock(),
    )


async def replay(house: House, **page: int) -> Json:
    answer = await house.http.post("/v1/callbacks/replay", json=page)
    assert 200 == answer.status_code, answer.text
    return answer.json()


async def drawer(house: House) -> list[KeptUnreadable]:
    return await house.runtime.ledger.unreadable(0, limit=500)


async def test_each_is_heard_and_leaves_the_drawer_and_the_rest_stays_with_its_reason(
    world: World, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        for name in ("ours", "theirs", "large"):
            await running(house, "cometapi", name)
        theirs = (await house.task("theirs"))["task_id"]
        success = report("succeed", task_id="5", images=["https://a.example/0.png"])
        for body in (
            report("processing", task_id="5"),
            report("processing", task_id="5"),
            success,
            report("failed", task_id="5"),
            report("resting", task_id="5"),
            b"hello",
            report("failed", task_id=theirs),
        ):
            await kept_by_an_old_reader(house, "cometapi", "ours", body)
        await kept_by_an_old_reader(house, "cometapi", "large", success, size=20_000)
        counts = await replay(house)
        left, task = await drawer(house), await house.task("ours")
        again = await replay(house)

    heard = {"read": 6, "applied": 2, "duplicate": 1, "stale": 1, "conflict": 1, "foreign": 1}
    stays = {"still_unreadable": 1, "cut": 1}
    assert {**heard, **stays, "next": None} == counts
    assert {**NONE_YET, "read": 1, "foreign": 1, **stays, "next": None} == again
    assert (b"hello", OLD_READER) == (left[0].body, left[2].reason)
    assert left[0].reason.startswith("unreadable: not JSON")
    assert left[1].reason.startswith("foreign_task: ")
    assert "succeeded" == task["state"]
    assert {"applied": 3, "duplicate": 1, "stale": 1, "conflict": 1} == task["reports"]  # one of them the answer's


async def test_it_is_heard_as_of_now_at_the_trust_its_sender_had(clock: Clock, world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "kling", clock=clock) as house:
        for name, trust in (("by-token", Trust.TOKEN), ("signed", Trust.SIGNED)):
            await running(house, "kling", name)
            body = report("failed", task_id=(await house.task(name))["task_id"])
            await kept_by_an_old_reader(house, "kling", name, body, trust=trust)
        clock.jump(hours=1)
        before = clock()
        await replay(house)
        tasks = [await house.task(name) for name in ("by-token", "signed")]
        told = [(await house.told(name))[-1] for name in ("by-token", "signed")]
        histories = [(await house.history(name))["reports"][-1] for name in ("by-token", "signed")]

    assert [("failed", "callback", "token"), ("failed", "callback", "signed")] == [
        (task["state"], task["settled_by"], task["trust"]) for task in tasks
    ]
    assert [("callback", "token"), ("callback", "signed")] == [(each["source"], each["trust"]) for each in histories]
    assert all(before <= _moment(event["time"]) for event in told)


async def test_the_trust_of_a_callback_is_kept_with_it(world: World, tmp_path: Path) -> None:
    """A signature covers bytes, whether they can be read or not."""
    async with receiving(tmp_path, world, "kling") as house:
        await house.submit("kling", "a red fox [[drop_all,seconds=600]]", "kept")
        await house.http.post(path_of(house.runtime.journal.callback_url("kling", "kept")), content=b"unsigned")
        truth = await world.truth("kept")
        await world.callback(task_id=truth["task_id"], body={"no": "status"})
        kept = await drawer(house)

    assert [Trust.TOKEN, Trust.SIGNED] == [each.trust for each in kept]


async def test_an_account_that_requires_signatures_by_now_hears_no_unsigned_one_from_the_drawer(
    world: World, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "kling") as house:
        await running(house, "kling", "strict")
        await kept_by_an_old_reader(house, "kling", "strict", report("failed"))
    async with receiving(tmp_path, world, "kling", account={"require_signature": True}) as house:
        counts = await replay(house)
        [kept] = await drawer(house)
        task = await house.task("strict")

    assert (0, 1) == (counts["read"], counts["still_unreadable"])
    assert "requires" in kept.reason
    assert "submitted" == task["state"]


async def test_what_an_account_left_behind_stays_until_the_account_is_back(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "unsigned") as house:
        await running(house, "unsigned", "left")
        await kept_by_an_old_reader(house, "unsigned", "left", report("failed"))
    async with receiving(tmp_path, world, "cometapi") as house:
        without = await replay(house)
        [kept] = await drawer(house)
    async with receiving(tmp_path, world, "unsigned") as house:
        back = await replay(house)

    assert (1, "unreadable: no account 'unsigned' is configured") == (without["still_unreadable"], kept.reason)
    assert 1 == back["applied"]


async def test_answers_to_our_own_questions_are_not_replayed(world: World, tmp_path: Path) -> None:
    """Asking anew says what is true now; an old answer heard late as proof could refute it."""
    async with receiving(tmp_path, world, "cometapi") as house:
        await running(house, "cometapi", "asked")
        await kept_by_an_old_reader(house, "cometapi", "asked", report("failed"), trust=Trust.QUERIED)
        counts = await replay(house)
        task, kept = await house.task("asked"), await drawer(house)

    assert {**NONE_YET, "next": None} == counts
    assert ("submitted", 1) == (task["state"], len(kept))


async def test_a_long_drawer_is_replayed_page_by_page_and_two_at_once_hear_each_once(
    world: World, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        await running(house, "cometapi", "long")
        for number in range(25):
            await kept_by_an_old_reader(house, "cometapi", "long", report(f"word {number}"))

        async def whole() -> list[Json]:
            pages, after = [], 0
            while after is not None:
                pages.append(await replay(house, after=after, limit=10))
                after = pages[-1]["next"]
            return pages

        both = await asyncio.gather(whole(), whole())
        task = await house.task("long")

    assert 25 == sum(page["read"] for pages in both for page in pages)
    assert 25 == task["reports"]["stale"]


async def test_killed_between_pages_nothing_is_heard_twice_and_nothing_lost(world: World, tmp_path: Path) -> None:
    """The effect and the leaving are one commit: a copy of the file at any moment has each report in one place."""
    async with receiving(tmp_path, world, "cometapi") as house:
        await running(house, "cometapi", "killed")
        for number in range(32):
            await kept_by_an_old_reader(house, "cometapi", "killed", report(f"word {number}"))
        replaying = asyncio.create_task(replay(house))
        seen = set()
        while not replaying.done():
            seen.add(await asyncio.to_thread(_in_drawer_and_heard, tmp_path / "ledger.db"))
        await replaying
        seen.add(_in_drawer_and_heard(tmp_path / "ledger.db"))

    assert {32} == {in_drawer + heard for in_drawer, heard in seen}
    assert (0, 32) in seen


async def test_a_replayed_success_brings_its_task_to_rest_for_those_who_wait(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        await running(house, "cometapi", "waited")
        body = report("succeed", images=["https://a.example/0.png"])
        await kept_by_an_old_reader(house, "cometapi", "waited", body)
        waiting = asyncio.create_task(house.task("waited", wait=20))
        await replay(house)
        task = await asyncio.wait_for(waiting, PATIENCE)

    assert "succeeded" == task["state"]


@pytest.mark.parametrize(
    "fields",
    [{"after": -1}, {"after": "x"}, {"limit": 0}, {"limit": 101}, {"limit": True}, {"after": 2**70}, {"page": 1}],
    ids=str,
)
async def test_a_page_that_is_none_is_refused_field_by_field(
    world: World, tmp_path: Path, fields: dict[str, Any]
) -> None:
    async with receiving(tmp_path, world) as house:
        answer = await house.http.post("/v1/callbacks/replay", json=fields)

    assert (422, next(iter(fields))) == (answer.status_code, answer.json()["errors"][0]["field"])


def _in_drawer_and_heard(ledger: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=PATIENCE)) as raw:
        raw.execute("begin")  # both counts of one moment
        [in_drawer] = raw.execute("select count(*) from unreadable").fetchone()
        [heard] = raw.execute("select reports_stale from tasks").fetchone()
        return in_drawer, heard


def _moment(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1000)
