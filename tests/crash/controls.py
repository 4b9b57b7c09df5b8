"""The controls: receivers that are wrong on purpose, and what must be found of each before a result counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.crash.checks import Kind
from tests.crash.cuts import Cut, power_cuts
from tests.crash.kills import Round, kill_rounds

MOST_KILLS = 20
MOST_CUTS = 50


@dataclass(frozen=True, slots=True)
class Control:
    """A wrong server, what brings it down, and what is then sought: other things may be wrong with it too."""

    name: str
    by: Literal["kill", "power cut"]
    sought: frozenset[Kind] = frozenset({Kind.LOST})


CONTROLS = (
    Control("answer-before-commit", "kill"),
    Control("dedup-outside", "kill"),
    Control("synchronous-normal", "power cut"),
    Control("synchronous-off", "power cut", frozenset({Kind.LOST, Kind.BROKEN})),  # it may take the whole file along
)


async def caught_at(control: Control, folder: Path, *, seed: int, recorder: Path | None) -> int | None:
    """The round at which the harness caught it, or None: then the harness is worth nothing."""
    await asyncio.to_thread(folder.mkdir)
    async with aclosing(_rounds(control, folder, seed=seed, recorder=recorder)) as rounds:
        async for each in rounds:
            if any(finding.kind in control.sought for finding in each.findings):
                return each.number
    return None


def _rounds(
    control: Control, folder: Path, *, seed: int, recorder: Path | None
) -> AsyncGenerator[Round, None] | AsyncGenerator[Cut, None]:
    module = ("tests.crash.wrong_servers", control.name)
    if control.by == "kill":
        return kill_rounds(folder, seed=seed, rounds=MOST_KILLS, module=module, sought=control.sought)
    assert recorder is not None  # a kill alone needs none
    return power_cuts(folder, seed=seed, cuts=MOST_CUTS, recorder=recorder, module=module, sought=control.sought)
