"""What the receiver learns from callbacks, end to end: when it asks about a task whose callback was lost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from receiver.timing import LEARNED_FROM
from tests.flows.builders import Clock, World, receiving


@pytest.mark.parametrize(("learn", "state", "queries"), [(True, "succeeded", 1), (False, "submitted", 0)])
async def test_after_twenty_callbacks_a_lost_one_is_asked_about_before_the_fixed_plan_would(
    world: World, clock: Clock, tmp_path: Path, learn: bool, state: str, queries: int
) -> None:
    polling = {"learn": learn, "first_after": "1h"}
    async with receiving(tmp_path, world, "cometapi", clock=clock, polling=polling) as house:
        names = [f"t_{number}" for number in range(LEARNED_FROM)]
        await asyncio.gather(*(house.submit("cometapi", "a red fox", name) for name in names))
        for name in names:
            await house.until(name, lambda task: task["state"] == "succeeded")

        await house.submit("cometapi", "a red fox [[drop_all]]", "lost")
        await world.until_told("lost", 3)
        clock.jump(minutes=10)
        await house.tick()
        task = await house.task("lost")

    assert (state, queries) == (task["state"], task["queries"])
