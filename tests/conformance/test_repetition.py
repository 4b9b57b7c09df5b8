"""Callbacks that come again, out of order, or over a connection that dies: each fact has one effect."""

import asyncio
import itertools
import sqlite3
from pathlib import Path

import httpx
import pytest

from tests.conformance.scenes import (
    IMAGE,
    SUCCEED,
    WHOLE_STORY,
    all_read,
    awaited,
    finals,
    held_up,
    ledger_of,
    line_to,
    post_of,
    rows,
    said,
    urls,
)
from tests.flows.builders import World, path_of, receiving, report
from tests.flows.lives import living
from tests.patience import PATIENCE, free_port

SUBMITTED = report("submitted", task_id="5")
PROCESSING = report("processing", task_id="5")


async def test_a_single_callback_is_applied_once_and_told_once(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "powertokens") as house:
        path = await awaited(house, "powertokens", "single")

        answer = await house.http.post(path, content=SUCCEED)
        task, told = await house.task("single"), await house.told("single")

    assert (200, "applied") == said(answer)
    assert ("succeeded", "callback", "token", [IMAGE]) == (
        task["state"],
        task["settled_by"],
        task["trust"],
        urls(task),
    )
    assert ["task.submitted", "task.succeeded"] == [each["type"] for each in told]
    assert [IMAGE] == urls(told[-1]["task"])


async def test_a_duplicate_after_the_answer_is_acknowledged_and_changes_nothing(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "powertokens") as house:
        path = await awaited(house, "powertokens", "again")
        first = await house.http.post(path, content=SUCCEED)
        before, told = await house.task("again"), await house.told("again")

        repeated = [await house.http.post(path, content=SUCCEED) for _ in range(5)]
        after, told_again = await house.task("again"), await house.told("again")
        [*_, kept] = (await house.history("again"))["reports"]

    assert (200, "applied") == said(first)
    assert [(200, "duplicate")] * 5 == [said(answer) for answer in repeated]
    assert told == told_again
    assert 5 == after["reports"].pop("duplicate") - before["reports"].pop("duplicate")
    assert before == after
    assert ("succeed", 6) == (kept["status"], kept["count"])


async def test_of_fifty_duplicates_at_once_one_is_applied_and_one_event_told(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "powertokens") as house:
        path = await awaited(house, "powertokens", "at-once")

        answers = await asyncio.gather(*(house.http.post(path, content=SUCCEED) for _ in range(50)))
        told = await finals(house, "at-once")
        [*_, kept] = (await house.history("at-once"))["reports"]

    assert [(200, "applied")] + [(200, "duplicate")] * 49 == sorted(said(answer) for answer in answers)
    assert ["task.succeeded"] == told
    assert 50 == kept["count"]


async def test_whatever_the_order_the_end_is_the_same_and_told_once(world: World, tmp_path: Path) -> None:
    bodies = {"submitted": SUBMITTED, "processing": PROCESSING, "succeed": SUCCEED}
    orders = list(itertools.permutations(bodies))
    ends, told = [], []
    async with receiving(tmp_path, world, "powertokens", account={"confirm": "never"}) as house:
        for number, order in enumerate(orders):
            path = await awaited(house, "powertokens", f"order-{number}")
            statuses = [
                (await house.http.post(path, content=bodies[each].replace(b'"5"', b'"5%d"' % number))).status_code
                for each in order
            ]
            task = await house.task(f"order-{number}")
            ends.append((statuses, task["state"], urls(task), sum(task["reports"].values())))
            told.append(await house.events(f"order-{number}"))

    assert [([200, 200, 200], "succeeded", [IMAGE], 4)] * 6 == ends
    assert [1] * 6 == [each.count("task.succeeded") for each in told]
    # A word from before the end that comes after it is heard, and told to nobody.
    assert {tuple(WHOLE_STORY), ("task.submitted", "task.succeeded")} == {tuple(each) for each in told}


async def test_a_sender_that_times_out_and_retries_has_one_effect(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi") as house:
        path = await awaited(house, "cometapi", "impatient")
        async with held_up(house):
            with pytest.raises(httpx.ReadTimeout):
                await house.http.post(path, content=SUCCEED, timeout=httpx.Timeout(PATIENCE, read=0.15))
            await all_read(house.port)
        retried = await house.http.post(path, content=SUCCEED)
        history = await house.history("impatient")
        told = await finals(house, "impatient")

    assert (200, "duplicate") == said(retried)
    # The first was heard although nobody waited for the answer.
    assert [("callback", "succeed", "applied", 2)] == [
        (each["source"], each["status"], each["verdict"], each["count"]) for each in history["reports"][1:]
    ]
    assert ["task.succeeded"] == told


async def test_a_connection_lost_before_the_answer_and_a_retry_have_one_effect(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "powertokens") as house:
        path = await awaited(house, "powertokens", "reset")
        async with line_to(house.port) as line, held_up(house):
            line.writer.write(post_of(path, SUCCEED))
            await all_read(house.port)
            line.reset()
        retried = await house.http.post(path, content=SUCCEED)
        told = await finals(house, "reset")
        [*_, kept] = (await house.history("reset"))["reports"]

    assert (200, "duplicate") == said(retried)
    assert ["task.succeeded"] == told
    assert ("applied", 2) == (kept["verdict"], kept["count"])


async def test_a_client_that_hangs_up_does_not_undo_its_write(world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "powertokens") as house:
        ahead, whole, half = [await awaited(house, "powertokens", name) for name in ("ahead", "whole", "half")]
        async with held_up(house):
            async with line_to(house.port) as busy, line_to(house.port) as gone, line_to(house.port) as cut_short:
                busy.writer.write(post_of(ahead, report("processing", task_id="6")))
                await all_read(house.port)
                gone.writer.write(post_of(whole, SUCCEED))
                cut_short.writer.write(post_of(half, SUCCEED)[:-1])
                await all_read(house.port)
            await asyncio.sleep(0.05)  # long enough to notice that nobody waits for an answer any longer
        heard = await house.until("whole", lambda task: task["state"] == "succeeded")
        unheard = await house.task("half")

    assert [IMAGE] == urls(heard)
    assert "submitted" == unheard["state"]


async def test_a_callback_repeated_after_a_restart_is_known_again(world: World, tmp_path: Path) -> None:
    port = free_port()
    body = {"provider": "cometapi", "endpoint": "omni-image", "request": {"prompt": "a red fox"}}
    async with living(tmp_path, world, "cometapi", port=port) as life:
        opened = await life.http.post("/v1/submissions", json={**body, "external_task_id": "restarted"})
        path = path_of(opened.json()["callback_url"])
        first = [await life.http.post(path, content=each) for each in (PROCESSING, SUCCEED)]
        told = await life.told("restarted")
        await life.kill()

    async with living(tmp_path, world, "cometapi", port=port) as life:
        second = [await life.http.post(path, content=each) for each in (PROCESSING, SUCCEED)]
        told_again = await life.told("restarted")

    assert [(200, "applied")] * 2 == [said(answer) for answer in first]
    assert [(200, "duplicate")] * 2 == [said(answer) for answer in second]
    assert told == told_again
    assert ["task.processing", "task.succeeded"] == [each["type"] for each in told]


async def test_a_late_duplicate_of_a_pruned_task_is_stale_and_revives_nothing(world: World, tmp_path: Path) -> None:
    port = free_port()
    async with receiving(tmp_path, world, "powertokens", port=port) as house:
        path = await awaited(house, "powertokens", "pruned")
        await house.http.post(path, content=SUCCEED)
        task = await house.task("pruned")
        ledger = ledger_of(house)
    prune(ledger, "pruned")
    before = rows(ledger, "select * from tombstones")

    async with receiving(tmp_path, world, "powertokens", port=port) as house:
        answers = [await house.http.post(path, content=each) for each in (SUCCEED, report("failed", task_id="6"))]
        shown = await house.http.get("/v1/tasks/pruned")
        events = (await house.http.get("/v1/events")).json()["events"]
    after = rows(ledger, "select * from tombstones")

    assert [(200, "stale")] * 2 == [said(answer) for answer in answers]
    assert 404 == shown.status_code
    assert [] == events
    assert [("pruned", "powertokens", "succeeded", task["version"])] == [each[:3] + each[4:] for each in after]
    assert before == after


def prune(ledger: Path, name: str) -> None:
    """Leave of a settled task what its retention leaves: a tombstone."""
    with sqlite3.connect(ledger) as raw:
        [(key,)] = raw.execute("select key from tasks where external_task_id = ?", (name,)).fetchall()
        raw.execute("delete from reports where task = ?", (key,))
        raw.execute("delete from events where external_task_id = ?", (name,))
        raw.execute(
            """
            insert into tombstones (external_task_id, provider, state, settled_at, version)
            select external_task_id, provider, state, settled_at, version from tasks where key = ?
            """,
            (key,),
        )
        raw.execute("delete from tasks where key = ?", (key,))
    raw.close()
