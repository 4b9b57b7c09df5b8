"""Kills: the real server under load, SIGKILL at a random moment, and again on the same file."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.crash.book import Book
from tests.crash.checks import Finding, Kind
from tests.crash.images import examine_image, read_files
from tests.crash.load import Load
from tests.crash.script import Script
from tests.crash.servers import RIGHT, started
from tests.patience import PATIENCE

ROUNDS_PER_LEDGER = 10  # then a fresh one: its making is to be interrupted too, and small files are checked soon
_LATE = 20  # acknowledged callbacks that come again in a later life
_LOAD = (20, 500)  # acknowledged callbacks: by a clock a busy machine might come to none
_A_LITTLE_SECONDS = (0.0, 0.02)  # longer: a life is not to end just when something is acknowledged
_GLANCE = 0.002
_STARTING_SECONDS = (0.1, 0.7)  # from the process's start: imports, migration, recovery, listening
_STOPPING_SECONDS = (0.0, 0.05)
_MOMENTS = (("load", 80), ("starting", 10), ("stopping", 10))


@dataclass(frozen=True, slots=True)
class Round:
    """What one kill left behind. `acknowledged` is of this round, `findings` of everything on this ledger."""

    number: int
    acknowledged: int
    findings: Sequence[Finding]


async def kill_rounds(
    folder: Path, *, seed: int, rounds: int, module: Sequence[str] = RIGHT, sought: Collection[Kind] = tuple(Kind)
) -> AsyncGenerator[Round, None]:
    """So many kills and as many examinations; the last is the first that found what is sought."""
    for first in range(1, rounds + 1, ROUNDS_PER_LEDGER):
        ledger = folder / f"ledger-{first}"
        await asyncio.to_thread(ledger.mkdir)
        victim = _Victim(ledger, Random(f"{seed} kills {first}"), Script(seed, name=f"k{first}"), module)
        for number in range(first, min(first + ROUNDS_PER_LEDGER, rounds + 1)):
            before = victim.book.acknowledged
            await victim.live_and_be_killed()
            findings = await victim.examined(folder / f"image-{number}")
            yield Round(number, victim.book.acknowledged - before, findings)
            if any(finding.kind in sought for finding in findings):
                return
        await asyncio.to_thread(shutil.rmtree, ledger)


class _Victim:
    """A ledger and the lives that are lived on it."""

    def __init__(self, folder: Path, dice: Random, script: Script, module: Sequence[str]) -> None:
        self.book = Book()
        self._folder = folder
        self._dice = dice
        self._script = script
        self._module = module

    async def live_and_be_killed(self) -> None:
        """One life, ended at a moment of the dice."""
        [moment] = self._dice.choices([each for each, _ in _MOMENTS], [weight for _, weight in _MOMENTS])
        async with started(self._folder, self._module) as server:
            if moment == "starting":
                await asyncio.sleep(self._dice.uniform(*_STARTING_SECONDS))
                return await server.kill()
            port = await server.listens()
            posting = asyncio.create_task(self._load().run(port))
            enough = self.book.acknowledged + self._dice.randint(*_LOAD)
            async with asyncio.timeout(PATIENCE):
                while self.book.acknowledged < enough and not posting.done():  # noqa: ASYNC110  the book tells nobody
                    await asyncio.sleep(_GLANCE)
            await asyncio.sleep(self._dice.uniform(*_A_LITTLE_SECONDS))
            if moment == "stopping":
                server.process.terminate()
                await asyncio.sleep(self._dice.uniform(*_STOPPING_SECONDS))
            await server.kill()
            await posting
        return None

    async def examined(self, image: Path) -> list[Finding]:
        """What is wrong of a copy of its files. The files themselves are left to the next life to recover."""
        files = await asyncio.to_thread(read_files, self._folder)
        return await examine_image(image, files, self.book)

    def _load(self) -> Load:
        """First what nobody knows the fate of, and some that come again though they were acknowledged."""
        first = [*self.book.unacknowledged(), *self.book.some_acknowledged(self._dice, _LATE)]
        return Load(self._script, self.book, dice=self._dice, first=first)
