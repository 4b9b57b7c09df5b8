"""Secrets are changed while callbacks are on their way: what was minted goes on for as long as it is listed."""

import asyncio
import base64
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from receiver.callback_url import mint_callback_url
from submitter.signatures import sign
from tests.flows.builders import WEBHOOK_SECRET, House, World, path_of, receiving, report

OLD, NEW = "the secret that was leaked", "the secret that comes after it"
NEW_WEBHOOK_SECRET = "whsec_" + base64.b64encode(b"the account's secret after the old").decode()


async def call_back(house: House, path: str, status: str = "processing", **more: object) -> int:
    return (await house.http.post(path, content=report(status, **more))).status_code


async def test_a_url_of_the_old_secret_is_valid_while_that_is_listed_and_not_after(
    world: World, tmp_path: Path
) -> None:
    async with receiving(tmp_path, world, "cometapi", callbacks={"secrets": [OLD]}) as house:
        await house.submit("cometapi", "a red fox [[drop_all,seconds=600]]", "in-flight")
        old = path_of(house.runtime.journal.callback_url("cometapi", "in-flight"))
        before = await call_back(house, old)
    async with receiving(tmp_path, world, "cometapi", callbacks={"secrets": [NEW, OLD]}) as house:
        new = path_of(house.runtime.journal.callback_url("cometapi", "in-flight"))
        during = [await call_back(house, path) for path in (old, new)]
    async with receiving(tmp_path, world, "cometapi", callbacks={"secrets": [NEW]}) as house:
        after = [await call_back(house, path, "failed") for path in (old, new)]
        task = await house.task("in-flight")

    assert (200, [200, 200], [404, 200]) == (before, during, after)
    assert "failed" == task["state"]
    assert old != new


async def test_a_task_whose_url_was_rotated_away_settles_by_query(world: World, tmp_path: Path) -> None:
    """The provider calls back to a URL that is not valid any more: nothing is lost but the callback."""
    async with receiving(tmp_path, world, "cometapi", callbacks={"secrets": [OLD]}) as house:
        await house.submit("cometapi", "a red fox [[drop_all]]", "orphaned")
        old = path_of(house.runtime.journal.callback_url("cometapi", "orphaned"))
    asking = {"first_after": "0s", "interval": "20ms"}
    async with receiving(tmp_path, world, "cometapi", callbacks={"secrets": [NEW]}, polling=asking) as house:
        unheard = await call_back(house, old, "failed")
        await house.http.post("/v1/tasks/orphaned/refresh")
        task = await house.at_rest("orphaned")

    assert (404, "succeeded", "query") == (unheard, task["state"], task["settled_by"])


async def test_what_a_thief_of_the_old_secret_mints_is_worth_nothing_once_it_is_gone(
    world: World, tmp_path: Path
) -> None:
    forged = mint_callback_url("http://x", provider="cometapi", external_task_id="any", secret=OLD)
    async with receiving(tmp_path, world, "cometapi", callbacks={"secrets": [NEW]}) as house:
        status = await call_back(house, path_of(forged), "succeed", images=["https://forger.example/0.png"])
        task = await house.http.get("/v1/tasks/any")

    assert (404, 404) == (status, task.status_code)


async def test_the_secret_that_a_ledger_began_with_is_ended_by_deleting_it_there(world: World, tmp_path: Path) -> None:
    """As SECURITY.md says: it is accepted beside configured ones, until it is taken out of the stopped ledger."""
    async with receiving(tmp_path, world, "cometapi") as house:
        early = path_of(house.runtime.journal.callback_url("cometapi", "early"))
    async with receiving(tmp_path, world, "cometapi", callbacks={"secrets": [NEW]}) as house:
        beside = await call_back(house, early)
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as raw:
        raw.execute("delete from settings where name = 'callback_secret'")
    async with receiving(tmp_path, world, "cometapi", callbacks={"secrets": [NEW]}) as house:
        ended = await call_back(house, early)

    assert (200, 404) == (beside, ended)


@pytest.mark.parametrize("listed", [[NEW_WEBHOOK_SECRET, WEBHOOK_SECRET], [WEBHOOK_SECRET, NEW_WEBHOOK_SECRET]])
async def test_while_a_webhook_secret_changes_callbacks_signed_with_either_are_proof(
    world: World, tmp_path: Path, listed: list[str]
) -> None:
    async with receiving(tmp_path, world, "kling", account={"webhook_secrets": listed}) as house:
        trusts = [await trust_of(house, secret) for secret in (WEBHOOK_SECRET, NEW_WEBHOOK_SECRET)]
    async with receiving(tmp_path, world, "kling", account={"webhook_secrets": [NEW_WEBHOOK_SECRET]}) as house:
        after = [await trust_of(house, secret, "after") for secret in (WEBHOOK_SECRET, NEW_WEBHOOK_SECRET)]

    assert ["signed", "signed"] == trusts
    assert [401, "signed"] == after


async def trust_of(house: House, secret: str, when: str = "during") -> str | int:
    """How a callback that is signed so is known, or the status that it is refused with."""
    name = f"{when}-{base64.urlsafe_b64encode(secret.encode())[-8:-3].decode()}"
    path = path_of(house.runtime.journal.callback_url("kling", name))
    body = report("processing", task_id=name)
    now = time.time_ns() // 1_000_000
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now // 1000),
        "webhook-signature": sign(secret, message_id="msg_1", sent_at=now, body=body),
    }
    answer = await house.http.post(path, content=body, headers=headers)
    if answer.status_code != 200:
        return answer.status_code
    return (await house.history(name))["reports"][-1]["trust"]


async def test_while_an_api_key_changes_either_opens_and_the_old_one_does_not_after(
    world: World, tmp_path: Path
) -> None:
    keys = ["hl_the-key-that-was-leaked", "hl_the-key-that-comes-after"]

    async def opened(*listed: str) -> list[int]:
        async with receiving(tmp_path, world, api={"keys": list(listed)}) as house:
            headers = [{"authorization": f"Bearer {key}"} for key in keys]
            return [(await house.http.get("/v1/tasks", headers=each)).status_code for each in headers]

    assert [200, 200] == await opened(keys[1], keys[0])
    assert [401, 200] == await opened(keys[1])


async def test_a_burst_in_flight_across_a_rotation_is_all_heard(world: World, tmp_path: Path) -> None:
    """Some are heard before the restart, the rest after it: each at the URL it was given."""
    names = [f"burst-{number}" for number in range(12)]
    async with receiving(tmp_path, world, "cometapi", callbacks={"secrets": [OLD]}) as house:
        for name in names:
            await house.submit("cometapi", "a red fox [[drop_all,seconds=600]]", name)
        paths = [path_of(house.runtime.journal.callback_url("cometapi", name)) for name in names]
        first = await asyncio.gather(*(call_back(house, path, "failed", task_id=path) for path in paths[:6]))
    async with receiving(tmp_path, world, "cometapi", callbacks={"secrets": [NEW, OLD]}) as house:
        then = await asyncio.gather(*(call_back(house, path, "failed", task_id=path) for path in paths[6:]))
        states = [(await house.task(name))["state"] for name in names]

    assert [200] * 12 == [*first, *then]
    assert ["failed"] * 12 == states
