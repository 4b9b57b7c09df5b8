"""Floods of invalid callbacks are held off by source, and never is a valid one among them."""

import asyncio
import json
import time
from pathlib import Path

import httpx

from receiver.inbound import BURST
from submitter.signatures import sign
from tests.conformance.scenes import post_all, post_of
from tests.flows.builders import WEBHOOK_SECRET, Clock, House, World, eventually, path_of, receiving, report
from tests.flows.lives import living
from tests.patience import PATIENCE, free_port

WRONG = "/callbacks/cometapi/anything/AAAAAAAAAAAAAAAAAAAAAAAA"


async def flood(http: httpx.AsyncClient, count: int, path: str = WRONG, **options: object) -> list[httpx.Response]:
    """So many of one invalid callback, thirty at a time."""
    sides = asyncio.Semaphore(30)

    async def post() -> httpx.Response:
        async with sides:
            return await http.post(path, content=report("failed"), **options)  # type: ignore[arg-type]

    return await asyncio.gather(*(post() for _ in range(count)))


def frozen() -> int:
    """A clock that stands: nothing is refilled meanwhile."""
    return 1_795_168_800_000


async def has_begun(house: House) -> bool:
    """Whether an invalid callback came."""
    return len(house.runtime.inbound) > 0


async def expected(house: House, account: str, name: str) -> str:
    await house.submit(account, "a red fox [[drop_all,seconds=600]]", name)
    return path_of(house.runtime.journal.callback_url(account, name))


async def test_beyond_its_measure_a_source_is_told_to_wait_and_valid_callbacks_pass(
    world: World, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "cometapi", clock=frozen) as house:
        path = await expected(house, "cometapi", "amid")
        answers = await flood(house.http, BURST)
        beyond = await house.http.post(WRONG, content=report("failed"))
        valid = await house.http.post(path, content=report("processing"))
        unreadable = await house.http.post(path, content=b"hello")

    assert {404} == {answer.status_code for answer in answers}
    assert (429, "too_many_invalid", "1") == (
        beyond.status_code,
        beyond.json()["code"],
        beyond.headers["retry-after"],
    )
    assert (200, "applied") == (valid.status_code, valid.json()["verdict"])
    assert 422 == unreadable.status_code


async def test_in_the_midst_of_a_flood_from_their_own_address_all_valid_callbacks_are_heard(
    world: World, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "cometapi", clock=frozen) as house:
        paths = [await expected(house, "cometapi", f"amid-{number}") for number in range(20)]
        flooding = asyncio.create_task(flood(house.http, 2 * BURST))
        await eventually(lambda: has_begun(house))
        heard = [
            await house.http.post(path, content=report("failed", task_id=f"77{number}"))
            for number, path in enumerate(paths)
        ]
        answers = await flooding
        states = {(await house.task(f"amid-{number}"))["state"] for number in range(20)}

    assert {200} == {answer.status_code for answer in heard}
    assert {404, 429} == {answer.status_code for answer in answers}
    assert {"failed"} == states


async def test_who_waits_is_told_again_what_is_wrong(clock: Clock, world: World, tmp_path: Path) -> None:
    async with receiving(tmp_path, world, "cometapi", clock=clock) as house:
        await flood(house.http, BURST + 200)
        clock.jump(seconds=5)
        answer = await house.http.post(WRONG, content=report("failed"))

    assert 404 == answer.status_code


async def test_bad_signatures_count_and_good_ones_never_do(world: World, tmp_path: Path) -> None:
    now = time.time_ns() // 1_000_000
    async with receiving(tmp_path, world, "kling", clock=lambda: now) as house:
        path = await expected(house, "kling", "signed")
        body = report("processing")
        headers = {"webhook-id": "msg_1", "webhook-timestamp": str(now // 1000), "webhook-signature": "v1,AAAA"}
        answers = await flood(house.http, BURST + 100, path, headers=headers)
        good = {"webhook-signature": sign(WEBHOOK_SECRET, message_id="msg_1", sent_at=now, body=body)}
        signed = await house.http.post(path, content=body, headers=headers | good)
        history = await house.history("signed")

    assert {401, 429} == {answer.status_code for answer in answers}
    assert BURST <= sum(answer.status_code == 401 for answer in answers)
    assert 200 == signed.status_code
    assert ["answer", "callback"] == [each["source"] for each in history["reports"]]


async def test_a_flood_is_told_once_when_it_begins_and_once_when_it_ends(world: World, tmp_path: Path) -> None:
    async with living(tmp_path, world, "cometapi", port=free_port()) as life:
        statuses = await post_all(life.port, [post_of(WRONG, report("failed"))] * (BURST + 400))
        life.process.terminate()
        await asyncio.wait_for(life.process.wait(), PATIENCE)
        log = life.log.read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    unknown = [line for line in lines if line["event"] == "callback.unknown"]
    begun = [line["source"] for line in lines if line["event"] == "callbacks.held_off"]
    ended = [(line["source"], line["refused"]) for line in lines if line["event"] == "callbacks.held_off_no_more"]
    refused = statuses.count(429)

    assert BURST + 400 == len(unknown) + refused
    assert (["127.0.0.1"], [("127.0.0.1", refused)]) == (begun, ended)
    assert "AAAAAAAAAAAAAAAAAAAAAAAA" not in log
