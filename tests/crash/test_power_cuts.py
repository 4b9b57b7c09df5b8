"""Power cuts in short form; `make crash` has the long one."""

from pathlib import Path

import pytest

from tests.crash.controls import CONTROLS, Control, caught_at
from tests.crash.cuts import power_cuts

SEED = 5
CUTS = 30


async def test_after_a_power_cut_at_any_moment_nothing_acknowledged_is_lost_or_doubled(
    tmp_path: Path, recorder: Path
) -> None:
    cuts = [
        each
        async for each in power_cuts(
            tmp_path, seed=SEED, cuts=CUTS, per_life=CUTS // 2, acknowledged=450, recorder=recorder
        )
    ]

    assert [] == [str(finding) for each in cuts for finding in each.findings]
    assert CUTS == len(cuts)
    assert sum(each.acknowledged for each in cuts) > 0


@pytest.mark.parametrize("control", [each for each in CONTROLS if each.by == "power cut"], ids=lambda each: each.name)
async def test_a_server_that_does_not_sync_is_caught(control: Control, tmp_path: Path, recorder: Path) -> None:
    assert await caught_at(control, tmp_path / "wrong", seed=SEED, recorder=recorder) is not None
