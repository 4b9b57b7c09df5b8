"""Power cuts: what the real server did to its files is recorded, and the disks that a cut may leave are opened."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.crash.book import Book
from tests.crash.checks import Finding, Kind
from tests.crash.disk import MANNERS, Disk, Opened, Written
from tests.crash.images import LEDGER, examine_image
from tests.crash.load import Load
from tests.crash.recording import Recording, record_life
from tests.crash.script import Post, Script
from tests.crash.servers import RIGHT

CUTS_PER_LIFE = 25
ACKNOWLEDGED_PER_LIFE = 600  # more than one checkpoint's worth, which SQLite makes each 1000 pages
LIVES_PER_LEDGER = 4  # each but the first begins on what a power cut left of the one before
_LATE = 20


@dataclass(frozen=True, slots=True)
class Cut:
    """What one power cut left. `acknowledged` is since the cut before it, `findings` of everything on the image."""

    number: int
    acknowledged: int
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True)
class _Past:
    """What was there before a life: the disk, and what had been acknowledged by then."""

    files: Mapping[str, bytes]
    book: Book


async def power_cuts(
    folder: Path,
    *,
    seed: int,
    cuts: int,
    recorder: Path,
    module: Sequence[str] = RIGHT,
    per_life: int = CUTS_PER_LIFE,
    acknowledged: int = ACKNOWLEDGED_PER_LIFE,
    sought: Collection[Kind] = tuple(Kind),
) -> AsyncGenerator[Cut, None]:
    """So many cuts in as many lives as they take; the last is the first that found what is sought."""
    folder = await asyncio.to_thread(folder.resolve)  # the recorder compares names
    past, script = _Past({}, Book()), Script(seed, name="c0")
    for life, first in enumerate(range(1, cuts + 1, per_life)):
        dice = Random(f"{seed} cuts {life}")
        if life % LIVES_PER_LEDGER == 0:
            past, script = _Past({}, Book()), Script(seed, name=f"c{life}")
        there = folder / f"life-{life}"
        until = past.book.acknowledged + acknowledged
        load = Load(script, past.book.copy(), dice=dice, first=_again(past.book, dice), until=until)
        recording = await record_life(there, load, recorder=recorder, module=module, files=past.files)
        await asyncio.to_thread(shutil.rmtree, there)
        left = _left_by_cuts(recording, load.book, past, dice, min(per_life, cuts + 1 - first))
        for number, image in enumerate(left, first):
            findings = await examine_image(folder / f"image-{number}", image.files, image.book)
            yield Cut(number, image.book.acknowledged - past.book.acknowledged, findings)
            if any(finding.kind in sought for finding in findings):
                return
            past = image


def _again(book: Book, dice: Random) -> list[Post]:
    """What nobody acknowledged comes again, and some that was."""
    return [*book.unacknowledged(), *book.some_acknowledged(dice, _LATE)]


def _left_by_cuts(recording: Recording, sent: Book, past: _Past, dice: Random, count: int) -> Iterator[_Past]:
    """What so many cuts leave, in the order in which they fall: the disk, and what was acknowledged by then."""
    disk = Disk(recording.files)
    at = 0
    for moment in sorted(_moments(recording, dice, count)):
        for step in recording.steps[at:moment]:
            disk.take(step)
        at = moment
        before = [(each.post, each.verdict) for each in recording.acknowledged if each.step < moment]
        manner = dice.choice(list(MANNERS.values()))
        yield _Past(disk.after_power_cut(manner, dice), sent.as_of(past.book, before))


def _moments(recording: Recording, dice: Random, count: int) -> list[int]:
    """Where to cut, as how many steps were taken: right after acknowledgements, amid checkpoints, or anywhere."""
    anywhere = range(len(recording.steps) + 1)
    acknowledged = [each.step + 1 for each in recording.acknowledged]
    handles = {step.handle for step in recording.steps if isinstance(step, Opened) and step.name == LEDGER}
    checkpoints = [
        index + 1 for index, step in enumerate(recording.steps) if isinstance(step, Written) and step.handle in handles
    ]
    kinds: list[Sequence[int]] = [each for each in (acknowledged, acknowledged, checkpoints, anywhere) if each]
    return [dice.choice(dice.choice(kinds)) for _ in range(count)]
