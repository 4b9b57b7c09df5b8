"""Ledgers with many old tasks, built once and kept beside the checkout while their recipe stays the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from benchmarks import ledgers
from benchmarks.callbacks import Created
from submitter.moments import Moment, millis

AGE = timedelta(days=90)  # over which the old tasks are spread: what the default retention keeps
YOUNGEST = timedelta(hours=1)
CHUNK = 50_000  # tasks in one transaction
# Every so many old tasks one is still running, so that there are callbacks to be had for tasks all over the ledger.
RUNNING_EVERY = 10
SPARE_BYTES = 4 << 30  # left free on the disk beside the ledger
_PROBED = 5_000  # tasks whose ledger tells how large the whole will be


@dataclass(frozen=True, slots=True)
class KeptLedger:
    """A ledger of so many old tasks; `running` lists those that may still be called back about, in no order."""

    path: Path
    running: Path

    def take_running(self, count: int) -> list[Created]:
        """So many of them, which nobody else gets. Fewer where the rest is fewer."""
        lines = self.running.read_text().splitlines()
        self.running.write_text("".join(f"{line}\n" for line in lines[count:]))
        return [Created(*line.split()) for line in lines[:count]]

    def put_back(self, tasks: Sequence[Created]) -> None:
        """These were taken, and nobody called back about them."""
        with self.running.open("a") as file:
            file.writelines(_line(each) for each in tasks)

    @property
    def running_left(self) -> int:
        """How many `take_running` can still give."""
        return len(self.running.read_text().splitlines())


def kept_ledger(
    folder: Path, count: int, *, now: Moment, at_least_running: int, say: Callable[[str], None]
) -> KeptLedger:
    """The ledger, from the cache or built. Raises RuntimeError where the disk has no room for it."""
    folder.mkdir(exist_ok=True)
    settled, submitted = ledgers.template(is_settled=True), ledgers.template(is_settled=False)
    path = folder / f"ledger-{count}-{_recipe(settled, submitted)}.db"
    kept = KeptLedger(path, path.with_suffix(".running"))
    if path.exists() and kept.running.exists() and kept.running_left >= min(at_least_running, count // RUNNING_EVERY):
        return kept
    for old in folder.glob(f"ledger-{count}-*"):
        old.unlink()
    _require_room(folder, count, settled)
    _build(kept, count, settled, submitted, now=now, say=say)
    return kept


def _build(
    kept: KeptLedger,
    count: int,
    settled: ledgers.Template,
    submitted: ledgers.Template,
    *,
    now: Moment,
    say: Callable[[str], None],
) -> None:
    part = kept.path.with_suffix(".part")
    part.unlink(missing_ok=True)
    ledgers.create(part)
    running: list[Created] = []
    with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as raw:
        raw.execute("pragma journal_mode = off")
        raw.execute("pragma synchronous = off")
        raw.execute("pragma locking_mode = exclusive")
        raw.execute("pragma cache_size = -1000000")
        for first in range(0, count, CHUNK):
            size = min(CHUNK, count - first)
            running += _add_old(raw, settled, submitted, _moments(first, size, count, now=now))
            say(f"{first + size:,} of {count:,} old tasks, {part.stat().st_size >> 20:,} MiB")
        raw.execute("pragma locking_mode = normal")
        raw.execute("pragma journal_mode = wal")
    with part.open("rb") as written:
        os.fsync(written.fileno())
    random.Random(count).shuffle(running)
    kept.running.write_text("".join(map(_line, running)))
    part.rename(kept.path)
    part.with_name(f"{part.name}.lock").unlink()


def _line(task: Created) -> str:
    return f"{task.external_task_id} {task.provider_task_id}\n"


def _add_old(
    raw: sqlite3.Connection, settled: ledgers.Template, submitted: ledgers.Template, moments: Sequence[Moment]
) -> list[Created]:
    """A chunk of tasks in the order of their ids; returns those that are still running."""
    raw.execute("begin")
    created = ledgers.mint(raw, moments)
    ledgers.multiply(raw, settled, where=f"key % {RUNNING_EVERY} <> 0")
    ledgers.multiply(raw, submitted, where=f"key % {RUNNING_EVERY} = 0")
    raw.execute("commit")
    (first,) = raw.execute("select min(key) from minted").fetchone()
    return [each for key, each in enumerate(created, start=first) if key % RUNNING_EVERY == 0]


def _moments(first: int, size: int, count: int, *, now: Moment) -> list[Moment]:
    begin, span = now - millis(AGE), millis(AGE - YOUNGEST)
    return [begin + span * number // count for number in range(first, first + size)]


def _recipe(settled: ledgers.Template, submitted: ledgers.Template) -> str:
    """Names what a ledger is made of: the product's own rows and tables, and how they are multiplied."""
    made_of = repr((settled, submitted, ledgers.schema(), RUNNING_EVERY, AGE, ledgers.RECIPE))
    return hashlib.sha256(made_of.encode()).hexdigest()[:12]


def _require_room(folder: Path, count: int, settled: ledgers.Template) -> None:
    probe = folder / "probe.db"
    try:
        ledgers.create(probe)
        with contextlib.closing(sqlite3.connect(probe, isolation_level=None)) as raw:
            raw.execute("begin")
            ledgers.mint(raw, [ledgers.TEMPLATE_AT] * _PROBED)
            ledgers.multiply(raw, settled)
            raw.execute("commit")
            raw.execute("pragma wal_checkpoint(truncate)").fetchall()
        needed = probe.stat().st_size * count // _PROBED + SPARE_BYTES
    finally:
        for each in folder.glob("probe.db*"):
            each.unlink()
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RuntimeError(
            f"{folder} has {free >> 30} GiB free, and a ledger of {count:,} tasks needs {needed >> 30}: "
            "choose another --cache or fewer --many-old"
        )
