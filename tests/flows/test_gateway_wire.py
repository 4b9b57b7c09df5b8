"""The Kling wire, served from the ledger: creates, queries and lists as each provider would answer them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flows.builders import House, Json, World, eventually, receiving

PREFIXES = {"kling": "", "unsigned": "", "cometapi": "/kling", "powertokens": "/kling"}
KINDS = ("kling", "cometapi", "powertokens")


def images(account: str, endpoint: str = "omni-image") -> str:
    """Where an account's tasks of an endpoint are created and listed."""
    return f"/gateway/{account}{PREFIXES[account]}/v1/images/{endpoint}"


async def create(house: House, account: str, prompt: str, *, endpoint: str = "omni-image", **fields: Any) -> Any:
    return await house.http.post(images(account, endpoint), json={"prompt": prompt, **fields})


async def query(house: House, account: str, identity: str, endpoint: str = "omni-image") -> httpx.Response:
    return await house.http.get(f"{images(account, endpoint)}/{identity}")


async def settled(house: House, account: str, identity: str, endpoint: str = "omni-image") -> Json:
    async def final() -> Json | None:
        data: Json = (await query(house, account, identity, endpoint)).json()["data"]
        return data if data["task_status"] in {"succeed", "failed"} else None

    return await eventually(final)


@pytest.mark.parametrize("account", KINDS)
@pytest.mark.parametrize("endpoint", ["omni-image", "generations"])
async def test_a_task_is_created_watched_and_done_without_a_query(
    world: World, tmp_path: Path, account: str, endpoint: str
) -> None:
    async with receiving(tmp_path, world, account) as house:
        created = await create(house, account, "a red fox", endpoint=endpoint, external_task_id="order 7", n=2)
        told = created.json()["data"]
        done = await settled(house, account, told["task_id"], endpoint)
        truth = await world.truth(told["task_id"])
        asked = await world.requests("query")

    assert (200, 0, "SUCCEED") == (created.status_code, created.json()["code"], created.json()["message"])
    assert ("submitted", {"external_task_id": "order 7"}) == (told["task_status"], told["task_info"])
    assert told["task_id"].startswith("t_")
    assert (told["task_id"], {"external_task_id": "order 7"}) == (done["task_id"], done["task_info"])
    assert "succeed" == done["task_status"]
    assert 2 == len(done["task_result"]["images"])
    assert truth["external_task_id"] == told["task_id"]
    assert [] == asked
