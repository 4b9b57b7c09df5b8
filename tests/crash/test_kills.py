"""Kills in short form; `make crash` has the long one."""

from pathlib import Path

import pytest

from tests.crash.controls import CONTROLS, Control, caught_at
from tests.crash.kills import kill_rounds

SEED = 5
ROUNDS = 4


async def test_killed_at_any_moment_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    rounds = [each async for each in kill_rounds(tmp_path, seed=SEED, rounds=ROUNDS)]

    assert [] == [str(finding) for each in rounds for finding in each.findings]
    assert ROUNDS == len(rounds)
    assert sum(each.acknowledged for each in rounds) > 0


@pytest.mark.parametrize("control", [each for each in CONTROLS if each.by == "kill"], ids=lambda each: each.name)
async def test_a_server_that_forgets_when_killed_is_caught(control: Control, tmp_path: Path) -> None:
    assert await caught_at(control, tmp_path / "wrong", seed=SEED, recorder=None) is not None
