"""Crash rounds at length: `make crash`, or `python -m tests.crash --kills 200 --cuts 200 --seed 7`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.crash.checks import Finding, Kind
from tests.crash.controls import CONTROLS, Control, caught_at
from tests.crash.cuts import Cut, power_cuts
from tests.crash.kills import Round, kill_rounds
from tests.crash.recording import CannotRecord, NotWhole, compile_recorder
from tests.crash.servers import DidNotStart

_SHOWN = 20
_console = Console(stderr=True)


@dataclass
class Tally:
    """What so many rounds came to."""

    rounds: int = 0
    acknowledged: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def kinds(self) -> Counter[Kind]:
        """How often each kind of finding."""
        return Counter(finding.kind for finding in self.findings)


def main(arguments: Sequence[str]) -> int:
    """0 if nothing acknowledged was lost and every control was caught, 1 if not, 130 if interrupted."""
    asked = _parsed(arguments)
    _console.print(f"seed {asked.seed}")
    try:
        if asked.keep is not None:
            asked.keep.mkdir(parents=True)
            return _run_in(asked.keep, asked)
        with tempfile.TemporaryDirectory() as folder:
            return _run_in(Path(folder), asked)
    except (CannotRecord, DidNotStart, NotWhole, TimeoutError) as error:
        _console.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        _console.print("interrupted: no server is left running")
        return 130


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="so many kills (200)")
    parser.add_argument("--cuts", type=int, default=200, metavar="N", help="so many power cuts (200)")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000), help="of all that is random")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep what was found there (a new folder)")
    return parser.parse_args(arguments)


def _run_in(folder: Path, asked: argparse.Namespace) -> int:
    for name in ("kills", "cuts"):
        (folder / name).mkdir()
    return asyncio.run(_run(asked, folder, compile_recorder(folder)))


async def _run(asked: argparse.Namespace, folder: Path, recorder: Path) -> int:
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    with Progress(console=_console) as progress:
        caught = await _controls(folder, asked.seed, recorder, progress)
        kills = await _tallied(
            kill_rounds(folder / "kills", seed=asked.seed, rounds=asked.kills), "kills", asked.kills, progress
        )
        cuts = await _tallied(
            power_cuts(folder / "cuts", seed=asked.seed, cuts=asked.cuts, recorder=recorder),
            "power cuts",
            asked.cuts,
            progress,
        )
    tallies = {"kills": kills, "power cuts": cuts}
    Console().print(_table_of_rounds(tallies))
    Console().print(_table_of_controls(caught))
    found = [finding for tally in tallies.values() for finding in tally.findings]
    for finding in found[:_SHOWN]:
        _console.print(str(finding), style="red", markup=False)
    return 1 if found or None in caught.values() else 0


async def _controls(folder: Path, seed: int, recorder: Path, progress: Progress) -> dict[Control, int | None]:
    caught: dict[Control, int | None] = {}
    line = progress.add_task("controls", total=len(CONTROLS))
    for control in CONTROLS:
        caught[control] = await caught_at(control, folder / control.name, seed=seed, recorder=recorder)
        progress.advance(line)
    return caught


async def _tallied(
    rounds: AsyncGenerator[Round, None] | AsyncGenerator[Cut, None], name: str, total: int, progress: Progress
) -> Tally:
    tally = Tally()
    line = progress.add_task(name, total=total)
    async with aclosing(rounds):
        async for each in rounds:
            tally.rounds = each.number
            tally.acknowledged += each.acknowledged
            tally.findings += each.findings
            said = f"{name}: {tally.acknowledged} acknowledged, {len(tally.findings)} findings"
            progress.update(line, advance=1, description=said)
    return tally


def _table_of_rounds(tallies: dict[str, Tally]) -> Table:
    table = Table("", "rounds", "acknowledged", "lost", "doubled", "otherwise wrong", box=None)
    for name, tally in tallies.items():
        kinds = tally.kinds
        others = len(tally.findings) - kinds[Kind.LOST] - kinds[Kind.DOUBLED]
        counts = (tally.rounds, tally.acknowledged, kinds[Kind.LOST], kinds[Kind.DOUBLED], others)
        table.add_row(name, *map(str, counts))
    return table


def _table_of_controls(caught: dict[Control, int | None]) -> Table:
    table = Table("control", "caught", box=None)
    for control, number in caught.items():
        table.add_row(control.name, "NOT CAUGHT" if number is None else f"at {control.by} {number}")
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
