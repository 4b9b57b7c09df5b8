"""A day's units, against what the provider says each task took."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from receiver.units import day_of
from submitter.moments import millis
from tests.flows.builders import ASKING, Clock, World, receiving


@pytest.mark.parametrize("account", ["unsigned", "cometapi", "powertokens"])
async def test_creates_stop_before_the_bill_does_and_go_on_the_next_day(
    world: World, clock: Clock, tmp_path: Path, account: str
) -> None:
    """Forty units: two tasks of two images take 32, a third does not fit."""
    to_midnight = millis(timedelta(days=1)) - (clock() - day_of(clock()))
    clock.jump(milliseconds=to_midnight, hours=1)  # not while the day turns
    limits = {"limits": {"units_per_day": 40}}
    async with receiving(tmp_path, world, account, clock=clock, polling=ASKING, account=limits) as house:
        answers = [await house.submit(account, "a red fox [[drop_all]]", f"fox-{each}", n=2) for each in range(4)]
        settled = [await house.at_rest(f"fox-{each}") for each in range(2)]
        await house.tick()
        waiting = [await house.task(f"fox-{each}") for each in (2, 3)]
        paid_today = len(await world.requests("create"))
        clock.jump(hours=23, minutes=30)  # before they are given up
        next_day = [await house.at_rest(f"fox-{each}") for each in (2, 3)]

    assert [201, 201, 202, 202] == [each.status_code for each in answers]
    assert ["16"] * 2 == [each["unit_deduction"] for each in settled]
    assert [("pending", None)] * 2 == [(each["state"], each["sent_at"]) for each in waiting]
    assert "limits.units_per_day = 40" in waiting[0]["message"]
    assert 2 == paid_today
    assert ["succeeded"] * 2 == [each["state"] for each in next_day]
