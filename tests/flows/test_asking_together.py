"""Many silent tasks in one request, what the provider's own books say of it, and accounts that are left in peace."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.flows.builders import ASKING, Clock, House, World, eventually, receiving, sandboxed
from tests.flows.test_malicious_provider import gateway

PATIENT = {**ASKING, "first_after": "30s", "interval": "20s"}


async def submitted(house: House, account: str, count: int, faults: str = "drop_all", **fields: Any) -> list[str]:
    """So many tasks, once they have been accepted."""
    names = [f"fox-{number}" for number in range(count)]
    await asyncio.gather(*(house.submit(account, f"a red fox [[{faults}]]", name, **fields) for name in names))
    return names


async def finished(world: World, names: list[str]) -> None:
    """Once the provider has lost the last callback of each."""
    for name in names:
        await world.until_told(name, 3)


def counted(folder: Path) -> dict[str, tuple[int, int]]:
    """What the ledger says was asked: requests and tasks by shape."""
    with sqlite3.connect(folder / "ledger.db") as raw:
        rows = raw.execute("select shape, sum(requests), sum(tasks) from questions group by 1").fetchall()
    raw.close()
    return {shape: (requests, tasks) for shape, requests, tasks in rows}


async def visits(world: World) -> dict[str, int]:
    """What the provider's books say was asked."""
    kinds = {"query": "single", "list": "page", "batch": "batch"}
    seen = {shape: len(await world.requests(kind)) for kind, shape in kinds.items()}
    return {shape: count for shape, count in seen.items() if count}


@pytest.mark.parametrize("endpoint", ["omni-image", "generations"])
async def test_sixty_tasks_nobody_called_back_about_settle_by_one_page(
    world: World, clock: Clock, tmp_path: Path, endpoint: str
) -> None:
    async with receiving(tmp_path, world, "unsigned", clock=clock, polling=PATIENT) as house:
        names = await submitted(house, "unsigned", 60, endpoint=endpoint, n=2)
        await finished(world, names)
        clock.jump(seconds=31)
        asked = await house.tick()
        tasks = [await house.task(name) for name in names]
        truths = [await world.truth(name) for name in names]

    assert 1 == asked["asked"]
    assert {("succeeded", "query", "queried", 1)} == {
        (each["state"], each["settled_by"], each["trust"], each["queries"]) for each in tasks
    }
    assert [each["image_urls"] for each in truths] == [[image["url"] for image in each["images"]] for each in tasks]
    assert {"page": 1} == await visits(world)
    assert {"page": (1, 60)} == counted(tmp_path)


async def test_a_page_settles_tasks_that_were_not_due_yet_too(world: World, clock: Clock, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "unsigned", clock=clock, polling=PATIENT) as house:
        await finished(world, await submitted(house, "unsigned", 4))
        clock.jump(seconds=20)
        await house.submit("unsigned", "a hare [[drop_all]]", "hare")
        await world.until_told("hare", 3)
        clock.jump(seconds=15)
        await house.tick()
        task = await house.task("hare")

    assert ("succeeded", "query", 1) == (task["state"], task["settled_by"], task["queries"])
    assert {"page": 1} == await visits(world)


async def test_batches_of_twenty_where_a_flag_says_so(world: World, clock: Clock, tmp_path: Path) -> None:
    account = {"flags": {"batch_query": True, "list_query": False}}
    async with receiving(tmp_path, world, "unsigned", clock=clock, polling=PATIENT, account=account) as house:
        names = await submitted(house, "unsigned", 60)
        await finished(world, names)
        clock.jump(seconds=31)
        await house.tick()
        tasks = [await house.task(name) for name in names]

    assert {("succeeded", "query", 1)} == {(each["state"], each["settled_by"], each["queries"]) for each in tasks}
    assert {"batch": 3} == await visits(world)
    assert {"batch": (3, 60)} == counted(tmp_path)


@pytest.mark.parametrize("account", ["cometapi", "powertokens"])
async def test_gateways_without_either_are_asked_one_by_one(
    world: World, clock: Clock, tmp_path: Path, account: str
) -> None:
    async with receiving(tmp_path, world, account, clock=clock, polling=PATIENT) as house:
        await finished(world, await submitted(house, account, 5))
        clock.jump(seconds=31)
        await house.tick()

    assert {"single": 5} == await visits(world)
    assert {"single": (5, 5)} == counted(tmp_path)


async def test_a_flag_for_what_a_gateway_does_not_have_costs_one_request(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    """There a list is answered with a page of HTML: each task is asked about by itself."""
    account = {"flags": {"list_query": True}}
    async with receiving(tmp_path, world, "powertokens", clock=clock, polling=PATIENT, account=account) as house:
        names = await submitted(house, "powertokens", 5)
        await finished(world, names)
        clock.jump(seconds=31)
        await house.tick()
        clock.jump(seconds=10)
        await house.tick()
        tasks = [await house.task(name) for name in names]

    assert {("succeeded", 1)} == {(each["state"], each["queries"]) for each in tasks}
    assert {"page": (1, 0), "single": (5, 5)} == counted(tmp_path)


async def test_a_list_in_another_order_is_left_alone_and_every_task_settles(clock: Clock, tmp_path: Path) -> None:
    """The tasks lie behind older ones that fill the page, where nobody looks for the latest."""
    async with (
        sandboxed(lists_oldest_first=True, lists_at_most=5) as world,
        receiving(tmp_path, world, "unsigned", clock=clock, polling=PATIENT) as house,
    ):
        await fill(world, 5)
        names = await submitted(house, "unsigned", 9)
        await finished(world, names)
        clock.jump(seconds=31)
        await house.tick()
        tasks = [await house.task(name) for name in names]
        seen = await visits(world)

    assert {("succeeded", 1)} == {(each["state"], each["queries"]) for each in tasks}
    assert {"page": (1, 0), "single": (9, 9)} == counted(tmp_path)
    assert {"page": 1, "single": 9} == seen


async def test_our_id_at_another_task_on_a_page_settles_nothing_of_ours(
    clock: Clock, world: World, tmp_path: Path
) -> None:
    """Behind one gateway somebody else may have chosen it: an answer has told by which id ours goes."""

    async def books(writer: asyncio.StreamWriter) -> None:
        line = there.heads[-1].split("\r\n")[0]
        theirs = {"images": [{"index": 0, "url": "https://cdn.example.com/theirs.png"}]}
        data: Any = {"task_id": line.split()[1].rpartition("/")[2], "task_status": "processing"}
        if line.startswith("POST"):
            data = {"task_id": f"own-{len(there.heads)}", "task_status": "submitted"}
        elif "pageNum" in line:
            data = [
                {"task_id": f"other-{name}", "task_status": "succeed", "task_result": theirs}
                | {"task_info": {"external_task_id": name}}
                for name in names
            ]
        body = json.dumps({"code": 0, "message": "SUCCEED", "data": data}).encode()
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)

    names = ["fox-0", "fox-1"]
    async with gateway(books) as there:
        account = {"base_url": there.url}
        async with receiving(tmp_path, world, "unsigned", clock=clock, polling=PATIENT, account=account) as house:
            await submitted(house, "unsigned", 2)
            clock.jump(seconds=31)
            await house.tick()
            tasks = [await house.task(name) for name in names]

    assert ["processing"] * 2 == [each["state"] for each in tasks]
    assert {"page": (1, 0), "single": (2, 2)} == counted(tmp_path)


async def test_a_429_holds_up_creates_too(clock: Clock, tmp_path: Path) -> None:
    async with (
        sandboxed(retry_after=30) as world,
        receiving(tmp_path, world, "unsigned", clock=clock, polling=PATIENT) as house,
    ):
        await house.submit("unsigned", "a red fox [[drop_all,query_error=429]]", "hurried")
        await world.until_told("hurried", 3)
        clock.jump(seconds=31)
        await house.tick()
        await house.submit("unsigned", "a hare", "hare")
        waiting = await house.task("hare")
        clock.jump(seconds=31)
        await house.tick()
        sent = await house.task("hare")

    assert ("pending", None) == (waiting["state"], waiting["sent_at"])
    assert sent["sent_at"] is not None


async def test_a_create_that_is_too_fast_holds_up_the_others_and_the_questions_also_without_a_retry_after(
    world: World, clock: Clock, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "unsigned", clock=clock, polling=PATIENT) as house:
        await house.submit("unsigned", "a crow [[drop_all]]", "crow")
        await world.until_told("crow", 3)
        clock.jump(seconds=31)
        await house.submit("unsigned", "a red fox [[http200_error=1302]]", "hurried")
        await house.submit("unsigned", "a hare", "hare")
        early = await house.tick()
        waiting = await house.task("hare")
        clock.jump(seconds=11)
        late = await house.tick()

    assert (0, 0, None) == (early["sent"], early["asked"], waiting["sent_at"])
    assert (2, 1) == (late["sent"], late["asked"])


async def test_a_deferral_of_what_runs_already_holds_up_nobody(world: World, clock: Clock, tmp_path: Path) -> None:
    """Whoever may submit could repeat it for ever, and stop an account that others share."""
    late = {"reason": "1302", "kind": "deferred", "retry_after_seconds": 86_400}
    async with receiving(tmp_path, world, "unsigned", clock=clock, polling=PATIENT) as house:
        await house.submit("unsigned", "a red fox", "runs")
        await world.until_told("runs", 1)
        await house.http.post("/v1/submissions/runs/refusal", json=late)
        await house.submit("unsigned", "a hare", "hare")
        sent = await house.task("hare")

    assert sent["sent_at"] is not None


@pytest.mark.parametrize("tasks", [1, 2])
async def test_maintenance_that_says_how_long_holds_up_creates_and_questions(
    clock: Clock, world: World, tmp_path: Path, tasks: int
) -> None:
    """A question by itself, and a page."""

    async def maintained(writer: asyncio.StreamWriter) -> None:
        body = b'{"code":5001,"message":"under maintenance"}'
        pause = "retry-after: 120\r\n" if there.heads[-1].startswith("GET") else ""
        head = f"HTTP/1.1 503 Later\r\n{pause}content-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)

    async with (
        gateway(maintained) as there,
        receiving(tmp_path, world, "unsigned", clock=clock, polling=PATIENT, account={"base_url": there.url}) as house,
    ):
        await submitted(house, "unsigned", tasks)
        clock.jump(seconds=31)
        await house.tick()
        asked = [head for head in there.heads if head.startswith("GET")]
        clock.jump(seconds=60)
        await house.submit("unsigned", "a hare", "hare")
        await house.tick()
        asked_later = [head for head in there.heads if head.startswith("GET")]
        waiting = await house.task("hare")

    assert (1, asked) == (len(asked), asked_later)
    assert waiting["sent_at"] is None


async def test_trouble_of_the_account_stops_it_and_is_shown(clock: Clock, world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "unsigned", clock=clock, polling=PATIENT) as house:
        with capture_logs() as logs:
            refused = await house.submit("unsigned", "a red fox [[account]]", "refused")
        metrics = (await house.http.get("/metrics")).text
        await house.submit("unsigned", "a hare", "hare")
        waiting = await house.task("hare")

    assert (502, "1101") == (refused.status_code, refused.json()["provider_code"])
    assert ["1101"] == [each["code"] for each in logs if each["event"] == "provider.stopped"]
    assert 'hookledger_provider_paused{provider="unsigned",reason="stopped"} 1\n' in metrics
    assert waiting["sent_at"] is None


async def test_the_key_of_another_account_is_noticed_and_its_questions_rest(clock: Clock, tmp_path: Path) -> None:
    """The provider answers, and knows none of the tasks."""
    async with (
        sandboxed(kept_tasks=1) as world,
        receiving(tmp_path, world, "cometapi", clock=clock, polling=PATIENT) as house,
    ):
        names = await submitted(house, "cometapi", 16)
        clock.jump(seconds=35)
        with capture_logs() as logs:
            await eventually(lambda: rested(logs, house))
        metrics = (await house.http.get("/metrics")).text
        asked = len(await world.requests("query"))
        clock.jump(minutes=5)
        await house.tick()
        asked_later = len(await world.requests("query"))
        states = {(await house.task(name))["state"] for name in names}

    [said] = [each for each in logs if each["event"] == "provider.unknown_tasks"]
    assert "another account" in said["fix"]
    assert 'hookledger_provider_paused{provider="cometapi",reason="unknown"} 1\n' in metrics
    assert asked == asked_later == 16
    assert states <= {"submitted", "succeeded", "processing"}


async def rested(logs: list[Any], house: House) -> bool:
    await house.tick()
    return any(each["event"] == "provider.unknown_tasks" for each in logs)


async def fill(world: World, count: int) -> None:
    """So many tasks of somebody else at the same account."""
    path = f"{world.base_url}/kling/v1/images/omni-image"
    for number in range(count):
        body = {"prompt": "theirs", "model_name": "kling-v3-omni", "external_task_id": f"x_{number}"}
        await world.http.post(path, json=body, headers={"authorization": "Bearer theirs"})
